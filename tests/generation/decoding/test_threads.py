"""Concurrent compositions equal serial ones: threads share the model and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from musiclstm.generation.bar_plan import BarPlan
from musiclstm.generation.constraints import Constraints
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.decode_loop import SequenceRequest, TokenBar, compose_bars
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import Sampling
from tests.generation.decoding.models import noise_model
from tests.generation.referee import IDS

RULES = bar_rules(Constraints(programs={0, 40, -1}, meter=(4, 4), notes_per_bar=(8, 40)))
PROMPT = [IDS["BOS_None"]]


def compose(model: InferenceModel, seed: int, bars: int) -> list[TokenBar]:
    plan = BarPlan(RULES, Sampling(seed=seed), 1.0)
    request = SequenceRequest(model.prefill(PROMPT), lambda number, before: plan, prompt=PROMPT)
    return list(islice(compose_bars(model, request), bars))


def results(piece: list[TokenBar]) -> list[tuple]:
    return [(bar.tokens, bar.log_probs, bar.snapshot.to_bytes()) for bar in piece]


def test_fifty_pairs_of_concurrent_compositions_equal_serial_ones() -> None:
    model = noise_model()
    expected = [results(compose(model, seed, 4)) for seed in range(100)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda seed: results(compose(model, seed, 4)), range(100)))
    assert found == expected


@pytest.mark.slow
def test_fifty_pairs_of_pieces_composed_in_two_threads_equal_serial_ones(tiny_composer) -> None:
    def midi(seed: int) -> bytes:
        return tiny_composer.compose(bars=2, sampling=Sampling(seed=seed)).to_midi()

    expected = [midi(seed) for seed in range(100)]
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(midi, range(100))) == expected
