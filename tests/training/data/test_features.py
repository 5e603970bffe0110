"""Step features of batch rows: compiled, in Python, and restored from a checkpoint."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from musiclstm.core import FeatureRows, is_available
from musiclstm.model.step_features import FeatureArrays, StepFeatures
from training.data import features
from training.data.features import ReferenceRows, StatefulFeatures, feature_rows

NAMES = [field.name for field in fields(FeatureArrays)]
COMPILED = pytest.param(
    FeatureRows, marks=pytest.mark.skipif(not is_available(), reason="no C compiler")
)


@pytest.fixture(params=[ReferenceRows, COMPILED])
def implementation(request, monkeypatch):
    monkeypatch.setattr(features, "feature_rows", request.param)
    return request.param


@pytest.fixture
def ids(vocabulary):
    """Three streams of bars with two parts, (3, steps)."""
    v = vocabulary
    rng = np.random.default_rng(0)
    bars = [
        [v.bar(v.block(73, (0, p), (24, p + 2)), v.block(42, (12, p - 20))) for p in row]
        for row in rng.integers(60, 66, (3, 9)).tolist()
    ]
    return np.array([[token for bar in row for token in bar] for row in bars], np.int64)


def assert_row(found, row, vocabulary, *parts):
    """A row has the features of a stream of these parts, of which the last was read now."""
    reader = StepFeatures(vocabulary.table)
    expected = [reader.read(part) for part in parts][-1]
    for name in NAMES:
        array = found[name] if isinstance(found, dict) else getattr(found, name)
        np.testing.assert_array_equal(array[row], getattr(expected, name), err_msg=name)


def test_rows_are_independent_and_a_reset_starts_a_new_stream(implementation, vocabulary, ids):
    rows = implementation(vocabulary.table, 3)
    rows.read(ids[:, :20])
    found = rows.read(ids[:, 20:], np.array([False, True, False]))
    assert_row(found, 0, vocabulary, ids[0, :20], ids[0, 20:])
    assert_row(found, 1, vocabulary, ids[1, 20:])


def test_selected_rows_are_copies(implementation, vocabulary, ids):
    rows = implementation(vocabulary.table, 3)
    rows.read(ids[:, :20])
    selected = rows.select([2, 0])
    rows.read(ids[:, 20:30])
    assert len(selected) == 2
    assert_row(selected.read(ids[[2, 0], 20:]), 0, vocabulary, ids[2, :20], ids[2, 20:])


def test_tokens_beyond_the_length_of_a_row_are_not_read(implementation, vocabulary, ids):
    rows = implementation(vocabulary.table, 3)
    rows.read(ids[:, :20], lengths=np.array([20, 7, 0]))
    found = rows.read(ids[:, 20:])
    assert_row(found, 1, vocabulary, ids[1, :7], ids[1, 20:])
    assert_row(found, 2, vocabulary, ids[2, 20:])


def test_features_restored_from_their_history_continue_alike(implementation, vocabulary, ids):
    windows = torch.from_numpy(ids)
    stateful = StatefulFeatures(vocabulary.table, 3)
    stateful.read(windows[:, :20], torch.tensor([True, True, True]))
    stateful.read(windows[:, 20:30], torch.tensor([False, True, False]))
    tokens, counts = stateful.history()
    assert counts.tolist() == [30, 10, 30]
    restored = StatefulFeatures.from_history(vocabulary.table, tokens, counts)
    for each in (stateful, restored):
        found = each.read(windows[:, 30:], torch.tensor([False, False, True]))
        assert_row(found, 0, vocabulary, ids[0, :30], ids[0, 30:])
        assert_row(found, 1, vocabulary, ids[1, 20:30], ids[1, 30:])
        assert_row(found, 2, vocabulary, ids[2, 30:])
    for one, other in zip(restored.history(), stateful.history(), strict=True):
        assert torch.equal(one, other)


def test_without_a_compiler_the_reference_is_used(vocabulary, monkeypatch):
    monkeypatch.setattr(features, "is_available", lambda: False)
    assert isinstance(feature_rows(vocabulary.table, 2), ReferenceRows)
