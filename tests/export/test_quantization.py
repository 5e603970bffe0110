"""Onsets on the simplest grid that fits them, and ends that need no finer one."""

from __future__ import annotations

import random

import pytest

from musiclstm.export.quantization import Bar, Grid, Timeline

TICKS = 480


def grid_of(
    *notes: tuple[float, float], meter: tuple[int, int] = (4, 4), is_polyphonic: bool = True
) -> tuple[Grid, list[tuple[int, int]]]:
    """Return the grid of notes given by onset and end in quarters, and the notes in ticks."""
    length = 96 * meter[0] // meter[1]
    bars = [Bar(n * length, (n + 1) * length, n * length * TICKS // 24, meter) for n in range(4)]
    spans = [(round(start * TICKS), round(end * TICKS)) for start, end in notes]
    return Grid(Timeline(bars, TICKS), spans, is_polyphonic=is_polyphonic), spans


def written(*notes: tuple[float, float], **options) -> list[tuple[int, int]]:
    grid, spans = grid_of(*notes, **options)
    return [(grid.start(start), grid.end(grid.start(start), end)) for start, end in spans]


@pytest.mark.parametrize("share", [0.55, 0.75, 0.95, 1.0, 1.03])
def test_the_articulation_of_eighths_is_not_written(share: float):
    notes = [(n / 2, n / 2 + share / 2) for n in range(8)]
    assert written(*notes) == [(12 * n, 12 * n + 12) for n in range(8)]


def test_a_written_rest_stays_a_rest():
    assert written((0, 0.5), (1, 1.75), (2, 3), (4, 6)) == [(0, 12), (24, 42), (48, 72), (96, 144)]


@pytest.mark.parametrize(("step", "units"), [(1 / 4, 6), (1 / 3, 8), (1 / 6, 4), (1 / 8, 3)])
def test_fast_notes_keep_their_grid(step: float, units: int):
    notes = [(n * step, (n + 0.9) * step) for n in range(int(2 / step))]
    assert written(*notes) == [(n * units, (n + 1) * units) for n in range(len(notes))]


def test_sixteenths_against_triplets_keep_both_grids():
    notes = [(n / 4, (n + 1) / 4) for n in range(4)] + [(n / 3, (n + 1) / 3) for n in range(3)]
    assert sorted(written(*notes)) == [
        (0, 6),
        (0, 8),
        (6, 12),
        (8, 16),
        (12, 18),
        (16, 24),
        (18, 24),
    ]


def test_a_drummer_has_one_grid_at_a_time():
    starts = [
        start
        for start, _ in written(
            (0, 0.1), (0.5, 0.6), (2 / 3, 0.7), (0.75, 0.8), is_polyphonic=False
        )
    ]
    assert starts == [0, 12, 15, 18]


def test_a_performance_is_written_in_eighths():
    rng = random.Random(5)
    notes = [(max(0, n / 2 + rng.gauss(0, 0.04)), n / 2 + 0.45) for n in range(24)]
    assert [start for start, _ in written(*notes)] == [12 * n for n in range(24)]


def test_bars_between_the_grid_do_not_shift_later_notes():
    bars = [Bar(0, 3, 0, (4, 4)), Bar(3, 99, 50, (4, 4))]
    grid = Grid(Timeline(bars, TICKS), [(0, 50), (50, 530)], is_polyphonic=False)
    assert [grid.start(0), grid.start(50), grid.end(3, 530)] == [0, 3, 27]
