"""Sampling one token from masked logits."""

from __future__ import annotations

import random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from musiclstm.generation.decoding import sampling as module
from musiclstm.generation.decoding.sampling import (
    MAX_SEED,
    MAX_TEMPERATURE,
    BarRepetitionPenalty,
    Sampling,
    logsumexp,
)

LOGITS = np.log(np.array([0.05, 0.5, 0.2, 0.15, 0.1], dtype=np.float32))
SAMPLES_7_0 = [2, 2, 1, 4, 1, 1, 2, 1, 2, 2, 3, 1]  # where the numbers fall, worked out by hand
KINDS = np.array([0, 1, 1, 2, 2], dtype=np.int8)
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def samples(sampling: Sampling, *, logits=LOGITS, kinds=None, count=4_000) -> np.ndarray:
    rng = random.Random(1)
    return np.array([sampling.sample(logits.copy(), rng, kinds) for _ in range(count)])


def frequencies(chosen: np.ndarray) -> np.ndarray:
    return np.bincount(chosen, minlength=5) / len(chosen)


def only(*tokens: int, logits=LOGITS) -> np.ndarray:
    allowed = np.full(len(logits), -np.inf, dtype=np.float32)
    allowed[[*tokens]] = logits[[*tokens]]
    return allowed


def kept(sampling: Sampling, logits=LOGITS) -> set[int]:
    return {int(token) for token in np.flatnonzero(sampling.probabilities(logits))}


def peaked(seed: int, size: int = 2_048) -> np.ndarray:
    """Scores as a trained network gives them: a few high ones, a long tail, half not allowed."""
    numbers = np.random.default_rng(seed)
    logits = (3 * numbers.standard_normal(size)).astype(np.float32)
    logits[numbers.random(size) < 0.5] = -np.inf
    return logits


def test_temperature_0_gives_the_most_probable_token() -> None:
    assert set(samples(Sampling(temperature=0), count=50)) == {1}


def test_temperature_0_uses_no_random_numbers() -> None:
    rng = random.Random(1)
    before = rng.getstate()
    Sampling(temperature=0).sample(LOGITS.copy(), rng)
    assert rng.getstate() == before


def test_temperature_1_gives_the_distribution_of_the_network() -> None:
    found = frequencies(samples(Sampling(temperature=1, top_p=1)))
    np.testing.assert_allclose(found, np.exp(LOGITS), atol=0.03)


def test_a_higher_temperature_flattens() -> None:
    expected = np.exp(LOGITS / 2)
    found = frequencies(samples(Sampling(temperature=2, top_p=1)))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.03)


def test_adding_a_constant_to_the_logits_changes_nothing() -> None:
    sampling = Sampling(temperature=1, top_p=1)
    np.testing.assert_array_equal(
        samples(sampling, count=200), samples(sampling, logits=LOGITS + 5_000, count=200)
    )


def test_top_k_samples_from_the_k_most_probable() -> None:
    found = frequencies(samples(Sampling(temperature=1, top_p=1, top_k=2)))
    np.testing.assert_allclose(found, [0, 5 / 7, 2 / 7, 0, 0], atol=0.03)


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {1}), (0.6, {1, 2}), (0.8, {1, 2, 3}), (1.0, {0, 1, 2, 3, 4})]
)
def test_top_p_samples_from_the_most_probable_that_reach_it(top_p, kept) -> None:
    assert set(samples(Sampling(temperature=1, top_p=top_p))) == kept


def test_top_p_applies_after_top_k() -> None:
    # Of the three likeliest (5 : 2 : 1.5) the first two reach 80 %.
    assert set(samples(Sampling(temperature=1, top_k=3, top_p=0.8))) == {1, 2}


def test_only_permitted_tokens_are_sampled() -> None:
    found = frequencies(samples(Sampling(temperature=1, top_p=1), logits=only(0, 3)))
    np.testing.assert_allclose(found, [1 / 4, 0, 0, 3 / 4, 0], atol=0.03)
    assert Sampling(temperature=0).sample(only(0, 3), random.Random(1)) == 3


def test_a_single_permitted_token_is_sampled() -> None:
    logits = np.array([-np.inf, -50.0], dtype=np.float32)
    assert Sampling(top_k=1, top_p=0.1).sample(logits, random.Random(1)) == 1


@pytest.mark.parametrize("logits", [[-np.inf, -np.inf], [1.0, np.nan], [1.0, np.inf]])
@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_without_a_finite_maximum_are_refused(logits, temperature) -> None:
    with pytest.raises(ValueError, match=r"got (-inf|nan|inf): no token is permitted"):
        Sampling(temperature=temperature).sample(np.float32(logits), random.Random(1))


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-9, 0.9, 100])
def test_logits_far_apart_give_a_permitted_token(temperature) -> None:
    logits = np.array([-3e38, 3e38, -np.inf, 2e38, 0], dtype=np.float32)
    assert Sampling(temperature=temperature).sample(logits, random.Random(1)) == 1
    lowest = np.array([-np.inf, -3.4e38, -np.inf], dtype=np.float32)
    assert Sampling(temperature=temperature).sample(lowest, random.Random(1)) == 1


def test_temperature_0_gives_the_first_of_equally_probable_tokens() -> None:
    logits = np.array([0, 2, 1, 2], dtype=np.float32)
    assert Sampling(temperature=0).sample(logits, random.Random(1)) == 1


def test_ties_with_the_last_token_are_kept() -> None:
    logits = np.log(np.array([0.4, 0.2, 0.2, 0.15, 0.05], dtype=np.float32))
    assert kept(Sampling(temperature=1, top_p=0.5), logits) == {0, 1, 2}
    assert kept(Sampling(temperature=1, top_p=1, top_k=2), logits) == {0, 1, 2}


# -- Epsilon cut-off, min_p, and the order ---------------------------------------------------------


def test_tokens_below_the_epsilon_cutoff_are_excluded() -> None:
    assert set(samples(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.12))) == {1, 2, 3}


def test_the_most_probable_token_is_kept_below_the_epsilon_cutoff() -> None:
    assert set(samples(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.6), count=50)) == {1}
    assert set(samples(Sampling(temperature=1, top_p=1, epsilon_cutoff=1), count=50)) == {1}


def test_the_epsilon_cutoff_applies_after_the_temperature() -> None:
    # At temperature 2 the least likely has 11 %, at 1 it has 5 %.
    assert 0 in kept(Sampling(temperature=2, top_p=1, epsilon_cutoff=0.1))
    assert 0 not in kept(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.1))


def test_the_epsilon_cutoff_applies_to_probabilities_among_permitted_tokens() -> None:
    assert kept(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.2), only(0, 3)) == {0, 3}


def test_min_p_is_relative_to_the_most_probable() -> None:
    assert set(samples(Sampling(temperature=1, top_p=1, min_p=0.25))) == {1, 2, 3}
    assert set(samples(Sampling(temperature=1, top_p=1, min_p=1), count=50)) == {1}


def test_the_epsilon_cutoff_comes_before_top_k_and_top_k_before_top_p() -> None:
    # Of 0.5, 0.2, 0.15 the cut-off leaves 10 : 4 : 3; the first alone reaches 58 % of that.
    assert kept(Sampling(temperature=1, epsilon_cutoff=0.12, top_p=0.58)) == {1}
    assert kept(Sampling(temperature=1, top_p=0.58)) == {1, 2}
    # Of the two likeliest the first reaches 71 %.
    assert kept(Sampling(temperature=1, top_k=2, top_p=0.7)) == {1}
    assert kept(Sampling(temperature=1, top_p=0.7)) == {1, 2}


# -- Temperatures of their own ---------------------------------------------------------------------


def test_a_pitch_temperature_keeps_the_probability_of_each_kind() -> None:
    found = Sampling(temperature=1, top_p=1, pitch_temperature=0.5).probabilities(LOGITS, KINDS)
    np.testing.assert_allclose(found[[0, 3, 4]], [0.05, 0.15, 0.1], rtol=1e-5)
    np.testing.assert_allclose(found[[1, 2]], [0.7 * 25 / 29, 0.7 * 4 / 29], rtol=1e-5)


def test_a_rhythm_temperature_changes_rhythm_tokens_only() -> None:
    found = Sampling(temperature=1, top_p=1, rhythm_temperature=0).probabilities(LOGITS, KINDS)
    np.testing.assert_allclose(found, [0.05, 0.5, 0.2, 0.25, 0], rtol=1e-5)


def test_samples_follow_the_temperatures_of_their_kinds() -> None:
    sampling = Sampling(temperature=2, top_p=1, pitch_temperature=0, rhythm_temperature=1)
    expected = sampling.probabilities(LOGITS, KINDS)
    found = frequencies(samples(sampling, kinds=KINDS))
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert expected[2] == 0


def test_equal_temperatures_of_all_kinds_are_one_temperature() -> None:
    own = Sampling(temperature=0.7, pitch_temperature=0.7, rhythm_temperature=0.7)
    logits, kinds = peaked(1), np.arange(2_048) % 3
    np.testing.assert_allclose(
        own.probabilities(logits, kinds), Sampling(temperature=0.7).probabilities(logits), rtol=1e-4
    )


def test_at_temperature_0_the_most_probable_token_sets_the_kind() -> None:
    found = Sampling(temperature=0, top_p=1, pitch_temperature=1).probabilities(LOGITS, KINDS)
    np.testing.assert_allclose(found, [0, 5 / 7, 2 / 7, 0, 0], rtol=1e-5)


def test_a_kind_without_permitted_tokens_has_probability_0() -> None:
    sampling = Sampling(temperature=1, top_p=1, pitch_temperature=0.5)
    np.testing.assert_allclose(
        sampling.probabilities(only(0, 3), KINDS), [0.25, 0, 0, 0.75, 0], rtol=1e-5
    )


def test_a_temperature_of_a_kind_without_kinds_is_refused() -> None:
    with pytest.raises(ValueError, match="pass kinds"):
        Sampling(pitch_temperature=1).sample(LOGITS.copy(), random.Random(1))


# -- Long vocabularies -----------------------------------------------------------------------------


def reference(sampling: Sampling, logits: np.ndarray) -> np.ndarray:
    """Temperature and top_p in the plainest way, float64."""
    logits = logits.astype(np.float64) / sampling.temperature
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    order = np.argsort(-shares, kind="stable")
    enough = int(np.searchsorted(shares[order].cumsum(), sampling.top_p)) + 1
    kept = np.zeros_like(shares)
    kept[order[:enough]] = shares[order[:enough]]
    return kept / kept.sum()


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.98, 0.9999])
@pytest.mark.parametrize("temperature", [0.3, 0.9, 2.0])
def test_the_nucleus_equals_that_of_a_full_sort(top_p, temperature) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p, min_p=0)
    for seed in range(5):
        logits = peaked(seed)
        np.testing.assert_allclose(
            sampling.probabilities(logits), reference(sampling, logits), atol=1e-6
        )


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(),
        Sampling(temperature=1.5, top_p=0.6),
        Sampling(top_p=0.9, epsilon_cutoff=0.01),
        Sampling(top_k=7, top_p=0.8),
        Sampling(min_p=0.2),
        Sampling(min_p=0.1, top_p=0.6),
        Sampling(min_p=0.2, epsilon_cutoff=0.01),
        Sampling(pitch_temperature=0.4, top_p=0.7),
    ],
)
def test_frequencies_of_samples_equal_the_probabilities(sampling) -> None:
    logits, kinds = peaked(3, size=24), np.arange(24) % 3
    expected = sampling.probabilities(logits, kinds)
    found = np.bincount(samples(sampling, logits=logits, kinds=kinds, count=20_000), minlength=24)
    np.testing.assert_allclose(found / 20_000, expected, atol=0.015)
    assert (expected[found > 0] > 0).all()


@given(
    logits=arrays(np.float32, st.integers(1, 40), elements=FLOATS),
    allowed=st.integers(0, 2**40 - 1),
    sampling=st.builds(
        Sampling,
        temperature=st.floats(0, MAX_TEMPERATURE),
        top_p=st.floats(0, 1, exclude_min=True),
        top_k=st.integers(0, 50),
        min_p=st.floats(0, 1),
        epsilon_cutoff=st.floats(0, 1),
        pitch_temperature=st.none() | st.floats(0, MAX_TEMPERATURE),
        rhythm_temperature=st.none() | st.floats(0, MAX_TEMPERATURE),
    ),
    seed=st.integers(0, 100),
)
def test_any_logits_and_settings_give_a_permitted_token(logits, allowed, sampling, seed) -> None:
    for place in range(len(logits)):
        if not allowed >> place & 1:
            logits[place] = -np.inf
    logits[seed % len(logits)] = 1.0
    kinds = np.arange(len(logits)) % 3
    shares = sampling.probabilities(logits, kinds)
    assert shares.sum() == pytest.approx(1)
    token = sampling.sample(logits.copy(), random.Random(seed), kinds)
    assert logits[token] > -np.inf
    assert shares[token] > 0


# -- Chance ----------------------------------------------------------------------------------------


def test_samples_are_the_same_on_every_machine() -> None:
    rng = Sampling(seed=7).rng_for_bar(0)
    found = [Sampling(temperature=1).sample(LOGITS.copy(), rng) for _ in range(12)]
    assert found == SAMPLES_7_0


def test_bars_and_seeds_have_different_random_numbers() -> None:
    first = [
        Sampling(seed=seed).rng_for_bar(bar).random() for seed in (0, 1, 11) for bar in (0, 1, 11)
    ]
    assert len(set(first)) == len(first)


def test_a_random_seed_is_set_only_if_missing() -> None:
    given = Sampling(seed=7)
    assert given.with_seed() is given
    drawn = Sampling(temperature=0.5).with_seed()
    assert 0 <= drawn.seed <= MAX_SEED
    assert drawn.temperature == 0.5


# -- Higher temperatures ---------------------------------------------------------------------------


def test_a_temperature_raised_by_0_is_the_same() -> None:
    sampling = Sampling(top_k=5, epsilon_cutoff=0.1, min_p=0.1, rhythm_temperature=0.5, seed=7)
    assert sampling.with_higher_temperature(0) == sampling


def test_raising_the_temperature_loosens_all_limits() -> None:
    sampling = Sampling(
        temperature=0.8,
        pitch_temperature=0.6,
        top_p=0.9,
        top_k=5,
        epsilon_cutoff=0.1,
        min_p=0.2,
        copy_weight=0.8,
        seed=7,
    )
    hot = sampling.with_higher_temperature(0.5)
    assert (hot.temperature, hot.pitch_temperature) == pytest.approx((1.2, 0.9))
    assert hot.rhythm_temperature is None
    assert (hot.top_p, hot.top_k) == (pytest.approx(0.925), 8)
    assert (hot.epsilon_cutoff, hot.min_p) == pytest.approx((0.075, 0.15))
    assert hot.copy_weight == pytest.approx(0.6)
    assert hot.seed == 7


def test_temperature_0_can_be_raised() -> None:
    assert Sampling(temperature=0).with_higher_temperature(0.3).temperature == 0.3
    assert Sampling(temperature=0.1).with_higher_temperature(0.3).temperature == 0.3
    assert len(kept(Sampling(temperature=0.5, top_k=1).with_higher_temperature(0.1))) == 2


def test_a_raised_temperature_stays_in_its_range() -> None:
    assert Sampling(temperature=60).with_higher_temperature(1).temperature == MAX_TEMPERATURE


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan"), "much"])
def test_an_amount_out_of_range_is_refused(amount) -> None:
    with pytest.raises(ValueError, match=f"amount .* got {amount}"):
        Sampling().with_higher_temperature(amount)


# -- Repetition ------------------------------------------------------------------------------------

NOTES = np.array([False, False, True, True, True, False])


def penalties(bars, so_far, *, penalty=2.0, back=4, notes=NOTES, pitches=range(0)) -> list[float]:
    """In halvings: how often the penalty is taken off each token after those of a bar so far."""
    sampling = Sampling(repetition_penalty=penalty, repetition_bars=back)
    repetition = BarRepetitionPenalty(sampling, bars, notes, pitches)
    for token in so_far:
        repetition.advance(token)
    logits = np.zeros(6)
    repetition.apply(logits)
    return [round(-score / np.log(penalty), 6) for score in logits]


def test_continuing_a_copy_is_penalized() -> None:
    assert penalties([(0, 2, 5, 3)], [0, 2]) == [0, 0, 0, 0, 0, 1]
    assert penalties([(0, 2, 5, 3)], [0, 2, 5]) == [0, 0, 0, 1, 0, 0]


def test_the_penalty_applies_once_for_each_copied_bar() -> None:
    assert penalties([(0, 2, 5), (0, 2, 4), (0, 2, 5)], [0, 2]) == [0, 0, 0, 0, 1, 2]


def test_a_bar_with_another_beginning_has_no_penalty() -> None:
    assert penalties([(0, 2, 5), (1, 2, 5)], [0, 3]) == [0] * 6
    assert penalties([(0, 2, 5, 3)], [0, 3, 5]) == [0] * 6


def test_equal_beginnings_before_the_first_note_have_no_penalty() -> None:
    assert penalties([(0, 1, 2)], [0, 1]) == [0] * 6
    assert penalties([(0, 1, 2)], [0, 1], notes=None) == [0, 0, 1, 0, 0, 0]
    assert penalties([(2, 1, 2)], []) == [0] * 6


def test_a_transposed_bar_is_a_copy() -> None:
    pitches = range(2, 5)
    assert penalties([(0, 2, 5, 3)], [0, 3], pitches=pitches) == [0, 0, 0, 0, 0, 1]
    assert penalties([(0, 2, 5, 3)], [0, 3, 5], pitches=pitches) == [0, 0, 0, 0, 1, 0]
    assert penalties([(0, 2, 5, 3, 1)], [0, 3, 5, 4], pitches=pitches) == [0, 1, 0, 0, 0, 0]


def test_another_interval_ends_a_copy() -> None:
    pitches = range(2, 5)
    assert penalties([(0, 2, 5, 3, 1)], [0, 3, 5, 3], pitches=pitches) == [0] * 6
    assert penalties([(0, 2, 5, 3, 1)], [0, 2, 5, 4], pitches=pitches) == [0] * 6


def test_a_copy_beyond_the_pitches_has_no_penalty() -> None:
    assert penalties([(0, 2, 5, 4)], [0, 3, 5], pitches=range(2, 5)) == [0] * 6


def test_other_tokens_are_not_transposed() -> None:
    assert penalties([(2, 4, 5)], [3, 4], pitches=range(2, 4)) == [0, 0, 0, 0, 0, 1]
    assert penalties([(2, 4, 5)], [3, 3], pitches=range(2, 4)) == [0] * 6


def test_the_end_of_the_copied_bar_ends_the_penalty() -> None:
    assert penalties([(0, 2)], [0, 2]) == [0] * 6
    assert penalties([(0, 2)], [0, 2, 5, 3]) == [0] * 6


def test_only_the_last_bars_count() -> None:
    assert penalties([(2, 5), (3, 5), (4, 5)], [2], back=2) == [0] * 6
    assert penalties([(2, 5), (3, 5), (4, 5)], [3], back=2) == [0, 0, 0, 0, 0, 1]


def test_a_penalty_divides_the_probability() -> None:
    repetition = BarRepetitionPenalty(Sampling(repetition_penalty=3), [(4, 1)])
    repetition.advance(4)
    logits = LOGITS.copy()
    repetition.apply(logits)
    expected = np.array([0.05, 0.5 / 3, 0.2, 0.15, 0.1])
    np.testing.assert_allclose(np.exp(logits), expected, rtol=1e-5)


def test_a_penalty_of_1_changes_nothing() -> None:
    off = Sampling(repetition_penalty=1)
    repetition = BarRepetitionPenalty(off, [(2, 3)], NOTES)
    repetition.advance(2)
    logits = LOGITS.copy()
    repetition.apply(logits)
    np.testing.assert_array_equal(logits, LOGITS)


# -- Refusals --------------------------------------------------------------------------------------


REFUSED = [
    *({"temperature": value} for value in (-0.5, None, np.inf, np.nan, 100.5)),
    *({"pitch_temperature": -1}, {"rhythm_temperature": 101}),
    *({name: value} for name in ("min_p", "epsilon_cutoff") for value in (-0.1, 1.5, "low")),
    *({"repetition_penalty": 0.5}, {"repetition_penalty": np.inf}),
    *({"repetition_bars": 0}, {"repetition_bars": 1.5}),
    *({"top_p": value} for value in (0, 1.5, "most")),
    *({"top_k": -1}, {"top_k": 2.5}),
    *({"copy_weight": value} for value in (-0.1, 2.5, np.nan, "much")),
    *({"seed": value} for value in (-1, MAX_SEED + 1, 7.0)),
]


@pytest.mark.parametrize("values", REFUSED, ids=str)
def test_a_value_out_of_range_is_refused(values) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"^{name} must be .*got {value}[.;]"):
        Sampling(**values)


# -- Log-sum-exp -----------------------------------------------------------------------------------


@given(arrays(np.float32, st.integers(1, 70), elements=st.floats(-50, 50, width=32)))
def test_a_logit_minus_logsumexp_is_its_log_softmax(logits) -> None:
    expected = np.log(np.exp(logits.astype(np.float64)).sum())
    assert logsumexp(logits) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_logsumexp_ignores_forbidden_tokens(compiled, monkeypatch) -> None:
    if not compiled:
        monkeypatch.setattr(module, "_compiled_sampler", lambda: None)
    logits = peaked(1)
    before = logits.copy()
    allowed = logits[np.isfinite(logits)].astype(np.float64)
    assert logsumexp(logits) == pytest.approx(np.log(np.exp(allowed).sum()), abs=1e-5)
    assert (logits == before).all()
    assert logsumexp(only(3)) == pytest.approx(LOGITS[3])
    assert logsumexp(np.full(3, 1e30, np.float32)) == pytest.approx(1e30)
    logsumexp(np.full(3, -np.inf, np.float32))  # `sample` refuses such logits
    logsumexp(np.full(3, np.nan, np.float32))
