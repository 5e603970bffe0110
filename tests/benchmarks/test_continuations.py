"""Seeds by rule, and what is measured of what goes on from them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TimeSignatureTick, TrackTick

from benchmarks import continuations
from benchmarks.continuations import Continuation, choose
from benchmarks.reporting import ReportError
from musiclstm import read_midi

SMALL = ["--seed-bars", "2", "--bars", "3", "--count", "4"]


def source(corpus, name="a.mid"):
    return SimpleNamespace(corpus=corpus, name=name)


def continuation(**changes):
    facts = {
        "name": "01-a",
        "corpus": "duets",
        "bars": 16,
        "bars_exact": True,
        "notes": 100,
        "pitches": 20,
        "empty_bars": 0,
        "on_grid": 1.0,
        "own": 0.8,
        "others": (0.5, 0.9),
        "original": 0.9,
        "original_others": (0.5, 0.6),
        "notes_per_s": 100.0,
    }
    return Continuation(**{**facts, **changes})


def test_seeds_are_taken_from_the_corpora_in_turn(invented):
    score = invented(bars=6)
    pieces = [(source("a", f"a{i}"), score) for i in range(3)] + [(source("b", "b0"), score)]
    chosen = choose(pieces, count=4, seed_bars=2, bars=4)
    assert [each.name for each, _ in chosen] == ["a0", "b0", "a1", "a2"]


def test_a_piece_too_short_to_go_on_is_no_seed(invented):
    pieces = [(source("a", str(bars)), invented(bars=bars)) for bars in (5, 6, 7)]
    chosen = choose(pieces, count=2, seed_bars=2, bars=4)
    assert [each.name for each, _ in chosen] == ["6", "7"]


def test_a_seed_of_drums_or_of_few_notes_is_none(invented):
    drums, full = invented(bars=6, programs=(-1,)), invented(bars=6)
    late = full.copy()
    late.tracks[0].notes = [note for note in full.tracks[0].notes if note.time >= 2 * 1920]
    pieces = [
        (source("a", "drums"), drums),
        (source("a", "late"), late),
        (source("a", "full"), full),
    ]
    assert [each.name for each, _ in choose(pieces, count=1, seed_bars=2, bars=4)] == ["full"]


def test_too_few_seeds_are_refused(invented):
    with pytest.raises(ReportError, match=r"Only 1 pieces have 6 bars .* 2 are needed"):
        choose([(source("a"), invented(bars=6))], count=2, seed_bars=2, bars=4)


def test_the_own_seed_beats_the_mean_sooner_than_each():
    assert continuation(own=0.8, others=(0.5, 0.9)).beats_the_mean
    assert not continuation(own=0.8, others=(0.5, 0.9)).beats_each
    assert continuation(own=0.8, others=(0.5, 0.7)).beats_each
    assert not continuation(own=0.6, others=(0.5, 0.9)).beats_the_mean


def test_nothing_one_note_and_one_pitch_are_failures():
    assert not continuation().failed
    assert continuation(notes=0, pitches=0).failed
    assert continuation(notes=1, pitches=1).failed
    assert continuation(notes=9, pitches=1).failed


def test_onsets_beside_the_grid_are_counted():
    score = ScoreTick(480)
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    score.tracks.append(TrackTick("", 0, False))
    lines, onsets = np.array([0, 1920]), np.array([0, 40, 160, 240, 250, 20])
    assert continuations._share_on_grid(score, onsets, lines) == pytest.approx(4 / 6)
    score.time_signatures = [TimeSignatureTick(0, 6, 8)]
    assert continuations._share_on_grid(score, onsets, lines) == pytest.approx(5 / 6)


def test_notes_are_cut_out_by_where_they_begin():
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0, False))
    for time in (0, 480, 960):
        score.tracks[0].notes.append(NoteTick(time, 960, 60, 80))
    part = continuations._between(score, 480, 960)
    assert [note.time for note in part.tracks[0].notes] == [480]
    assert score.note_num() == 3


def test_the_command_writes_midi_pictures_and_figures(data, tmp_path, tiny_checkpoint, capsys):
    out, place = tmp_path / "deep" / "out", tmp_path / "figures.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--out", str(out), *SMALL]
    assert continuations.main([*arguments, "--json", str(place)]) == 0
    facts = json.loads(place.read_text())
    names = [each["name"] for each in facts["continuations"]]
    assert names == ["01-duets-4", "02-waltzes-4", "03-duets-5", "04-waltzes-5"]
    for each in facts["continuations"]:
        assert (out / f"{each['name']}.svg").read_text().startswith("<svg")
        score, report = read_midi(out / f"{each['name']}.mid")
        assert report.bars <= 5
        new = sum(
            note.time >= 2 * (1920 if each["corpus"] == "duets" else 1440) * score.tpq // 480
            for track in score.tracks
            for note in track.notes
        )
        assert each["notes"] == new
        assert each["bars_exact"]
        assert each["on_grid"] == 1
        assert len(each["others"]) == 3
        assert 0 <= each["empty_bars"] <= 2
    printed = capsys.readouterr().out
    assert printed.startswith("| seed ")
    assert "- Bars exact for 4 of 4." in printed
    assert "- All new notes on the grid for 4 of 4." in printed
    mean = sum(each["beats_the_mean"] for each in facts["continuations"])
    assert f"beats the mean of the other 3 for {mean} of 4." in printed


def test_the_same_command_writes_the_same_music(data, tmp_path, tiny_checkpoint):
    for place in ("first", "second"):
        arguments = ["--data", data, "--model", str(tiny_checkpoint), *SMALL]
        assert continuations.main([*arguments, "--out", str(tmp_path / place)]) == 0
    files = sorted((tmp_path / "first").iterdir())
    assert len(files) == 8
    for file in files:
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("--count", "1", "--count must be 2 or more, got 1."),
        ("--bars", "0", "--bars must be 1 or more, got 0."),
        ("--seed-bars", "0", "--seed-bars must be 1 or more, got 0."),
        ("--temperature", "-1", "temperature must be 0 or more, got -1.0"),
    ],
)
def test_an_option_that_means_nothing_is_one_sentence_and_status_1(
    option, value, sentence, data, tmp_path, tiny_checkpoint, capsys
):
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--out", str(tmp_path / "out")]
    assert continuations.main([*arguments, option, value]) == 1
    assert capsys.readouterr().err.startswith(f"error: {sentence}")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(data, tmp_path, tiny_checkpoint, capsys):
    (tmp_path / "file").write_text("in the way")
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--out", str(tmp_path / "file")]
    assert continuations.main(arguments) == 1
    assert "name another folder after --out." in capsys.readouterr().err
