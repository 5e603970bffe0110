"""Written onsets and ends: the notes of a track on the grid that its onsets need.

All written times are in units of a 24th of a quarter note from the beginning of the piece.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from musiclstm.export.note_values import SHORTEST, UNITS, bar_units

_Steps = tuple[int, ...]

_TOLERANCE = 0.3  # units; half a tick at 48 ticks per quarter note is 0.25
_EXACT_SHARE = 0.9  # of the onsets of a track that is not a performance
_SIXTEENTH = 6
_EIGHTH = 12
_COLLAPSED = 6.0  # cost of two onsets that become one
_RUN = (2,)  # thirty-seconds of triplets, only for runs that other steps would collapse

# Steps of the positions in a cell, and the cost of using them in units of onset error: sixteenths
# before triplets, both before thirty-seconds. Two steps: sixteenths against triplets.
_OF_QUARTER: tuple[tuple[_Steps, float], ...] = (
    ((24,), 0.0),
    ((12,), 0.5),
    ((6,), 1.0),
    ((8,), 2.0),
    ((3,), 5.0),
    ((4,), 5.0),
    (_RUN, 12.0),
    ((3, 4), 9.0),
)
_OF_EIGHTH: tuple[tuple[_Steps, float], ...] = (
    ((12,), 0.0),
    ((6,), 0.5),
    ((3,), 3.0),
    ((4,), 3.0),
    (_RUN, 12.0),
    ((3, 4), 9.0),
)
_OF_PART: tuple[tuple[_Steps, float], ...] = (
    ((6,), 0.0),
    ((3,), 3.0),
)  # of a cut cell: no triplets
_WITHOUT_ONSETS: _Steps = (24,)


class WrittenNote(NamedTuple):
    """Onset and end in units, and the key."""

    start: int
    end: int
    pitch: int


@dataclass(frozen=True)
class Bar:
    """A bar of all parts.

    Attributes:
        start: In units; a bar has a multiple of a thirty-second.
        end: After `start`.
        tick: Of the bar line.
        meter: Numerator and denominator.
        fifths: Sharps of the key signature; negative for flats.
        is_minor: Whether the key is minor.
        is_pickup: Whether the missing beats are those before the first note.
    """

    start: int
    end: int
    tick: int
    meter: tuple[int, int]
    fifths: int = 0
    is_minor: bool = False
    is_pickup: bool = False

    @property
    def length(self) -> int:
        """Return the units of the bar."""
        return self.end - self.start

    @property
    def missing(self) -> int:
        """Return the units between the beginning of a full bar and that of this one."""
        return max(0, bar_units(*self.meter) - self.length) if self.is_pickup else 0


class Timeline:
    """Conversion of ticks to units, bar by bar.

    Args:
        bars: Sorted by time, without gaps, at least one.
        ticks_per_quarter: Of the score.
    """

    def __init__(self, bars: Sequence[Bar], ticks_per_quarter: int) -> None:
        self.bars = bars
        self._per_tick = UNITS / max(1, ticks_per_quarter)

    def units(self, tick: int) -> float:
        """Return a time in units, before rounding. Times between two bars stay in the earlier."""
        bar = self.bars[max(0, bisect_right(self.bars, tick, key=lambda bar: bar.tick) - 1)]
        at = bar.start + max(0, tick - bar.tick) * self._per_tick
        return at if bar is self.bars[-1] else min(at, float(bar.end))

    def index_at(self, units: float) -> int:
        """Return the index of the bar that contains a time; the last one after the end."""
        return max(0, bisect_right(self.bars, units, key=lambda bar: bar.start) - 1)

    def bar_at(self, units: float) -> Bar:
        """Return the bar that contains a time."""
        return self.bars[self.index_at(units)]

    def cell_at(self, units: float) -> tuple[int, int]:
        """Return start and end of the quarter note, or eighth note in x/8, around a time."""
        bar = self.bar_at(units)
        size = UNITS if bar.meter[1] <= 4 else UNITS // 2
        number = int(units - bar.start + bar.missing) // size
        start = bar.start - bar.missing + number * size
        return max(start, bar.start), min(start + size, bar.end)

    def candidates(self, cell: tuple[int, int]) -> tuple[tuple[_Steps, float], ...]:
        """Return the steps that can be written in a cell, and their costs."""
        denominator = self.bar_at(cell[0]).meter[1]
        size = cell[1] - cell[0]
        if size == UNITS and denominator <= 4:
            return _OF_QUARTER
        return _OF_EIGHTH if size == _EIGHTH and denominator == 8 else _OF_PART


class Grid:
    """The positions that the onsets of one track need, in each quarter note or eighth note.

    Args:
        timeline: Bars and resolution.
        notes: Ticks of the onset and end of each note, in any order.
        is_polyphonic: Whether notes that sound together may have sixteenths against triplets.
    """

    def __init__(
        self, timeline: Timeline, notes: Iterable[tuple[int, int]], *, is_polyphonic: bool
    ) -> None:
        self._timeline = timeline
        spans = sorted((timeline.units(start), timeline.units(end)) for start, end in notes)
        exact = sorted({start for start, _ in spans})
        against = _cells_of_several_lines(timeline, spans) if is_polyphonic else set()
        by_cell: dict[tuple[int, int], list[float]] = defaultdict(list)
        for at in exact:
            cell = timeline.cell_at(at)
            by_cell[cell].append(at - cell[0])
        fitting = sum(_error(at, (3, 4)) < _TOLERANCE for own in by_cell.values() for at in own)
        is_exact = fitting >= _EXACT_SHARE * len(exact)
        self._steps = {
            cell: _steps(own, _writable(timeline.candidates(cell), cell in against), is_exact)
            for cell, own in by_cell.items()
        }
        self.onsets = sorted({self._nearest(at) for at in exact})

    def start(self, tick: int) -> int:
        """Return a written onset, before the end of the last bar."""
        return self._nearest(self._timeline.units(tick))

    def end(self, start: int, tick: int) -> int:
        """Return the written end of a note, after its onset.

        A note lasts to the next onset, beat or half beat if the silence before it is too short to
        be a rest: an articulation. So ends never need a finer grid than the onsets, or sixteenths.

        Args:
            start: The written onset.
            tick: Where the note ends.
        """
        at = self._timeline.units(tick)
        cell = self._timeline.cell_at(at)
        steps = self._steps.get(cell, _WITHOUT_ONSETS)
        if len(steps) == 1 and steps[0] % 8:
            steps = (min(steps[0], _SIXTEENTH),)
        elif steps == _WITHOUT_ONSETS:
            steps = (_SIXTEENTH,)
        finest = min(*steps, _SIXTEENTH)
        is_off = _error(at - cell[0], steps) >= _TOLERANCE
        index = bisect_left(self.onsets, at - _TOLERANCE)
        last = self.onsets[index - 1] if index else start
        is_legato = at - last < finest and 4 * (at - last) <= last - start
        if start < last and is_off and is_legato:
            return last
        targets = [cell[1], *self.onsets[index : index + 1]]
        if steps == (_SIXTEENTH,) and at - cell[0] < _EIGHTH < cell[1] - cell[0]:
            targets.append(cell[0] + _EIGHTH)
        for target in sorted(each for each in targets if each > start):
            if _is_articulation(target - at, target - start, finest, is_off=is_off):
                return target
        return max(start + finest, cell[0] + _rounded(at - cell[0], steps))

    def _nearest(self, at: float) -> int:
        start, end = self._timeline.cell_at(at)
        steps = self._steps.get((start, end), _WITHOUT_ONSETS)
        position = min(end, start + _rounded(at - start, steps))
        return min(position, self._timeline.bars[-1].end - SHORTEST)


def _cells_of_several_lines(
    timeline: Timeline, spans: Iterable[tuple[float, float]]
) -> set[tuple[int, int]]:
    """Return the cells in which a note begins while an earlier one goes on sounding."""
    found = set()
    last_end = last_start = -1.0
    for start, end in spans:
        if start > last_start + _TOLERANCE and last_end > start + SHORTEST:
            found.add(timeline.cell_at(start))
        last_start, last_end = start, max(end, last_end)
    return found


def _writable(
    candidates: Iterable[tuple[_Steps, float]], has_lines: bool
) -> list[tuple[_Steps, float]]:
    return [each for each in candidates if has_lines or len(each[0]) == 1]


def _is_articulation(gap: float, span: float, finest: int, *, is_off: bool) -> bool:
    """Whether the silence `gap` at the end of `span` is not a rest."""
    is_short = gap < finest - _TOLERANCE or (gap < _EIGHTH and 8 * gap < span)
    return is_short or (is_off and 5 * gap <= 2 * span)


def _steps(
    offsets: Sequence[float], candidates: Iterable[tuple[_Steps, float]], is_exact: bool
) -> _Steps:
    """Choose the steps for the onsets of a cell: the first exact ones, else those of least cost."""
    best: tuple[float, _Steps] | None = None
    for steps, cost in candidates:
        errors = [_error(at, steps) for at in offsets]
        if is_exact and max(errors) < _TOLERANCE and steps != _RUN:
            return steps
        collapsed = len(offsets) - len({_rounded(at, steps) for at in offsets})
        total = cost + sum(errors) + _COLLAPSED * collapsed
        if best is None or total < best[0]:
            best = (total, steps)
    assert best is not None
    return best[1]


def _rounded(at: float, steps: _Steps) -> int:
    """Return the nearest multiple of any of the steps."""
    found = [step * int(at / step + 0.5) for step in steps]
    return min(found, key=lambda position: abs(position - at))


def _error(at: float, steps: _Steps) -> float:
    return abs(at - _rounded(at, steps))
