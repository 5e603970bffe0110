"""Note values add up, are one head each, and keep the groups of the bar visible."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclstm.export.note_values import bar_units, divide_bar, split_into_values

PLAIN = {192, 144, 96, 72, 48, 36, 24, 18, 12, 9, 6, 3}
OF_TRIPLETS = {64, 32, 16, 8, 4, 2, 1}
METERS = [(4, 4), (3, 4), (6, 8), (7, 8), (2, 2), (5, 4), (12, 8), (3, 2), (5, 8), (4, 2)]


def lengths(
    meter: tuple[int, int], start: int, end: int, *points: int, is_rest: bool = False
) -> list[int]:
    group = divide_bar(meter, {start, end, *points})
    return [value.length for value in split_into_values(group, start, end, is_rest=is_rest)]


@given(
    meter=st.sampled_from(METERS),
    drawn=st.lists(st.integers(0, 287), min_size=2, max_size=6),
    is_rest=st.booleans(),
)
def test_values_add_up_and_triplets_are_complete(meter, drawn: list[int], is_rest: bool):
    bar = bar_units(*meter)
    points = sorted({0, bar, *(at % bar for at in drawn)})
    group = divide_bar(meter, points)
    of_triplet: dict[object, int] = {}
    for start, end in pairwise(points):
        values = split_into_values(group, start, end, is_rest=is_rest)
        assert sum(value.length for value in values) == end - start
        for value in values:
            assert value.length in (PLAIN if value.triplet is None else OF_TRIPLETS)
            if value.triplet is not None:
                of_triplet[value.triplet] = of_triplet.get(value.triplet, 0) + value.length
    assert all(group.length == total for group, total in of_triplet.items())


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (0, 96, [96]),
        (0, 72, [72]),
        (24, 96, [72]),
        (24, 72, [48]),  # a half note in the middle
        (12, 36, [24]),  # a syncopated quarter
        (12, 48, [36]),
        (36, 60, [12, 12]),  # across the middle: tied
        (24, 60, [24, 12]),
        (36, 96, [12, 48]),
        (0, 60, [48, 12]),
        (18, 30, [6, 6]),
    ],
)
def test_in_four_four_the_middle_of_the_bar_is_visible(start: int, end: int, wanted: list[int]):
    assert lengths((4, 4), start, end) == wanted


@pytest.mark.parametrize(
    ("meter", "start", "end", "wanted"),
    [
        ((6, 8), 0, 72, [72]),
        ((6, 8), 0, 60, [36, 24]),
        ((6, 8), 24, 48, [12, 12]),
        ((6, 8), 12, 36, [24]),
        ((3, 4), 0, 48, [48]),
        ((3, 4), 0, 60, [48, 12]),
        ((3, 4), 12, 48, [12, 24]),
        ((12, 8), 0, 144, [144]),
        ((7, 8), 0, 84, [48, 36]),
        ((5, 4), 0, 120, [72, 48]),
    ],
)
def test_other_meters_have_their_own_groups(meter, start: int, end: int, wanted: list[int]):
    assert lengths(meter, start, end) == wanted


@pytest.mark.parametrize(
    ("meter", "start", "end", "wanted"),
    [
        ((4, 4), 24, 72, [24, 24]),
        ((4, 4), 0, 72, [48, 24]),
        ((4, 4), 6, 24, [6, 12]),
        ((3, 4), 24, 72, [24, 24]),
        ((6, 8), 12, 72, [12, 12, 36]),
    ],
)
def test_rests_fill_groups(meter, start: int, end: int, wanted: list[int]):
    assert lengths(meter, start, end, is_rest=True) == wanted


def test_triplets_are_only_where_points_need_them():
    points = (0, 8, 16, 24, 36, 48)
    group = divide_bar((4, 4), points)
    values = [
        value
        for start, end in pairwise(points)
        for value in split_into_values(group, start, end, is_rest=False)
    ]
    assert [(value.length, value.triplet is not None) for value in values] == [
        *[(8, True)] * 3,
        *[(12, False)] * 2,
    ]


def test_three_quarters_in_the_time_of_two_are_one_triplet():
    group = divide_bar((4, 4), (0, 16, 32, 48))
    (value,) = split_into_values(group, 16, 32, is_rest=False)
    assert value.length == 16
    assert value.triplet is not None
    assert (value.triplet.start, value.triplet.end) == (0, 48)
