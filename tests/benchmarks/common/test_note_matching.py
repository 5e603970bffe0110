"""Matching of the notes of two scores."""

from __future__ import annotations

import numpy as np
from symusic.core import NoteTick, ScoreTick, TrackTick

from benchmarks.common.note_matching import ScoreNotes, match_notes, nearest_notes, notes_of


def notes(*rows):
    """Notes from (key, onset, duration) in quarters."""
    key, onset, duration = zip(*rows, strict=True) if rows else ((), (), ())
    return ScoreNotes(np.array(key, np.int64), np.array(onset, float), np.array(duration, float))


def test_notes_match_by_key_and_onset():
    first = notes((60, 0, 1), (60, 0.49, 1), (60, 0.5, 1), (64, 1, 1))
    assert match_notes(first, first).tolist() == [0, 1, 2, 3]
    assert match_notes(first, notes((60, 1.0, 1), (61, 0, 1))).tolist() == [-1, -1, 0, -1]
    assert match_notes(notes(), first).tolist() == []
    assert match_notes(first, notes()).tolist() == [-1] * 4


def test_repeated_notes_keep_their_order_when_all_are_late():
    first = notes(*((60, step / 4, 0.25) for step in range(4)))
    late = notes(*((60, step / 4 + 0.1, 0.25) for step in range(4)))
    assert match_notes(first, late).tolist() == [0, 1, 2, 3]


def test_of_two_notes_with_one_onset_the_one_with_the_right_duration_matches():
    assert match_notes(notes((60, 0, 4), (60, 0, 1)), notes((60, 0, 1))).tolist() == [-1, 0]
    assert match_notes(notes((60, 0, 4), (60, 0, 1)), notes((60, 0, 4))).tolist() == [0, -1]


def test_the_nearest_note_has_the_same_key():
    second = notes((60, 1.0, 1), (60, 9.0, 1), (61, 5.0, 1))
    first = notes((60, 4.0, 1), (60, 6.0, 1), (60, 99.0, 1), (61, 4.0, 1), (62, 4.0, 1))
    index, distance = nearest_notes(first, second)
    assert distance.tolist() == [3.0, 3.0, 90.0, 1.0, np.inf]
    assert index[:4].tolist() == [0, 1, 1, 2]


def test_drums_and_piano_have_different_keys_and_times_are_in_quarters():
    score = ScoreTick(96)
    for is_drum in (True, False):
        track = TrackTick("", 0, is_drum)
        track.notes.append(NoteTick(48, 24, 40, 80))
        score.tracks.append(track)
    found = notes_of(score)
    assert len(set(found.key.tolist())) == 2
    assert found.onset_quarters.tolist() == [0.5, 0.5]
    assert found.duration_quarters.tolist() == [0.25, 0.25]
