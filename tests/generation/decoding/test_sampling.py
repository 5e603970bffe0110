"""From logits to one token."""

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
RANDOM_7_0 = 0.7059339087777089
CHOICES_7_0 = [2, 2, 1, 4, 1, 1, 2, 1, 2, 2, 3, 1]  # where the numbers fall, worked out by hand
KINDS = np.array([0, 1, 1, 2, 2], dtype=np.int8)
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def choices(sampling: Sampling, *, logits=LOGITS, kinds=None, count=4_000) -> np.ndarray:
    rng = random.Random(1)
    return np.array([sampling.sample(logits.copy(), rng, kinds) for _ in range(count)])


def shares(chosen: np.ndarray) -> np.ndarray:
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


def test_temperature_0_takes_the_likeliest_every_time() -> None:
    assert set(choices(Sampling(temperature=0), count=50)) == {1}


def test_temperature_0_needs_no_chance() -> None:
    rng = random.Random(1)
    before = rng.getstate()
    Sampling(temperature=0).sample(LOGITS.copy(), rng)
    assert rng.getstate() == before


def test_temperature_1_follows_the_network_as_it_is() -> None:
    found = shares(choices(Sampling(temperature=1, top_p=1)))
    np.testing.assert_allclose(found, np.exp(LOGITS), atol=0.03)


def test_a_higher_temperature_flattens() -> None:
    expected = np.exp(LOGITS / 2)
    found = shares(choices(Sampling(temperature=2, top_p=1)))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.03)


def test_the_scale_of_the_scores_does_not_matter() -> None:
    sampling = Sampling(temperature=1, top_p=1)
    np.testing.assert_array_equal(
        choices(sampling, count=200), choices(sampling, logits=LOGITS + 5_000, count=200)
    )


def test_top_k_chooses_among_the_k_likeliest() -> None:
    found = shares(choices(Sampling(temperature=1, top_p=1, top_k=2)))
    np.testing.assert_allclose(found, [0, 5 / 7, 2 / 7, 0, 0], atol=0.03)


def test_top_k_of_1_is_the_likeliest() -> None:
    assert set(choices(Sampling(top_k=1), count=50)) == {1}


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.4, {1}), (0.6, {1, 2}), (0.8, {1, 2, 3}), (1.0, {0, 1, 2, 3, 4})]
)
def test_top_p_chooses_among_the_likeliest_that_reach_the_share(top_p, kept) -> None:
    assert set(choices(Sampling(temperature=1, top_p=top_p))) == kept


def test_top_k_and_top_p_hold_together() -> None:
    # Of the three likeliest (5 : 2 : 1.5) the first two reach 80 %.
    assert set(choices(Sampling(temperature=1, top_k=3, top_p=0.8))) == {1, 2}


def test_only_allowed_tokens_are_chosen() -> None:
    found = shares(choices(Sampling(temperature=1, top_p=1), logits=only(0, 3)))
    np.testing.assert_allclose(found, [1 / 4, 0, 0, 3 / 4, 0], atol=0.03)
    assert Sampling(temperature=0).sample(only(0, 3), random.Random(1)) == 3


def test_a_single_allowed_token_is_chosen_however_unlikely() -> None:
    logits = np.array([-np.inf, -50.0], dtype=np.float32)
    assert Sampling(top_k=1, top_p=0.1).sample(logits, random.Random(1)) == 1


@pytest.mark.parametrize("logits", [[-np.inf, -np.inf], [1.0, np.nan], [1.0, np.inf]])
@pytest.mark.parametrize("temperature", [0, 1])
def test_scores_that_leave_no_choice_are_refused(logits, temperature) -> None:
    sentence = (
        "The highest logit must be a finite number, got (-inf|nan|inf): no token is permitted"
    )
    with pytest.raises(ValueError, match=sentence):
        Sampling(temperature=temperature).sample(np.float32(logits), random.Random(1))


@pytest.mark.parametrize("temperature", [0, 1e-300, 1e-9, 0.9, 100])
def test_scores_however_far_apart_give_an_allowed_token(temperature) -> None:
    logits = np.array([-3e38, 3e38, -np.inf, 2e38, 0], dtype=np.float32)
    assert Sampling(temperature=temperature).sample(logits, random.Random(1)) == 1
    lowest = np.array([-np.inf, -3.4e38, -np.inf], dtype=np.float32)
    assert Sampling(temperature=temperature).sample(lowest, random.Random(1)) == 1


def test_of_equally_likely_tokens_the_first_is_the_likeliest() -> None:
    logits = np.array([0, 2, 1, 2], dtype=np.float32)
    assert Sampling(temperature=0).sample(logits, random.Random(1)) == 1


def test_what_is_as_likely_as_the_last_that_stays_stays_too() -> None:
    logits = np.log(np.array([0.4, 0.2, 0.2, 0.15, 0.05], dtype=np.float32))
    assert kept(Sampling(temperature=1, top_p=0.5), logits) == {0, 1, 2}
    assert kept(Sampling(temperature=1, top_p=1, top_k=2), logits) == {0, 1, 2}


# -- Epsilon cut-off, min_p, and the order ---------------------------------------------------------


def test_below_the_epsilon_cutoff_nothing_is_taken() -> None:
    assert set(choices(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.12))) == {1, 2, 3}


def test_the_likeliest_is_taken_even_below_the_epsilon_cutoff() -> None:
    assert set(choices(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.6), count=50)) == {1}
    assert set(choices(Sampling(temperature=1, top_p=1, epsilon_cutoff=1), count=50)) == {1}


def test_the_epsilon_cutoff_applies_after_the_temperature() -> None:
    # At temperature 2 the least likely has 11 %, at 1 it has 5 %.
    assert 0 in kept(Sampling(temperature=2, top_p=1, epsilon_cutoff=0.1))
    assert 0 not in kept(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.1))


def test_the_epsilon_cutoff_applies_to_probabilities_among_permitted_tokens() -> None:
    assert kept(Sampling(temperature=1, top_p=1, epsilon_cutoff=0.2), only(0, 3)) == {0, 3}


def test_min_p_is_relative_to_the_likeliest() -> None:
    assert set(choices(Sampling(temperature=1, top_p=1, min_p=0.25))) == {1, 2, 3}
    assert set(choices(Sampling(temperature=1, top_p=1, min_p=1), count=50)) == {1}


def test_the_epsilon_cutoff_comes_before_top_k_and_top_k_before_top_p() -> None:
    # Of 0.5, 0.2, 0.15 the cut-off leaves 10 : 4 : 3; the first alone reaches 58 % of that.
    assert kept(Sampling(temperature=1, epsilon_cutoff=0.12, top_p=0.58)) == {1}
    assert kept(Sampling(temperature=1, top_p=0.58)) == {1, 2}
    # Of the two likeliest the first reaches 71 %.
    assert kept(Sampling(temperature=1, top_k=2, top_p=0.7)) == {1}
    assert kept(Sampling(temperature=1, top_p=0.7)) == {1, 2}


# -- Temperatures of their own ---------------------------------------------------------------------


def test_a_temperature_of_pitches_moves_no_share_between_kinds() -> None:
    found = Sampling(temperature=1, top_p=1, pitch_temperature=0.5).probabilities(LOGITS, KINDS)
    np.testing.assert_allclose(found[[0, 3, 4]], [0.05, 0.15, 0.1], rtol=1e-5)
    np.testing.assert_allclose(found[[1, 2]], [0.7 * 25 / 29, 0.7 * 4 / 29], rtol=1e-5)


def test_a_temperature_of_rhythm_is_for_rhythm_only() -> None:
    found = Sampling(temperature=1, top_p=1, rhythm_temperature=0).probabilities(LOGITS, KINDS)
    np.testing.assert_allclose(found, [0.05, 0.5, 0.2, 0.25, 0], rtol=1e-5)


def test_tokens_are_chosen_as_the_temperatures_of_their_kinds_say() -> None:
    sampling = Sampling(temperature=2, top_p=1, pitch_temperature=0, rhythm_temperature=1)
    expected = sampling.probabilities(LOGITS, KINDS)
    found = shares(choices(sampling, kinds=KINDS))
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert expected[2] == 0


def test_equal_temperatures_of_all_kinds_are_one_temperature() -> None:
    own = Sampling(temperature=0.7, pitch_temperature=0.7, rhythm_temperature=0.7)
    logits, kinds = peaked(1), np.arange(2_048) % 3
    np.testing.assert_allclose(
        own.probabilities(logits, kinds), Sampling(temperature=0.7).probabilities(logits), rtol=1e-4
    )


def test_at_temperature_0_the_likeliest_says_the_kind_and_the_kind_says_the_token() -> None:
    found = Sampling(temperature=0, top_p=1, pitch_temperature=1).probabilities(LOGITS, KINDS)
    np.testing.assert_allclose(found, [0, 5 / 7, 2 / 7, 0, 0], rtol=1e-5)


def test_a_kind_of_which_nothing_is_allowed_takes_no_share() -> None:
    sampling = Sampling(temperature=1, top_p=1, pitch_temperature=0.5)
    np.testing.assert_allclose(
        sampling.probabilities(only(0, 3), KINDS), [0.25, 0, 0, 0.75, 0], rtol=1e-5
    )


def test_temperatures_of_kinds_without_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="need to know which kind each token is of; pass kinds"):
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
def test_the_nucleus_is_what_sorting_everything_would_give(top_p, temperature) -> None:
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
def test_choices_come_as_often_as_their_shares_say(sampling) -> None:
    logits, kinds = peaked(3, size=24), np.arange(24) % 3
    expected = sampling.probabilities(logits, kinds)
    found = np.bincount(choices(sampling, logits=logits, kinds=kinds, count=20_000), minlength=24)
    np.testing.assert_allclose(found / 20_000, expected, atol=0.015)
    assert (expected[found > 0] > 0).all()


def test_no_choice_is_outside_the_nucleus() -> None:
    logits = peaked(4)
    sampling = Sampling(temperature=1.2, top_p=0.7)
    assert set(choices(sampling, logits=logits)) <= kept(sampling, logits)


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
def test_whatever_the_scores_and_settings_an_allowed_token_is_chosen(
    logits, allowed, sampling, seed
) -> None:
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


def test_choices_are_the_same_on_every_machine() -> None:
    rng = Sampling(seed=7).rng_for_bar(0)
    found = [Sampling(temperature=1).sample(LOGITS.copy(), rng) for _ in range(12)]
    assert found == CHOICES_7_0


def test_the_same_random_numbers_give_the_same_choice() -> None:
    sampling = Sampling(temperature=1, top_p=1, seed=7)
    draws = [
        [sampling.sample(LOGITS.copy(), rng) for _ in range(20)]
        for rng in (sampling.rng_for_bar(3), sampling.rng_for_bar(3))
    ]
    assert draws[0] == draws[1]


def test_every_bar_and_every_seed_has_random_numbers_of_its_own() -> None:
    first = [
        Sampling(seed=seed).rng_for_bar(bar).random() for seed in (0, 1, 11) for bar in (0, 1, 11)
    ]
    assert len(set(first)) == len(first)


def test_random_numbers_are_the_same_on_every_machine() -> None:
    # They are part of "the same seed gives the same piece": a new Python must not change them.
    assert Sampling(seed=7).rng_for_bar(0).random() == RANDOM_7_0


def test_a_seed_is_drawn_only_where_there_is_none() -> None:
    given = Sampling(seed=7)
    assert given.with_seed() is given
    drawn = Sampling(temperature=0.5).with_seed()
    assert 0 <= drawn.seed <= MAX_SEED
    assert drawn.temperature == 0.5


def test_two_draws_of_a_seed_differ() -> None:
    assert len({Sampling().with_seed().seed for _ in range(4)}) > 1


# -- Higher temperatures ---------------------------------------------------------------------------


def test_a_temperature_raised_by_nothing_is_the_same() -> None:
    sampling = Sampling(top_k=5, epsilon_cutoff=0.1, min_p=0.1, rhythm_temperature=0.5, seed=7)
    assert sampling.with_higher_temperature(0) == sampling


def test_raising_the_temperature_raises_all_and_widens_the_choice() -> None:
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


def test_raising_temperature_0_leaves_a_choice() -> None:
    assert Sampling(temperature=0).with_higher_temperature(0.3).temperature == 0.3
    assert Sampling(temperature=0.1).with_higher_temperature(0.3).temperature == 0.3
    assert len(kept(Sampling(temperature=0.5, top_k=1).with_higher_temperature(0.1))) == 2


def test_a_raised_temperature_stays_in_its_range() -> None:
    assert Sampling(temperature=60).with_higher_temperature(1).temperature == MAX_TEMPERATURE


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan"), "much"])
def test_an_amount_that_means_nothing_is_refused(amount) -> None:
    with pytest.raises(ValueError, match=f"amount must be from 0 to 1, got {amount}; 0 changes"):
        Sampling().with_higher_temperature(amount)


# -- Repetition ------------------------------------------------------------------------------------

NOTES = np.array([False, False, True, True, True, False])


def costs(bars, so_far, *, penalty=2.0, back=4, notes=NOTES, pitches=range(0)) -> list[float]:
    """In halvings: how often the penalty is taken off each token after those of a bar so far."""
    sampling = Sampling(repetition_penalty=penalty, repetition_bars=back)
    repetition = BarRepetitionPenalty(sampling, bars, notes, pitches)
    for token in so_far:
        repetition.advance(token)
    logits = np.zeros(6)
    repetition.apply(logits)
    return [round(-score / np.log(penalty), 6) for score in logits]


def test_going_on_with_a_copy_costs() -> None:
    assert costs([(0, 2, 5, 3)], [0, 2]) == [0, 0, 0, 0, 0, 1]
    assert costs([(0, 2, 5, 3)], [0, 2, 5]) == [0, 0, 0, 1, 0, 0]


def test_going_on_costs_once_for_every_bar_that_it_would_copy() -> None:
    assert costs([(0, 2, 5), (0, 2, 4), (0, 2, 5)], [0, 2]) == [0, 0, 0, 0, 1, 2]


def test_a_bar_that_began_otherwise_costs_nothing() -> None:
    assert costs([(0, 2, 5), (1, 2, 5)], [0, 3]) == [0] * 6
    assert costs([(0, 2, 5, 3)], [0, 3, 5]) == [0] * 6


def test_bars_may_begin_alike_up_to_the_first_note() -> None:
    assert costs([(0, 1, 2)], [0, 1]) == [0] * 6
    assert costs([(0, 1, 2)], [0, 1], notes=None) == [0, 0, 1, 0, 0, 0]
    assert costs([(2, 1, 2)], []) == [0] * 6


def test_a_transposed_bar_is_a_copy() -> None:
    pitches = range(2, 5)
    assert costs([(0, 2, 5, 3)], [0, 3], pitches=pitches) == [0, 0, 0, 0, 0, 1]
    assert costs([(0, 2, 5, 3)], [0, 3, 5], pitches=pitches) == [0, 0, 0, 0, 1, 0]
    assert costs([(0, 2, 5, 3, 1)], [0, 3, 5, 4], pitches=pitches) == [0, 1, 0, 0, 0, 0]


def test_another_interval_ends_a_copy() -> None:
    pitches = range(2, 5)
    assert costs([(0, 2, 5, 3, 1)], [0, 3, 5, 3], pitches=pitches) == [0] * 6
    assert costs([(0, 2, 5, 3, 1)], [0, 2, 5, 4], pitches=pitches) == [0] * 6


def test_a_copy_that_would_leave_the_pitches_costs_nothing() -> None:
    assert costs([(0, 2, 5, 4)], [0, 3, 5], pitches=range(2, 5)) == [0] * 6


def test_tokens_that_are_no_pitches_are_not_transposed() -> None:
    assert costs([(2, 4, 5)], [3, 4], pitches=range(2, 4)) == [0, 0, 0, 0, 0, 1]
    assert costs([(2, 4, 5)], [3, 3], pitches=range(2, 4)) == [0] * 6


def test_where_the_copied_bar_ended_nothing_costs() -> None:
    assert costs([(0, 2)], [0, 2]) == [0] * 6
    assert costs([(0, 2)], [0, 2, 5, 3]) == [0] * 6


def test_a_bar_without_tokens_is_no_bar_to_copy() -> None:
    assert costs([(), (2, 5)], [2]) == [0, 0, 0, 0, 0, 1]


def test_only_the_last_bars_cost() -> None:
    assert costs([(2, 5), (3, 5), (4, 5)], [2], back=2) == [0] * 6
    assert costs([(2, 5), (3, 5), (4, 5)], [3], back=2) == [0, 0, 0, 0, 0, 1]


def test_a_penalty_makes_a_token_so_many_times_less_likely() -> None:
    repetition = BarRepetitionPenalty(Sampling(repetition_penalty=3), [(4, 1)])
    repetition.advance(4)
    logits = LOGITS.copy()
    repetition.apply(logits)
    expected = np.array([0.05, 0.5 / 3, 0.2, 0.15, 0.1])
    np.testing.assert_allclose(np.exp(logits), expected, rtol=1e-5)


def test_a_penalty_of_1_leaves_scores_alone() -> None:
    off = Sampling(repetition_penalty=1)
    repetition = BarRepetitionPenalty(off, [(2, 3)], NOTES)
    repetition.advance(2)
    logits = LOGITS.copy()
    repetition.apply(logits)
    np.testing.assert_array_equal(logits, LOGITS)


# -- Refusals --------------------------------------------------------------------------------------


def test_the_record_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Sampling().temperature = 2


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            {"temperature": -0.5},
            "temperature must be 0 or more, got -0.5; use 0 for the most likely note every time.",
        ),
        ({"temperature": None}, "^temperature must be 0 or more, got None"),
        (
            {"temperature": float("inf")},
            "temperature must be at most 100, got inf; above 2 little of the",
        ),
        ({"pitch_temperature": -1}, "pitch_temperature must be 0 or more, got -1; use 0 for the"),
        ({"rhythm_temperature": 101}, "rhythm_temperature must be at most 100, got 101; above 2"),
        ({"min_p": 1.5}, "min_p must be from 0 to 1, got 1.5; 0 is off."),
        ({"epsilon_cutoff": -0.1}, "epsilon_cutoff must be from 0 to 1, got -0.1; 0 is off."),
        ({"epsilon_cutoff": "low"}, "epsilon_cutoff must be from 0 to 1, got low; 0 is off."),
        (
            {"repetition_penalty": 0.5},
            "repetition_penalty must be 1 or more, got 0.5; 1 is off, and 2 makes continuing a "
            "copy half as likely.",
        ),
        ({"repetition_penalty": float("inf")}, "repetition_penalty must be 1 or more, got inf"),
        (
            {"repetition_bars": 0},
            "repetition_bars must be a whole number, 1 or more, got 0; repetition_penalty=1 turns",
        ),
        ({"repetition_bars": 1.5}, "repetition_bars must be a whole number, 1 or more, got 1.5"),
        ({"temperature": float("nan")}, "temperature must be 0 or more, got nan"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, got 0; 1 is off."),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5; 1 is off."),
        ({"top_p": "most"}, "top_p must be above 0 and at most 1, got most; 1 is off."),
        ({"top_k": -1}, "top_k must be 0 or more, got -1; 0 is off."),
        ({"top_k": 2.5}, "top_k must be a whole number, got 2.5; 0 is off."),
        (
            {"copy_weight": -0.1},
            "copy_weight must be from 0 to 2, got -0.1; 0 ignores copy candidates, and 1 is what",
        ),
        ({"copy_weight": 2.5}, "copy_weight must be from 0 to 2, got 2.5; 0"),
        ({"copy_weight": float("nan")}, "copy_weight must be from 0 to 2, got nan"),
        ({"copy_weight": "much"}, "copy_weight must be from 0 to 2, got much"),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, got -1."),
        ({"seed": MAX_SEED + 1}, "seed must be a whole number from 0 to 4294967295, got 42949"),
        ({"seed": 7.0}, "seed must be a whole number from 0 to 4294967295, got 7.0."),
    ],
)
def test_a_value_that_means_nothing_is_refused(values, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Sampling(**values)


# -- Log-sum-exp -----------------------------------------------------------------------------------


@given(arrays(np.float32, st.integers(1, 70), elements=st.floats(-50, 50, width=32)))
def test_a_logit_minus_logsumexp_is_its_log_softmax(logits) -> None:
    expected = np.log(np.exp(logits.astype(np.float64)).sum())
    assert logsumexp(logits) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_not_allowed_counts_for_nothing(compiled, monkeypatch) -> None:
    if not compiled:
        monkeypatch.setattr(module, "_sampler", lambda: None)
    logits = peaked(1)
    before = logits.copy()
    allowed = logits[np.isfinite(logits)].astype(np.float64)
    assert logsumexp(logits) == pytest.approx(np.log(np.exp(allowed).sum()), abs=1e-5)
    assert (logits == before).all()
    assert logsumexp(only(3)) == pytest.approx(LOGITS[3])
    assert logsumexp(np.full(3, 1e30, np.float32)) == pytest.approx(1e30)
    logsumexp(np.full(3, -np.inf, np.float32))  # `choose` says what is wrong
    logsumexp(np.full(3, np.nan, np.float32))
