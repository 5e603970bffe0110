"""Note values add up, are one head each, and keep the beats visible."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclstm.export.note_values import Chord, beat_units, split_into_values, split_into_voices

ONE_HEAD = {144, 96, 72, 48, 36, 24, 18, 12, 9, 6, 3} | {16, 8, 4, 2, 1}  # the latter of triplets


@pytest.mark.parametrize(
    ("meter", "beat"),
    [((4, 4), 24), ((3, 4), 24), ((2, 2), 48), ((6, 8), 36), ((3, 8), 36), ((7, 8), 12)],
)
def test_the_beat_follows_the_meter(meter: tuple[int, int], beat: int):
    assert beat_units(*meter) == beat


@given(
    start=st.integers(0, 200),
    length=st.integers(1, 200),
    meter=st.sampled_from([(4, 4), (6, 8), (7, 8), (2, 2), (3, 16), (5, 32), (1, 64)]),
)
def test_values_add_up_and_are_one_head_each(start: int, length: int, meter: tuple[int, int]):
    lengths = split_into_values(start, start + length, beat=beat_units(*meter))
    assert sum(lengths) == length
    assert set(lengths) <= ONE_HEAD


@pytest.mark.parametrize(
    ("start", "end", "lengths"),
    [
        (0, 96, [96]),
        (0, 72, [72]),
        (0, 36, [36]),  # a dotted quarter on the beat
        (12, 36, [24]),  # between two beats
        (12, 48, [12, 24]),  # the beat is visible
        (18, 30, [6, 6]),
        (0, 8, [8]),  # a triplet
        (8, 24, [16]),
        (0, 20, [16, 4]),
        (0, 60, [48, 12]),
        (72, 96, [24]),
    ],
)
def test_in_four_four_every_beat_is_visible(start: int, end: int, lengths: list[int]):
    assert split_into_values(start, end, beat=24) == lengths


def test_in_six_eight_the_beats_are_dotted():
    assert split_into_values(0, 72, beat=36) == [72]
    assert split_into_values(0, 60, beat=36) == [36, 24]
    assert split_into_values(24, 48, beat=36) == [12, 12]


def test_notes_with_equal_onset_and_end_are_a_chord():
    assert split_into_voices([(0, 24, 64), (0, 24, 60), (24, 48, 62)]) == [
        [Chord(0, 24, (60, 64)), Chord(24, 48, (62,))]
    ]


def test_overlapping_notes_are_in_different_voices():
    assert split_into_voices([(0, 48, 60), (0, 24, 72), (24, 48, 74)]) == [
        [Chord(0, 24, (72,)), Chord(24, 48, (74,))],
        [Chord(0, 48, (60,))],
    ]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.integers(0, 127)), max_size=30)
)
def test_no_note_is_lost_and_no_voice_overlaps_itself(drawn: list[tuple[int, int, int]]):
    notes = {(start, start + length, pitch) for start, length, pitch in drawn}
    found_voices = split_into_voices(notes)
    heads = [
        (c.start, c.end, pitch) for voice in found_voices for c in voice for pitch in c.pitches
    ]
    assert sorted(heads) == sorted(notes)
    for voice in found_voices:
        assert all(a.end <= b.start for a, b in pairwise(voice))
