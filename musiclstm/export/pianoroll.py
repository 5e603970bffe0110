"""Piano roll of a score as plain JSON data: columns of integers that a page or a picture draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from musiclstm.midi.analysis import AnyScore, TempoMap, bar_starts, in_ticks, last_note_end
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from symusic.core import ScoreTick, TrackTick

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

MAX_NOTES = 4_000  # more notes are merged, which bounds the size of the data
MAX_TEMPOS = 1_000  # more tempo changes are thinned out; the seconds of bar lines stay exact

_KEYS = 128
_UNKNOWN_PERCENT = -1
_MAX_NAME_LENGTH = 80


def pianoroll_data(
    score: AnyScore,
    *,
    prompt_end_tick: int,
    probabilities: Sequence[float | None] | None = None,
) -> dict[str, Any]:
    """Return the notes, bar lines and tempo changes of a score as plain JSON.

    Args:
        score: In any time unit; left unchanged.
        prompt_end_tick: Where the continuation begins. 0: there is no prompt.
        probabilities: Probability of each note, 0..1, in the order of `score.tracks` and of their
            notes; None where it is unknown. None for all: unknown.

    Returns:
        - `bars`: `ticks` and `seconds` of all bar lines, bars + 1 of each, rising from 0;
        - `clock`: `ticks` and `seconds` of the tempo changes, rising from 0;
        - `prompt_end_tick`;
        - `instruments`: one entry for each track that has notes: `track` (its index in the score),
          `program` (0..127, -1 for drums), `name` (of the track, untrusted text, else of its
          instrument; different for each) and `detail` (its instrument if the track has a name);
        - `notes`: columns of integers, sorted by `start`: `start` and `length` in ticks, `key` and
          `loudness` (MIDI velocity) 0..127, `instrument` (index into the list), `sure`
          (probability in percent, -1 if unknown). At most 4 000 of each;
        - `remark`: one sentence if notes were merged or left out, else empty.

    Raises:
        ValueError: The probabilities do not match the notes or are outside 0..1.
        ScoreError: The score has more than a million bars.
    """
    score = in_ticks(score)
    begin = max(0, prompt_end_tick)
    notes, remark = _limit_notes(
        _all_notes(score, probabilities), begin, grid=max(1, score.ticks_per_quarter // 8)
    )
    end = max(last_note_end(score), begin, 1 if len(notes) else 0)
    tempo_map = TempoMap(score)
    return {
        "bars": _with_seconds(bar_starts(score, end_tick=end), tempo_map),
        "clock": _with_seconds(_tempo_ticks(score), tempo_map),
        "prompt_end_tick": begin,
        "instruments": roll_instruments(score),
        "notes": _json_columns(notes),
        "remark": remark,
    }


# -- Notes -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _NoteColumns:
    """Notes to draw; arrays of one length."""

    start: Ints
    end: Ints
    key: Ints
    velocity: Ints
    instrument: Ints
    probability: Floats  # nan if unknown

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, selected: Any) -> _NoteColumns:
        return _NoteColumns(*(column[selected] for column in vars(self).values()))


def _all_notes(score: ScoreTick, probabilities: Sequence[float | None] | None) -> _NoteColumns:
    columns: list[tuple[Ints, ...]] = [(np.zeros(0, np.int64),) * 5]
    for index, (_, track) in enumerate(_tracks_with_notes(score)):
        notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
        start = np.maximum(notes["time"], 0)
        end = np.maximum(notes["time"] + notes["duration"], start + 1)
        key, velocity = (np.clip(notes[name], 0, _KEYS - 1) for name in ("pitch", "velocity"))
        columns.append((start, end, key, velocity, np.full(len(start), index)))
    start, end, key, velocity, instrument = (
        np.concatenate(column) for column in zip(*columns, strict=True)
    )
    probability = _checked_probabilities(probabilities, len(start))
    found = _NoteColumns(start, end, key, velocity, instrument, probability)
    return found[np.lexsort((key, instrument, start))]


def _checked_probabilities(probabilities: Sequence[float | None] | None, notes: int) -> Floats:
    if probabilities is None:
        return np.full(notes, np.nan)
    values = np.array(probabilities, np.float64)
    if len(values) != notes:
        raise ValueError(f"probabilities must be one for each note, {notes}, got {len(values)}.")
    if len(wrong := values[(values < 0) | (values > 1)]):
        raise ValueError(f"probabilities must be 0 to 1, got {wrong[0]:g}.")
    return values


def _json_columns(notes: _NoteColumns) -> dict[str, list[int]]:
    unknown = np.isnan(notes.probability)
    percent = np.where(unknown, _UNKNOWN_PERCENT, 100 * notes.probability)
    return {
        "start": notes.start.tolist(),
        "length": (notes.end - notes.start).tolist(),
        "key": notes.key.tolist(),
        "loudness": notes.velocity.tolist(),
        "instrument": notes.instrument.tolist(),
        "sure": np.rint(percent).astype(np.int64).tolist(),
    }


# -- Merging ---------------------------------------------------------------------------------------


def _limit_notes(notes: _NoteColumns, begin: int, *, grid: int) -> tuple[_NoteColumns, str]:
    """Return at most MAX_NOTES, and a remark for the user."""
    total = len(notes)
    if total <= MAX_NOTES:
        return notes, ""
    end = int(notes.end.max())
    while len(notes) > MAX_NOTES and grid < 2 * end:
        notes = _merge(notes, begin, grid)
        grid *= 2
    if len(notes) > MAX_NOTES:
        return notes[:MAX_NOTES], f"Only the first {MAX_NOTES:,} notes are drawn."
    return notes, f"These are {total:,} notes, drawn a little coarser."


def _merge(notes: _NoteColumns, begin: int, grid: int) -> _NoteColumns:
    """Merge notes of one key and instrument that touch when rounded outwards to a grid.

    Notes of the prompt and of the continuation, which starts at `begin`, are never merged.
    """
    row = (notes.instrument * 2 + (notes.start >= begin)) * _KEYS + notes.key
    start, end = notes.start // grid * grid, -(-notes.end // grid) * grid
    order = np.lexsort((start, row))
    # Shifting each row to its own interval lets one running maximum serve all rows.
    offset = (row * (int(end.max()) + 2))[order]
    reached = np.maximum.accumulate(end[order] + offset)
    first = np.flatnonzero(np.r_[True, (start[order] + offset)[1:] > reached[:-1]])
    if len(first) == len(notes):
        return notes
    last = np.r_[first[1:], len(notes)] - 1
    ordered = notes[order]
    start = start[order][first]
    merged = replace(
        ordered[first],
        start=np.where(ordered.start[first] >= begin, np.maximum(start, begin), start),
        end=(reached - offset)[last],
        velocity=np.maximum.reduceat(ordered.velocity, first),
        probability=_group_means(ordered.probability, first),
    )
    return merged[np.lexsort((merged.key, merged.instrument, merged.start))]


def _group_means(values: Floats, first: NDArray[np.intp]) -> Floats:
    """Return the mean of the known values of each group; nan if all are unknown."""
    known = ~np.isnan(values)
    counts = np.add.reduceat(known.astype(np.float64), first)
    sums = np.add.reduceat(np.where(known, values, 0.0), first)
    return np.divide(sums, counts, out=np.full(len(first), np.nan), where=counts > 0)


# -- Time ------------------------------------------------------------------------------------------


def _with_seconds(ticks: Ints, tempo_map: TempoMap) -> dict[str, list[Any]]:
    return {"ticks": ticks.tolist(), "seconds": np.round(tempo_map.seconds(ticks), 6).tolist()}


def _tempo_ticks(score: ScoreTick) -> Ints:
    ticks = np.unique([0] + [max(0, tempo.time) for tempo in score.tempos]).astype(np.int64)
    if len(ticks) <= MAX_TEMPOS:
        return ticks
    return ticks[np.linspace(0, len(ticks) - 1, MAX_TEMPOS).astype(np.int64)]


# -- Instruments -----------------------------------------------------------------------------------


def _program(track: TrackTick) -> int:
    return DRUMS if track.is_drum else int(track.program)


def _tracks_with_notes(score: ScoreTick) -> Iterator[tuple[int, TrackTick]]:
    return ((index, track) for index, track in enumerate(score.tracks) if len(track.notes))


def roll_instruments(score: AnyScore) -> list[dict[str, Any]]:
    """Return `instruments` of `pianoroll_data`."""
    used = Counter[str]()
    found = []
    for index, track in _tracks_with_notes(in_ticks(score)):
        program = _program(track)
        instrument = instrument_name(program)
        own = track.name.strip()[:_MAX_NAME_LENGTH] or instrument
        used[own] += 1
        found.append(
            {
                "track": index,
                "program": program,
                "name": own if used[own] == 1 else f"{own} ({used[own]})",
                "detail": "" if own == instrument else instrument,
            }
        )
    return found
