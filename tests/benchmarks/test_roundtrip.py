"""Score to tokens to score."""

from __future__ import annotations

import json

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TimeSignatureTick, TrackTick

from benchmarks import roundtrip
from benchmarks.roundtrip import round_trip
from musiclstm.tokenization import MusicTokenizer
from training.corpus import read_corpus


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
    assert trip.base_tokens == trip.tokens == len(tokenizer.encode(score))


def test_merges_shorten_the_stream_and_change_nothing_else(tiny_tokenizer, tokenizer, invented):
    score = invented(bars=12, programs=(0, 40))
    merged, plain = round_trip(score, tiny_tokenizer), round_trip(score, tokenizer)
    assert merged.base_tokens == plain.base_tokens
    assert merged.tokens < plain.tokens
    assert merged.kept == plain.kept == plain.notes


def test_times_off_the_grid_move_to_its_nearest_place(tokenizer):
    trip = round_trip(piece((0, 13, 467, 60), (0, 960, 480, 62)), tokenizer)
    assert sorted(np.rint(trip.onset_quarters * 480)) == [-13, 0]
    assert sorted(np.rint(trip.duration_quarters * 480)) == [0, 13]


def test_two_of_one_instrument_on_one_note_become_one(tokenizer):
    trip = round_trip(piece((0, 0, 480, 60), (1, 0, 480, 60), programs=(40, 40)), tokenizer)
    assert (trip.notes, trip.kept, trip.unison, trip.crowded, trip.unexplained) == (2, 1, 1, 0, 0)


@pytest.mark.parametrize("durations", [(240, 960), (960, 240)])
def test_of_two_notes_struck_together_the_longer_stays(tokenizer, durations):
    notes = [(track, 0, duration, 60) for track, duration in enumerate(durations)]
    trip = round_trip(piece(*notes, programs=(0, 0)), tokenizer)
    assert (trip.kept, trip.unison, trip.shortened) == (1, 1, 0)
    assert trip.duration_quarters.tolist() == [0]


def test_a_note_that_the_grid_gives_to_a_shorter_one_is_told(tokenizer):
    trip = round_trip(piece((0, 0, 240, 60), (0, 10, 960, 60)), tokenizer)
    assert (trip.kept, trip.crowded, trip.shortened) == (1, 1, 1)


def test_two_instruments_on_one_note_stay_two(tokenizer):
    trip = round_trip(piece((0, 0, 480, 60), (1, 0, 480, 60), programs=(40, 41)), tokenizer)
    assert (trip.notes, trip.kept) == (2, 2)


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


def test_the_command_prints_a_table_and_writes_the_figures(data, tmp_path, tiny_checkpoint, capsys):
    place = tmp_path / "figures.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--json", str(place)]
    assert roundtrip.main(arguments) == 0
    found = {each["corpus"]: each for each in json.loads(place.read_text())["corpora"]}
    assert list(found) == ["duets", "waltzes", "all"]
    assert found["all"]["notes"] == found["duets"]["notes"] + found["waltzes"]["notes"]
    assert found["all"]["pieces"] == 6
    assert found["all"]["kept_share"] == 1
    assert found["all"]["onset"]["exact_share"] == found["all"]["duration"]["exact_share"] == 1
    assert found["all"]["tokens_per_note"] < found["all"]["base_tokens_per_note"]
    printed = capsys.readouterr().out
    assert "| waltzes |      3 |" in printed
    assert printed.count("| all ") == 4


def test_without_a_manifest_the_split_is_that_of_training(tmp_path, invented, capsys):
    for number in range(20):  # the fewest of which one is in test for sure
        score = invented(bars=2, seed=number)
        (tmp_path / f"{number}.mid").write_bytes(bytes(score.dumps_midi()))
    corpus = read_corpus([tmp_path], workers=1)
    assert roundtrip.main(["--data", str(tmp_path), "--model", "fresh"]) == 0
    pieces = len(corpus.tokens("test"))
    assert f"|      {pieces} |    {corpus.notes('test')} |" in capsys.readouterr().out
