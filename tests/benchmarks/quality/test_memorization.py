"""Passages of training pieces in generated music and in the originals."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.quality import memorization
from benchmarks.quality.memorization import ComparedPair, compare
from benchmarks.quality.passage_matching import pitched_notes
from musiclstm.memorization import UNIT
from training.data.corpus import read_corpus
from training.evaluation.music_metrics import note_table
from training.memorization import index_of


def music(count):
    """Bars with `count` pitched notes and as many drum notes."""
    index = np.arange(2 * count)
    program = np.repeat([0, -1], count)
    return SimpleNamespace(
        onset=index / UNIT, program=program, pitch=40 + index % 40, pitched=program >= 0
    )


@pytest.mark.parametrize(("composed", "original"), [(30, 12), (12, 30), (0, 30)])
def test_a_sequence_and_its_original_are_cut_to_the_same_length(composed, original):
    sequence = SimpleNamespace(music=music(composed), piece=0)
    pair = ComparedPair.of(sequence, SimpleNamespace(original=music(original)))
    assert len(pair.composed) == len(pair.original) == min(composed, original)
    assert pair.composed.onset.tolist() == list(range(min(composed, original)))


def test_a_copy_of_a_training_piece_is_found(data, invented):
    corpus = read_corpus(data.split(","), workers=1)
    copy, own = (
        pitched_notes(note_table(score, np.array([0, 8 * 4 * score.ticks_per_quarter])))
        for score in (invented(bars=8, programs=(0, 40), seed=seed) for seed in (1, 4))
    )
    count = min(len(copy), len(own))
    facts = compare([ComparedPair(0, copy[:count], own[:count])], corpus)
    assert facts["composed"]["longest"]["source"] == "duets-1.mid (duets)"
    assert facts["composed"]["notes"]["longest"] > 10 > facts["original"]["notes"]["longest"]
    assert not facts["no_longer"]
    text = memorization._text({**facts, "plan": {"bars": 8}})
    assert "different steps, in duets-1.mid (duets)." in text


def test_the_index_of_the_checkpoint_is_asked_too(data, invented):
    corpus = read_corpus(data.split(","), workers=1)
    copy, own = (
        pitched_notes(note_table(score, np.array([0, 8 * 4 * score.ticks_per_quarter])))
        for score in (invented(bars=8, programs=(0, 40), seed=seed) for seed in (1, 4))
    )
    figures = memorization._compare_by_index([ComparedPair(0, copy, own)], index_of(corpus))
    assert (figures["composed"]["copied"], figures["original"]["copied"]) == (1, 0)
    line = memorization._index_line("composed", figures["composed"])
    assert "composed: 100.0 % have a passage of 24 notes or more" in line


def test_pieces_and_not_sequences_are_resampled():
    piece_of = np.array([0, 0, 0, 1, 1, 1])
    composed, original = [9, 9, 9, 1, 1, 1], [5, 5, 5, 5, 5, 5]
    # Only a resample with the second piece twice has no larger percentile.
    share = memorization._bootstrap_share(np.array(composed + original), piece_of)
    assert share == pytest.approx(1 / 4, abs=0.05)


def test_continuations_are_compared_with_their_originals(data, tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = ["--pieces", "2", "--takes", "2", "--prompt_bars", "2", "--bars", "3"]
    arguments = ["--data", data, "--model", str(tiny_checkpoint), *options, "--json", str(path)]
    assert memorization.main(arguments) == 0
    assert "p95 composed ≤ p95 original: " in capsys.readouterr().out
    facts = json.loads(path.read_text(encoding="utf-8"))
    assert (facts["pairs"], facts["training_pieces"]) == (4, 6)
    assert [len(facts[name]["each"]) for name in ("composed", "original")] == [4, 4]


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--pieces", "0"], "--pieces must be from 1 to 10,000, got 0."),
        (["--split", "train"], "--split must be valid or test, got 'train'"),
        (["--prompt_bars", "60"], "No piece of the split 'test' has 76 bars"),
    ],
)
def test_invalid_options_are_refused(data, tiny_checkpoint, capsys, options, fact):
    assert memorization.main(["--data", data, "--model", str(tiny_checkpoint), *options]) == 1
    assert fact in capsys.readouterr().err
