"""What the benchmark of kills takes for an answer."""

from __future__ import annotations

import pytest

from benchmarks.kills import main, what_is_left
from training.checkpoints import seal


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--kills", "0"], "error: --kills and --save_steps must be 1 or more.\n"),
        (["--eval_steps", "4", "--save_steps", "6"], "error: --eval_steps must divide"),
    ],
)
def test_options_that_mean_nothing_are_one_sentence(options, sentence, capsys):
    assert main(options) == 1
    assert sentence in capsys.readouterr().err


def test_a_torn_checkpoint_is_counted_as_torn(tmp_path):
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"x")
        seal(folder)
        (folder / "manifest.json").unlink()
    left = what_is_left(tmp_path)
    assert (left["whole"], left["torn"], left["newest"]) == (0, 2, 0)
