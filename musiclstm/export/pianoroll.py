"""A score as the numbers that the browser draws: columns of integers, plain JSON.

This file does not know colours, pixels or browsers, nor who composed what (it is told the tick).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from musiclstm.midi.analysis import AnyScore, bar_starts, in_ticks, last_note_end
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Clock = Callable[[Ints], Floats]  # ticks -> seconds

MAX_MARKS = 4_000  # more notes than this are joined, so that no picture is a heavy one
MAX_TEMPOS = 1_000  # more turns of the tempo than this are thinned out; bar lines stay exact

_KEYS = 128
_UNKNOWN = -1  # how sure the model was, where nobody asked it
_DETAIL_LETTERS = 80


def pianoroll_data(
    score: AnyScore,
    *,
    prompt_end_tick: int,
    probabilities: Sequence[float | None] | None = None,
) -> dict[str, Any]:
    """Give what a browser needs to draw a score and to find its way between bars and seconds.

    Args:
        score: In any time unit; left unchanged.
        prompt_end_tick: Where the continuation begins. 0: everything was composed.
        probabilities: How sure the model was of each note, 0..1, track by track in the order of
            `score.tracks` and of the notes in them; None where it is not known. None for all:
            nobody asked.

    Returns:
        Plain JSON:
        - `bars`: `ticks` and `seconds` of all bar lines, bars + 1 of each, rising from 0;
        - `clock`: `ticks` and `seconds` where the tempo changes, rising from 0;
        - `prompt_end_tick`;
        - `instruments`: `program` (0..127, -1 for drums), `name` and `detail` (what its tracks
          are called; it may come from a stranger's file), one entry for each that has notes;
        - `notes`: columns of integers, rising by `start`: `start` and `length` in ticks, `key`
          and `loudness` 0..127, `instrument` (a place in the list), `sure` in percent, -1 where
          not known. At most 4,000 of each;
        - `remark`: one sentence where notes had to be joined or left out, else empty.

    Raises:
        ValueError: Probabilities that do not fit the notes, or outside 0..1.
        ScoreError: More than a million bars.
    """
    score = in_ticks(score)
    begin = max(0, prompt_end_tick)
    marks = _marks_of(score, probabilities)
    drawn, remark = _few_enough(marks, begin, grid=max(1, score.ticks_per_quarter // 8))
    ticks = bar_starts(score, end_tick=max(last_note_end(score), begin))
    clock = _clock(score)
    return {
        "bars": _on_clock(ticks, clock),
        "clock": _on_clock(_tempo_turns(score), clock),
        "prompt_end_tick": begin,
        "instruments": list(_instruments(score)),
        "notes": _columns(drawn),
        "remark": remark,
    }


# ------------------------------------------------------------------------------ notes become marks


@dataclass(frozen=True)
class _Marks:
    """What is drawn of the notes, one entry each."""

    start: Ints
    end: Ints
    key: Ints
    loudness: Ints
    instrument: Ints
    sure: Floats  # 0..1; nan where not known

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, chosen: Any) -> _Marks:
        return _Marks(*(column[chosen] for column in vars(self).values()))


def _marks_of(score: Any, probabilities: Sequence[float | None] | None) -> _Marks:
    places = {program: place for place, program in enumerate(_tracks_by_program(score))}
    empty = np.zeros(0, np.int64)
    columns: list[tuple[Ints, ...]] = [(empty,) * 5]
    for track in score.tracks:
        notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
        start = np.maximum(notes["time"], 0)
        end = np.maximum(notes["time"] + notes["duration"], start + 1)
        key, loudness = (np.clip(notes[name], 0, _KEYS - 1) for name in ("pitch", "velocity"))
        place = np.full(len(start), places.get(_program(track), 0))
        columns.append((start, end, key, loudness, place))
    start, end, key, loudness, place = (np.concatenate(c) for c in zip(*columns, strict=True))
    marks = _Marks(start, end, key, loudness, place, _sureness(probabilities, len(start)))
    return marks[np.lexsort((key, place, start))]


def _sureness(probabilities: Sequence[float | None] | None, notes: int) -> Floats:
    if probabilities is None:
        return np.full(notes, np.nan)
    sure = np.array(probabilities, np.float64)
    if len(sure) != notes:
        raise ValueError(f"probabilities must be one for each note, {notes}, got {len(sure)}.")
    if len(wrong := sure[(sure < 0) | (sure > 1)]):
        raise ValueError(f"probabilities must be 0 to 1, got {wrong[0]:g}.")
    return sure


def _columns(marks: _Marks) -> dict[str, list[int]]:
    percent = np.where(np.isnan(marks.sure), _UNKNOWN, 100 * marks.sure)
    return {
        "start": marks.start.tolist(),
        "length": (marks.end - marks.start).tolist(),
        "key": marks.key.tolist(),
        "loudness": marks.loudness.tolist(),
        "instrument": marks.instrument.tolist(),
        "sure": np.rint(percent).astype(np.int64).tolist(),
    }


# -------------------------------------------------------------------------------- fewer and coarser


def _few_enough(marks: _Marks, begin: int, *, grid: int) -> tuple[_Marks, str]:
    """At most MAX_MARKS, and what is to be said about it."""
    notes = len(marks)
    if notes <= MAX_MARKS:
        return marks, ""
    end = int(marks.end.max())
    while len(marks) > MAX_MARKS and grid < 2 * end:
        marks = _joined(marks, begin, grid)
        grid *= 2
    if len(marks) > MAX_MARKS:
        return marks[:MAX_MARKS], f"Only the first {MAX_MARKS:,} marks are drawn."
    return marks, f"These are {notes:,} notes, drawn a little coarser."


def _joined(marks: _Marks, begin: int, grid: int) -> _Marks:
    """Marks of one key and instrument, joined where they touch on a grid; seed and new apart."""
    row = (marks.instrument * 2 + (marks.start >= begin)) * _KEYS + marks.key
    start, end = marks.start // grid * grid, -(-marks.end // grid) * grid
    order = np.lexsort((start, row))
    # Each row gets a stretch of the number line of its own; then one pass serves all of them.
    offset = (row * (int(end.max()) + 2))[order]
    reached = np.maximum.accumulate(end[order] + offset)
    first = np.flatnonzero(np.r_[True, (start[order] + offset)[1:] > reached[:-1]])
    if len(first) == len(marks):
        return marks
    last = np.r_[first[1:], len(marks)] - 1
    ordered = marks[order]
    start = start[order][first]
    joined = replace(
        ordered[first],
        start=np.where(ordered.start[first] >= begin, np.maximum(start, begin), start),
        end=(reached - offset)[last],
        loudness=np.maximum.reduceat(ordered.loudness, first),
        sure=_means(ordered.sure, first),
    )
    return joined[np.lexsort((joined.key, joined.instrument, joined.start))]


def _means(sure: Floats, first: NDArray[np.intp]) -> Floats:
    """The mean of what is known in each group; nan where nothing is."""
    known = ~np.isnan(sure)
    counts = np.add.reduceat(known.astype(np.float64), first)
    sums = np.add.reduceat(np.where(known, sure, 0.0), first)
    return np.divide(sums, counts, out=np.full(len(first), np.nan), where=counts > 0)


# -------------------------------------------------------------------------------------------- time


def _on_clock(ticks: Ints, clock: Clock) -> dict[str, list[Any]]:
    return {"ticks": ticks.tolist(), "seconds": np.round(clock(ticks), 6).tolist()}


def _clock(score: Any) -> Clock:
    """What turns ticks into seconds, following the tempos; 120 bpm before the first one."""
    tempos = [(0, 500_000)] + [(max(0, t.time), t.mspq) for t in score.tempos if t.mspq > 0]
    ticks, mspq = np.array(sorted(tempos, key=lambda tempo: tempo[0]), np.float64).T
    seconds_per_tick = mspq / 1e6 / max(1, score.ticks_per_quarter)
    seconds = np.concatenate(([0.0], np.cumsum(np.diff(ticks) * seconds_per_tick[:-1])))

    def to_seconds(at: Ints) -> Floats:
        tempo = np.searchsorted(ticks, at, side="right") - 1
        return seconds[tempo] + (at - ticks[tempo]) * seconds_per_tick[tempo]

    return to_seconds


def _tempo_turns(score: Any) -> Ints:
    turns = np.unique([0] + [max(0, tempo.time) for tempo in score.tempos]).astype(np.int64)
    if len(turns) <= MAX_TEMPOS:
        return turns
    return turns[np.linspace(0, len(turns) - 1, MAX_TEMPOS).astype(np.int64)]


# ------------------------------------------------------------------------------------- instruments


def _program(track: Any) -> int:
    return DRUMS if track.is_drum else int(track.program)


def _tracks_by_program(score: Any) -> dict[int, list[Any]]:
    """The tracks that have notes, by what plays them; drums come last."""
    tracks = [track for track in score.tracks if len(track.notes)]
    found: dict[int, list[Any]] = {}
    for track in sorted(tracks, key=lambda track: bool(track.is_drum)):
        found.setdefault(_program(track), []).append(track)
    return found


def _instruments(score: Any) -> Iterator[dict[str, Any]]:
    for program, tracks in _tracks_by_program(score).items():
        called = dict.fromkeys(track.name.strip() for track in tracks if track.name.strip())
        detail = ", ".join(called)[:_DETAIL_LETTERS]
        yield {"program": program, "name": instrument_name(program), "detail": detail}
