"""The measurements of the index against the exact search."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.quality.memorization_index import main
from training.memorization import main as write_index


@pytest.fixture
def checkpoint(tiny_checkpoint, corpora, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "weights")
    assert write_index([str(folder), "--data", str(corpora / "duets"), "--workers", "1"]) == 0
    return folder


def test_planted_copies_are_found_and_lengths_compared(checkpoint, corpora, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    words = ["--data", str(corpora / "duets"), "--others", str(corpora / "waltzes")]
    words += ["--model", str(checkpoint), "--copies", "50", "--json", str(figures)]
    assert main(words) == 0
    assert "100.0 % of 50 found, 100.0 % in the named piece" in capsys.readouterr().out
    facts = json.loads(figures.read_text(encoding="utf-8"))
    assert facts["index"]["pieces"] == 3
    for group in ("held out", "not trained on"):
        row = facts["false_alarms"][group]
        assert (row["pieces"], row["copied"], row["false"], row["missed"]) == (3, 0, 0, 0)


def test_an_index_of_other_pieces_is_refused(checkpoint, data, capsys):
    assert main(["--data", data, "--model", str(checkpoint)]) == 1
    assert "has 3 pieces, and --data has 6 to train on" in capsys.readouterr().err


def test_a_checkpoint_without_an_index_is_refused(tiny_checkpoint, data, capsys):
    assert main(["--data", data, "--model", str(tiny_checkpoint)]) == 1
    assert "write it with training.memorization" in capsys.readouterr().err
