"""Fitting the score of bars."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from musiclstm.core import BAR_FEATURES
from musiclstm.generation.decoding.bar_score import read_bar_score
from training.bar_score import WEIGHTS, BarSamples, area_under_curve, fit, main, weighted_score

DENSITY = BAR_FEATURES.index("density")


def samples(count: int = 600) -> BarSamples:
    """Real bars are denser; every other feature is noise, and one is never defined."""
    rng = np.random.default_rng(0)
    is_real = np.arange(count) % 2 == 0
    features = rng.standard_normal((count, len(BAR_FEATURES)))
    features[:, DENSITY] += 2 * is_real
    features[:, BAR_FEATURES.index("log_prob")] = np.nan
    return BarSamples(features, is_real, np.arange(count) // 10)


def test_what_tells_real_bars_gets_the_weight() -> None:
    found = fit(samples())
    assert found.auc["density"] > 0.85
    assert found.auc["all"] > 0.85
    assert 0.4 < found.auc["pitches"] < 0.6
    assert found.auc["log_prob"] == 0.5
    log_odds = found.score["log_odds"]
    assert (np.diff(log_odds[DENSITY]) > 0).sum() >= 6
    assert np.abs(np.delete(log_odds, DENSITY, axis=0)).max() < np.abs(log_odds[DENSITY]).max() / 2
    np.testing.assert_array_equal(found.score["weights"], weighted_score(WEIGHTS)["weights"])
    assert found.facts()["pieces"] == 60


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(1)
    scores, is_positive = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.4
    pairs = list(product(scores[is_positive], scores[~is_positive]))
    expected = np.mean([(a > b) + (a == b) / 2 for a, b in pairs])
    assert area_under_curve(scores, is_positive) == pytest.approx(expected)
    assert np.isnan(area_under_curve(scores, np.ones(40, bool)))


SHORT = ["--prompt_bars", "1", "--bars", "2", "--candidates", "2"]


def test_the_command_writes_a_score(tiny_checkpoint, scales, tmp_path: Path, capsys) -> None:
    arguments = ["--model", str(tiny_checkpoint), "--data", str(scales), *SHORT, "--pieces", "4"]
    (tmp_path / "facts.json").write_text('{"steps": 3}')
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert (facts["steps"], facts["bar_score"]["pieces"]) == (3, 4)
    assert read_bar_score(tmp_path)["weights"].max() == 12
    assert "fitted to 4 pieces" in capsys.readouterr().out
    assert main([*arguments, "--out", str(tmp_path / "missing")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_too_few_pieces_are_refused(tiny_checkpoint, scales, tmp_path: Path, capsys) -> None:
    arguments = ["--model", str(tiny_checkpoint), "--data", str(scales), *SHORT, "--pieces", "2"]
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    assert "a score needs at least 3" in capsys.readouterr().err
