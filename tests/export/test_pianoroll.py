"""Piano roll data: columns of notes, bar lines, tempos, merging."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm.export.pianoroll import MAX_NOTES, MAX_TEMPOS, pianoroll_data
from musiclstm.midi.analysis import last_note_end, seconds_at


def score_of(*tracks: TrackTick) -> ScoreTick:
    score = ScoreTick(480)
    for track in tracks:
        score.tracks.append(track)
    return score


def track_of(*notes: tuple[int, int, int, int], program: int = 0, name: str = "") -> TrackTick:
    track = TrackTick(name, max(program, 0), program == -1)
    for note in notes:
        track.notes.append(NoteTick(*note))
    return track


def test_notes_become_columns_sorted_by_onset() -> None:
    late, early = track_of((1920, 480, 60, 100)), track_of((0, 240, 36, 80), program=-1)
    assert pianoroll_data(score_of(late, early), prompt_end_tick=1920)["notes"] == {
        "start": [0, 1920],
        "length": [240, 480],
        "key": [36, 60],
        "loudness": [80, 100],
        "instrument": [1, 0],
        "sure": [-1, -1],
    }


def test_bar_lines_have_ticks_and_seconds() -> None:
    score = score_of(track_of((0, 2880, 60, 100)))
    score.time_signatures.append(TimeSignatureTick(0, 3, 4))
    score.tempos.append(TempoTick(0, 60.0))
    score.tempos.append(TempoTick(1440, 120.0))
    roll = pianoroll_data(score, prompt_end_tick=1440)
    assert roll["bars"] == {"ticks": [0, 1440, 2880], "seconds": [0, 3, 4.5]}
    assert roll["clock"] == {"ticks": [0, 1440], "seconds": [0, 3]}
    assert roll["prompt_end_tick"] == 1440


def test_a_prompt_that_ends_in_a_rest_keeps_its_bars() -> None:
    roll = pianoroll_data(score_of(track_of((0, 480, 60, 100))), prompt_end_tick=3840)
    assert roll["bars"]["ticks"] == [0, 1920, 3840]


def test_a_score_without_notes_has_empty_columns() -> None:
    roll = pianoroll_data(score_of(), prompt_end_tick=0)
    assert set(map(tuple, roll["notes"].values())) == {()}
    assert (roll["instruments"], roll["bars"]["ticks"], roll["remark"]) == ([], [0], "")


def test_every_track_with_notes_is_an_instrument_with_a_name_of_its_own() -> None:
    note = (0, 480, 60, 100)
    roll = pianoroll_data(
        score_of(
            track_of(note, program=-1, name="Kit"),
            track_of(note, program=40, name=" Violin I "),
            track_of(program=7, name="silent"),
            track_of(note, program=40),
            track_of(note, program=40),
        ),
        prompt_end_tick=0,
    )
    assert roll["instruments"] == [
        {"track": 0, "program": -1, "name": "Kit", "detail": "Drums"},
        {"track": 1, "program": 40, "name": "Violin I", "detail": "Violin"},
        {"track": 3, "program": 40, "name": "Violin", "detail": ""},
        {"track": 4, "program": 40, "name": "Violin (2)", "detail": ""},
    ]
    assert roll["notes"]["instrument"] == [0, 1, 2, 3]


def test_a_track_name_is_unchanged_but_cut() -> None:
    hostile = "<img src=x onerror=alert(1)>"
    note = (0, 480, 60, 100)
    for name, shown in ((hostile, hostile), ("x" * 999, "x" * 80)):
        roll = pianoroll_data(score_of(track_of(note, name=name)), prompt_end_tick=0)
        assert [each["name"] for each in roll["instruments"]] == [shown]


def test_probabilities_follow_their_notes_in_percent() -> None:
    score = score_of(track_of((480, 1, 60, 9), (0, 1, 62, 9)), track_of((240, 1, 64, 9)))
    notes = pianoroll_data(score, prompt_end_tick=0, probabilities=[0.257, None, 1.0])["notes"]
    assert notes["key"] == [62, 64, 60]
    assert notes["sure"] == [-1, 100, 26]


@pytest.mark.parametrize(
    ("probabilities", "key_fact"),
    [([0.5, 0.5], "one for each note, 1, got 2"), ([1.5], "0 to 1, got 1.5")],
)
def test_probabilities_that_do_not_fit_are_refused(
    probabilities: list[float | None], key_fact: str
) -> None:
    score = score_of(track_of((0, 480, 60, 100)))
    with pytest.raises(ValueError, match=key_fact):
        pianoroll_data(score, prompt_end_tick=0, probabilities=probabilities)


def test_many_notes_are_merged_with_a_remark() -> None:
    notes = [(60 * i, 30, 40 + i % 40, 50 + i % 60) for i in range(9_000)]
    begin = 60 * 4_500
    probabilities = [0.25, 0.75] * 4_500
    roll = pianoroll_data(
        score_of(track_of(*notes)), prompt_end_tick=begin, probabilities=probabilities
    )
    start, length = np.array(roll["notes"]["start"]), np.array(roll["notes"]["length"])
    assert 500 < len(start) <= MAX_NOTES
    assert "9,000 notes" in roll["remark"]
    assert (np.diff(start) >= 0).all()
    assert ((start < begin).any(), (start >= begin).any()) == (True, True)
    assert max(roll["notes"]["loudness"]) == 109
    assert 25 <= min(roll["notes"]["sure"]) <= max(roll["notes"]["sure"]) <= 75
    assert (length > 0).all()
    for tick, _, key, _ in notes[::50]:  # every note is covered by one of its key
        here = (start <= tick) & (start + length > tick) & (np.array(roll["notes"]["key"]) == key)
        assert here.any()


def test_notes_that_cannot_be_merged_are_cut_with_a_remark() -> None:
    tracks = [
        track_of(*((0, 480, key, 90) for key in range(128)), program=program)
        for program in range(40)
    ]
    roll = pianoroll_data(score_of(*tracks), prompt_end_tick=0)
    assert len(roll["notes"]["start"]) == MAX_NOTES
    assert "Only the first 4,000 notes" in roll["remark"]


def test_many_tempos_are_thinned_out_and_bar_lines_stay_exact() -> None:
    score = score_of(track_of((0, 19_200, 60, 100)))
    for i in range(3_000):
        score.tempos.append(TempoTick(6 * i, 60.0 + i % 100))
    roll = pianoroll_data(score, prompt_end_tick=0)
    assert len(roll["clock"]["ticks"]) == MAX_TEMPOS
    assert roll["bars"]["seconds"][-1] == pytest.approx(seconds_at(score, 19_200), abs=1e-4)


@given(
    tempos=st.lists(st.tuples(st.integers(0, 9_000), st.floats(10, 300)), max_size=5),
    end=st.integers(1, 10_000),
)
def test_seconds_of_bar_lines_equal_seconds_at(tempos: list[tuple[int, float]], end: int) -> None:
    score = score_of(track_of((0, end, 60, 100)))
    for tick, bpm in sorted(tempos):
        score.tempos.append(TempoTick(tick, bpm))
    bars = pianoroll_data(score, prompt_end_tick=0)["bars"]
    for tick, seconds in zip(bars["ticks"], bars["seconds"], strict=True):
        assert seconds == pytest.approx(seconds_at(score, tick), abs=1e-4)


@given(seed=st.integers(0, 99), limit=st.sampled_from([1, 7, 40]))
def test_the_number_of_notes_is_limited_and_none_is_far_beyond_the_end(
    seed: int, limit: int, invented: Callable[..., Any]
) -> None:
    score = invented(programs=(0, 40, -1), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("musiclstm.export.pianoroll.MAX_NOTES", limit)
        notes = pianoroll_data(score, prompt_end_tick=1920)["notes"]
    assert len(notes["start"]) <= limit
    ends = np.array(notes["start"]) + np.array(notes["length"])
    assert ends.max() <= 2 * last_note_end(score)


def test_the_data_is_plain_json_and_the_score_is_left_unchanged(
    invented: Callable[..., Any],
) -> None:
    score = invented(programs=(0, -1))
    before = score.copy()
    roll = pianoroll_data(score, prompt_end_tick=0)
    assert json.loads(json.dumps(roll, allow_nan=False)) == roll
    assert score == before
