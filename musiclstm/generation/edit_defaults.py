"""What the new parts of an edit keep of the piece by default: range, lines, rests, loudness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from symusic.core import ScoreTick, TrackTick

from musiclstm.generation.constraints import MAX_NOTES_AT_ONCE, Constraints
from musiclstm.generation.edit_selection import Edit
from musiclstm.generation.loudness import DEFAULT_VELOCITY
from musiclstm.generation.prompt import Prompt, resolve_key
from musiclstm.midi.general_midi import instrument_name
from musiclstm.midi.score_ops import max_simultaneous_onsets
from musiclstm.tokens import DRUMS, POSITIONS_PER_BEAT, PartName

_TEXTURE_BARS = 8  # bars before the gap that tell how long a part rests
_MORE_AT_ONCE = 3  # further notes that may start together for each added part
_MIN_AT_ONCE = 4  # default limit for one line
_LINE_MIN_NOTES, _LINE_MAX_OVERLAP = 8, 0.02  # of the time with a note, as in the grammar
_MARGIN = 5  # semitones beyond the range of a track
_LOWEST = 28  # of an added part, as low as a bass
_BASSES, _BASS_RANGE = range(32, 40), (24, 60)
# Basses, solo strings, solo brass, reeds and pipes: added parts play one note at a time.
_LINE_PROGRAMS = frozenset((*range(32, 44), *range(56, 61), *range(64, 80)))


def known_constraints(edit: Edit, constraints: Constraints | None) -> Constraints:
    """Return the constraints of the new parts.

    Raises:
        ValueError: They exclude a new part or request an ending.
    """
    prompt = Prompt(edit.score, len(edit.lines) - 1, edit.lines[-1])
    constraints = constraints or Constraints()
    ranges = {p: ends for p, ends in constraints.ranges.items() if p in edit.new_programs}
    ranges = _default_ranges(edit) | ranges
    at_once = min(constraints.max_notes_at_once, _default_at_once(edit))
    if constraints.ending:
        raise ValueError(
            "ending closes whole bars, and the other parts of these bars are kept; leave it out."
        )
    programs = edit.new_programs
    missing = programs - (constraints.programs or programs)
    if missing:
        listed = ", ".join(instrument_name(program) for program in sorted(missing))
        raise ValueError(
            f"constraints.programs does not contain the programs of the new parts ({listed}); add "
            "them, or leave programs out."
        )
    known = replace(
        constraints,
        programs=programs,
        pitch_ranges=ranges,
        max_notes_at_once=at_once,
        meter=None,
        tempo_bpm=None,
        tempo_changes=False,
    )
    return resolve_key(known, prompt)


def _default_at_once(edit: Edit) -> int:
    """Return how many notes may start together: as many as in the piece, more for added parts."""
    on_grid = edit.score.resample(POSITIONS_PER_BEAT, min_dur=1)
    at_once = max_simultaneous_onsets(on_grid) + _MORE_AT_ONCE * len(edit.programs)
    return min(max(at_once, _MIN_AT_ONCE), MAX_NOTES_AT_ONCE)


def _default_ranges(edit: Edit) -> dict[int, tuple[int, int]]:
    """Return pitch ranges of the programs of the new parts.

    They are those of the tracks that are composed, and a few semitones more. Added parts play up to
    the highest kept note, and basses in their own range.
    """
    tracks = enumerate(edit.score.tracks)
    pitched = [(i, track.notes.numpy()["pitch"]) for i, track in tracks if not track.is_drum]
    own = {i: (int(p.min()), int(p.max())) for i, p in pitched if len(p)}
    top = max((high for i, (_, high) in own.items() if i not in edit.tracks), default=127)
    ranges = [
        (edit.score.tracks[i].program, max(low - _MARGIN, 0), min(high + _MARGIN, 127))
        for i, (low, high) in own.items()
        if i in edit.tracks
    ]
    for program in {*edit.programs} - {DRUMS}:
        low, high = _BASS_RANGE if program in _BASSES else (_LOWEST, max(top, _BASS_RANGE[1]))
        ranges.append((program, low, high))
    found: dict[int, tuple[int, int]] = {}
    for program, low, high in ranges:
        lowest, highest = found.get(program, (low, high))
        found[program] = min(low, lowest), max(high, highest)
    return found


class Parts(NamedTuple):
    """The parts of a piece as the network reads it: kept ones first.

    Attributes:
        score: The piece in trained programs; without notes in tracks that are all new.
        order: Track indices of each part with tracks.
        names: Name of each part of `order`, then of those that are added.
        kept: Number of parts that are kept.
    """

    score: ScoreTick
    order: list[list[int]]
    names: list[PartName]
    kept: int


def max_rests(edit: Edit, parts: Parts) -> dict[PartName, int]:
    """Return how many bars in a row each new part rests at most.

    It is as many as in the last bars before, and at least 1.
    """
    lines = edit.lines[max(0, edit.first - _TEXTURE_BARS) : edit.first + 1]
    found: dict[PartName, int] = {}
    for number, name in enumerate(parts.names[parts.kept :], parts.kept):
        tracks = parts.order[number] if number < len(parts.order) else []
        times = [parts.score.tracks[index].notes.numpy()["time"] for index in tracks]
        counts = np.histogram(np.concatenate([*times, []]), lines)[0] if len(lines) > 1 else ()
        found[name] = max(1, _longest_run([count == 0 for count in counts]))
    return found


def programs_of_lines(edit: Edit, parts: Parts) -> set[int]:
    """Return the programs of which all new parts play one note at a time."""
    plays_chords: set[int] = set()
    for number, name in enumerate(parts.names[parts.kept :], parts.kept):
        if number < len(parts.order):
            is_line = all(_is_line(edit.score.tracks[index]) for index in parts.order[number])
        else:
            is_line = edit.programs[number - len(parts.order)] in _LINE_PROGRAMS
        if not is_line:
            plays_chords.add(name.program)
    return {name.program for name in parts.names[parts.kept :]} - plays_chords - {DRUMS}


def _is_line(track: TrackTick) -> bool:
    notes = track.notes.numpy()
    order = np.argsort(notes["time"], kind="stable")
    time = notes["time"][order].astype(np.int64)
    end = time + notes["duration"][order]
    before = np.concatenate([[0], np.maximum.accumulate(end)[:-1]])
    overlap = (np.minimum(before, end) - time).clip(0).sum()
    sounding = (end - np.maximum(before, time)).clip(0).sum()
    return len(time) >= _LINE_MIN_NOTES and bool(overlap <= _LINE_MAX_OVERLAP * sounding)


def _longest_run(flags: Sequence[bool]) -> int:
    longest = run = 0
    for flag in flags:
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest


def velocity_gain(score: ScoreTick) -> float:
    """Return a factor for velocities of added parts: as loud as the others."""
    velocities = [track.notes.numpy()["velocity"] for track in score.tracks]
    return float(np.median(np.concatenate(velocities))) / DEFAULT_VELOCITY
