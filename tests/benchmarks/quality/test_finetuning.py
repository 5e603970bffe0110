"""Bits per note before and after fine-tuning."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality.finetuning import main
from training.data.corpus import read_corpus

TINY = [
    *("--", "--max_steps", "2", "--eval_steps", "2", "--window", "32", "--samples", "0"),
    *("--per_device_train_batch_size", "2", "--report_to", "none", "--warmup_steps", "0"),
]


def test_a_run_on_some_pieces_is_evaluated_on_others(data, tmp_path, capfd):
    out, kept = tmp_path / "found.json", tmp_path / "run"
    given = ["--data", data, "--pieces", "5", "--keep", str(kept), "--curve", str(tmp_path)]
    assert main([*given, "--json", str(out), *TINY]) == 0
    found = json.loads(out.read_text())
    test = read_corpus(data.split(","), workers=1).tokens("test")
    assert found["before"]["pieces"] == found["after"]["pieces"] == len(test)
    lower = 1 - found["after"]["bits_per_note"] / found["before"]["bits_per_note"]
    assert found["lower_by"] == pytest.approx(lower, abs=1e-4)
    assert found["run"]["steps"] == 2
    own = json.loads((kept / "facts.json").read_text())["data"][0]
    assert sum(own[split]["pieces"] for split in ("train", "valid", "test")) == 5
    assert (tmp_path / "learning_curve.svg").is_file()
    assert f"{lower:.1%} lower on {len(test)} pieces of the test split" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--pieces", "2"], "--pieces must be 3 or more, got 2"),
        (
            ["--pieces", "999"],
            "--pieces is 999, but the train split has only 6 pieces",
        ),
        (
            ["--pieces", "5", "--", "--window", "1"],
            "training.finetune failed",
        ),
    ],
)
def test_invalid_options_are_refused(data, capfd, options, fact):
    assert main(["--data", data, *options]) == 1
    assert fact in capfd.readouterr().err
