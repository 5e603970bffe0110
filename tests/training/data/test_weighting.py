"""How often a weight lets a piece be seen."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.weighting import times_seen

WEIGHTS = st.floats(0.01, 20)


def test_without_weights_of_its_own_every_piece_is_seen_once():
    assert times_seen([1.0] * 7, epoch=5).tolist() == [1] * 7


def test_a_whole_weight_is_that_many_times():
    assert times_seen([2.0, 1.0, 3.0, 2.0], epoch=3).tolist() == [2, 1, 3, 2]


def test_half_a_weight_takes_turns():
    first, second = (times_seen([0.5] * 10, epoch=epoch) for epoch in (0, 1))
    assert first.sum() == second.sum() == 5
    assert (first + second).tolist() == [1] * 10


def test_a_seed_says_whose_turn_comes_first():
    halves = {tuple(times_seen([0.5] * 10, epoch=0, seed=seed)) for seed in range(5)}
    assert len(halves) > 1


@given(st.integers(1, 40), WEIGHTS, st.integers(0, 1000))
def test_every_epoch_shows_as_many_as_the_weight_says(pieces, weight, epoch):
    times = times_seen([weight] * pieces, epoch)
    assert abs(times.sum() - pieces * weight) <= 1 + 1e-6
    assert times.max() - times.min() <= 1


@given(st.integers(1, 20), WEIGHTS, st.integers(1, 30))
def test_no_piece_is_ever_ahead_by_more_than_one(pieces, weight, epochs):
    weight = max(weight, 1.001 / pieces)  # below that the rule about empty epochs helps out
    seen = sum(times_seen([weight] * pieces, epoch) for epoch in range(epochs))
    assert seen.max() - seen.min() <= 1
    assert np.abs(seen - epochs * weight).max() <= 1 + 1e-6


def test_an_epoch_of_nothing_shows_one_piece():
    for epoch in range(40):
        assert times_seen([0.01, 0.02], epoch).sum() >= 1
    assert times_seen([], epoch=0).tolist() == []


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_what_an_epoch_shows_follows_from_its_number_alone(epoch):
    weights = [0.3] * 9 + [1.7] * 4
    alone = times_seen(weights, epoch, seed=2)
    after_others = [times_seen(weights, each, seed=2) for each in range(epoch + 1)][-1]
    np.testing.assert_array_equal(alone, after_others)
