"""Checks of a score against `Constraints`, and random constraints and sampling.

The checks read the score only. They use no tokens, masks or generation code, so they can test them.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import numpy as np
from symusic.core import ScoreTick

from musiclstm import Constraints
from musiclstm.generation import MAX_SEED, SCALES, Sampling
from musiclstm.midi import analysis
from musiclstm.tokens import DRUMS, normalize_time_signature

_TONICS = ("C", "C#", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_METERS = ((4, 4), (3, 4), (2, 4), (6, 8), (12, 8), (5, 8), (1, 8), (2, 2), (3, 16), (7, 16))
_PROGRAMS = (DRUMS, 0, 6, 24, 33, 40, 48, 56, 73)  # instruments of every family


class _CheckedNote(NamedTuple):
    program: int
    track: int
    pitch: int
    start: int
    end: int


def find_violations(score: ScoreTick, constraints: Constraints, *, bars: int) -> list[str]:
    """Return one sentence for each violation of the constraints.

    Args:
        score: A score that starts at a bar line.
        constraints: Constraints with a resolved key.
        bars: Expected number of bars.
    """
    notes = sorted(_read_notes(score), key=lambda note: (note.start, note.program, note.pitch))
    far = analysis.last_note_end(score) + bars * 16 * score.ticks_per_quarter
    lines = [int(line) for line in analysis.bar_starts(score, end_tick=far)[: bars + 1]]
    return [
        *_check_times(score, notes, lines, constraints),
        *_check_pitches(notes, constraints),
        *_check_simultaneous_notes(notes, constraints),
        *_check_bars(notes, lines, constraints),
    ]


def _read_notes(score: ScoreTick) -> Iterator[_CheckedNote]:
    """Yield all notes, each ended by the next onset of its pitch."""
    for number, track in enumerate(score.tracks):
        program = DRUMS if track.is_drum else track.program
        by_pitch = sorted(track.notes, key=lambda note: (note.pitch, note.time))
        for pitch, group in groupby(by_pitch, key=lambda note: note.pitch):
            same = list(group)
            next_starts = [note.time for note in same[1:]] + [2**31]
            for note, next_start in zip(same, next_starts, strict=True):
                end = min(note.time + note.duration, max(next_start, note.time))
                yield _CheckedNote(program, number, pitch, note.time, end)


def _check_times(
    score: ScoreTick, notes: list[_CheckedNote], lines: list[int], constraints: Constraints
) -> Iterator[str]:
    if constraints.meter is not None:
        wanted = normalize_time_signature(*constraints.meter)
        for line in lines[:-1]:
            found = normalize_time_signature(*analysis.meter_at(score, line))
            if found != wanted:
                yield f"The bar at tick {line} is a {found[0]}/{found[1]}."
    tempos = {round(tempo.qpm, 2) for tempo in score.tempos}
    if not constraints.allows_tempos and len(tempos) > 1:
        yield f"The tempo changes: {sorted(tempos)}."
    if constraints.tempo_bpm is not None and any(
        abs(tempo - constraints.tempo_bpm) > 0.1 for tempo in tempos
    ):
        yield f"The tempo is {sorted(tempos)}, not {constraints.tempo_bpm}."
    for note in notes:
        if not 0 <= note.start < lines[-1]:
            yield f"{note} begins outside the bars."
        if note.end <= note.start:
            yield f"{note} has no length."


def _check_pitches(notes: list[_CheckedNote], constraints: Constraints) -> Iterator[str]:
    allowed = {note.program: frozenset[int]() for note in notes}
    for program in allowed:
        allowed[program] = frozenset(constraints.pitches(program))
    for note in notes:
        if constraints.programs is not None and note.program not in constraints.programs:
            yield f"{note} has an instrument that is not allowed."
        if note.pitch not in allowed[note.program]:
            yield f"{note} is out of range or key."


def _check_simultaneous_notes(notes: list[_CheckedNote], constraints: Constraints) -> Iterator[str]:
    onsets = Counter((note.start, note.track, note.pitch) for note in notes)
    for (start, track, pitch), count in onsets.items():
        if count > 1:
            yield f"Pitch {pitch} of track {track} starts {count} times at tick {start}."
    for start, count in Counter(note.start for note in notes).items():
        if count > constraints.max_notes_at_once:
            yield f"{count} notes start at tick {start}."
    if constraints.max_polyphony is None or not notes:
        return
    starts = np.sort([note.start for note in notes])
    ends = np.sort([note.end for note in notes])
    started = np.searchsorted(starts, starts, side="right")
    sounding = started - np.searchsorted(ends, starts, side="right")
    for start, count in zip(starts, sounding, strict=True):
        if count > constraints.max_polyphony:
            yield f"{count} notes sound at tick {start}."


def _check_bars(
    notes: list[_CheckedNote], lines: list[int], constraints: Constraints
) -> Iterator[str]:
    starts = [note.start for note in notes]
    counts = np.histogram(starts, bins=lines)[0].tolist() if len(lines) > 1 else []
    run = 0
    for bar, count in enumerate(counts):
        run = 0 if count else run + 1
        if run > constraints.max_empty_bars:
            yield f"Bar {bar} is empty, number {run} in a row."
        if constraints.notes_per_bar is not None:
            fewest, most = constraints.notes_per_bar
            if constraints.ending and bar == len(counts) - 1:
                fewest = min(fewest, 1)  # the last chord
            if not fewest <= count <= most:
                yield f"Bar {bar} has {count} notes, not {fewest} to {most}."


# Random settings ----------------------------------------------------------------------------------


def random_constraints(rng: random.Random) -> Constraints:
    """Return random constraints that do not contradict each other."""
    try:
        return _draw_constraints(rng)
    except ValueError:  # too many notes for a short bar
        return random_constraints(rng)


def _draw_constraints(rng: random.Random) -> Constraints:
    programs = frozenset(rng.sample(_PROGRAMS, rng.randint(1, 4))) if rng.random() < 0.7 else None
    fewest = rng.choice((rng.randint(0, 12), rng.randint(0, 40)))
    return Constraints(
        programs=programs,
        meter=rng.choice((None, rng.choice(_METERS))),
        tempo_bpm=rng.choice((None, rng.randint(40, 250))),
        tempo_changes=rng.random() < 0.5,
        key=rng.choice((None, f"{rng.choice(_TONICS)} {rng.choice(SCALES)}")),
        pitch_ranges=rng.choice((None, _random_ranges(rng, programs))),
        max_polyphony=rng.choice((None, rng.randint(1, 8))),
        max_notes_at_once=rng.choice((1, 2, 4, 8, 32)),
        notes_per_bar=rng.choice((None, (fewest, max(1, fewest) + rng.randint(0, 20)))),
        max_empty_bars=rng.randint(0, 3),
        ending=programs != frozenset({DRUMS}) and rng.random() < 0.3,
    )


def _random_ranges(
    rng: random.Random, programs: frozenset[int] | None
) -> dict[int, tuple[int, int]]:
    """Return pitch ranges of some programs; each contains a pitch of every scale."""
    found = {}
    for program in programs or rng.sample(_PROGRAMS, 3):
        if rng.random() < 0.6:
            lowest = rng.randint(30, 70)
            found[program] = (lowest, lowest + rng.randint(4, 18))
    return found


def random_sampling(rng: random.Random) -> Sampling:
    """Return random settings for sampling, with a seed."""
    return Sampling(
        temperature=rng.choice((0.0, 0.5, 0.9, 1.0, 1.3, 3.0)),
        top_p=rng.choice((0.5, 0.9, 0.98, 1.0)),
        top_k=rng.choice((0, 0, 1, 20)),
        min_p=rng.choice((0.0, 0.0, 0.05)),
        epsilon_cutoff=rng.choice((0.0, 0.0, 0.001)),
        pitch_temperature=rng.choice((None, None, 0.5, 1.5)),
        rhythm_temperature=rng.choice((None, None, 0.5, 1.5)),
        repetition_penalty=rng.choice((1.0, 1.0, 4.0)),
        copy_weight=rng.choice((1.0, 1.0, 0.0, 2.0)),
        candidates=rng.choice((1, 1, 1, 4)),
        similarity=rng.choice((1.0, 0.0, 2.0)),
        seed=rng.randint(0, MAX_SEED),
    )
