"""Bits per note after references."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.quality import references
from benchmarks.quality.int8 import stored_weights
from benchmarks.quality.references import Reader
from musiclstm.core import Network
from musiclstm.model import TokenTable
from training.evaluation.bits_per_note import measure_bits

NONE = np.array([8.0, 4.0]), np.array([4.0, 2.0])  # bits and notes, of all bars and of later ones


def test_bits_without_references_are_those_of_the_model(tiny_network, tiny_tokenizer, invented):
    model = tiny_network(seed=1)
    network = Network(stored_weights(model), TokenTable(tiny_tokenizer.token_names))
    score = invented(bars=12, programs=(0, 40), seed=1)
    reader = Reader(network, tiny_tokenizer, None, 2)
    found = reader.variants(score, {"same": [invented(bars=4, programs=(0,), seed=2)]})
    ids = np.array(tiny_tokenizer.encode(score))
    expected = measure_bits(model, tiny_tokenizer, [ids])
    (bits, later_bits), (notes, later_notes) = found["none"]
    assert notes == expected.notes
    assert later_notes < notes / 2
    assert 0 < later_bits < bits / 2
    assert bits == pytest.approx(expected.bits, rel=0.02)  # which include EOS
    assert (found["1 same"] != found["none"]).any()
    assert (found["1 same"] == found["8 same"]).all()


def test_changes_are_of_the_sums_of_bits():
    pieces = [
        {"none": np.stack([NONE[0], NONE[1]]), "1 same": np.stack([NONE[0] / 2, NONE[1]])},
        {"none": np.stack([NONE[0] * 3, NONE[1]]), "1 same": np.stack([NONE[0] * 3, NONE[1]])},
    ]
    row = references._figures(pieces)["all bars"]["1 same"]
    assert row["bits_per_note"] == 28 / 8
    assert row["change"] == 28 / 32 - 1
    assert row["interval"] == [-0.5, 0.0]


def test_every_corpus_gets_a_table(data, tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / "figures.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--pieces", "1"]
    assert references.main([*arguments, "--reference_bars", "2", "--json", str(path)]) == 0
    assert "waltzes, 1 pieces" in capsys.readouterr().out
    figures = json.loads(path.read_text(encoding="utf-8"))["corpora"]["duets"]["after bar 8"]
    assert {"none", "4 same, with states", "8 same, transposed", "1 other"} <= set(figures)
    assert references.main([*arguments, "--reference_bars", "0"]) == 1
    assert "--reference_bars must be from 1 to 4,096, got 0." in capsys.readouterr().err
