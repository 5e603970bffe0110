"""What fine-tuning makes of a few pieces, by the command that says so."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality.finetuning import main
from training.data.corpus import read_corpus

TINY = [
    *("--", "--max_steps", "2", "--eval_steps", "2", "--window", "32", "--samples", "0"),
    *("--per_device_train_batch_size", "2", "--report_to", "none", "--warmup_steps", "0"),
]


def test_it_learns_from_so_many_pieces_and_reads_others(data, tmp_path, capfd):
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
    ("options", "sentence"),
    [
        (["--pieces", "2"], "error: --pieces must be 3 or more, got 2.\n"),
        (
            ["--pieces", "999"],
            "error: --pieces asks for 999, and only 6 are there to learn from; lower it.\n",
        ),
        (
            ["--pieces", "5", "--", "--window", "1"],
            "error: The fine-tuning failed; what it said stands above.\n",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(data, capfd, options, sentence):
    assert main(["--data", data, *options]) == 1
    assert capfd.readouterr().err.endswith(sentence)
