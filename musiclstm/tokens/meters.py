"""Time signatures and bar lines on the grid of the tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from symusic.core import ScoreTick

from musiclstm.midi.analysis import DEFAULT_METER
from musiclstm.midi.meters import normalize_time_signature, supports_time_signature
from musiclstm.tokens.vocabulary import POSITIONS_PER_BEAT, TIME_SIGNATURES

Integers = npt.NDArray[np.int64]
_Change = tuple[int, int, int]  # tick, numerator, denominator


@dataclass(frozen=True)
class Grid:
    """Bar lines and positions of a piece, in sections of one meter each.

    Attributes:
        ticks_per_quarter: 12, 24 or 48, depending on the smallest beat.
        starts: First tick of each section, (sections,), ascending, the first 0.
        signatures: Index into `TIME_SIGNATURES`, (sections,).
        bar_ticks: Length of a bar, (sections,).
        step_ticks: Length of a position, (sections,).
        first_bars: Number of the first bar, (sections,).
    """

    ticks_per_quarter: int
    starts: Integers
    signatures: Integers
    bar_ticks: Integers
    step_ticks: Integers
    first_bars: Integers

    def section(self, ticks: Integers) -> Integers:
        """Return the section of each tick."""
        return np.searchsorted(self.starts, ticks, side="right") - 1

    def rounded(self, ticks: Integers) -> Integers:
        """Round ticks to the positions of their section, halves to even positions.

        A tick after the last position of a section is rounded to the next section.
        """
        if int(self.step_ticks.max()) == 1:
            return ticks
        section = self.section(ticks)
        start, step = self.starts[section], self.step_ticks[section]
        nearest = np.rint((ticks - start) / step).astype(np.int64) * step + start
        later = np.append(self.starts[1:], np.iinfo(np.int64).max)
        return np.minimum(nearest, later[section])

    def bar_and_position(self, ticks: Integers) -> tuple[Integers, Integers]:
        """Return the bar of each tick and the position in it."""
        section = self.section(ticks)
        bars, rest = np.divmod(ticks - self.starts[section], self.bar_ticks[section])
        return self.first_bars[section] + bars, rest // self.step_ticks[section]

    def bar_signatures(self, bars: int) -> Integers:
        """Return the index into `TIME_SIGNATURES` of the first bars, (bars,)."""
        section = np.searchsorted(self.first_bars, np.arange(bars), side="right") - 1
        return self.signatures[section]


def supported_time_signatures(score: ScoreTick) -> list[tuple[int, int, int]]:
    """Return tick, numerator and denominator of each time signature, by time, the first at tick 0.

    Of several at one tick the last one counts. A meter without a token is read as 4/4.
    """
    found: dict[int, tuple[int, int]] = {0: DEFAULT_METER}
    for each in sorted(score.time_signatures, key=lambda each: each.time):
        if each.numerator > 0 and each.denominator > 0:
            meter = normalize_time_signature(each.numerator, each.denominator)
            found[max(0, each.time)] = meter if supports_time_signature(*meter) else DEFAULT_METER
    return [(tick, *meter) for tick, meter in sorted(found.items())]


def make_grid(score: ScoreTick) -> Grid:
    """Return the grid of a score in ticks; a bar begins at every time signature.

    A bar that a signature shortens gets the shortest meter that is long enough. Notes keep bar and
    position, but the bar may be longer than it was. A finer beat of that meter refines the grid.
    """
    stated = supported_time_signatures(score)
    finest = max(denominator for _, _, denominator in stated)
    while True:
        ticks_per_quarter = POSITIONS_PER_BEAT * finest // 4
        sections = _sections(stated, max(1, score.ticks_per_quarter), ticks_per_quarter)
        needed = max(denominator for _, _, denominator in sections)
        if needed <= finest:
            return _grid(sections, ticks_per_quarter)
        finest = needed


def _grid(sections: list[_Change], ticks_per_quarter: int) -> Grid:
    starts = np.array([tick for tick, _, _ in sections], dtype=np.int64)
    bar_ticks = np.array([_bar(n, d, ticks_per_quarter) for _, n, d in sections], dtype=np.int64)
    bars = -(-np.diff(starts) // bar_ticks[:-1])
    denominators = np.array([d for _, _, d in sections], dtype=np.int64)
    return Grid(
        ticks_per_quarter,
        starts,
        np.array([TIME_SIGNATURES.index((n, d)) for _, n, d in sections], dtype=np.int64),
        bar_ticks,
        4 * ticks_per_quarter // (POSITIONS_PER_BEAT * denominators),
        np.concatenate([[0], np.cumsum(bars)]).astype(np.int64),
    )


def _bar(numerator: int, denominator: int, ticks_per_quarter: int) -> int:
    return 4 * ticks_per_quarter // denominator * numerator


def _sections(stated: list[_Change], source: int, ticks_per_quarter: int) -> list[_Change]:
    """Return the sections of time signatures in ticks of the grid.

    A signature that repeats the meter on a bar line begins no section.

    Args:
        stated: Time signatures in ticks of the score, by time.
        source: Ticks per quarter of the score.
        ticks_per_quarter: Of the grid.
    """
    rounded = {
        (2 * tick * ticks_per_quarter + source) // (2 * source): (numerator, denominator)
        for tick, numerator, denominator in stated
    }
    found: list[_Change] = []
    for tick, meter in rounded.items():
        if found:
            begin, current = found[-1][0], found[-1][1:]
            rest = (tick - begin) % _bar(*current, ticks_per_quarter)
            if not rest and meter == current:
                continue
            if rest and (cut := _meter_of_length(rest, ticks_per_quarter)) != current:
                if tick - rest == begin:
                    found.pop()
                found.append((tick - rest, *cut))
        found.append((tick, *meter))
    return found


def _meter_of_length(ticks: int, ticks_per_quarter: int) -> tuple[int, int]:
    """Return the shortest meter of at least this length; of equal ones that of longer beats."""
    lengths = ((_bar(*meter, ticks_per_quarter), meter[1], meter) for meter in TIME_SIGNATURES)
    return min(each for each in lengths if each[0] >= ticks)[2]
