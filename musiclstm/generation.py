"""The loop: a snapshot in, bars of tokens and new snapshots out.

Knows numbers, not music: what a bar is, the grammar says; what comes next, the network; which of it
is taken, the sampling. No MIDI, no files, no sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import torch

from musiclstm.decoding import PackedLSTM, Snapshot
from musiclstm.grammar import Grammar, Walk
from musiclstm.sampling import Sampling


@dataclass(frozen=True)
class Bar:
    """One bar of a take.

    Attributes:
        tokens: Its ids, the one that opens it first.
        snapshot: Where the network stands at the bar line after it.
    """

    tokens: tuple[int, ...]
    snapshot: Snapshot


def compose_bars(
    network: PackedLSTM,
    grammar: Grammar,
    sampling: Sampling,
    snapshot: Snapshot,
    *,
    before: Sequence[tuple[int, ...]] = (),
) -> Iterator[Bar]:
    """Bars without end, each as soon as it is finished.

    Args:
        network: Scores the next token.
        grammar: Says which tokens may come.
        sampling: Chooses; its seed must be set.
        snapshot: Where the network stands: at a bar line.
        before: Ids of the bars that this take has already. The random numbers of a bar depend on
            how many come before it, so that a take resumed at bar 8 goes on as it would have at
            once.
    """
    walk = Walk(grammar, before)
    for number in count(len(before)):
        bar = _compose_bar(network, grammar, sampling, snapshot, walk, number)
        yield bar
        snapshot = bar.snapshot


def _compose_bar(
    network: PackedLSTM,
    grammar: Grammar,
    sampling: Sampling,
    snapshot: Snapshot,
    walk: Walk,
    number: int,
) -> Bar:
    rng = sampling.random_for(number)
    tokens: list[int] = []
    token = sampling.choose(snapshot.scores[0].numpy(), walk.begin_bar(), rng)
    while not tokens or not grammar.ends_bar[token]:
        tokens.append(token)
        walk.advance(token)
        snapshot = network.step(torch.tensor([token]), snapshot)
        token = sampling.choose(snapshot.scores[0].numpy(), walk.allowed(), rng)
    return Bar(tuple(tokens), snapshot)
