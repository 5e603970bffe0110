"""Which note is which."""

from __future__ import annotations

import numpy as np
from symusic.core import NoteTick, ScoreTick, TrackTick

from benchmarks.common.note_matching import Notes, match, nearest, notes_of


def notes(*rows):
    """From (key, onset, duration) in quarters."""
    key, onset, duration = zip(*rows, strict=True) if rows else ((), (), ())
    return Notes(np.array(key, np.int64), np.array(onset, float), np.array(duration, float))


def test_equal_notes_are_partners():
    own = notes((60, 0, 1), (64, 0, 1), (60, 1, 1))
    assert match(own, own).tolist() == [0, 1, 2]


def test_a_note_of_another_key_is_no_partner():
    assert match(notes((60, 0, 1)), notes((61, 0, 1))).tolist() == [-1]


def test_a_note_beyond_half_a_quarter_is_no_partner():
    theirs = notes((60, 1.0, 1))
    assert match(notes((60, 0.5, 1)), theirs).tolist() == [0]
    assert match(notes((60, 0.49, 1)), theirs).tolist() == [-1]


def test_repeated_notes_keep_their_order_when_all_are_late():
    own = notes(*((60, step / 4, 0.25) for step in range(4)))
    late = notes(*((60, step / 4 + 0.1, 0.25) for step in range(4)))
    assert match(own, late).tolist() == [0, 1, 2, 3]


def test_of_two_notes_struck_together_the_one_of_the_right_length_is_the_partner():
    assert match(notes((60, 0, 4), (60, 0, 1)), notes((60, 0, 1))).tolist() == [-1, 0]
    assert match(notes((60, 0, 4), (60, 0, 1)), notes((60, 0, 4))).tolist() == [0, -1]


def test_nothing_matches_nothing():
    assert match(notes(), notes((60, 0, 1))).tolist() == []
    assert match(notes((60, 0, 1)), notes()).tolist() == [-1]


def test_the_nearest_note_is_looked_for_in_its_own_key_only():
    theirs = notes((60, 1.0, 1), (60, 9.0, 1), (61, 5.0, 1))
    own = notes((60, 4.0, 1), (60, 6.0, 1), (60, 99.0, 1), (61, 4.0, 1), (62, 4.0, 1))
    index, away = nearest(own, theirs)
    assert away.tolist() == [3.0, 3.0, 90.0, 1.0, np.inf]
    assert index[:4].tolist() == [0, 1, 1, 2]
    index, away = nearest(own, notes())
    assert away.tolist() == [np.inf] * 5


def test_drums_are_no_piano_and_times_are_quarters():
    score = ScoreTick(96)
    for is_drum in (True, False):
        track = TrackTick("", 0, is_drum)
        track.notes.append(NoteTick(48, 24, 40, 80))
        score.tracks.append(track)
    found = notes_of(score)
    assert len(set(found.key.tolist())) == 2
    assert found.onset_quarters.tolist() == [0.5, 0.5]
    assert found.duration_quarters.tolist() == [0.25, 0.25]
