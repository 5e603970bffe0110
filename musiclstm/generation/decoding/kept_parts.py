"""Write bars in which some parts are given: the others are composed to them.

In each bar the tokens of the kept parts come first, so the network has read them when it writes the
others. Several candidates are written at once. Their weights are the probabilities of the kept
tokens given what a candidate wrote before, so those candidates survive that fit what comes: this is
a particle filter (Gordon et al. 1993) whose observations are the kept parts and the bars that
follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from musiclstm.core.sequence import Batch
from musiclstm.core.sequence import Sequence as Tokens
from musiclstm.generation.decoding.inference import InferenceModel
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.model.step_features import TokenKind
from musiclstm.tokens import PartName
from musiclstm.tokens.vocabulary import TABLE

_PROGRAMS = 129


@dataclass(frozen=True)
class KeptBar:
    """A bar to complete.

    Attributes:
        tokens: Meter, tempos and blocks of the kept parts, without the Bar token.
        rules: `BarRules` of core.h.
    """

    tokens: tuple[int, ...]
    rules: np.ndarray


@dataclass(frozen=True)
class PartsRequest:
    """Bars to complete, and what stands around them.

    Attributes:
        prompt: Token ids that are read before the first bar, at least one.
        bars: Bars to complete, at least one.
        following: Whole bars after them, without Bar tokens.
        kept: Number of kept parts by program, -1 for drums; they are the first ones of the program.
        max_rests: The parts that are composed, after the kept ones of their program; each plays
            after at most so many bars without a note.
        lines: Programs whose composed parts play one note at a time, if the rules keep lines.
        sampling: Sampling with a random seed, and the number of candidates.
    """

    prompt: Sequence[int]
    bars: Sequence[KeptBar]
    following: Sequence[Sequence[int]]
    kept: Mapping[int, int]
    max_rests: Mapping[PartName, int]
    lines: Collection[int]
    sampling: Sampling


@dataclass
class _Candidate:
    """One way to complete the bars.

    Attributes:
        tokens: The stream.
        bars: Token ids of the bars so far.
        rests: Number of bars in a row without a note, of each part that is composed.
        log_weight: Natural logarithm of its weight.
    """

    tokens: Tokens
    bars: list[tuple[int, ...]]
    rests: dict[PartName, int]
    log_weight: float = 0.0

    def become(self, other: _Candidate) -> None:
        """Become a copy of another candidate."""
        self.tokens.assign(other.tokens)
        self.bars, self.rests = [*other.bars], {**other.rests}


def complete_bars(model: InferenceModel, request: PartsRequest) -> list[tuple[int, ...]]:
    """Return the token ids of each bar, with the Bar token and those of the kept parts.

    Raises:
        ValueError: Tokens of a kept bar are no part of a bar, or rules out of range.
    """
    candidates = _start(model, request)
    batch = Batch([each.tokens for each in candidates])
    sampling = request.sampling.packed()
    for number, bar in enumerate(request.bars):
        _resample(candidates)
        _give(candidates, batch, bar.tokens, bar.rules, sampling, number)
        for each in candidates:
            each.tokens.limit_parts(_limits(request, each))
        _write(batch)
        for each in candidates:
            tokens, _ = each.tokens.bar()
            each.bars.append(tokens)
            played = parts_with_notes(tokens)
            each.rests = {
                part: 0 if part in played else bars + 1 for part, bars in each.rests.items()
            }
    if len(candidates) > 1:
        for number, given in enumerate(request.following, len(request.bars)):
            _give(candidates, batch, given, request.bars[-1].rules, sampling, number)
            for each in candidates:  # a bar that is not written ends with an unread token
                each.tokens.read(given[-1:])
    return max(candidates, key=lambda each: each.log_weight).bars


def _start(model: InferenceModel, request: PartsRequest) -> list[_Candidate]:
    state, rules = model.prefill(request.prompt), request.bars[0].rules
    sequences = [model.restore(state, rules, request.prompt, ())]
    for _ in range(1, request.sampling.candidates):
        sequences.append(Tokens(model.network))
        sequences[-1].assign(sequences[0])
    return [_Candidate(each, [], dict.fromkeys(request.max_rests, 0)) for each in sequences]


def _give(
    candidates: Sequence[_Candidate],
    batch: Batch,
    tokens: Sequence[int],
    rules: np.ndarray,
    sampling: np.ndarray,
    number: int,
) -> None:
    """Open a bar with given tokens, and add their log-probability to the weights."""
    for candidate, each in enumerate(candidates):
        each.tokens.open_bar(rules, sampling, number, candidate)
    batch.append(tokens)
    for each in candidates:
        each.log_weight += sum(each.tokens.bar()[1])


def _write(batch: Batch) -> None:
    batch.write()
    while left := [each for each in batch.sequences if not each.is_complete]:
        Batch(left).write()


def _limits(request: PartsRequest, candidate: _Candidate) -> np.ndarray:
    """Return `parts` of `Sequence.limit_parts`."""
    kept, added, required, lines = parts = np.zeros((4, _PROGRAMS), np.uint8)
    for program, number in request.kept.items():  # index -1, of drums, is the last one
        kept[program] = number
    for part, rests in candidate.rests.items():
        added[part.program] += 1
        if rests >= request.max_rests[part]:
            required[part.program] |= 1 << part.number
    lines[[*request.lines]] = 1
    return parts


def parts_with_notes(tokens: Sequence[int]) -> set[PartName]:
    """Return the parts that have a note in a bar."""
    found: set[PartName] = set()
    blocks = Counter[int]()
    program = 0
    for token in tokens:
        kind = TABLE.kind[token]
        if kind == TokenKind.PROGRAM:
            program = TABLE.value[token]
            blocks[program] += 1
        elif kind in (TokenKind.PITCH, TokenKind.DRUM):
            found.add(PartName(program, blocks[program] - 1))
    return found


# Particle filter ----------------------------------------------------------------------------------


def _resample(candidates: Sequence[_Candidate]) -> None:
    """Replace improbable candidates by copies of probable ones, if the weights differ much."""
    weights = np.array([each.log_weight for each in candidates])
    copies = copies_by_weight(weights)
    if (copies == 1).all():
        return
    sources = [k for k, n in enumerate(copies.tolist()) for _ in range(n - 1)]
    for target, source in zip(np.flatnonzero(copies == 0).tolist(), sources, strict=True):
        candidates[target].become(candidates[source])
    for each in candidates:
        each.log_weight = 0.0


def copies_by_weight(log_weights: np.ndarray) -> np.ndarray:
    """Return how many copies of each candidate go on, (candidates,), as many in all.

    One of each as long as the effective number of candidates, 1 / Σ p², is at least half of them;
    else by systematic resampling without a random offset (Kitagawa 1996).
    """
    count = len(log_weights)
    shares = np.exp(log_weights - log_weights.max())
    shares /= shares.sum()
    if 1 / np.square(shares).sum() >= count / 2:
        return np.ones(count, np.int64)
    chosen = np.searchsorted(np.cumsum(shares), (np.arange(count) + 0.5) / count)
    return np.bincount(chosen.clip(max=count - 1), minlength=count)
