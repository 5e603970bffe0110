"""Means over continuations and pieces, their intervals, and the closed share of a gap."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from training.evaluation import comparison
from training.evaluation.comparison import (
    BaselineError,
    compare,
    compare_with_baseline,
    confidence_interval,
    mean,
    read_baseline,
)
from training.evaluation.continuations import ContinuationResult, prompted_piece


def pieces_of(invented, count):
    """Pieces with four bars of prompt and four original bars."""
    scores = [invented(bars=8, seed=number) for number in range(count)]
    found = [prompted_piece(s, prompt_bars=4, bars=4, name=f"c/{n}") for n, s in enumerate(scores)]
    return [piece for piece in found if piece is not None]


def test_the_original_bars_as_continuations_have_the_metrics_of_the_originals(invented):
    pieces = pieces_of(invented, 3)
    results = [
        ContinuationResult(n, piece.prompt, piece.original) for n, piece in enumerate(pieces)
    ]
    found = compare(pieces, results)
    for name, row in found["figures"].items():
        if name.startswith("overlap") and name != "overlap_with_prompt":
            assert row["composed"] == pytest.approx(1)
            assert row["original"] < 1
        else:
            assert row["composed"] == pytest.approx(row["original"], nan_ok=True)
    ceiling = found["figures"]["overlap_with_prompt"]["composed"]
    assert found["figures"]["overlap"]["original"] == pytest.approx(ceiling)
    assert (found["pieces"], found["takes"], found["decode_failures"]) == (3, 3, 0)


def test_means_are_over_continuations_and_then_over_pieces(invented):
    pieces = pieces_of(invented, 2)
    results = [
        ContinuationResult(0, pieces[0].prompt, pieces[0].original),
        ContinuationResult(0, pieces[0].prompt, pieces[0].prompt),
        ContinuationResult(0, pieces[0].prompt, pieces[0].prompt),
        ContinuationResult(1, pieces[1].prompt, pieces[1].original),
    ]
    found = compare(pieces, results)
    per_piece = found["per_piece"]["composed"]["overlap"]
    ceiling = found["per_piece"]["original"]["overlap"][0]
    assert per_piece == pytest.approx([(1 + 2 * ceiling) / 3, 1])
    assert found["figures"]["overlap"]["composed"] == pytest.approx(np.mean(per_piece))
    assert found["per_piece"]["piece"] == ["c/0", "c/1"]
    assert found["per_piece"]["prompt_bars"] == [4, 4]


def test_decode_failures_are_counted(invented):
    pieces = pieces_of(invented, 1)
    own = (pieces[0].prompt, pieces[0].original)
    found = compare(pieces, [ContinuationResult(0, *own), ContinuationResult(0, *own, "it broke")])
    assert (found["decode_failures"], found["failure_examples"]) == (1, ["it broke"])


# Means and intervals.


def test_undefined_values_are_left_out_of_means_and_intervals():
    assert mean([1.0, math.nan, 3.0]) == 2
    assert math.isnan(mean([math.nan]))
    assert confidence_interval([1.0, math.nan, 1.0]) == [1, 1]
    assert all(map(math.isnan, confidence_interval([1.0, math.nan])))


def test_the_interval_extends_two_standard_errors_on_either_side():
    values = np.random.default_rng(3).normal(5, 2, 400)
    low, high = confidence_interval(values.tolist())
    error = values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


# The baseline.


def columns(composed, original, *, names=None, bars=None):
    count = len(composed)
    return {
        "piece": names or [f"c/{n}" for n in range(count)],
        "prompt_bars": bars or count * [8],
        "composed": {"overlap": composed},
        "original": {"overlap": original},
    }


def baseline(per_piece, split="test"):
    return {
        "split": split,
        "model": "old",
        "versions": {"musiclstm": "0.2"},
        "continuations": {"per_piece": per_piece},
    }


def test_the_closed_share_is_that_of_the_means_over_common_pieces():
    own = {"per_piece": columns([0.6, 0.7, 0.0], [0.8, 0.8, 0.8])}
    old = columns([0.5, 0.4, 0.9], [0.0, 0.0, 0.0], names=["c/1", "c/0", "c/9"])
    found = compare_with_baseline(own, [baseline(old, "valid"), baseline(old)], "test")
    row = found["figures"]["overlap"]
    assert (found["model"], found["pieces"]) == ("old (musiclstm 0.2)", 2)
    assert row["composed"] == pytest.approx(0.65)
    assert row["baseline"] == pytest.approx(0.45)
    assert row["original"] == pytest.approx(0.8)
    assert row["closed"] == pytest.approx(0.2 / 0.35)
    # Only the first piece twice, or only the second: 0.2 of 0.4, 0.2 of 0.3.
    assert row["closed_interval"] == pytest.approx([0.5, 2 / 3])


def test_pieces_with_prompts_of_different_length_are_not_compared():
    own = {"per_piece": columns([0.6, 0.7], [0.8, 0.8])}
    old = columns([0.5, 0.5], [0.8, 0.8], bars=[4, 8])
    assert compare_with_baseline(own, [baseline(old)], "test")["pieces"] == 1


def test_a_piece_that_is_undefined_on_one_side_is_ignored():
    own = {"per_piece": columns([math.nan, 0.6], [0.8, 0.8])}
    old = columns([0.1, None], [0.8, 0.8])
    row = compare_with_baseline(own, [baseline(old)], "test")["figures"]["overlap"]
    assert math.isnan(row["closed"])
    old = columns([None, 0.4], [0.8, 0.8])
    row = compare_with_baseline(own, [baseline(old)], "test")["figures"]["overlap"]
    assert row["closed"] == pytest.approx(0.5)


def test_a_baseline_equal_to_the_originals_has_no_gap():
    own = {"per_piece": columns([0.6, 0.6], [0.5, 0.5])}
    row = compare_with_baseline(own, [baseline(columns([0.5, 0.5], [0, 0]))], "test")["figures"]
    assert math.isnan(row["overlap"]["closed"])
    assert all(map(math.isnan, row["overlap"]["closed_interval"]))


def test_a_baseline_of_other_pieces_is_refused():
    own = {"per_piece": columns([0.6], [0.8])}
    for records in ([], [baseline(columns([0.5], [0.8]), "valid")],
                    [baseline(columns([0.5], [0.8], names=["d/0"]))]):  # fmt: skip
        with pytest.raises(BaselineError, match="none of these pieces of the split 'test'"):
            compare_with_baseline(own, records, "test")


@pytest.mark.parametrize("text", ["", "{", "[1]", '[{"split": "test"}]', "{}x"])
def test_a_file_without_continuations_is_refused(tmp_path, text):
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(BaselineError, match=r"'old\.json' is not a file with continuations"):
        read_baseline(path)


def test_a_written_baseline_can_be_read(tmp_path):
    path = tmp_path / "old.json"
    records = [baseline(columns([0.5], [None]))]
    path.write_text(json.dumps(records))
    assert read_baseline(path) == records


def test_bootstrap_samples_are_reproducible():
    assert comparison._resample(5).tolist() == comparison._resample(5).tolist()
    assert comparison._resample(5).shape == (comparison.BOOTSTRAP_SAMPLES, 5)
