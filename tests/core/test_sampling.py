"""Sampling in C against the numpy reference."""

from __future__ import annotations

from itertools import islice

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from musiclstm.core.library import check, load_library
from musiclstm.core.reference import sampling as reference
from musiclstm.core.sampling import SAMPLING, sampling_probabilities
from musiclstm.core.token_table import compiled_table
from musiclstm.model.step_features import TokenTable

NAMES = ("PAD_None", "Program_0", "Pitch_60", "Position_0", "Duration_1.0.12")
TABLE = TokenTable(NAMES)
LOGITS = np.log(np.array([0.05, 0.5, 0.2, 0.15, 0.1], np.float32))
FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)


def settings(**values: float) -> np.ndarray:
    found = np.zeros((), SAMPLING)
    plain = {"temperature": 1, "top_p": 1, "copy_weight": 1, "repetition_bars": 8}
    own = {"pitch_temperature": -1, "rhythm_temperature": -1}
    for name, value in (plain | own | values).items():
        found[name] = value
    return found


def sample(
    sampling: np.ndarray,
    logits: np.ndarray = LOGITS,
    *,
    permitted: np.ndarray | None = None,
    changes: list[tuple[int, float]] | None = None,
    count: int = 1,
    bar: int = 0,
    candidate: int = 0,
) -> list[tuple[int, float]]:
    """Return tokens and their log-probabilities."""
    library, table = load_library(), TokenTable(names_of(len(logits)))
    changed = np.array(changes or [], np.dtype([("token", np.int32), ("amount", np.float32)]))
    random = np.array([sampling["seed"], bar, candidate, 0], np.uint32)
    given = [sampling, logits.astype(np.float32), permitted, changed, random]
    visible = [None if each is None else library.visible(np.array(each)) for each in given]
    addresses = [library.address(each) for each in visible]
    log_prob, found = library.zeros(1, np.float32), []
    for _ in range(count):
        token = check(
            library.call(
                "sample_token",
                addresses[0],
                compiled_table(library, table).address,
                *addresses[1:4],
                len(changed),
                addresses[4],
                library.address(log_prob),
            )
        )
        found.append((token, float(log_prob[0])))
    return found


def names_of(size: int) -> tuple[str, ...]:
    return tuple(NAMES[i] if i < len(NAMES) else f"Pitch_{i % 128}" for i in range(size))


def kept(**values: float) -> set[int]:
    return set(np.flatnonzero(sampling_probabilities(settings(**values), TABLE, LOGITS)).tolist())


@st.composite
def any_settings(draw: st.DrawFn) -> np.ndarray:
    temperatures = st.sampled_from([0, 1e-9, 0.3, 0.9, 1, 2, 100])
    own = st.sampled_from([-1, -1, 0, 0.5, 1.5])
    shares = st.sampled_from([0, 0, 0.01, 0.2, 1])
    return settings(
        temperature=draw(temperatures),
        pitch_temperature=draw(own),
        rhythm_temperature=draw(own),
        top_p=draw(st.sampled_from([0.05, 0.5, 0.9, 0.9999, 1])),
        min_p=draw(shares),
        epsilon_cutoff=draw(shares),
        top_k=draw(st.integers(0, 6)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@given(any_settings(), st.integers(0, 2**32 - 1), st.integers(1, 130))
def test_probabilities_equal_the_reference(sampling, seed, size) -> None:
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal(size)).astype(np.float32)
    permitted = rng.random(size) < 0.5
    permitted[rng.integers(size)] = True
    table = TokenTable(names_of(size))
    masked = np.where(permitted, logits, -np.inf)
    found = sampling_probabilities(sampling, table, masked)
    np.testing.assert_allclose(found, reference.probabilities(sampling, table, masked), atol=1e-5)


@given(arrays(np.float32, 5, elements=FLOATS), any_settings(), st.integers(1, 31))
def test_any_logits_and_settings_give_a_permitted_token(logits, sampling, mask) -> None:
    permitted = (mask >> np.arange(5) & 1).astype(np.uint8)
    ((token, log_prob),) = sample(sampling, logits, permitted=permitted)
    assert permitted[token]
    assert log_prob <= 0


@pytest.mark.parametrize(
    "values",
    [
        *({}, {"temperature": 0.5}, {"temperature": 2}, {"top_p": 0.6}, {"top_k": 2}),
        *({"min_p": 0.3}, {"epsilon_cutoff": 0.12}, {"pitch_temperature": 0.2}),
        *({"rhythm_temperature": 3, "top_p": 0.8},),
    ],
    ids=str,
)
def test_frequencies_of_samples_equal_the_probabilities(values) -> None:
    sampling = settings(seed=5, **values)
    chosen = np.bincount([token for token, _ in sample(sampling, count=20_000)], minlength=5)
    expected = reference.probabilities(sampling, TABLE, LOGITS)
    np.testing.assert_allclose(chosen / 20_000, expected, atol=0.015)


def test_samples_are_the_same_on_every_machine() -> None:
    for seed, bar, candidate in ((0, 0, 0), (7, 3, 5), (2**32 - 1, 4_095, 31)):
        numbers = islice(reference.uniforms(seed, bar, candidate), 50)
        cumulative = np.cumsum(np.exp(LOGITS.astype(np.float64)))
        expected = [int(np.searchsorted(cumulative, x * cumulative[-1])) for x in numbers]
        found = sample(settings(seed=seed), count=50, bar=bar, candidate=candidate)
        assert [token for token, _ in found] == expected


def test_random_numbers_are_those_of_the_published_generator() -> None:
    # Random123 1.14, kat_vectors: philox4x32 10, counter and key 0.
    first = next(reference.uniforms(0, 0))
    assert first == ((0x6627E8D5 >> 5) * 2**26 + (0xE169C58D >> 6)) / 2**53


def test_limits_apply_in_their_order() -> None:
    assert kept() == {0, 1, 2, 3, 4}
    assert kept(top_k=2) == {1, 2}
    assert kept(top_p=0.6) == {1, 2}
    assert kept(top_p=0.6, top_k=1) == {1}
    assert kept(min_p=0.25) == {1, 2, 3}
    assert kept(epsilon_cutoff=0.12) == {1, 2, 3}
    assert kept(epsilon_cutoff=0.9) == {1}  # the most probable token stays
    assert kept(epsilon_cutoff=0.09, temperature=0.5) == {1, 2}
    assert kept(temperature=0) == {1}
    assert kept(temperature=0, pitch_temperature=1) == {1, 2}


def test_a_temperature_of_a_kind_keeps_the_probability_of_the_kind() -> None:
    found = sampling_probabilities(settings(pitch_temperature=0), TABLE, LOGITS)
    np.testing.assert_allclose(found, [0.05, 0.7, 0, 0.15, 0.1], atol=1e-6)
    found = sampling_probabilities(settings(rhythm_temperature=0), TABLE, LOGITS)
    np.testing.assert_allclose(found, [0.05, 0.5, 0.2, 0.25, 0], atol=1e-6)


def test_ties_with_the_last_token_are_kept() -> None:
    logits = np.log(np.array([0.4, 0.2, 0.2, 0.1, 0.1], np.float32))
    for values in ({"top_k": 2}, {"top_p": 0.5}):
        found = sampling_probabilities(settings(**values), TABLE, logits)
        assert np.flatnonzero(found).tolist() == [0, 1, 2]


def test_log_probabilities_are_those_before_sampling_settings_and_changes() -> None:
    expected = np.log([0.05, 0.5, 0.2, 0.15, 0.1])
    sampling = settings(temperature=2, seed=1, top_k=3)
    for token, log_prob in sample(sampling, changes=[(1, -9.0)], count=50):
        assert log_prob == pytest.approx(expected[token], abs=1e-5)
    permitted = np.array([0, 1, 1, 0, 0], np.uint8)
    for token, log_prob in sample(sampling, permitted=permitted, count=20):
        assert log_prob == pytest.approx(expected[token] - np.log(0.7), abs=1e-5)


def test_changes_are_added_to_the_logits() -> None:
    assert {token for token, _ in sample(settings(), changes=[(3, 30.0)], count=20)} == {3}
    twice = [(1, -15.0), (1, -15.0)]
    assert 1 not in {token for token, _ in sample(settings(), changes=twice, count=200)}


@pytest.mark.parametrize("temperature", [0, 1])
def test_logits_without_a_finite_maximum_are_refused(temperature) -> None:
    sampling, nothing = settings(temperature=temperature), np.zeros(5, np.uint8)
    with pytest.raises(ValueError, match="No token can be sampled"):
        sample(sampling, np.full(5, -np.inf))
    with pytest.raises(ValueError, match="No token can be sampled"):
        sample(sampling, permitted=nothing)
    with pytest.raises(ValueError, match="No token can be sampled"):
        sampling_probabilities(sampling, TABLE, np.full(5, -np.inf))
