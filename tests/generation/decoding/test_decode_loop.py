"""The token loop, with a network whose scores are known, and with one that writes noise."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from musiclstm.generation.constraints import BarShape, Constraints
from musiclstm.generation.decoding.decode_loop import (
    SequenceRequest,
    TokenBar,
    compose_bars,
    compose_sequences,
)
from musiclstm.generation.decoding.grammar import Grammar
from musiclstm.generation.decoding.grammar_state import GrammarState
from musiclstm.generation.decoding.sampling import Sampling
from tests.generation.fake_network import LOUD, SILENT, FakeSnapshot, NoiseNetwork, ScriptedNetwork
from tests.generation.referee import IDS, NAMES, Referee, complaints

COLD = Sampling(temperature=0, seed=0)
QUIET = Grammar(Constraints(max_empty_bars=10))
BUSY = Constraints(programs={0, 40}, meter=(2, 4), max_empty_bars=3, max_notes_at_once=2)
START = FakeSnapshot()


def always(grammar: Grammar, sampling: Sampling) -> Callable:
    return lambda bar, before: (grammar, sampling)


def names(ids: Sequence[int]) -> tuple[str, ...]:
    return tuple(NAMES[token] for token in ids)


def first_bars(network, request: SequenceRequest, count: int) -> list[TokenBar]:
    return list(islice(compose_bars(network, request), count))


def test_bars_are_what_the_network_prefers() -> None:
    network = ScriptedNetwork(*LOUD, *SILENT)
    bars = first_bars(network, SequenceRequest(network.snapshot_after(), always(QUIET, COLD)), 4)
    assert [names(bar.tokens) for bar in bars] == [LOUD, SILENT, LOUD, SILENT]


def test_no_token_is_read_before_it_is_needed() -> None:
    network = ScriptedNetwork(*LOUD)
    bars = compose_bars(network, SequenceRequest(network.snapshot_after(), always(QUIET, COLD)))
    first = next(bars)
    assert [token for (token,) in network.steps] == [*first.tokens]
    assert first.snapshot.ids == first.tokens
    second = next(bars)
    assert [token for (token,) in network.steps] == [*first.tokens, *second.tokens]


def test_a_network_that_wants_to_end_continues() -> None:
    network = ScriptedNetwork(*LOUD, "EOS_None")
    bars = first_bars(network, SequenceRequest(network.snapshot_after(), always(QUIET, COLD)), 3)
    assert all(names(bar.tokens)[0] == "Bar_None" for bar in bars)
    assert all("EOS_None" not in names(bar.tokens) for bar in bars)
    assert names(bars[0].tokens) == LOUD


def test_forbidden_tokens_are_not_written() -> None:
    network = ScriptedNetwork(*LOUD)
    grammar = Grammar(Constraints(programs={40}, meter=(3, 4)))
    (bar,) = first_bars(
        network, SequenceRequest(network.snapshot_after(), always(grammar, COLD)), 1
    )
    assert "Program_0" not in names(bar.tokens)
    assert names(bar.tokens)[:2] == ("Bar_None", "TimeSig_3/4")


# Several sequences --------------------------------------------------------------------------------


def test_a_finished_sequence_is_not_stepped_any_more() -> None:
    # Three sequences in bars of 6 and 2 tokens, begun at different places of the list.
    network = ScriptedNetwork(*LOUD, *SILENT)
    starts = [network.snapshot_after(at) for at in (0, len(LOUD), 0)]
    requests = [SequenceRequest(start, always(QUIET, COLD)) for start in starts]
    order = [number for number, _ in compose_sequences(network, requests, bars=1)]
    assert order == [1, 0, 2]
    rows = [len(ids) for ids in network.steps]
    assert rows == [3] * len(SILENT) + [2] * (len(LOUD) - len(SILENT))


def test_the_snapshot_of_a_sequence_is_its_own() -> None:
    network = ScriptedNetwork(*LOUD, *SILENT)
    requests = [
        SequenceRequest(network.snapshot_after(at), always(QUIET, COLD)) for at in (0, len(LOUD))
    ]
    ends: dict[int, list[int]] = {0: [], 1: []}
    for number, bar in compose_sequences(network, requests, bars=3):
        ends[number].append(len(bar.snapshot.ids))
    long, short = len(LOUD), len(SILENT)
    assert ends[0] == [long, long + short, 2 * long + short]
    assert ends[1] == [long + short, 2 * long + short, 2 * long + 2 * short]


@pytest.mark.parametrize("bars", [0, 1, 2, 5])
def test_sequences_get_exactly_the_bars_asked_for(bars) -> None:
    network = ScriptedNetwork(*LOUD, *SILENT)
    starts = (network.snapshot_after(), network.snapshot_after(), network.snapshot_after(len(LOUD)))
    requests = [SequenceRequest(start, always(QUIET, COLD)) for start in starts]
    found = [number for number, _ in compose_sequences(network, requests, bars=bars)]
    assert sorted(found) == sorted([0, 1, 2] * bars)


def test_without_an_end_sequences_continue() -> None:
    network = ScriptedNetwork(*LOUD)
    requests = [SequenceRequest(network.snapshot_after(), always(QUIET, COLD))] * 2
    found = [number for number, _ in islice(compose_sequences(network, requests), 40)]
    assert found == [0, 1] * 20


def test_no_requests_give_no_bars() -> None:
    assert list(compose_sequences(ScriptedNetwork(*LOUD), [])) == []


# The plan -----------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> list[tuple[int, tuple]]:
    """What a plan was asked: the number of a bar, and the bars before it."""
    return []


def recording(grammar: Grammar, sampling: Sampling, asked: list) -> Callable:
    def plan(bar: int, before: Sequence[tuple[int, ...]]) -> tuple[Grammar, Sampling]:
        asked.append((bar, tuple(before)))
        return grammar, sampling

    return plan


def test_the_plan_is_asked_bar_by_bar_with_the_bars_before(asked) -> None:
    network = ScriptedNetwork(*LOUD, *SILENT)
    request = SequenceRequest(network.snapshot_after(), recording(QUIET, COLD, asked))
    bars = [bar.tokens for _, bar in compose_sequences(network, [request], bars=4)]
    assert {bar for bar, _ in asked} == {0, 1, 2, 3}
    assert [bar for bar, _ in asked] == sorted(bar for bar, _ in asked)
    assert all(before == tuple(bars[:bar]) for bar, before in asked)


def test_the_plan_counts_the_bars_that_a_sequence_has(asked) -> None:
    network = ScriptedNetwork(*LOUD, *SILENT)
    first = SequenceRequest(network.snapshot_after(), always(QUIET, COLD))
    before = tuple(bar.tokens for bar in first_bars(network, first, 5))
    request = SequenceRequest(network.snapshot_after(), recording(QUIET, COLD, asked), before)
    bars = [bar.tokens for _, bar in compose_sequences(network, [request], bars=2)]
    assert {bar for bar, _ in asked} == {5, 6}
    assert all(found == (*before, *bars)[:bar] for bar, found in asked)


def test_the_plan_may_change_the_rules_with_every_bar() -> None:
    network = ScriptedNetwork(*LOUD)
    rules = [
        Grammar(Constraints(meter=meter, max_empty_bars=0)) for meter in ((3, 4), (2, 4), (6, 8))
    ]
    request = SequenceRequest(network.snapshot_after(), lambda bar, before: (rules[bar % 3], COLD))
    bars = [names(bar.tokens) for bar in first_bars(network, request, 6)]
    assert [bar[1] for bar in bars] == ["TimeSig_3/4", "TimeSig_2/4", "TimeSig_6/8"] * 2


def test_the_plan_may_change_the_sampling_with_every_bar() -> None:
    grammar = Grammar(BUSY)

    def plan(bar: int, before: Sequence) -> tuple[Grammar, Sampling]:
        return grammar, Sampling(seed=5 if bar < 2 else 6)

    changed = first_bars(NoiseNetwork(), SequenceRequest(START, plan), 4)
    whole = first_bars(NoiseNetwork(), SequenceRequest(START, always(grammar, Sampling(seed=5))), 4)
    assert [bar.tokens for bar in changed[:2]] == [bar.tokens for bar in whole[:2]]
    assert changed[2].tokens != whole[2].tokens


def test_each_bar_has_its_copy_weight_and_its_velocity_gain() -> None:
    network = NoiseNetwork()
    shapes = [Grammar(BUSY, BarShape(velocity_gain=gain)) for gain in (1.0, 0.85, 0.7)]

    def plan(bar: int, before: Sequence) -> tuple[Grammar, Sampling]:
        return shapes[bar], Sampling(seed=1, copy_weight=bar / 2)

    request = SequenceRequest(START, plan)
    bars = [bar for _, bar in compose_sequences(network, [request], bars=3)]
    assert [bar.velocity_gain for bar in bars] == [1.0, 0.85, 0.7]
    assert [bar.snapshot.copy_weight for bar in bars] == [0.0, 0.5, 1.0]


def test_a_sequence_keeps_no_more_than_64_bars(asked) -> None:
    network = ScriptedNetwork(*SILENT, *LOUD)
    request = SequenceRequest(network.snapshot_after(), recording(QUIET, COLD, asked))
    bars = [bar.tokens for bar in first_bars(network, request, 80)]
    assert max(len(found) for _, found in asked) == 64
    assert all(found == tuple(bars[max(0, bar - 64) : bar]) for bar, found in asked)
    asked.clear()
    long = SequenceRequest(network.snapshot_after(), recording(QUIET, COLD, asked), tuple(bars))
    next(compose_bars(network, long))
    assert asked[0] == (80, tuple(bars[-64:]))


def test_silent_bars_count_beyond_those_that_are_kept() -> None:
    network = ScriptedNetwork(*SILENT)
    plan = always(Grammar(Constraints(max_empty_bars=70)), COLD)
    whole = [
        bar.tokens
        for bar in first_bars(network, SequenceRequest(network.snapshot_after(), plan), 72)
    ]
    assert [len(bar) > 2 for bar in whole] == [False] * 70 + [True, False]
    request = SequenceRequest(network.snapshot_after(), plan, tuple(whole[:68]))
    assert [bar.tokens for bar in first_bars(network, request, 4)] == whole[68:]


def test_an_endless_sequence_takes_constant_memory() -> None:
    class Forgetful(NoiseNetwork):
        def step(self, ids: Sequence[int]) -> None:
            self.rows = [FakeSnapshot((*row.ids[-30:], i)) for row, i in zip(self.rows, ids)]  # noqa: B905
            self._score()

        def start(self, snapshots: Sequence[FakeSnapshot]) -> Forgetful:
            self.rows = list(snapshots)
            self._score()
            return self

    request = SequenceRequest(START, always(Grammar(BUSY), Sampling(seed=1)))
    bars = compose_bars(Forgetful(), request)
    for _ in islice(bars, 100):  # until 64 bars are kept
        pass
    gc.collect()
    tracemalloc.start()
    for _ in islice(bars, 30):
        pass
    gc.collect()
    early, _ = tracemalloc.get_traced_memory()
    for _ in islice(bars, 120):
        pass
    gc.collect()
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert late - early < 30_000  # 120 bars of a hundred tokens would be many times that


# Sequences of noise -------------------------------------------------------------------------------


def assert_same(found: Sequence[TokenBar], expected: Sequence[TokenBar]) -> None:
    assert [bar.tokens for bar in found] == [bar.tokens for bar in expected]
    assert [bar.log_probs for bar in found] == [bar.log_probs for bar in expected]
    assert [bar.snapshot for bar in found] == [bar.snapshot for bar in expected]


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_resumed_sequence_equals_an_uninterrupted_one(cut, temperature) -> None:
    plan = always(Grammar(BUSY), Sampling(temperature=temperature, seed=5))
    whole = first_bars(NoiseNetwork(), SequenceRequest(START, plan), 6)
    before = tuple(bar.tokens for bar in whole[:cut])
    request = SequenceRequest(whole[cut - 1].snapshot, plan, before)
    assert_same(first_bars(NoiseNetwork(), request, 6 - cut), whole[cut:])


@pytest.mark.parametrize("count", [1, 3, 32])
def test_sequences_in_a_batch_equal_the_same_ones_alone(count) -> None:
    grammars = Grammar(BUSY), Grammar(Constraints(programs={0}, meter=(3, 4), max_polyphony=3))
    requests = [
        SequenceRequest(START, always(grammars[seed % 2], Sampling(seed=seed)))
        for seed in range(count)
    ]
    together: list[list[TokenBar]] = [[] for _ in requests]
    bars = 1 if count == 32 else 2
    for number, bar in compose_sequences(NoiseNetwork(), requests, bars=bars):
        together[number].append(bar)
    assert len({tuple(bar.tokens for bar in found) for found in together}) > count / 2
    for number in range(count) if count < 5 else (0, 31):
        assert_same(together[number], first_bars(NoiseNetwork(), requests[number], bars))


def test_sequences_resumed_in_a_batch_equal_uninterrupted_ones() -> None:
    # Each has another number of bars already; one has none.
    plans = [always(Grammar(BUSY), Sampling(seed=seed)) for seed in range(4)]
    wholes = [first_bars(NoiseNetwork(), SequenceRequest(START, plan), 5) for plan in plans]
    requests = [
        SequenceRequest(
            whole[cut - 1].snapshot if cut else START,
            plan,
            tuple(bar.tokens for bar in whole[:cut]),
        )
        for cut, (plan, whole) in enumerate(zip(plans, wholes, strict=True))
    ]
    found: list[list[TokenBar]] = [[] for _ in requests]
    for number, bar in compose_sequences(NoiseNetwork(), requests, bars=2):
        found[number].append(bar)
    for cut, (bars, whole) in enumerate(zip(found, wholes, strict=True)):
        assert_same(bars, whole[cut : cut + 2])


def test_two_sequences_in_turn_are_what_they_are_alone() -> None:
    grammar = Grammar(BUSY)
    requests = [SequenceRequest(START, always(grammar, Sampling(seed=seed))) for seed in (1, 2)]
    alone = [first_bars(NoiseNetwork(), request, 3) for request in requests]
    one, other = (compose_bars(NoiseNetwork(), request) for request in requests)
    in_turn = [(next(one), next(other)) for _ in range(3)]
    for found, expected in zip(zip(*in_turn, strict=True), alone, strict=True):
        assert_same(found, expected)
    assert alone[0][0].tokens != alone[1][0].tokens


def test_the_prompt_limits_the_tracks_and_its_notes_still_sound() -> None:
    words = ("Bar_None", "TimeSig_2/4", "Program_0", "Position_12", "Pitch_60", "Duration_2.0.12")
    prompt = [IDS[word] for word in words]
    constraints = Constraints(programs={0}, max_polyphony=1, meter=(2, 4))
    for seed in range(20):
        plan = always(Grammar(constraints), Sampling(seed=seed))
        request = SequenceRequest(START, plan, prompt=prompt)
        (bar,) = first_bars(NoiseNetwork(), request, 1)
        referee = Referee([*prompt, *bar.tokens], tracks={0: 1})
        assert complaints(referee, constraints) == []
        assert all(note.position >= 12 for note in referee.bars[1].notes)


def test_bars_consist_of_numbers() -> None:
    request = SequenceRequest(START, always(Grammar(BUSY), Sampling(seed=5)))
    bar = next(compose_bars(NoiseNetwork(), request))
    assert all(type(token) is int for token in bar.tokens)
    assert all(type(value) is float for value in bar.log_probs)


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, seed=1, copy_weight=1),
        Sampling(temperature=1.7, top_p=0.8, top_k=9, seed=1, copy_weight=1),
        Sampling(seed=1, repetition_penalty=3, pitch_temperature=0.3, copy_weight=1),
    ],
    ids=["cold", "hot", "penalized"],
)
def test_every_token_has_the_networks_own_probability(sampling) -> None:
    """Whatever the sampling does: log softmax over what the grammar permits."""
    grammar = Grammar(replace(BUSY, max_polyphony=4), BarShape(off_beat=True))
    request = SequenceRequest(START, always(grammar, sampling))
    network = NoiseNetwork()
    batch, state = network.start([START]), GrammarState(grammar)
    for bar in first_bars(network, request, 3):
        state.open_bar(grammar)
        assert len(bar.log_probs) == len(bar.tokens)
        for token, log_prob in zip(bar.tokens, bar.log_probs, strict=True):
            scores = batch.logits[0][state.allowed_tokens()].astype(np.float64)
            total = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
            assert log_prob == pytest.approx(float(batch.logits[0][token]) - total, abs=1e-5)
            state.advance(token)
            batch.step([token])


def test_a_token_without_alternative_is_certain() -> None:
    network = ScriptedNetwork(*LOUD)
    grammar = Grammar(Constraints(programs={0}, meter=(3, 4)))
    bar = next(
        compose_bars(network, SequenceRequest(network.snapshot_after(), always(grammar, COLD)))
    )
    assert bar.log_probs[:2] == pytest.approx((0, 0), abs=1e-6)
    assert bar.log_probs[2] < -0.001
