"""Shapes and vocabularies side by side."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from benchmarks.search import _balanced, main
from musiclstm.tokenization import MusicTokenizer
from training.corpus import Piece

QUICK = ["--minutes", "0.005", "--rows", "2", "--window", "16", "--slice", "1"]


def test_every_variant_has_its_shape_and_its_share(data, tmp_path, capsys):
    out = tmp_path / "found.json"
    small = "small:hidden_size=16,num_hidden_layers=1,vocab_size=1,learning_rate=0.01,rows=1"
    command = ["--data", data, *QUICK, "--pieces", "1", "--variant", small, "--json", str(out)]
    assert main(command) == 0
    base, variant = json.loads(out.read_text())["variants"]
    words = len(MusicTokenizer())
    assert (base["vocabulary"], variant["vocabulary"]) == (2048, words)
    assert variant["weights"] == words * 16 + (8 * 16 * 16 + 8 * 16) + 2 * 2 * 16
    assert base["tokens seen"] > 0
    assert variant["tokens seen"] > base["tokens seen"]  # smaller, so faster
    assert variant["bits_per_note"] != base["bits_per_note"]
    assert "| small " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--minutes", "0"], "error: --minutes must be above 0, got 0."),
        (
            ["--variant", "odd:laier_norm=1"],
            "error: --variant 'odd' names 'laier_norm'; it takes fields of MusicLSTMConfig, "
            "vocab_size, ema, balance, learning_rate, rows, window, augment, weight_drop, "
            "mogrifier.",
        ),
        (
            ["--variant", "odd:mogrifier=9"],
            "error: --variant 'odd': mogrifier must be from 1 to 8, got 9.",
        ),
        (["--variant", "odd:norm"], "error: --variant 'odd' takes names and values"),
    ],
)
def test_what_means_nothing_is_one_sentence(data, capsys, options, sentence):
    assert main(["--data", data, *QUICK, *options]) == 1
    assert sentence in capsys.readouterr().err


def test_corpora_can_be_shown_alike_often():
    pieces = [Piece("a", "songs", "train", 300, None), Piece("b", "songs", "train", 300, None)]
    pieces += [Piece("c", "dances", "train", 200, None), Piece("d", "dances", "test", 9, None)]
    corpus = SimpleNamespace(pieces=pieces)
    assert _balanced(corpus, 0) == [1, 1, 1]
    assert _balanced(corpus, 1) == pytest.approx([400 / 600, 400 / 600, 400 / 200])


def test_an_average_is_what_is_measured(data, tmp_path):
    out = tmp_path / "found.json"
    command = ["--data", data, *QUICK, "--variant", "mean:ema=0.999", "--json", str(out)]
    assert main(command) == 0
    base, mean = json.loads(out.read_text())["variants"]
    assert base["bits_per_note"] != mean["bits_per_note"]
