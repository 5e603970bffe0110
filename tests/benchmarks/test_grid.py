"""Grids side by side."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import grid
from benchmarks.grid import Unmoved, main
from benchmarks.quantizing import GRIDS, tokenizer_with

TINY = ["--rows", "2", "--window", "16", "--slice", "1", "--hidden_size", "16", "--layers", "1"]
QUICK = ["--minutes", "0.002", "--train", "3", "--pieces", "2", *TINY]


@pytest.fixture
def found(data, tmp_path, capsys):
    """The facts of a quick run, and what it printed."""
    out = tmp_path / "grid.json"
    assert main(["--data", data, *QUICK, "--json", str(out)]) == 0
    return json.loads(out.read_text()), capsys.readouterr().out


def test_all_grids_are_told_in_two_tables(found):
    facts, text = found
    assert [row["positions"] for row in facts["grids"]] == list(GRIDS)
    assert all(text.count(f"| {positions} ") == 2 for positions in GRIDS)
    assert "3 pieces to learn from at most and 2 of the split valid" in text
    ours = next(line for line in text.splitlines() if line.startswith("| 12 ") and "+0.0%" in line)
    assert f"{len(tokenizer_with(12)):,}" in ours


def test_bits_at_equal_precision_are_a_sum_to_which_the_finest_adds_nothing(found):
    facts, _ = found
    for row in facts["grids"]:
        parts = row["network_bits"] + row["onset_bits"] + row["duration_bits"]
        assert row["equal_bits"] == pytest.approx(parts)
    first, *_, last = facts["grids"]
    assert last["onset_bits"] == last["duration_bits"] == 0
    assert first["onset_bits"] > 0  # the triplets of the corpus
    assert first["onsets_exact"] < last["onsets_exact"] == 1


def test_each_learns_for_its_time(data, tmp_path):
    seen = []
    for minutes in ("0.001", "0.01"):
        out = tmp_path / f"{minutes}.json"
        options = ["--data", data, *QUICK, "--minutes", minutes, "--learning_rate", "1e-2"]
        assert main([*options, "--json", str(out)]) == 0
        seen.append(json.loads(out.read_text())["grids"])
    for short, long in zip(*seen, strict=True):
        assert long["notes_seen"] > short["notes_seen"] > 0
        assert long["network_bits"] < short["network_bits"]


def test_pieces_of_any_vocabulary_are_left_alone():
    ids = np.array([0, 5, 100_000])
    assert Unmoved().apply(ids, np.random.default_rng(0)) is ids


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--minutes", "0"], "error: --minutes must be above 0, got 0."),
        (["--minutes", "nan"], "error: --minutes must be above 0, got nan."),
        (["--learning_rate", "-1"], "error: --learning_rate must be above 0, got -1."),
        (["--train", "0"], "error: --train must be 1 or more, got 0."),
        (["--pieces", "0"], "error: --pieces must be 1 or more, got 0."),
        (["--window", "1"], "error: --window must be 2 or more, got 1."),
    ],
)
def test_what_means_nothing_is_one_sentence(data, capsys, options, sentence):
    assert main(["--data", data, *QUICK, *options]) == 1
    assert sentence in capsys.readouterr().err


def test_a_split_of_which_nothing_can_be_read_is_one_sentence(data, capsys, monkeypatch):
    monkeypatch.setattr(grid, "read_split", lambda *_: iter(()))
    assert main(["--data", data, *QUICK]) == 1
    sentence = "error: None of the files of the split 'train' can be read; name others after --data"
    assert sentence in capsys.readouterr().err
