"""Settings for sampling."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from musiclstm.generation.decoding.sampling import MAX_SEED, MAX_TEMPERATURE, Sampling


def test_the_core_gets_every_setting() -> None:
    sampling = Sampling(*(0.5, 0.8, 3, 7, 0.1, 0.2, None, 0.25, 2.0, 100, 0.75))
    packed = sampling.packed()
    found = {name: packed[name].item() for name in packed.dtype.names}
    assert found == pytest.approx(
        {
            "temperature": 0.5,
            "top_p": 0.8,
            "top_k": 3,
            "seed": 7,
            "min_p": 0.1,
            "epsilon_cutoff": 0.2,
            "pitch_temperature": -1,
            "rhythm_temperature": 0.25,
            "log_penalty": log(2),
            "repetition_bars": 64,
            "copy_weight": 0.75,
        }
    )


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
    assert Sampling(top_k=1).with_higher_temperature(0.1).top_k == 2


def test_a_raised_temperature_stays_in_its_range() -> None:
    assert Sampling(temperature=60).with_higher_temperature(1).temperature == MAX_TEMPERATURE


@pytest.mark.parametrize("amount", [-0.1, 1.1, float("nan"), "much"])
def test_an_amount_out_of_range_is_refused(amount) -> None:
    with pytest.raises(ValueError, match=f"amount .* got {amount}"):
        Sampling().with_higher_temperature(amount)


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
