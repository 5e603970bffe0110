"""Time signatures and bar lines on the grid of the tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from symusic.core import ScoreTick

from musiclstm.midi.analysis import DEFAULT_METER
from musiclstm.tokens.vocabulary import METERS, POSITIONS_PER_BEAT, TIME_SIGNATURES

Integers = npt.NDArray[np.int64]
_Change = tuple[int, int, int]  # tick, numerator, denominator


def normalize_time_signature(numerator: int, denominator: int) -> tuple[int, int]:
    """Return a meter of the same length with a token: 4/4 for 2/2, 3/8 for 6/16.

    A beat, as given by the denominator, has twelve positions, which is too coarse for halves.
    """
    while 0 < denominator < 4:
        numerator, denominator = numerator * 2, denominator * 2
    while denominator > 8 and numerator % 2 == 0:
        numerator, denominator = numerator // 2, denominator // 2
    return numerator, denominator


def supports_time_signature(numerator: int, denominator: int) -> bool:
    """Return whether a token exists for this meter or for one of the same length."""
    numerator, denominator = normalize_time_signature(numerator, denominator)
    return numerator in METERS.get(denominator, ())


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
        """Round ticks to the positions of their section, halves to even positions."""
        if int(self.step_ticks.max()) == 1:
            return ticks
        section = self.section(ticks)
        start, step = self.starts[section], self.step_ticks[section]
        return np.rint((ticks - start) / step).astype(np.int64) * step + start

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
    """Return tick, numerator and denominator of each change of meter.

    Meters without a token are omitted; of several at one tick the last one counts. A bar that a
    change shortens gets a meter of the remaining length.
    """
    meters = [
        (s.time, *normalize_time_signature(s.numerator, s.denominator))
        for s in score.time_signatures
    ]
    last = {tick: (tick, n, d) for tick, n, d in meters if supports_time_signature(n, d)}
    return _with_cut_bars(sorted(last.values()), max(1, score.ticks_per_quarter))


def make_grid(score: ScoreTick) -> Grid:
    """Return MidiTok's grid of a score in ticks, with its `supported_time_signatures`."""
    changes = supported_time_signatures(score)
    if not changes or changes[0][0] != 0:
        changes.insert(0, (0, *DEFAULT_METER))
    finest = max(denominator for _, _, denominator in changes)
    ticks_per_quarter = POSITIONS_PER_BEAT * finest // 4
    scale = ticks_per_quarter / max(1, score.ticks_per_quarter)
    return _grid(
        _delayed([(int(t * scale), n, d) for t, n, d in changes], ticks_per_quarter),
        ticks_per_quarter,
    )


def _grid(changes: list[_Change], ticks_per_quarter: int) -> Grid:
    starts = np.array([tick for tick, _, _ in changes], dtype=np.int64)
    bar_ticks = np.array([_bar(n, d, ticks_per_quarter) for _, n, d in changes], dtype=np.int64)
    bars = np.diff(starts) // bar_ticks[:-1]
    denominators = np.array([d for _, _, d in changes], dtype=np.int64)
    return Grid(
        ticks_per_quarter,
        starts,
        np.array([TIME_SIGNATURES.index((n, d)) for _, n, d in changes], dtype=np.int64),
        bar_ticks,
        4 * ticks_per_quarter // (POSITIONS_PER_BEAT * denominators),
        np.concatenate([[0], np.cumsum(bars)]).astype(np.int64),
    )


def _bar(numerator: int, denominator: int, ticks_per_quarter: int) -> int:
    return 4 * ticks_per_quarter // denominator * numerator


def _delayed(changes: list[_Change], ticks_per_quarter: int) -> list[_Change]:
    """Delay every change of meter to the next bar line, as MidiTok does.

    Of several changes at one bar line the last one stays; a change to the current meter is dropped.
    """
    found: list[_Change] = []
    for tick, numerator, denominator in changes:
        if found and found[-1][1:] == (numerator, denominator):
            continue
        if found:
            begin, above, below = found[-1]
            bar = _bar(above, below, ticks_per_quarter)
            tick = begin - (begin - max(tick, begin)) // bar * bar
            if tick == begin:
                found.pop()
        if not found or found[-1][1:] != (numerator, denominator):
            found.append((tick, numerator, denominator))
    return found


def _with_cut_bars(meters: list[_Change], ticks_per_quarter: int) -> list[_Change]:
    """Give a bar that a change of meter shortens a meter of the remaining length.

    MidiTok delays the change to the end of that bar, and all later bar lines with it. That still
    happens if no meter has the remaining length.
    """
    found: list[_Change] = []
    begin, current = 0, DEFAULT_METER
    for start, numerator, denominator in meters:
        if (numerator, denominator) == current:
            continue
        rest = (start - begin) % max(1, 4 * ticks_per_quarter * current[0] // current[1])
        found += [
            (start - rest, *meter) for meter in _meters_of_length(rest, ticks_per_quarter)[:1]
        ]
        found.append((start, numerator, denominator))
        begin, current = start, (numerator, denominator)
    return found


def _meters_of_length(ticks: int, ticks_per_quarter: int) -> list[tuple[int, int]]:
    """Return the meters with bars of this length, the smallest denominator first."""
    beats = [(ticks * below / (4 * ticks_per_quarter), below) for below in METERS]
    return [(int(above), below) for above, below in beats if above in METERS[below]]
