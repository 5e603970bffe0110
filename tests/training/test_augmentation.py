"""Pieces moved in pitch, loudness and tempo."""

from __future__ import annotations

import numpy as np
import pytest

from musiclstm.tokenization import MusicTokenizer
from training.augmentation import Augmentation, shifted

NAMES = MusicTokenizer().base_tokens
INDEX = {name: index for index, name in enumerate(NAMES)}


def ids(*names):
    return np.array([INDEX[name] for name in names], np.uint16)


def names(array):
    return [NAMES[index] for index in array]


def test_a_shift_moves_pitches_and_nothing_else():
    piece = ids("Bar_None", "Position_0", "Program_0", "Pitch_60", "Velocity_63", "Pitch_64")
    assert names(shifted(piece, "Pitch_", 3)) == [
        *("Bar_None", "Position_0", "Program_0", "Pitch_63", "Velocity_63", "Pitch_67")
    ]


def test_drums_keep_their_pitches():
    piece = ids("Program_-1", "PitchDrum_36", "Program_0", "Pitch_60")
    assert names(shifted(piece, "Pitch_", -5)) == [
        *("Program_-1", "PitchDrum_36", "Program_0", "Pitch_55")
    ]


def test_a_shift_stops_before_a_note_would_leave_the_range():
    assert names(shifted(ids("Pitch_2", "Pitch_60"), "Pitch_", -5)) == ["Pitch_0", "Pitch_58"]
    assert names(shifted(ids("Pitch_125", "Pitch_60"), "Pitch_", 5)) == ["Pitch_127", "Pitch_62"]


def test_loudness_stops_at_its_ends():
    assert names(shifted(ids("Velocity_127", "Velocity_63"), "Velocity_", 1)) == [
        *("Velocity_127", "Velocity_71")
    ]


def test_no_distance_changes_nothing():
    piece = ids("Pitch_60", "Velocity_63")
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(Augmentation(0, 0, 0).apply(piece, rng), piece)


@pytest.mark.parametrize("seed", range(5))
def test_intervals_stay_what_they_were(seed):
    piece = ids("Pitch_60", "Pitch_64", "Pitch_67")
    moved = Augmentation().apply(piece, np.random.default_rng(seed))
    pitches = [int(name.removeprefix("Pitch_")) for name in names(moved)]
    assert np.diff(pitches).tolist() == [4, 3]
    assert abs(pitches[0] - 60) <= 5


def test_the_original_is_left_alone():
    piece = ids("Pitch_60")
    shifted(piece, "Pitch_", 2)
    assert names(piece) == ["Pitch_60"]
