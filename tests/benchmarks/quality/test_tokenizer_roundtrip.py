"""Loss of encoding and decoding."""

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
    """A score with notes (track, time, duration, pitch) at 480 ticks per quarter."""
    score = ScoreTick(480)
    for meter in meters:
        score.time_signatures.append(TimeSignatureTick(*meter))
    for program in programs:
        score.tracks.append(TrackTick("", program, False))
    for track, time, duration, pitch in notes:
        score.tracks[track].notes.append(NoteTick(time, duration, pitch, 79))
    return score


def test_music_on_the_grid_is_kept(tokenizer, invented):
    score = invented(bars=6, programs=(0, 40, -1), meter=(6, 8))
    trip = round_trip(score, tokenizer)
    assert (trip.kept, trip.added) == (trip.notes, 0)
    assert np.abs(trip.onset_quarters).max() == 0
    assert np.abs(trip.duration_quarters).max() == 0
    assert trip.bar_lines == trip.bar_lines_kept == 6
    assert (trip.parts, trip.shared) == (3, 0)


def test_times_are_rounded_to_the_grid(tokenizer):
    trip = round_trip(piece((0, 13, 467, 60), (0, 960, 480, 62)), tokenizer)
    assert sorted(np.rint(trip.onset_quarters * 480)) == [-13, 0]
    assert sorted(np.rint(trip.duration_quarters * 480)) == [0, 13]


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([(0, 0, 240, 60), (0, 0, 960, 60)], (1, 1, 0, 0)),
        ([(0, 0, 240, 60), (0, 10, 960, 60)], (1, 0, 1, 1)),
        ([(0, 0, 10, 60), (0, 12, 468, 60)], (1, 0, 1, 1)),
    ],
)
def test_lost_notes_are_counted_by_reason(tokenizer, notes, expected):
    trip = round_trip(piece(*notes), tokenizer)
    assert (trip.kept, trip.unison, trip.crowded, trip.shortened) == expected
    assert trip.unexplained == 0


def test_notes_longer_than_the_longest_duration_are_cut(tokenizer):
    trip = round_trip(piece((0, 0, 40 * 480, 60), (0, 0, 32 * 480, 62)), tokenizer)
    assert (trip.cut, sorted(trip.duration_quarters)) == (1, [-8, 0])
    trip = round_trip(piece((0, 0, 20 * 480, 60), meters=((0, 6, 8),)), tokenizer)
    assert (trip.cut, trip.duration_quarters.tolist()) == (1, [-4])


def test_a_time_signature_without_a_token_is_named(tokenizer):
    notes = [(0, 480 * beat, 480, 60) for beat in range(13)]
    assert round_trip(piece(*notes, meters=((0, 13, 4),)), tokenizer).unknown_meters == ("13/4",)
    assert round_trip(piece(*notes, meters=((0, 2, 2),)), tokenizer).unknown_meters == ()


def test_moved_bar_lines_are_counted(tokenizer):
    notes = [(0, 480 * beat, 480, 60 + beat % 5) for beat in range(12)]
    trip = round_trip(piece(*notes, meters=((0, 4, 4), (4 * 480 + 60, 3, 4))), tokenizer)
    assert trip.bar_lines_kept < trip.bar_lines
    assert trip.kept == trip.notes


def test_the_command_reports_each_corpus_and_the_total(data, tmp_path, tokenizer, capsys):
    path = tmp_path / "figures.json"
    assert tokenizer_roundtrip.main(["--data", data, "--pieces", "2", "--json", str(path)]) == 0
    facts = json.loads(path.read_text())
    assert (facts["split"], facts["fingerprint"]) == ("test", tokenizer.fingerprint)
    found = {each["corpus"]: each for each in facts["corpora"]}
    assert list(found) == ["duets", "waltzes", "all"]
    assert found["all"]["notes"] == found["duets"]["notes"] + found["waltzes"]["notes"]
    assert found["all"]["pieces"] == 4
    assert found["all"]["kept_share"] == 1
    assert (found["duets"]["parts_per_piece"], found["waltzes"]["parts_per_piece"]) == (2, 1)
    assert "| waltzes |      2 |" in capsys.readouterr().out
