"""The loop, with a network whose scores are known."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch

from musiclstm import Constraints, MusicTokenizer, Sampling
from musiclstm.decoding import PackedLSTM, Snapshot
from musiclstm.generation import compose_bars
from musiclstm.grammar import Grammar
from musiclstm.modeling import LSTMState

SILENT = ("Bar_None", "TimeSig_4/4")
LOUD = (*SILENT, "Position_0", "Program_0", "Pitch_60", "Velocity_79", "Duration_1.0.12")


@pytest.fixture(scope="module")
def tokenizer() -> MusicTokenizer:
    return MusicTokenizer()


@pytest.fixture(scope="module")
def grammar(tokenizer) -> Grammar:
    return Grammar(tokenizer, Constraints(max_empty_bars=10))


class Parrot:
    """A network that wants to say a list of tokens, and counts what it has been told."""

    def __init__(self, tokenizer: MusicTokenizer, *words: str) -> None:
        names = {name: index for index, name in enumerate(tokenizer.base_tokens)}
        self.wanted, self.vocabulary = [names[word] for word in words], len(tokenizer)
        self.told: list[int] = []

    def start(self) -> Snapshot:
        return self.snapshot(0)

    def snapshot(self, read: int) -> Snapshot:
        scores = torch.zeros(1, self.vocabulary)
        scores[0, self.wanted[read % len(self.wanted)]] = 9.0
        nothing = torch.zeros(1, 1, 0)
        return Snapshot(scores, LSTMState(nothing, nothing, nothing, torch.zeros(1), read))

    def step(self, ids: torch.Tensor, snapshot: Snapshot) -> Snapshot:
        self.told.append(int(ids[0]))
        return self.snapshot(snapshot.state.seen + 1)


def words(tokenizer: MusicTokenizer, ids) -> tuple[str, ...]:
    return tuple(tokenizer.expand(ids))


def test_bars_are_what_the_network_wants_most(tokenizer, grammar) -> None:
    parrot = Parrot(tokenizer, *LOUD, *SILENT)
    bars = compose_bars(parrot, grammar, Sampling(temperature=0, seed=0), parrot.start())
    said = [words(tokenizer, bar.tokens) for bar in islice(bars, 4)]
    assert said == [LOUD, SILENT, LOUD, SILENT]


def test_the_token_that_opens_the_next_bar_is_not_read_before_it_is_asked_for(
    tokenizer, grammar
) -> None:
    parrot = Parrot(tokenizer, *LOUD)
    bars = compose_bars(parrot, grammar, Sampling(temperature=0, seed=0), parrot.start())
    first = next(bars)
    assert tuple(parrot.told) == first.tokens
    assert first.snapshot.state.seen == len(first.tokens)
    second = next(bars)
    assert tuple(parrot.told) == first.tokens + second.tokens


def test_a_network_that_wants_to_stop_goes_on_all_the_same(tokenizer, grammar) -> None:
    parrot = Parrot(tokenizer, *LOUD, "EOS_None")
    # The end is no token of a bar: the parrot is not told it, and wants it again and again.
    bars = compose_bars(parrot, grammar, Sampling(temperature=0, seed=0), parrot.start())
    said = [words(tokenizer, bar.tokens) for bar in islice(bars, 3)]
    assert all(bar[0] == "Bar_None" and "EOS_None" not in bar for bar in said)
    assert said[0] == LOUD


def test_what_the_grammar_forbids_is_not_said(tokenizer) -> None:
    parrot = Parrot(tokenizer, *LOUD)
    other = Grammar(tokenizer, Constraints(programs=frozenset({40}), meter=(3, 4)))
    bars = compose_bars(parrot, other, Sampling(temperature=0, seed=0), parrot.start())
    said = words(tokenizer, next(bars).tokens)
    assert "Program_0" not in said
    assert said[:2] == ("Bar_None", "TimeSig_3/4")


@pytest.fixture(scope="module")
def network(tiny_model) -> PackedLSTM:
    return PackedLSTM(tiny_model)


@pytest.fixture(scope="module")
def tiny_grammar(tiny_tokenizer) -> Grammar:
    wish = Constraints(programs=frozenset({0}), meter=(2, 4), max_empty_bars=3)
    return Grammar(tiny_tokenizer, wish)


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("cut", [1, 3, 4])
def test_a_resumed_take_equals_an_uninterrupted_one(
    cut, temperature, network, tiny_grammar, tiny_tokenizer
) -> None:
    sampling = Sampling(temperature=temperature, seed=5)
    start = network.read([tiny_tokenizer.bos_id])
    whole = list(islice(compose_bars(network, tiny_grammar, sampling, start), 6))
    before = tuple(bar.tokens for bar in whole[:cut])
    rest = compose_bars(network, tiny_grammar, sampling, whole[cut - 1].snapshot, before=before)
    resumed = list(islice(rest, 6 - cut))
    assert [bar.tokens for bar in resumed] == [bar.tokens for bar in whole[cut:]]
    assert torch.equal(resumed[-1].snapshot.scores, whole[-1].snapshot.scores)


def test_a_bar_made_again_alone_is_the_same_bar(network, tiny_grammar, tiny_tokenizer) -> None:
    sampling = Sampling(seed=5)
    start = network.read([tiny_tokenizer.bos_id])
    whole = list(islice(compose_bars(network, tiny_grammar, sampling, start), 4))
    before = tuple(bar.tokens for bar in whole[:3])
    again = next(compose_bars(network, tiny_grammar, sampling, whole[2].snapshot, before=before))
    assert again.tokens == whole[3].tokens


def test_the_snapshot_stands_at_the_bar_line(network, tiny_grammar, tiny_tokenizer) -> None:
    start = network.read([tiny_tokenizer.bos_id])
    bars = list(islice(compose_bars(network, tiny_grammar, Sampling(seed=5), start), 2))
    ids = [tiny_tokenizer.bos_id, *bars[0].tokens, *bars[1].tokens]
    read = network.read(ids)
    torch.testing.assert_close(bars[1].snapshot.scores, read.scores, atol=1e-5, rtol=0)
    assert bars[1].snapshot.state.seen == len(ids)


def test_two_takes_in_turn_are_what_they_are_alone(network, tiny_grammar, tiny_tokenizer) -> None:
    start = network.read([tiny_tokenizer.bos_id])

    def take(seed: int):
        return compose_bars(network, tiny_grammar, Sampling(seed=seed), start)

    alone = [[bar.tokens for bar in islice(take(seed), 3)] for seed in (1, 2)]
    one, other = take(1), take(2)
    in_turn = [(next(one).tokens, next(other).tokens) for _ in range(3)]
    assert [list(tokens) for tokens in zip(*in_turn, strict=True)] == alone
    assert alone[0] != alone[1]


def test_bars_come_as_numbers(network, tiny_grammar, tiny_tokenizer) -> None:
    bar = next(
        compose_bars(network, tiny_grammar, Sampling(seed=5), network.read([tiny_tokenizer.bos_id]))
    )
    assert all(type(token) is int for token in bar.tokens)
    assert bar.snapshot.scores.shape == (1, len(tiny_tokenizer))
    assert np.isfinite(bar.snapshot.scores.numpy()).all()
