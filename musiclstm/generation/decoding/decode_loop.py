"""The token loop: decode bars of several sequences from snapshots of decoder states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from musiclstm.generation.bar_plan import Bars, Plan
from musiclstm.generation.decoding.grammar import IS_PITCH, PITCHES, TOKEN_KINDS
from musiclstm.generation.decoding.grammar_state import GrammarState
from musiclstm.generation.decoding.sampling import BarRepetitionPenalty, logsumexp
from musiclstm.tokens import vocabulary as v

if TYPE_CHECKING:  # imports torch
    from musiclstm.generation.decoding.inference import DecoderState, InferenceModel

_MAX_BARS = 64  # previous bars that are kept; an endless sequence takes constant memory


@dataclass(frozen=True)
class TokenBar:
    """One decoded bar of a sequence.

    Attributes:
        tokens: Token ids, `Bar_None` first.
        snapshot: Decoder state at the bar line after it.
        log_probs: Natural logarithm of each token's probability: the softmax over the tokens that
            the grammar permits, at temperature 1 and with the copy weight of the bar. 0 for the
            first token.
        velocity_gain: Factor on the velocities of the bar, see `BarShape`.
    """

    tokens: tuple[int, ...]
    snapshot: DecoderState
    log_probs: tuple[float, ...] = ()
    velocity_gain: float = 1.0


@dataclass(frozen=True)
class SequenceRequest:
    """Start of a sequence.

    Attributes:
        snapshot: Decoder state at a bar line.
        plan: Function of a bar's number, from 0, and the previous bars that returns its grammar and
            sampling. Each sampling has a seed.
        before: Token ids of the bars already decoded. Their number selects the random numbers, so
            a sequence continued at bar 8 equals one composed at once.
        prompt: Token ids of the prompt. New bars may have its tracks, see `GrammarState`.
    """

    snapshot: DecoderState
    plan: Plan
    before: Bars = field(default=(), repr=False)
    prompt: Sequence[int] = field(default=(), repr=False)


def compose_bars(model: InferenceModel, request: SequenceRequest) -> Iterator[TokenBar]:
    """Return an endless iterator over the bars of one sequence."""
    return (bar for _, bar in compose_sequences(model, [request]))


def compose_sequences(
    model: InferenceModel, requests: Sequence[SequenceRequest], *, bars: int | None = None
) -> Iterator[tuple[int, TokenBar]]:
    """Yield (index of the sequence, bar) for several sequences, as soon as a bar is complete.

    A sequence does not depend on the others.

    Args:
        model: The network.
        requests: At most `MAX_ROWS`.
        bars: New bars of each sequence; None: no end.
    """
    if not requests or bars == 0:
        return
    batch = model.start([request.snapshot for request in requests])
    masked = np.empty(batch.logits.shape[1], np.float32)  # reused for every token
    decoders = [_SequenceDecoder(i, each, bars, masked) for i, each in enumerate(requests)]
    for row, decoder in enumerate(decoders):
        batch.set_copy_weight(decoder.open_bar(), row)
    while decoders:
        any_done = False
        batch.step([decoder.token for decoder in decoders])
        for row, decoder in enumerate(decoders):
            if decoder.sample(batch.logits[row]):
                yield decoder.index, decoder.close_bar(batch.snapshot(row))
                if decoder.is_done:
                    any_done = True
                else:
                    batch.set_copy_weight(decoder.open_bar(), row)
        if any_done:
            rows = [row for row, decoder in enumerate(decoders) if not decoder.is_done]
            decoders = [decoders[row] for row in rows]
            if rows:
                batch.select_rows(rows)


class _SequenceDecoder:
    """Decodes one sequence: grammar state, and grammar, sampling and random numbers of the bar.

    Attributes:
        index: Index of the request.
        token: The last token.
        is_done: Whether all bars are complete.
    """

    def __init__(
        self, index: int, request: SequenceRequest, bars: int | None, masked: np.ndarray
    ) -> None:
        self.index = index
        self.token = v.BAR
        self.is_done = False
        self._plan = request.plan
        self._bar = len(request.before)
        self._end = None if bars is None else self._bar + bars
        self._before = list(request.before[-_MAX_BARS:])
        self._state = GrammarState(request.plan(self._bar, self._before)[0])
        self._state.read(request.prompt)
        self._state.replay(request.before)  # all bars: more empty ones than are kept may count
        self._masked = masked

    def open_bar(self) -> float:
        """Start a bar with its `Bar_None` token; return its copy weight."""
        self._grammar, self._sampling = self._plan(self._bar, self._before)
        self._rng = self._sampling.rng_for_bar(self._bar)
        self._penalty = BarRepetitionPenalty(self._sampling, self._before, IS_PITCH, PITCHES)
        self._state.open_bar(self._grammar)
        self._tokens: list[int] = []
        self._log_probs: list[float] = []
        self._append(v.BAR, 0.0)
        return self._sampling.copy_weight

    def sample(self, logits: np.ndarray) -> bool:
        """Sample the next token from logits, (vocab,); return True if the bar is complete."""
        masked = self._state.mask_logits(logits, self._masked)
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

    def close_bar(self, snapshot: DecoderState) -> TokenBar:
        """Return the complete bar."""
        bar = tuple(self._tokens)
        self._before = [*self._before[1 - _MAX_BARS :], bar]
        self._bar += 1
        self.is_done = self._bar == self._end
        gain = self._grammar.shape.velocity_gain
        return TokenBar(bar, snapshot, tuple(self._log_probs), gain)
