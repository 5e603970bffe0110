"""Decode bars of several sequences from snapshots of decoder states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import chain, count
from math import inf

import numpy as np

from musiclstm.core.bar_features import BarContext
from musiclstm.core.sequence import MAX_ROWS, Batch
from musiclstm.core.sequence import Sequence as TokenSequence
from musiclstm.generation.bar_plan import Bars, Plan
from musiclstm.generation.decoding.bar_score import scaled_bar_score
from musiclstm.generation.decoding.inference import DecoderState, InferenceModel
from musiclstm.memorization import CopyFilter

_MAX_ATTEMPTS = 16  # to write a bar without a copied passage
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
        plan: Function of a bar's number, from 0, and the previous bars that returns its `BarPlan`.
            Each sampling has a seed.
        before: Token ids of the bars already decoded. Their number selects the random numbers, so
            a sequence continued at bar 8 equals one composed at once.
        prompt: All token ids that were read before the first new bar: those of references, each
            of which ends with EOS, and of the prompt. New bars may have the tracks of the prompt.
        copy_filter: Refuses bars that complete a copied passage; its state before the first new
            bar of the piece. None: no limit.
    """

    snapshot: DecoderState
    plan: Plan
    before: Bars = field(default=(), repr=False)
    prompt: Sequence[int] = field(default=(), repr=False)
    copy_filter: CopyFilter | None = field(default=None, repr=False)


def compose_bars(model: InferenceModel, request: SequenceRequest) -> Iterator[TokenBar]:
    """Return an endless iterator over the bars of one sequence."""
    return (bar for _, bar in compose_sequences(model, [request]))


def compose_sequences(
    model: InferenceModel, requests: Sequence[SequenceRequest], *, bars: int | None = None
) -> Iterator[tuple[int, TokenBar]]:
    """Yield (index of the sequence, bar) for several sequences, bar by bar.

    Each bar is the best of `Sampling.candidates` candidates by `InferenceModel.bar_score`. A
    sequence does not depend on the others.

    Args:
        model: The network.
        requests: At most `MAX_ROWS`.
        bars: New bars of each sequence; None: no end.
    """
    numbers = count() if bars is None else range(bars)
    decoders: list[_SequenceDecoder] = []
    unused: list[TokenSequence] = []
    for _ in numbers if requests else ():
        decoders = decoders or [_SequenceDecoder(model, each, unused) for each in requests]
        opened: list[tuple[int, _SequenceDecoder]] = []
        for index, decoder in enumerate(decoders):
            decoder.open_bar()
            opened.append((index, decoder))
            rows = [each for _, decoder in opened for each in decoder.candidates]
            if len(rows) < MAX_ROWS and decoder is not decoders[-1]:
                continue
            _write_bars(rows)
            for number, complete in opened:
                while complete.reopen_bar():
                    _write_bars(complete.candidates)
                yield number, complete.close_bar()
            opened = []


def _write_bars(sequences: Sequence[TokenSequence]) -> None:
    """Complete the open bars."""
    for first in range(0, len(sequences), MAX_ROWS):
        incomplete = list(sequences[first : first + MAX_ROWS])
        while incomplete:
            Batch(incomplete).write()
            incomplete = [each for each in incomplete if not each.is_complete]


class _SequenceDecoder:
    """Decodes one sequence: plans its bars, chooses among candidates, and collects them.

    Attributes:
        candidates: Sequences that differ in the open bar; between bars, the chosen one.
    """

    def __init__(
        self, model: InferenceModel, request: SequenceRequest, unused: list[TokenSequence]
    ) -> None:
        """Read a request; `unused` holds memory of candidates, shared with other decoders."""
        self._model, self._request, self._unused = model, request, unused
        self._bar = len(request.before)
        self._before = list(request.before[-_MAX_BARS:])
        rules = request.plan(self._bar, self._before).rules
        written = list(chain.from_iterable(request.before))
        self.candidates = [model.restore(request.snapshot, rules, request.prompt, written)]
        self._context: BarContext | None = None
        self._copy_filter = request.copy_filter
        if self._copy_filter is not None:
            self._copy_filter = reduce(CopyFilter.after, request.before, self._copy_filter)
            self._start = TokenSequence(model.network)
            self._copied: list[int] = []  # longest copied passage of each candidate

    def open_bar(self) -> None:
        """Start the candidates of a bar with their `Bar_None` token."""
        self._attempt = 0
        if self._copy_filter is not None:
            self._start.assign(self.candidates[0])
        self._open_candidates()

    def reopen_bar(self) -> bool:
        """Start other candidates if each complete one has a copied passage that is too long.

        Returns:
            False: one of them can be kept, or these were the last attempt.
        """
        if self._copy_filter is None:
            return False
        self._copied = [self._copy_filter.longest(each.bar()[0]) for each in self.candidates]
        is_permitted = min(self._copied) <= self._copy_filter.max_copied_notes
        if is_permitted or self._attempt == _MAX_ATTEMPTS:
            return False
        self._attempt += 1
        self._keep(0)
        self.candidates[0].assign(self._start)
        self._open_candidates()
        return True

    def _open_candidates(self) -> None:
        plan = self._request.plan(self._bar, self._before)
        self._gain = plan.velocity_gain
        count, sampling = plan.sampling.candidates, plan.sampling
        self._bar_score = scaled_bar_score(self._model.bar_score, sampling.similarity)
        self.candidates += [self._copy_of(self.candidates[0]) for _ in range(count - 1)]
        if self._attempt:
            sampling = sampling.with_higher_temperature(min(1.0, self._attempt / 8))
        settings = sampling.packed()
        for number, sequence in enumerate(self.candidates, self._attempt * count):
            sequence.open_bar(plan.rules, settings, self._bar, number)

    def _copy_of(self, sequence: TokenSequence) -> TokenSequence:
        found = self._unused.pop() if self._unused else TokenSequence(self._model.network)
        found.assign(sequence)
        return found

    def _keep(self, index: int) -> None:
        """Keep one candidate, and the memory of the others for other bars."""
        kept = self.candidates.pop(index)
        self._unused += self.candidates
        self.candidates = [kept]

    def close_bar(self) -> TokenBar:
        """Return the best of the complete candidates."""
        bars = [each.bar() for each in self.candidates]
        scores = [self._score(*bar) for bar in bars] if len(bars) > 1 else [0.0]
        if self._copy_filter is not None:
            limit = max(min(self._copied), self._copy_filter.max_copied_notes)
            scores = [s if c <= limit else -inf for s, c in zip(scores, self._copied, strict=True)]
        best = int(np.argmax(scores))
        tokens, log_probs = bars[best]
        self._keep(best)
        if self._copy_filter is not None:
            self._copy_filter = self._copy_filter.after(tokens)
        if self._context is not None:
            self._context.add(tokens)
        self._before = [*self._before[1 - _MAX_BARS :], tokens]
        self._bar += 1
        state = DecoderState.of(self.candidates[0])
        return TokenBar(tokens, state, log_probs, self._gain)

    def _score(self, tokens: Sequence[int], log_probs: Sequence[float]) -> float:
        if self._context is None:
            # The place of a bar in its phrase is its number modulo 4.
            first = (len(self._before) - self._bar) % 4
            bars = self._before[first:]
            self._context = self._model.bar_context(self._request.prompt, bars)
        features = self._context.features(tokens, log_probs)
        return self._context.score(self._bar_score, features)
