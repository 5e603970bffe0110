"""Concurrent compositions equal serial ones: threads share the model and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from musiclstm.core import native
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.decode_loop import SequenceRequest, TokenBar, compose_bars
from musiclstm.generation.decoding.grammar import Grammar
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.tokens import vocabulary as v

GRAMMAR = Grammar(Constraints(programs={0, 40, -1}, meter=(4, 4), notes_per_bar=(8, 40)))


@pytest.fixture(scope="module", params=["compiled", "torch"])
def model(request, tiny_network) -> InferenceModel:
    """Both engines."""
    if request.param == "compiled" and native.load() is None:
        pytest.skip("this machine cannot build the compiled core")
    return InferenceModel(tiny_network(), engine=request.param)


def compose(model: InferenceModel, seed: int, bars: int) -> list[TokenBar]:
    plan = lambda number, before: (GRAMMAR, Sampling(seed=seed))  # noqa: E731
    request = SequenceRequest(model.prefill([v.BOS]), plan)
    return list(islice(compose_bars(model, request), bars))


def results(piece: list[TokenBar]) -> list[tuple]:
    return [(bar.tokens, bar.log_probs, bar.snapshot.to_bytes()) for bar in piece]


def check_pairs(model: InferenceModel, pairs: int, bars: int) -> None:
    expected = [results(compose(model, seed, bars)) for seed in range(2 * pairs)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda seed: results(compose(model, seed, bars)), range(2 * pairs)))
    assert found == expected


def test_two_threads_compose_what_one_composes(model) -> None:
    check_pairs(model, pairs=2, bars=1)


@pytest.mark.slow
def test_fifty_pairs_of_concurrent_compositions_equal_serial_ones(model) -> None:
    check_pairs(model, pairs=50, bars=4)


@pytest.mark.slow
def test_fifty_pairs_of_pieces_composed_in_two_threads_equal_serial_ones(tiny_composer) -> None:
    def midi(seed: int) -> bytes:
        return tiny_composer.compose(bars=2, sampling=Sampling(seed=seed)).to_midi()

    expected = [midi(seed) for seed in range(100)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(midi, range(100))) == expected
