"""Sampling and log-sum-exp in C against numpy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from musiclstm.core import native
from musiclstm.core.sampling import NO_TOKEN, OUTSIDE_TOP_P, CompiledSampler


@pytest.fixture(scope="module")
def sampler() -> CompiledSampler:
    """The compiled functions of this machine."""
    library = native.load()
    if library is None:
        pytest.skip("this machine cannot build the compiled core")
    return CompiledSampler(library)


def probabilities(logits: np.ndarray, inverse_temperature: float) -> np.ndarray:
    powers = np.exp((logits.astype(np.float64) - logits.max()) * inverse_temperature)
    return powers / powers.sum()


@pytest.mark.parametrize("size", [1, 7, 8, 63, 64, 65, 200, 2_048])
def test_an_index_is_sampled_in_proportion_to_its_weight(size, sampler) -> None:
    rng = np.random.default_rng(size)
    logits = rng.normal(size=size).astype(np.float32) * 3
    logits[rng.random(size) < 0.3] = -np.inf
    logits[size // 2] = 1
    weights = probabilities(logits, 1 / 0.9)
    ends = weights.cumsum()
    for uniform in [0.0, *rng.random(200), np.nextafter(1, 0)]:
        index = sampler.sample(logits.copy(), 1 / 0.9, 1.0, 0.0, uniform)
        assert weights[index] > 0
        assert ends[index] - weights[index] - 1e-5 <= uniform <= ends[index] + 1e-5


def test_sampling_overwrites_the_logits_with_weights(sampler) -> None:
    logits = np.array([1, 3, -np.inf, 2.5, -60], np.float32)
    expected = probabilities(logits, 2)
    sampler.sample(logits, 2.0, 1.0, 0.0, 0.5)
    np.testing.assert_allclose(logits / logits.sum(), expected, atol=1e-6)
    assert logits[2] == logits[4] == 0


def test_an_index_outside_top_p_is_reported(sampler) -> None:
    logits = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    for uniform, top_p, expected in [
        (0.05, 1.0, 0),
        (0.05, 0.8, OUTSIDE_TOP_P),
        (0.05, 0.95, 0),
        (0.3, 0.1, 1),
        (0.65, 0.7, OUTSIDE_TOP_P),
        (0.65, 0.8, 2),
        (0.9, 0.4, OUTSIDE_TOP_P),
    ]:
        assert sampler.sample(logits.copy(), 1.0, top_p, 0.0, uniform) == expected


def test_tokens_below_min_p_get_no_weight(sampler) -> None:
    logits = np.log(np.array([0.1, 0.5, 0.15, 0.25], np.float32))
    for min_p, left in [(0.0, 4), (0.19, 4), (0.21, 3), (0.6, 1), (1.0, 1)]:
        expected = np.where(np.exp(logits) >= min_p * 0.5 - 1e-7, np.exp(logits), 0)
        found = logits.copy()
        sampler.sample(found, 1.0, 1.0, min_p, 0.5)
        assert np.count_nonzero(found) == left
        np.testing.assert_allclose(found / found.sum(), expected / expected.sum(), atol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 8, 100])
def test_without_finite_logits_there_is_no_token_and_they_stay(size, wrong, sampler) -> None:
    for logits in (np.full(size, wrong, np.float32), np.zeros(size, np.float32)):
        logits[-1] = wrong
        if np.isneginf(logits).all() or not np.isneginf(wrong):
            before = logits.copy()
            assert sampler.sample(logits, 1.0, 0.9, 0.0, 0.5) == NO_TOKEN
            assert np.array_equal(logits, before, equal_nan=True)


@pytest.mark.parametrize("size", [1, 7, 8, 65, 682])
def test_logsumexp_equals_that_of_numpy(size, sampler) -> None:
    rng = np.random.default_rng(size)
    for scale, shift in [(1, 0), (30, 0), (5, 1_000), (5, -1_000)]:
        logits = (rng.normal(size=size) * scale + shift).astype(np.float32)
        logits[1::3] = -np.inf
        exact = logits.astype(np.float64)
        expected = exact.max() + np.log(np.exp(exact - exact.max()).sum())
        assert sampler.logsumexp(logits) == pytest.approx(expected, abs=1e-5)


def test_two_threads_get_the_results_of_one(sampler) -> None:
    """The GIL is released during a call, so results in shared memory would be mixed up."""
    rng = np.random.default_rng(0)
    logits = [(rng.normal(size=682) + 50 * shift).astype(np.float32) for shift in range(8)]
    expected = [sampler.logsumexp(each) for each in logits]

    def wrong_results(offset: int) -> int:
        order = [(i + offset) % 8 for i in range(100_000)]
        return sum(sampler.logsumexp(logits[i]) != expected[i] for i in order)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wrong_results, (0, 3))) == [0, 0]
