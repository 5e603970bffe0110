"""The token loop: snapshots in, bars of tokens and new snapshots out, for several sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from musiclstm.generation.bar_plan import Bars, Plan
from musiclstm.generation.decoding.grammar import IS_PITCH, PITCHES, TOKEN_KINDS
from musiclstm.generation.decoding.grammar_state import GrammarState
from musiclstm.generation.decoding.sampling import BarRepetitionPenalty, logsumexp
from musiclstm.tokens import vocabulary as v

_MAX_BARS = 64  # that are kept; an endless sequence must not grow


class Stepper(Protocol):
    """Steps several rows by one token each.

    Attributes:
        scores: Logits of the next token of each row, (rows, vocab) float32.
    """

    scores: np.ndarray

    def step(self, ids: Sequence[int]) -> None:
        """Read one token for each row."""

    def set_copy_weight(self, weight: float, row: int = 0) -> None:
        """Set the scale of the gates of a row."""

    def snapshot(self, row: int = 0) -> Any:
        """Return where a row stands."""

    def keep(self, rows: Sequence[int]) -> None:
        """Keep some rows, in this order."""


class Network(Protocol):
    """What makes steppers."""

    def stepper(self, snapshots: Sequence[Any]) -> Stepper:
        """Return a stepper with a row for each snapshot."""


@dataclass(frozen=True)
class TokenBar:
    """One bar of a sequence.

    Attributes:
        tokens: Its ids, `Bar_None` first.
        snapshot: State of the network at the bar line after it.
        log_probs: Natural logarithm of each token's probability under the network: the softmax over
            what the grammar permits, at temperature 1 and with the copy weight of the bar. 0 for
            the first token.
        velocity_gain: Factor on the velocities of the bar, see `BarShape`.
    """

    tokens: tuple[int, ...]
    snapshot: Any
    log_probs: tuple[float, ...] = ()
    velocity_gain: float = 1.0


@dataclass(frozen=True)
class SequenceRequest:
    """What a sequence starts from.

    Attributes:
        snapshot: State of the network at a bar line, one row.
        plan: Grammar and sampling of each bar, given its number from 0 and the last bars before
            it; every sampling has a seed.
        before: Ids of the bars that this sequence has already. The random numbers of a bar depend
            on how many come before it, so that a sequence continued at bar 8 equals one composed at
            once.
        prompt: Ids that the network read before those bars. Its tracks are the ones that new bars
            may have, see `GrammarState`.
    """

    snapshot: Any
    plan: Plan
    before: Bars = field(default=(), repr=False)
    prompt: Sequence[int] = field(default=(), repr=False)


def compose_bars(network: Network, request: SequenceRequest) -> Iterator[TokenBar]:
    """Return the bars of one endless sequence, each as soon as it is finished."""
    return (bar for _, bar in compose_sequences(network, [request]))


def compose_sequences(
    network: Network, requests: Sequence[SequenceRequest], *, bars: int | None = None
) -> Iterator[tuple[int, TokenBar]]:
    """Yield bars of several sequences, each as soon as it is finished, with the sequence's number.

    A sequence does not depend on the others.

    Args:
        network: Makes the stepper.
        requests: At most as many as a stepper has rows.
        bars: New bars of each sequence; None: no end.
    """
    if not requests or bars == 0:
        return
    stepper = network.stepper([request.snapshot for request in requests])
    scratch = np.empty(stepper.scores.shape[1], np.float32)  # one array: see core.sampling
    decoders = [_SequenceDecoder(i, each, bars, scratch) for i, each in enumerate(requests)]
    for row, decoder in enumerate(decoders):
        stepper.set_copy_weight(decoder.open_bar(), row)
    while decoders:
        any_done = False
        stepper.step([decoder.token for decoder in decoders])
        for row, decoder in enumerate(decoders):
            if decoder.sample(stepper.scores[row]):
                yield decoder.number, decoder.close_bar(stepper.snapshot(row))
                if decoder.is_done:
                    any_done = True
                else:
                    stepper.set_copy_weight(decoder.open_bar(), row)
        if any_done:
            rows = [row for row, decoder in enumerate(decoders) if not decoder.is_done]
            decoders = [decoders[row] for row in rows]
            if rows:
                stepper.keep(rows)


class _SequenceDecoder:
    """Decodes one sequence: its grammar state, and the rules and random numbers of the bar.

    Attributes:
        number: Of the sequence.
        token: Chosen last.
        is_done: Whether it has all its bars.
    """

    def __init__(
        self, number: int, request: SequenceRequest, bars: int | None, scratch: np.ndarray
    ) -> None:
        self.number = number
        self.token = v.BAR
        self.is_done = False
        self._plan = request.plan
        self._bar = len(request.before)
        self._end = None if bars is None else self._bar + bars
        self._before = list(request.before[-_MAX_BARS:])
        self._state = GrammarState(request.plan(self._bar, self._before)[0])
        self._state.read(request.prompt)
        self._state.replay(request.before)  # more silent bars than are kept may be permitted
        self._scratch = scratch

    def open_bar(self) -> float:
        """Begin a bar with its first token; return its copy weight."""
        self._grammar, self._sampling = self._plan(self._bar, self._before)
        self._rng = self._sampling.rng_for_bar(self._bar)
        self._penalty = BarRepetitionPenalty(self._sampling, self._before, IS_PITCH, PITCHES)
        self._state.open_bar(self._grammar)
        self._tokens: list[int] = []
        self._log_probs: list[float] = []
        self._append(v.BAR, 0.0)
        return self._sampling.copy_weight

    def sample(self, logits: np.ndarray) -> bool:
        """Choose the next token from logits, (vocab,); whether the bar is over instead."""
        masked = self._state.mask_logits(logits, self._scratch)
        total = logsumexp(masked)
        self._penalty.apply(masked)
        token = self._sampling.sample(masked, self._rng, TOKEN_KINDS)
        if token == v.BAR or token == v.EOS:
            return True
        self._append(token, min(0.0, logits.item(token) - total))
        return False

    def _append(self, token: int, log_prob: float) -> None:
        self._state.advance(token)
        self._penalty.advance(token)
        self._tokens.append(token)
        self._log_probs.append(log_prob)
        self.token = token

    def close_bar(self, snapshot: Any) -> TokenBar:
        """Return the bar that is over."""
        bar = tuple(self._tokens)
        self._before = [*self._before[1 - _MAX_BARS :], bar]
        self._bar += 1
        self.is_done = self._bar == self._end
        gain = self._grammar.shape.velocity_gain
        return TokenBar(bar, snapshot, tuple(self._log_probs), gain)
