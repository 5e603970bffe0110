"""What recall is worth, and the numbers that suit, on pieces that repeat themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.recall import Moments, fit, main
from musiclstm.seeds import bundled_seeds


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for number, tune in enumerate(bundled_seeds().values()):
        (tmp_path / f"{number}.mid").write_bytes(tune.read_bytes())
    return tmp_path


def test_windows_and_distances_are_compared(corpus, capsys) -> None:
    given = ["--data", str(corpus), "--split", "train", "--pieces", "2"]
    assert main([*given, "--windows", "0,256", "--distances", "16"]) == 0
    printed = capsys.readouterr().out
    for cell in ("no recall", "| 256 ", " 16 |"):
        assert cell in printed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [("1,x", "must be numbers such as"), ("150", "at least 192")],
)
def test_windows_that_mean_nothing_are_refused(wrong, told, corpus, capsys) -> None:
    given = ["--data", str(corpus), "--split", "train", "--pieces", "1", "--distances", "128"]
    assert main([*given, "--windows", wrong]) == 1
    assert told in capsys.readouterr().err


def moments(*, right: bool) -> Moments:
    """A network that is at a loss; eight tokens agree at one place, and what followed comes."""
    places = np.zeros((100, 33), np.float32)
    places[:, 8] = 1
    rights = places if right else np.zeros_like(places)
    return Moments(torch.full((100,), 0.1), torch.from_numpy(places), torch.from_numpy(rights))


def test_places_that_are_right_are_trusted_and_wrong_ones_are_not() -> None:
    good, bad = fit([moments(right=True)]), fit([moments(right=False)])
    assert good["gain"] > 0.5 > abs(bad["gain"])
    for found, trusted in ((good, True), (bad, False)):
        assert (found["bias"] + found["slope"] * np.log(8) > 0) == trusted
