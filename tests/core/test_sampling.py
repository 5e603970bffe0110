"""Draws and sums of exponentials in C against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from musiclstm.core import native
from musiclstm.core.sampling import NO_TOKEN, OUTSIDE, Sampler


@pytest.fixture(scope="module")
def sampler() -> Sampler:
    """The compiled functions of this machine."""
    library = native.load()
    if library is None:
        pytest.skip("this machine cannot build the compiled core")
    return Sampler(library)


CHANCES = np.linspace(0, 1, 101)[:-1]


def weights_of(logits: np.ndarray, rate: float) -> np.ndarray:
    powers = np.exp((logits.astype(np.float64) - logits.max()) * rate)
    return powers / powers.sum()


@pytest.mark.parametrize("size", [1, 7, 8, 63, 64, 65, 200, 2_048])
def test_a_draw_is_in_proportion_to_the_weights(size, sampler) -> None:
    rng = np.random.default_rng(size)
    logits = rng.normal(size=size).astype(np.float32) * 3
    logits[rng.random(size) < 0.3] = -np.inf
    logits[size // 2] = 1
    weights = weights_of(logits, 1 / 0.9)
    ends = weights.cumsum()
    for chance in [0.0, *rng.random(200), np.nextafter(1, 0)]:
        index = sampler.draw(logits.copy(), 1 / 0.9, 1.0, 0.0, chance)
        assert weights[index] > 0
        assert ends[index] - weights[index] - 1e-5 <= chance <= ends[index] + 1e-5


def test_a_draw_overwrites_the_logits_with_weights(sampler) -> None:
    logits = np.array([1, 3, -np.inf, 2.5, -60], np.float32)
    expected = weights_of(logits, 2)
    sampler.draw(logits, 2.0, 1.0, 0.0, 0.5)
    np.testing.assert_allclose(logits / logits.sum(), expected, atol=1e-6)
    assert logits[2] == logits[4] == 0


def test_a_draw_outside_top_p_is_reported(sampler) -> None:
    logits = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    for chance, top_p, expected in [
        (0.05, 1.0, 0),
        (0.05, 0.8, OUTSIDE),
        (0.05, 0.95, 0),
        (0.3, 0.1, 1),
        (0.65, 0.7, OUTSIDE),
        (0.65, 0.8, 2),
        (0.9, 0.4, OUTSIDE),
    ]:
        assert sampler.draw(logits.copy(), 1.0, top_p, 0.0, chance) == expected


@pytest.mark.parametrize(("min_p", "left"), [(0.0, 4), (0.19, 4), (0.21, 3), (0.6, 1), (1.0, 1)])
def test_a_draw_leaves_out_tokens_below_min_p(min_p, left, sampler) -> None:
    logits = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    expected = np.where(np.exp(logits) >= min_p * 0.5 - 1e-7, np.exp(logits), 0)
    found = logits.copy()
    sampler.draw(found, 1.0, 1.0, min_p, 0.5)
    assert np.count_nonzero(found) == left
    np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=1e-6)
    indexs = {sampler.draw(logits.copy(), 1.0, 1.0, min_p, chance) for chance in CHANCES}
    assert indexs == set(np.flatnonzero(expected))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 5, 8, 64, 100])
def test_a_draw_without_finite_logits_gives_no_token_and_leaves_them(size, wrong, sampler) -> None:
    for logits in (np.full(size, wrong, np.float32), np.zeros(size, np.float32)):
        logits[-1] = wrong
        if np.isneginf(logits).all() or not np.isneginf(wrong):
            before = logits.copy()
            assert sampler.draw(logits, 1.0, 0.9, 0.0, 0.5) == NO_TOKEN
            assert np.array_equal(logits, before, equal_nan=True)


@pytest.mark.parametrize("size", [1, 7, 8, 65, 682])
def test_a_log_sum_equals_that_of_numpy(size, sampler) -> None:
    rng = np.random.default_rng(size)
    for scale, shift in [(1, 0), (30, 0), (5, 1_000), (5, -1_000)]:
        logits = (rng.normal(size=size) * scale + shift).astype(np.float32)
        logits[1::3] = -np.inf
        exact = logits.astype(np.float64)
        expected = exact.max() + np.log(np.exp(exact - exact.max()).sum())
        assert sampler.log_sum(logits) == pytest.approx(expected, abs=1e-5)


def test_another_array_at_the_same_size_is_read_anew(sampler) -> None:
    first, second = np.zeros(8, np.float32), np.ones(8, np.float32)
    assert sampler.log_sum(first) == pytest.approx(np.log(8))
    assert sampler.log_sum(second) == pytest.approx(1 + np.log(8))
    first[:] = 2  # the same array with other values
    assert sampler.log_sum(first) == pytest.approx(2 + np.log(8))
