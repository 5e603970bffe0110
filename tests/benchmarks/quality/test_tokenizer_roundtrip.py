"""Score to tokens to score."""

from __future__ import annotations

import json

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TimeSignatureTick, TrackTick

from benchmarks.quality import tokenizer_roundtrip
from benchmarks.quality.tokenizer_roundtrip import round_trip
from musiclstm.tokens import MusicTokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return MusicTokenizer()


def piece(*notes, meters=((0, 4, 4),), programs=(0,)):
    """Notes (track, time, duration, pitch) at 480 ticks a quarter."""
    score = ScoreTick(480)
    for meter in meters:
        score.time_signatures.append(TimeSignatureTick(*meter))
    for program in programs:
        score.tracks.append(TrackTick("", program, False))
    for track, time, duration, pitch in notes:
        score.tracks[track].notes.append(NoteTick(time, duration, pitch, 79))
    return score


def test_music_on_the_grid_comes_back_as_it_was(tokenizer, invented):
    score = invented(bars=6, programs=(0, 40, -1), meter=(6, 8))
    trip = round_trip(score, tokenizer)
    assert (trip.kept, trip.added) == (trip.notes, 0)
    assert np.abs(trip.onset_quarters).max() == 0
    assert np.abs(trip.duration_quarters).max() == 0
    assert trip.bar_lines == trip.bar_lines_kept == 6
    assert trip.tokens == len(tokenizer.encode(score))
    assert (trip.parts, trip.shared) == (3, 0)


def test_times_off_the_grid_move_to_its_nearest_place(tokenizer):
    trip = round_trip(piece((0, 13, 467, 60), (0, 960, 480, 62)), tokenizer)
    assert sorted(np.rint(trip.onset_quarters * 480)) == [-13, 0]
    assert sorted(np.rint(trip.duration_quarters * 480)) == [0, 13]


@pytest.mark.parametrize("programs", [(40, 40), (40, 41)])
def test_equal_notes_of_two_tracks_stay_two(tokenizer, programs):
    trip = round_trip(piece((0, 0, 480, 60), (1, 0, 480, 60), programs=programs), tokenizer)
    assert (trip.notes, trip.kept, trip.parts) == (2, 2, 2)
    assert trip.shared == (2 if programs == (40, 40) else 0)


def test_a_note_is_kept_on_its_own_track_only(tokenizer):
    notes = [(track, 480 * track, 480, 60 + track) for track in range(10)]
    trip = round_trip(piece(*notes, (9, 0, 480, 67), programs=[7] * 10), tokenizer)
    assert (trip.parts, trip.notes, trip.kept, trip.added) == (8, 11, 11, 0)


@pytest.mark.parametrize("durations", [(240, 960), (960, 240)])
def test_of_two_equal_notes_of_a_track_the_longer_stays(tokenizer, durations):
    notes = [(0, 0, duration, 60) for duration in durations]
    trip = round_trip(piece(*notes), tokenizer)
    assert (trip.notes, trip.kept, trip.unison, trip.crowded) == (2, 1, 1, 0)
    assert (trip.shortened, trip.unexplained) == (0, 0)
    assert trip.duration_quarters.tolist() == [0]


def test_a_note_that_the_grid_gives_to_a_shorter_one_is_told(tokenizer):
    trip = round_trip(piece((0, 0, 240, 60), (0, 10, 960, 60)), tokenizer)
    assert (trip.kept, trip.crowded, trip.shortened) == (1, 1, 1)


def test_notes_closer_than_the_grid_become_one(tokenizer):
    trip = round_trip(piece((0, 0, 10, 60), (0, 12, 468, 60)), tokenizer)
    assert (trip.kept, trip.unison, trip.crowded) == (1, 0, 1)


def test_a_note_longer_than_any_duration_is_cut(tokenizer):
    trip = round_trip(piece((0, 0, 40 * 480, 60), (0, 0, 32 * 480, 62)), tokenizer)
    assert trip.cut == 1
    assert sorted(trip.duration_quarters) == [-8, 0]


def test_in_eighths_the_longest_duration_is_half_as_long(tokenizer):
    trip = round_trip(piece((0, 0, 20 * 480, 60), meters=((0, 6, 8),)), tokenizer)
    assert trip.cut == 1
    assert trip.duration_quarters.tolist() == [-4]


def test_a_meter_the_tokens_cannot_say_is_named(tokenizer):
    notes = [(0, 480 * beat, 480, 60) for beat in range(13)]
    trip = round_trip(piece(*notes, meters=((0, 13, 4),)), tokenizer)
    assert trip.unknown_meters == ("13/4",)
    assert trip.kept == trip.notes
    trip = round_trip(piece(*notes, meters=((0, 2, 2),)), tokenizer)
    assert trip.unknown_meters == ()


def test_a_bar_that_a_new_meter_cuts_off_keeps_its_length(tokenizer):
    notes = [(0, 240 * eighth, 240, 60 + eighth % 5) for eighth in range(32)]
    meters = ((0, 6, 8), (7 * 240, 2, 4), (23 * 240, 6, 8))
    trip = round_trip(piece(*notes, meters=meters), tokenizer)
    assert trip.bar_lines == trip.bar_lines_kept == 1 + 1 + 4 + 2
    assert trip.kept == trip.notes
    assert np.abs(trip.onset_quarters).max() == 0


def test_a_bar_cut_off_to_a_length_no_meter_has_moves_the_later_lines(tokenizer):
    notes = [(0, 480 * beat, 480, 60 + beat % 5) for beat in range(12)]
    trip = round_trip(piece(*notes, meters=((0, 4, 4), (3 * 480 + 100, 3, 4))), tokenizer)
    assert trip.bar_lines_kept < trip.bar_lines
    assert trip.kept == trip.notes


def test_the_command_prints_a_table_and_writes_the_figures(data, tmp_path, tokenizer, capsys):
    place = tmp_path / "figures.json"
    assert tokenizer_roundtrip.main(["--data", data, "--json", str(place)]) == 0
    facts = json.loads(place.read_text())
    assert (facts["split"], facts["fingerprint"]) == ("test", tokenizer.fingerprint)
    found = {each["corpus"]: each for each in facts["corpora"]}
    assert list(found) == ["duets", "waltzes", "all"]
    assert found["all"]["notes"] == found["duets"]["notes"] + found["waltzes"]["notes"]
    assert found["all"]["pieces"] == 6
    assert found["all"]["kept_share"] == 1
    assert found["all"]["onset"]["exact_share"] == found["all"]["duration"]["exact_share"] == 1
    assert (found["duets"]["parts_per_piece"], found["waltzes"]["parts_per_piece"]) == (2, 1)
    printed = capsys.readouterr().out
    assert "| waltzes |      3 |" in printed
    assert printed.count("| all ") == 4


def test_only_some_pieces_of_each_corpus_are_measured_where_asked(data, capsys):
    assert tokenizer_roundtrip.main(["--data", data, "--pieces", "2"]) == 0
    printed = capsys.readouterr().out
    assert "| duets   |      2 |" in printed
    assert "| all     |      4 |" in printed
