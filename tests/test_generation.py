"""The loop, with a network whose scores are known, and with one that plays nonsense."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from musiclstm import (
    Constraints,
    MusicLSTMConfig,
    MusicLSTMForCausalLM,
    MusicTokenizer,
    Sampling,
    kernel,
)
from musiclstm.decoding import PackedLSTM, Snapshot
from musiclstm.generation import Bar, Take, _against, compose_bars, compose_takes
from musiclstm.grammar import Grammar, Shape, Walk
from musiclstm.modeling import LSTMState
from musiclstm.sampling import Votes

SILENT = ("Bar_None", "TimeSig_4/4")
LOUD = (*SILENT, "Position_0", "Program_0", "Pitch_60", "Velocity_79", "Duration_1.0.12")
COLD = Sampling(temperature=0, seed=0)


@pytest.fixture(scope="module")
def tokenizer() -> MusicTokenizer:
    return MusicTokenizer()


@pytest.fixture(scope="module")
def grammar(tokenizer) -> Grammar:
    return Grammar(tokenizer, Constraints(max_empty_bars=10))


class Parrot:
    """A network that wants to say a list of tokens, and counts what it has been told.

    Its own stepper, too.
    """

    def __init__(self, tokenizer: MusicTokenizer, *words: str) -> None:
        names = {name: index for index, name in enumerate(tokenizer.base_tokens)}
        self.wanted, self.vocabulary = [names[word] for word in words], len(tokenizer)
        self.told: list[list[int]] = []
        self.read: list[int] = []  # tokens a row
        self.scores = np.empty((0, 0), np.float32)

    def start(self, read: int = 0) -> Snapshot:
        nothing = torch.zeros(1, 1, 0)
        state = LSTMState(nothing, nothing, nothing, torch.zeros(1), read)
        return Snapshot(torch.from_numpy(self._wishes(read))[None], state)

    def _wishes(self, read: int) -> np.ndarray:
        scores = np.zeros(self.vocabulary, np.float32)
        scores[self.wanted[read % len(self.wanted)]] = 9
        return scores

    def stepper(self, snapshots: Sequence[Snapshot]) -> Parrot:
        self.read = [each.state.seen for each in snapshots]
        self._score()
        return self

    def _score(self) -> None:
        self.scores = np.stack([self._wishes(read) for read in self.read])

    def step(self, ids: Sequence[int]) -> None:
        assert len(ids) == len(self.read)
        self.told.append([int(token) for token in ids])
        self.read = [read + 1 for read in self.read]
        self._score()

    def votes(self, row: int) -> None:
        """None."""

    def snapshot(self, row: int = 0) -> Snapshot:
        return self.start(self.read[row])

    def keep(self, rows: Sequence[int]) -> None:
        self.read = [self.read[row] for row in rows]
        self._score()


def always(grammar: Grammar, sampling: Sampling) -> Callable:
    return lambda bar, before: (grammar, sampling)


def words(tokenizer: MusicTokenizer, ids) -> tuple[str, ...]:
    return tuple(tokenizer.expand(ids))


def test_bars_are_what_the_network_wants_most(tokenizer, grammar) -> None:
    parrot = Parrot(tokenizer, *LOUD, *SILENT)
    bars = compose_bars(parrot, Take(parrot.start(), always(grammar, COLD)))
    said = [words(tokenizer, bar.tokens) for bar in islice(bars, 4)]
    assert said == [LOUD, SILENT, LOUD, SILENT]


def test_the_token_that_opens_the_next_bar_is_not_read_before_it_is_asked_for(
    tokenizer, grammar
) -> None:
    parrot = Parrot(tokenizer, *LOUD)
    bars = compose_bars(parrot, Take(parrot.start(), always(grammar, COLD)))
    first = next(bars)
    assert [token for (token,) in parrot.told] == [*first.tokens]
    assert first.snapshot.state.seen == len(first.tokens)
    second = next(bars)
    assert [token for (token,) in parrot.told] == [*first.tokens, *second.tokens]


def test_a_network_that_wants_to_stop_goes_on_all_the_same(tokenizer, grammar) -> None:
    parrot = Parrot(tokenizer, *LOUD, "EOS_None")
    # The end is no token of a bar: the parrot is not told it, and wants it again and again.
    bars = compose_bars(parrot, Take(parrot.start(), always(grammar, COLD)))
    said = [words(tokenizer, bar.tokens) for bar in islice(bars, 3)]
    assert all(bar[0] == "Bar_None" and "EOS_None" not in bar for bar in said)
    assert said[0] == LOUD


def test_what_the_grammar_forbids_is_not_said(tokenizer) -> None:
    parrot = Parrot(tokenizer, *LOUD)
    other = Grammar(tokenizer, Constraints(programs=frozenset({40}), meter=(3, 4)))
    bars = compose_bars(parrot, Take(parrot.start(), always(other, COLD)))
    said = words(tokenizer, next(bars).tokens)
    assert "Program_0" not in said
    assert said[:2] == ("Bar_None", "TimeSig_3/4")


# Several takes, with the parrot -------------------------------------------------------------------


def test_a_take_that_is_done_is_read_no_more(tokenizer, grammar) -> None:
    # Three takes in bars of 7 and 2 tokens, begun at different places of the parrot's speech.
    parrot = Parrot(tokenizer, *LOUD, *SILENT)
    starts = [parrot.start(at) for at in (0, len(LOUD), 0)]
    takes = [Take(start, always(grammar, COLD)) for start in starts]
    order = [number for number, _ in compose_takes(parrot, takes, bars=1)]
    assert order == [1, 0, 2]
    assert [len(told) for told in parrot.told] == [3] * len(SILENT) + [2] * (
        len(LOUD) - len(SILENT)
    )


def test_the_snapshot_of_a_take_is_its_own(tokenizer, grammar) -> None:
    parrot = Parrot(tokenizer, *LOUD, *SILENT)
    takes = [Take(parrot.start(at), always(grammar, COLD)) for at in (0, len(LOUD))]
    ends = {}
    for number, bar in compose_takes(parrot, takes, bars=3):
        ends.setdefault(number, []).append(bar.snapshot.state.seen)
    long, short = len(LOUD), len(SILENT)
    assert ends[0] == [long, long + short, 2 * long + short]
    assert ends[1] == [long + short, 2 * long + short, 2 * long + 2 * short]


@pytest.mark.parametrize("bars", [1, 2, 5])
def test_takes_get_exactly_the_bars_asked_for(bars, tokenizer, grammar) -> None:
    parrot = Parrot(tokenizer, *LOUD, *SILENT)
    before = ((1, 2),) * 3
    takes = [
        Take(parrot.start(), always(grammar, COLD)),
        Take(parrot.start(), always(grammar, COLD), before[:0]),
        Take(parrot.start(len(LOUD)), always(grammar, COLD)),
    ]
    found = [number for number, _ in compose_takes(parrot, takes, bars=bars)]
    assert sorted(found) == sorted([0, 1, 2] * bars)


def test_without_an_end_takes_go_on(tokenizer, grammar) -> None:
    parrot = Parrot(tokenizer, *LOUD)
    takes = [Take(parrot.start(), always(grammar, COLD))] * 2
    found = [number for number, _ in islice(compose_takes(parrot, takes), 40)]
    assert found == [0, 1] * 20


# The plan -----------------------------------------------------------------------------------------


@pytest.fixture
def asked() -> list[tuple[int, tuple]]:
    """What a plan was asked: the number of a bar, and the bars before it."""
    return []


def listening(grammar: Grammar, sampling: Sampling, asked: list) -> Callable:
    def plan(bar: int, before: Sequence[tuple[int, ...]]) -> tuple[Grammar, Sampling]:
        asked.append((bar, tuple(before)))
        return grammar, sampling

    return plan


def test_the_plan_is_asked_bar_by_bar_with_the_bars_before(tokenizer, grammar, asked) -> None:
    parrot = Parrot(tokenizer, *LOUD, *SILENT)
    take = Take(parrot.start(), listening(grammar, COLD, asked))
    said = [bar.tokens for _, bar in compose_takes(parrot, [take], bars=4)]
    assert {bar for bar, _ in asked} == {0, 1, 2, 3}
    assert [bar for bar, _ in asked] == sorted(bar for bar, _ in asked)
    assert all(before == tuple(said[:bar]) for bar, before in asked)


def test_the_plan_counts_the_bars_that_a_take_has(tokenizer, grammar, asked) -> None:
    parrot = Parrot(tokenizer, *LOUD, *SILENT)
    first = Take(parrot.start(), always(grammar, COLD))
    before = tuple(bar.tokens for bar in islice(compose_bars(parrot, first), 5))
    take = Take(parrot.start(), listening(grammar, COLD, asked), before)
    said = [bar.tokens for _, bar in compose_takes(parrot, [take], bars=2)]
    assert {bar for bar, _ in asked} == {5, 6}
    assert all(found == (*before, *said)[:bar] for bar, found in asked)


def test_the_plan_may_change_the_rules_with_every_bar(tokenizer) -> None:
    parrot = Parrot(tokenizer, *LOUD)
    rules = [
        Grammar(tokenizer, Constraints(meter=meter, max_empty_bars=0))
        for meter in ((3, 4), (2, 4), (6, 8))
    ]
    take = Take(parrot.start(), lambda bar, before: (rules[bar % 3], COLD))
    said = [words(tokenizer, bar.tokens) for bar in islice(compose_bars(parrot, take), 6)]
    assert [bar[1] for bar in said] == ["TimeSig_3/4", "TimeSig_2/4", "TimeSig_6/8"] * 2


def test_the_plan_may_change_the_sampling_with_every_bar(network, tiny_grammar, start) -> None:
    def plan(bar: int, before: Sequence) -> tuple[Grammar, Sampling]:
        return tiny_grammar, Sampling(temperature=1.0, seed=5 if bar < 2 else 6)

    changed = bars_of(network, Take(start, plan), 4)
    whole = bars_of(network, Take(start, always(tiny_grammar, Sampling(1.0, seed=5))), 4)
    assert [bar.tokens for bar in changed[:2]] == [bar.tokens for bar in whole[:2]]
    assert changed[2].tokens != whole[2].tokens


def test_a_take_remembers_no_more_than_64_bars(tokenizer, grammar, asked) -> None:
    parrot = Parrot(tokenizer, *SILENT, *LOUD)
    before = tuple((1, 2, number) for number in range(70))
    take = Take(parrot.start(), listening(grammar, COLD, asked), ())
    bars = [bar.tokens for bar in islice(compose_bars(parrot, take), 80)]
    assert max(len(found) for _, found in asked) == 64
    assert all(found == tuple(bars[max(0, bar - 64) : bar]) for bar, found in asked)
    asked.clear()
    long = Take(parrot.start(), listening(grammar, COLD, asked), (*before[:0], *bars))
    next(compose_bars(parrot, long))
    assert asked[0] == (80, tuple(bars[-64:]))


def test_endless_music_takes_no_more_memory_with_time(
    tiny_model, tiny_tokenizer, tiny_grammar
) -> None:
    network = PackedLSTM(tiny_model)
    start = network.read([tiny_tokenizer.bos_id])
    take = Take(start, always(tiny_grammar, Sampling(seed=1)))
    bars = compose_bars(network, take)
    for _ in islice(bars, 100):  # until all is warm and 64 bars are remembered
        pass
    gc.collect()
    tracemalloc.start()
    for _ in islice(bars, 50):
        pass
    gc.collect()
    early, _ = tracemalloc.get_traced_memory()
    for _ in islice(bars, 200):
        pass
    gc.collect()
    late, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert late - early < 30_000  # 200 bars of a hundred tokens would be many times that


# With a network that plays nonsense ---------------------------------------------------------------


@pytest.fixture(scope="module", params=["compiled", "int8", "float32"])
def network(request, tiny_model) -> PackedLSTM:
    if request.param == "compiled":
        if kernel.load() is None:
            pytest.skip("this machine has no compiled step")
        return PackedLSTM(tiny_model, compiled=True)
    return PackedLSTM(tiny_model, precision=request.param, compiled=False)


@pytest.fixture(scope="module")
def start(network, tiny_tokenizer) -> Snapshot:
    return network.read([tiny_tokenizer.bos_id])


@pytest.fixture(scope="module")
def tiny_grammar(tiny_tokenizer) -> Grammar:
    wish = Constraints(programs=frozenset({0}), meter=(2, 4), max_empty_bars=3)
    return Grammar(tiny_tokenizer, wish)


def bars_of(network: PackedLSTM, take: Take, bars: int) -> list[Bar]:
    return list(islice(compose_bars(network, take), bars))


def assert_same(found: Sequence[Bar], expected: Sequence[Bar]) -> None:
    """The same tokens, and the network at the same place, to the last bit."""
    assert [bar.tokens for bar in found] == [bar.tokens for bar in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.snapshot.to_bytes() == other.snapshot.to_bytes()


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_resumed_take_equals_an_uninterrupted_one(
    cut, temperature, network, tiny_grammar, start
) -> None:
    plan = always(tiny_grammar, Sampling(temperature=temperature, seed=5))
    whole = bars_of(network, Take(start, plan), 6)
    before = tuple(bar.tokens for bar in whole[:cut])
    bytes_between = whole[cut - 1].snapshot.to_bytes()
    rest = bars_of(network, Take(Snapshot.from_bytes(bytes_between), plan, before), 6 - cut)
    assert_same(rest, whole[cut:])


def test_a_bar_made_again_alone_is_the_same_bar(network, tiny_grammar, start) -> None:
    plan = always(tiny_grammar, Sampling(seed=5))
    whole = bars_of(network, Take(start, plan), 4)
    before = tuple(bar.tokens for bar in whole[:3])
    assert_same(bars_of(network, Take(whole[2].snapshot, plan, before), 1), whole[3:])


@pytest.mark.parametrize("count", [1, 3, 32])
def test_takes_in_a_batch_equal_the_same_takes_alone(
    count, network, tiny_grammar, tiny_tokenizer, start
) -> None:
    other = Grammar(tiny_tokenizer, Constraints(meter=(3, 4)))
    takes = [
        Take(start, always((tiny_grammar, other)[seed % 2], Sampling(temperature=1.0, seed=seed)))
        for seed in range(count)
    ]
    together: list[list[Bar]] = [[] for _ in takes]
    bars = 1 if count == 32 else 2
    for number, bar in compose_takes(network, takes, bars=bars):
        together[number].append(bar)
    assert len({tuple(bar.tokens for bar in take) for take in together}) > count / 2
    chosen = range(count) if count < 5 else (0, 31)
    for number in chosen:
        assert_same(together[number], bars_of(network, takes[number], bars))


def test_takes_resumed_in_a_batch_equal_uninterrupted_ones(network, tiny_grammar, start) -> None:
    # Each has another number of bars already; one has none.
    plans = [always(tiny_grammar, Sampling(temperature=1.0, seed=seed)) for seed in range(4)]
    wholes = [bars_of(network, Take(start, plan), 5) for plan in plans]
    takes = [
        Take(
            whole[cut - 1].snapshot if cut else start,
            plan,
            tuple(bar.tokens for bar in whole[:cut]),
        )
        for cut, (plan, whole) in enumerate(zip(plans, wholes, strict=True))
    ]
    found: list[list[Bar]] = [[] for _ in takes]
    for number, bar in compose_takes(network, takes, bars=2):
        found[number].append(bar)
    for cut, (bars, whole) in enumerate(zip(found, wholes, strict=True)):
        assert_same(bars, whole[cut : cut + 2])


def test_a_batch_that_is_left_and_gone_on_with_equals_one_that_was_not(
    network, tiny_grammar, start
) -> None:
    plans = [always(tiny_grammar, Sampling(temperature=1.0, seed=seed)) for seed in range(3)]
    whole: list[list[Bar]] = [[], [], []]
    for number, bar in compose_takes(network, [Take(start, plan) for plan in plans], bars=4):
        whole[number].append(bar)
    halves = [
        Take(bars[1].snapshot, plan, tuple(bar.tokens for bar in bars[:2]))
        for plan, bars in zip(plans, whole, strict=True)
    ]
    rest: list[list[Bar]] = [[], [], []]
    for number, bar in compose_takes(network, halves[::-1], bars=2):
        rest[2 - number].append(bar)
    for number in range(3):
        assert_same(rest[number], whole[number][2:])


def test_the_snapshot_stands_at_the_bar_line(tiny_model, tiny_grammar, tiny_tokenizer) -> None:
    network = PackedLSTM(tiny_model, precision="float32")
    start = network.read([tiny_tokenizer.bos_id])
    bars = bars_of(network, Take(start, always(tiny_grammar, Sampling(seed=5))), 2)
    ids = [tiny_tokenizer.bos_id, *bars[0].tokens, *bars[1].tokens]
    read = network.read(ids)
    torch.testing.assert_close(bars[1].snapshot.scores, read.scores, atol=1e-5, rtol=0)
    assert bars[1].snapshot.state.seen == len(ids)


def test_two_takes_in_turn_are_what_they_are_alone(network, tiny_grammar, start) -> None:
    takes = [Take(start, always(tiny_grammar, Sampling(seed=seed))) for seed in (1, 2)]
    alone = [bars_of(network, take, 3) for take in takes]
    one, other = (compose_bars(network, take) for take in takes)
    in_turn = [(next(one), next(other)) for _ in range(3)]
    for found, expected in zip(zip(*in_turn, strict=True), alone, strict=True):
        assert_same(found, expected)
    assert alone[0][0].tokens != alone[1][0].tokens


def test_making_a_take_leaves_what_it_is_made_from_as_it_was(network, tiny_grammar, start) -> None:
    kept = start.to_bytes()
    first = bars_of(network, Take(start, always(tiny_grammar, Sampling(seed=1))), 2)
    middle = first[0].snapshot.to_bytes()
    take = Take(first[0].snapshot, always(tiny_grammar, Sampling(seed=1)), (first[0].tokens,))
    bars_of(network, take, 2)
    assert start.to_bytes() == kept
    assert first[0].snapshot.to_bytes() == middle
    assert take == replace(take)


def test_bars_come_as_numbers(network, tiny_grammar, tiny_tokenizer, start) -> None:
    bar = next(compose_bars(network, Take(start, always(tiny_grammar, Sampling(seed=5)))))
    assert all(type(token) is int for token in bar.tokens)
    assert bar.snapshot.scores.shape == (1, len(tiny_tokenizer))
    assert np.isfinite(bar.snapshot.scores.numpy()).all()


# How sure the network was ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, seed=1),
        Sampling(temperature=1.7, top_p=0.8, top_k=9, seed=1),
        Sampling(seed=1, repetition_penalty=3, pitch_temperature=0.3),
    ],
    ids=["cold", "hot", "penalised"],
)
@pytest.mark.parametrize("shape", [Shape(), Shape(softer=0.3)], ids=["plain", "softer"])
def test_every_token_has_the_networks_own_probability(
    sampling, shape, tiny_model, tiny_tokenizer
) -> None:
    """Whatever the sampling made of it: log softmax over what the grammar allowed."""
    network = PackedLSTM(tiny_model)
    rules = Grammar(tiny_tokenizer, Constraints(programs=frozenset({0, 40})), shape)
    start = network.read([tiny_tokenizer.bos_id])
    bars = list(islice(compose_bars(network, Take(start, always(rules, sampling))), 3))
    stepper, walk = network.stepper([start]), Walk(rules)
    for bar in bars:
        walk.open_bar(rules)
        assert len(bar.log_probs) == len(bar.tokens)
        for token, log_prob in zip(bar.tokens, bar.log_probs, strict=True):
            scores = stepper.scores[0][walk.allowed()].astype(np.float64)
            whole = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
            assert log_prob == pytest.approx(float(stepper.scores[0][token]) - whole, abs=1e-5)
            walk.advance(token)
            stepper.step([token])


def test_a_token_without_rival_is_certain(tokenizer) -> None:
    parrot = Parrot(tokenizer, *LOUD)
    rules = Grammar(tokenizer, Constraints(programs=frozenset({0}), meter=(3, 4)))
    bar = next(compose_bars(parrot, Take(parrot.start(), always(rules, COLD))))
    assert bar.log_probs[:2] == pytest.approx((0, 0), abs=1e-6)
    assert bar.log_probs[2] < -0.001


# What was heard before ----------------------------------------------------------------------------

REMINDED = {
    "plain": Sampling(seed=1, recall=1),
    "eager": Sampling(seed=1, recall=3, top_p=0.7),
    "shy": Sampling(seed=1, recall=0.2, repetition_penalty=4),
    "cold": Sampling(temperature=0, seed=1, recall=1),
}


def reminded(model: MusicLSTMForCausalLM, **recall) -> PackedLSTM:
    """The same weights, with recall: so strong that it is heard in a few bars."""
    recall = {"recall_window": 192, "recall_distance": 16, "recall_bias": 1.5} | recall
    config = MusicLSTMConfig.from_dict({**model.config.to_dict(), **recall})
    other = MusicLSTMForCausalLM(config).eval()
    other.load_state_dict(model.state_dict())
    return PackedLSTM(other)


@pytest.fixture(scope="module")
def reminding(tiny_model) -> PackedLSTM:
    return reminded(tiny_model)


@pytest.fixture(scope="module")
def busy(tiny_tokenizer) -> Grammar:
    """No bar is empty: so there is soon enough to recall."""
    wish = Constraints(programs=frozenset({0}), meter=(2, 4), max_empty_bars=0)
    return Grammar(tiny_tokenizer, wish)


def begin(network: PackedLSTM, tokenizer: MusicTokenizer) -> Snapshot:
    return network.read([tokenizer.bos_id])


def test_without_recall_it_composes_what_a_network_without_does(
    tiny_model, reminding, tiny_tokenizer, busy
) -> None:
    silent, eager = (
        always(busy, Sampling(seed=3, recall=recall)) for recall in (0, Sampling.recall)
    )
    plain = PackedLSTM(tiny_model)
    start, other = (begin(each, tiny_tokenizer) for each in (plain, reminding))
    expected = bars_of(plain, Take(start, silent), 8)
    for found in (
        bars_of(reminding, Take(other, silent), 8),
        bars_of(plain, Take(start, eager), 8),
    ):
        assert [bar.tokens for bar in found] == [bar.tokens for bar in expected]
        assert [bar.log_probs for bar in found] == [bar.log_probs for bar in expected]
    recalled = bars_of(reminding, Take(other, eager), 8)
    assert [bar.tokens for bar in recalled] != [bar.tokens for bar in expected]


@pytest.mark.parametrize("how", REMINDED)
def test_what_is_recalled_is_the_same_each_time_and_in_a_batch(
    how, reminding, tiny_tokenizer, busy
) -> None:
    start = begin(reminding, tiny_tokenizer)
    takes = [Take(start, always(busy, replace(REMINDED[how], seed=seed))) for seed in (1, 2)]
    alone = [bars_of(reminding, take, 8) for take in takes]
    together: list[list[Bar]] = [[], []]
    for number, bar in compose_takes(reminding, takes, bars=8):
        together[number].append(bar)
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("how", REMINDED)
@pytest.mark.parametrize("cut", [1, 10])
def test_a_resumed_take_recalls_what_an_uninterrupted_one_does(
    cut, how, reminding, tiny_tokenizer, busy
) -> None:
    plan = always(busy, REMINDED[how])
    whole = bars_of(reminding, Take(begin(reminding, tiny_tokenizer), plan), 12)
    before = tuple(bar.tokens for bar in whole[:cut])
    middle = Snapshot.from_bytes(whole[cut - 1].snapshot.to_bytes())
    rest = bars_of(reminding, Take(middle, plan, before), 12 - cut)
    assert_same(rest, whole[cut:])
    assert [bar.log_probs for bar in rest] == [bar.log_probs for bar in whole[cut:]]


@pytest.mark.parametrize("how", REMINDED)
@pytest.mark.parametrize("shape", [Shape(), Shape(softer=0.3)], ids=["plain", "softer"])
def test_every_token_has_its_probability_among_scores_and_votes(
    shape, how, reminding, tiny_tokenizer
) -> None:
    """Of all tokens that the grammar allowed, these add up to 1."""
    wish = Constraints(programs=frozenset({0, 40}), max_empty_bars=0)
    rules = Grammar(tiny_tokenizer, wish, shape)
    start, sampling = begin(reminding, tiny_tokenizer), REMINDED[how]
    bars = bars_of(reminding, Take(start, always(rules, sampling)), 16)
    stepper, walk, voted = reminding.stepper([start]), Walk(rules), 0
    for bar in bars:
        walk.open_bar(rules)
        for token, log_prob in zip(bar.tokens, bar.log_probs, strict=True):
            scores = stepper.scores[0].astype(np.float64)
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            if (votes := stepper.votes(0)) is not None:
                shares[votes.tokens] += sampling.recall * votes.odds
                voted += 1
            expected = shares[token] / shares[walk.allowed()].sum()
            assert log_prob == pytest.approx(np.log(expected), abs=1e-4)
            walk.advance(token)
            stepper.step([token])
    assert voted > 10


class Echo(Parrot):
    """Wants one thing as the parrot does, and is reminded of others."""

    reminders: Votes | None = None

    def _wishes(self, read: int) -> np.ndarray:
        scores = super()._wishes(read)
        if read % len(self.wanted) == 5:  # most of all what may not come: a bar, after a pitch
            scores[self.wanted[0]] = 10
        return scores

    def votes(self, row: int) -> Votes | None:
        return self.reminders


def remind(parrot: Echo, tokenizer: MusicTokenizer, **odds: float) -> None:
    names = {name: index for index, name in enumerate(tokenizer.base_tokens)}
    tokens = np.array([names[word] for word in odds])
    parrot.reminders = Votes(tokens, np.array([*odds.values()]))


def test_votes_for_what_is_forbidden_are_not_followed(tokenizer) -> None:
    parrot = Echo(tokenizer, *LOUD)
    remind(parrot, tokenizer, Program_40=1e9, Pitch_61=1e9)
    rules = Grammar(tokenizer, Constraints(programs=frozenset({0}), meter=(4, 4)))
    plan = always(rules, Sampling(seed=1, top_k=1))
    bar = next(compose_bars(parrot, Take(parrot.start(), plan)))
    # Only where a pitch may come at all is its vote heard.
    said = words(tokenizer, bar.tokens)
    assert said[:6] == (*LOUD[:4], "Pitch_61", LOUD[5])
    assert "Program_40" not in said


@pytest.mark.parametrize("recall", [0.5, 1, 2])
def test_votes_are_followed_as_willingly_as_is_asked(recall, tokenizer, grammar) -> None:
    # Among the few tokens that may come here, the parrot's own is all that top_k leaves of it.
    found = sixth_tokens(tokenizer, grammar, Sampling(top_k=1, recall=recall), Velocity_95=0.5)
    allowed = probability_of_what_may_come(tokenizer, grammar)
    expected = 0.5 * recall / (allowed + 0.5 * recall)
    assert found["Velocity_95"] == pytest.approx(expected, abs=0.05)
    assert found["Velocity_95"] + found["Velocity_79"] == 1


def test_votes_are_softened_as_scores_are(tokenizer) -> None:
    soft = Grammar(tokenizer, Constraints(max_empty_bars=10), Shape(softer=1))
    names = {name: index for index, name in enumerate(tokenizer.base_tokens)}
    tilt = soft.softness[names["Velocity_95"]] - soft.softness[names["Velocity_31"]]
    assert tilt < -0.3
    found = sixth_tokens(tokenizer, soft, Sampling(), Velocity_95=1e5, Velocity_31=1e5)
    expected = np.exp(tilt) / (1 + np.exp(tilt))
    assert found["Velocity_95"] == pytest.approx(expected, abs=0.05)
    assert found["Velocity_95"] + found["Velocity_31"] == 1


def test_votes_pay_for_copying_as_scores_do(tokenizer, grammar) -> None:
    sampling = Sampling(repetition_penalty=4)
    names = {name: index for index, name in enumerate(tokenizer.base_tokens)}
    before = (tuple(names[word] for word in LOUD),)
    odds = {"Velocity_79": 1e5, "Velocity_95": 1e5}
    found = sixth_tokens(tokenizer, grammar, sampling, before, **odds)
    assert found["Velocity_79"] == pytest.approx(1 / 5, abs=0.05)
    free = sixth_tokens(tokenizer, grammar, replace(sampling, repetition_penalty=1), before, **odds)
    assert free["Velocity_79"] == pytest.approx(1 / 2, abs=0.05)


def sixth_tokens(
    tokenizer: MusicTokenizer,
    grammar: Grammar,
    sampling: Sampling,
    before: tuple = (),
    **odds: float,
) -> dict[str, float]:
    """How often each velocity follows the first pitch, where some are voted for."""
    parrot = Echo(tokenizer, *LOUD)
    remind(parrot, tokenizer, **odds)
    plans = [always(grammar, replace(sampling, seed=seed)) for seed in range(600)]
    said = [
        words(tokenizer, next(compose_bars(parrot, Take(parrot.start(), plan, before))).tokens)
        for plan in plans
    ]
    found = [bar[5] for bar in said if bar[:5] == LOUD[:5]]
    assert len(found) > 500
    return {name: found.count(name) / len(found) for name in {*found, *odds, "Velocity_79"}}


def probability_of_what_may_come(tokenizer: MusicTokenizer, grammar: Grammar) -> float:
    """What the parrot itself gives to all that the grammar allows after its pitch."""
    parrot, walk = Echo(tokenizer, *LOUD), Walk(grammar)
    walk.open_bar(grammar)
    for token in parrot.wanted[:5]:
        walk.advance(token)
    scores = parrot._wishes(5).astype(np.float64)
    return float(np.exp(scores[walk.allowed()]).sum() / np.exp(scores).sum())


def test_scores_far_apart_stay_numbers() -> None:
    scores = np.array([0, -100, -101], np.float32)
    masked = np.array([-np.inf, -100, -101], np.float32)
    votes = _against(scores, 0.0, masked, Votes(np.array([1]), np.array([0.1])))
    assert np.isfinite(votes.odds).all()
    assert votes.odds[0] > 1e40
