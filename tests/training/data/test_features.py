"""Step features of rows: compiled, in Python, carried and restored."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from musiclstm.core.features import FeatureRows, is_available
from musiclstm.model.step_features import FeatureArrays, StepFeatures
from training.data import features
from training.data.features import CarriedFeatures, ReferenceRows, feature_rows

NAMES = [field.name for field in fields(FeatureArrays)]
FORMS = [
    ReferenceRows,
    pytest.param(FeatureRows, marks=pytest.mark.skipif(not is_available(), reason="no C compiler")),
]


@pytest.fixture(params=FORMS)
def form(request, monkeypatch):
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


def alone(vocabulary, *parts):
    """What the reference says of one stream, the last part of it."""
    reader = StepFeatures(vocabulary.table)
    for part in parts:
        found = reader.read(part)
    return found


def assert_equal(found, row, expected):
    for name in NAMES:
        array = found[name] if isinstance(found, dict) else getattr(found, name)
        np.testing.assert_array_equal(array[row], getattr(expected, name), err_msg=name)


def test_each_row_is_read_by_itself_and_a_reset_begins_anew(form, vocabulary, ids):
    rows = form(vocabulary.table, 3)
    rows.read(ids[:, :20])
    found = rows.read(ids[:, 20:], np.array([False, True, False]))
    assert_equal(found, 0, alone(vocabulary, ids[0, :20], ids[0, 20:]))
    assert_equal(found, 1, alone(vocabulary, ids[1, 20:]))


def test_selected_rows_go_on_by_themselves(form, vocabulary, ids):
    rows = form(vocabulary.table, 3)
    rows.read(ids[:, :20])
    chosen = rows.select([2, 0])
    rows.read(ids[:, 20:30])
    assert len(chosen) == 2
    assert_equal(chosen.read(ids[[2, 0], 20:]), 0, alone(vocabulary, ids[2, :20], ids[2, 20:]))


def test_tokens_beyond_the_length_of_a_row_are_not_read(form, vocabulary, ids):
    rows = form(vocabulary.table, 3)
    rows.read(ids[:, :20], lengths=np.array([20, 7, 0]))
    found = rows.read(ids[:, 20:])
    assert_equal(found, 1, alone(vocabulary, ids[1, :7], ids[1, 20:]))
    assert_equal(found, 2, alone(vocabulary, ids[2, 20:]))


def test_carried_features_go_on_from_their_history(form, vocabulary, ids):
    windows = torch.from_numpy(ids)
    carried = CarriedFeatures(vocabulary.table, 3)
    carried.read(windows[:, :20], torch.tensor([True, True, True]))
    carried.read(windows[:, 20:30], torch.tensor([False, True, False]))
    tokens, counts = carried.history()
    assert counts.tolist() == [30, 10, 30]
    restored = CarriedFeatures.from_history(vocabulary.table, tokens, counts)
    for each in (carried, restored):
        found = each.read(windows[:, 30:], torch.tensor([False, False, True]))
        assert_equal(found, 0, alone(vocabulary, ids[0, :30], ids[0, 30:]))
        assert_equal(found, 1, alone(vocabulary, ids[1, 20:30], ids[1, 30:]))
        assert_equal(found, 2, alone(vocabulary, ids[2, 30:]))
    for one, other in zip(restored.history(), carried.history(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("compiled", [True, False])
def test_without_a_compiler_the_reference_is_used(compiled, vocabulary, monkeypatch):
    if compiled and not is_available():
        pytest.skip("no C compiler")
    monkeypatch.setattr(features, "is_available", lambda: compiled)
    expected = FeatureRows if compiled else ReferenceRows
    assert isinstance(feature_rows(vocabulary.table, 2), expected)
