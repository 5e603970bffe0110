"""What is composed beside what its piece plays itself, both looked up in the training pieces."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.quality import memorization
from benchmarks.quality.memorization import Pair, as_text, compared
from benchmarks.quality.passage_matching import UNIT, Notes
from training.data.corpus import read_corpus
from training.evaluation.music_metrics import note_table

SMALL = ["--pieces", "2", "--takes", "2", "--prompt_bars", "2", "--bars", "3"]


def music(count):
    """A passage of so many notes, drums beside them."""
    columns = np.arange(2 * count), np.ones(2 * count, int), 40 + np.arange(2 * count) % 40
    program = np.repeat([0, -1], count)
    return SimpleNamespace(
        onset=columns[0] / UNIT, program=program, pitch=columns[2], pitched=program >= 0
    )


@pytest.mark.parametrize(("composed", "original"), [(30, 12), (12, 30), (0, 30)])
def test_a_take_and_its_original_are_cut_to_equally_many_notes(composed, original):
    take = SimpleNamespace(music=music(composed), piece=0)
    pair = Pair.of(take, SimpleNamespace(original=music(original)))
    assert len(pair.composed) == len(pair.original) == min(composed, original)
    assert pair.composed.onset.tolist() == list(range(min(composed, original)))


def test_who_copies_a_training_piece_is_found_out_by_name(data, invented):
    corpus = read_corpus(data.split(","), workers=1)
    theirs, own = (_notes(invented(bars=8, programs=(0, 40), seed=seed)) for seed in (1, 4))
    count = min(len(theirs), len(own))
    facts = compared([Pair(0, theirs.first(count), own.first(count))], corpus)
    assert facts["composed"]["longest"]["source"] == "duets-1.mid (duets)"
    assert facts["composed"]["notes"]["longest"] > 10 > facts["original"]["notes"]["longest"]
    assert not facts["no_longer"]
    facts["plan"] = {"bars": 8}
    text = as_text(facts)
    assert "\np95 composed ≤ p95 original: no" in text
    assert "\nNo figure three times: p95 composed ≤ p95 original: no" in text
    assert "different steps, in duets-1.mid (duets)." in text


def _notes(score):
    quarter = score.ticks_per_quarter
    return Notes.of(note_table(score, np.array([0, 8 * 4 * quarter])))


def test_the_command_prints_and_writes_its_figures(data, tiny_checkpoint, tmp_path, capsys):
    file = tmp_path / "novelty.json"
    argv = ["--data", data, "--model", str(tiny_checkpoint), *SMALL, "--json", str(file)]
    assert memorization.main(argv) == 0
    text = capsys.readouterr().out
    assert "4 continuations of 3 bars beside their originals" in text
    assert "p95 composed ≤ p95 original: " in text
    facts = json.loads(file.read_text(encoding="utf-8"))
    assert (facts["pairs"], facts["training_pieces"]) == (4, 6)
    assert [len(facts[name]["each"]) for name in ("composed", "original")] == [4, 4]
    assert facts["plan"]["takes"] == 2


def test_the_verdict_is_drawn_again_over_pieces_and_not_over_takes():
    piece_of = np.array([0, 0, 0, 1, 1, 1])
    composed, original = [9, 9, 9, 1, 1, 1], [5, 5, 5, 5, 5, 5]
    # It is yes only where the second piece is drawn twice.
    assert memorization._share(np.array(composed + original), piece_of) == pytest.approx(
        1 / 4, abs=0.05
    )


def test_nothing_found_is_said_in_a_sentence(data):
    nothing = Notes(*np.zeros((3, 0), np.int64))
    facts = compared([Pair(0, nothing, nothing)], read_corpus(data.split(","), workers=1))
    assert "Nothing composed stands in a training piece." in as_text({**facts, "plan": {"bars": 8}})
    assert facts["no_longer"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--pieces", "0"], "--pieces must be from 1 to 10,000, got 0."),
        (["--bars", "0"], "--bars must be from 1 to"),
        (["--split", "train"], "--split must be valid or test, got 'train'"),
        (["--temperature", "-1"], "--temperature must be"),
        (["--sampling", "swing=1"], "--sampling takes temperature, top_p"),
        (["--sampling", "top_p=2"], "--top_p must be above 0"),
        (["--prompt_bars", "60"], "No piece of the split 'test' has 76 bars"),
        (["--json", "/nowhere/novelty.json"], "cannot be written"),
    ],
)
def test_an_option_that_means_nothing_is_refused(data, tiny_checkpoint, capsys, options, sentence):
    argv = ["--data", data, "--model", str(tiny_checkpoint), *options]
    assert memorization.main(argv) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert sentence in error


def test_missing_data_is_told_in_a_sentence(tmp_path, tiny_checkpoint, capsys):
    argv = ["--data", str(tmp_path / "lost"), "--model", str(tiny_checkpoint)]
    assert memorization.main(argv) == 1
    assert "lost" in capsys.readouterr().err


def test_data_without_training_pieces_is_refused(
    data, tmp_path, tiny_checkpoint, capsys, monkeypatch
):
    corpus = read_corpus(data.split(","), workers=1)
    test = [piece for piece in corpus.pieces if piece.split == "test"]
    monkeypatch.setattr(memorization, "read_corpus", lambda paths: SimpleNamespace(pieces=test))
    assert memorization.main(["--data", data, "--model", str(tiny_checkpoint)]) == 1
    assert "belongs to the split 'train'" in capsys.readouterr().err
