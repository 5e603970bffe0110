"""From scores and a mask to one token."""

from __future__ import annotations

import random

import numpy as np
import pytest

from musiclstm import Sampling
from musiclstm.sampling import MAX_SEED

SCORES = np.log(np.array([0.05, 0.5, 0.2, 0.15, 0.1], dtype=np.float32))
RANDOM_7_0 = 0.7059339087777089
ALL = np.ones(5, dtype=bool)


def choices(sampling: Sampling, *, allowed=ALL, scores=SCORES, count=4_000) -> np.ndarray:
    rng = random.Random(1)
    return np.array([sampling.choose(scores, allowed, rng) for _ in range(count)])


def shares(chosen: np.ndarray) -> np.ndarray:
    return np.bincount(chosen, minlength=5) / len(chosen)


def test_temperature_0_takes_the_likeliest_every_time() -> None:
    assert set(choices(Sampling(temperature=0), count=50)) == {1}


def test_temperature_0_needs_no_chance() -> None:
    rng = random.Random(1)
    before = rng.getstate()
    Sampling(temperature=0).choose(SCORES, ALL, rng)
    assert rng.getstate() == before


def test_temperature_1_follows_the_network_as_it_is() -> None:
    found = shares(choices(Sampling(temperature=1, top_p=1)))
    np.testing.assert_allclose(found, np.exp(SCORES), atol=0.03)


def test_a_higher_temperature_flattens() -> None:
    expected = np.exp(SCORES / 2)
    found = shares(choices(Sampling(temperature=2, top_p=1)))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.03)


def test_the_scale_of_the_scores_does_not_matter() -> None:
    sampling = Sampling(temperature=1, top_p=1)
    np.testing.assert_array_equal(
        choices(sampling, count=200), choices(sampling, scores=SCORES + 5_000, count=200)
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
    allowed = np.array([True, False, False, True, False])
    found = shares(choices(Sampling(temperature=1, top_p=1), allowed=allowed))
    np.testing.assert_allclose(found, [1 / 4, 0, 0, 3 / 4, 0], atol=0.03)
    assert Sampling(temperature=0).choose(SCORES, allowed, random.Random(1)) == 3


def test_a_single_allowed_token_is_chosen_however_unlikely() -> None:
    scores = np.array([50.0, -50.0], dtype=np.float32)
    allowed = np.array([False, True])
    assert Sampling(top_k=1, top_p=0.1).choose(scores, allowed, random.Random(1)) == 1


def test_scores_and_mask_stay_as_they_are() -> None:
    scores, allowed = SCORES.copy(), np.array([True, True, False, True, True])
    Sampling(seed=1).choose(scores, allowed, random.Random(1))
    np.testing.assert_array_equal(scores, SCORES)
    assert allowed.tolist() == [True, True, False, True, True]


def test_the_same_random_numbers_give_the_same_choice() -> None:
    sampling = Sampling(temperature=1, top_p=1, seed=7)
    draws = [
        [sampling.choose(SCORES, ALL, rng) for _ in range(20)]
        for rng in (sampling.random_for(3), sampling.random_for(3))
    ]
    assert draws[0] == draws[1]


def test_every_bar_and_every_seed_has_random_numbers_of_its_own() -> None:
    first = [
        Sampling(seed=seed).random_for(bar).random() for seed in (0, 1, 11) for bar in (0, 1, 11)
    ]
    assert len(set(first)) == len(first)


def test_random_numbers_are_the_same_on_every_machine() -> None:
    # They are part of "the same seed gives the same piece": a new Python must not change them.
    assert Sampling(seed=7).random_for(0).random() == RANDOM_7_0


def test_a_seed_is_drawn_only_where_there_is_none() -> None:
    given = Sampling(seed=7)
    assert given.with_seed() is given
    drawn = Sampling(temperature=0.5).with_seed()
    assert 0 <= drawn.seed <= MAX_SEED
    assert drawn.temperature == 0.5


def test_two_draws_of_a_seed_differ() -> None:
    assert len({Sampling().with_seed().seed for _ in range(4)}) > 1


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
        ({"temperature": float("nan")}, "temperature must be 0 or more, got nan"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, got 0; 1 is off."),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5; 1 is off."),
        ({"top_k": -1}, "top_k must be 0 or more, got -1; 0 is off."),
        ({"seed": -1}, "seed must be a whole number from 0 to 4294967295, got -1."),
        ({"seed": MAX_SEED + 1}, "seed must be a whole number from 0 to 4294967295, got 42949"),
        ({"seed": 7.0}, "seed must be a whole number from 0 to 4294967295, got 7.0."),
    ],
)
def test_a_value_that_means_nothing_is_refused(values, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Sampling(**values)
