"""Logits processors for `generate()` of transformers: the same masks and samplings.

    constraints = Constraints(key="D minor")
    processors = logits_processors(tokenizer, constraints=constraints, sampling=Sampling(), bars=8)
    model.generate(ids, logits_processor=processors, do_sample=True, top_k=0, max_new_tokens=4_000)

`generate()` has one stream: the token that ends a bar opens the next one. What ids do not say does
not apply: substitutes for untrained programs, the tempo of `tempo_bpm` (the ids only stay free of
tempos), velocities, and `copy_weight`, which is an argument of `generate()` itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from musiclstm.generation.bar_plan import BarPlanner, GenerationRequest, Surprise
from musiclstm.generation.constraints import Constraints, Scale
from musiclstm.generation.decoding.grammar import IS_PITCH, PITCHES, TOKEN_KINDS, Grammar
from musiclstm.generation.decoding.grammar_state import GrammarState
from musiclstm.generation.decoding.sampling import BarRepetitionPenalty, Sampling
from musiclstm.tokens import MusicTokenizer
from musiclstm.tokens import vocabulary as v


def logits_processors(
    tokenizer: MusicTokenizer,
    *,
    constraints: Constraints | None = None,
    sampling: Sampling | None = None,
    bars: int | None = None,
) -> LogitsProcessorList:
    """Return the `logits_processor` argument of `generate()`.

    Args:
        tokenizer: Of the weights.
        constraints: What the new music keeps to; None: any playable music.
        sampling: How tokens are chosen, see `SamplingLogitsProcessor`; None: as `generate()` does.
        bars: Number of new bars; None: the network ends the piece. Allow enough `max_new_tokens`:
            `generate()` stops there, even within a bar.

    Raises:
        ValueError: The constraints contradict each other, or bars is less than 1.
    """
    found: list[LogitsProcessor] = [GrammarLogitsProcessor(tokenizer, constraints, bars=bars)]
    if sampling is not None:
        found.append(SamplingLogitsProcessor(sampling, tokenizer))
    return LogitsProcessorList(found)


class GrammarLogitsProcessor(LogitsProcessor):
    """Permits only tokens that continue as music which keeps to the constraints.

    Any prompt is accepted: BOS alone, padded, or cut off within a bar. That bar may be continued
    before the first new one begins, and may end anywhere; what is added to it keeps to the
    constraints as far as that is still possible. After EOS a row permits only PAD and EOS.

    Follows the calls of one `generate()` after another, greedy, sampling or with beams; a call
    whose rows continue none of the call before starts again.
    """

    def __init__(
        self,
        tokenizer: MusicTokenizer,
        constraints: Constraints | None = None,
        *,
        bars: int | None = None,
        prompt_length: int | None = None,
    ) -> None:
        """Compute the grammar.

        Args:
            tokenizer: Of the weights.
            constraints: What the new music keeps to; None: any playable music. An ending needs
                `bars`.
            bars: EOS comes after so many new bars, and not before; None: EOS may come at every bar
                line.
            prompt_length: Number of ids of a row that are the prompt, padding included; None: those
                of the first call.

        Raises:
            ValueError: The constraints contradict each other, or bars is less than 1.
        """
        self._rules = _Rules(tokenizer, constraints or Constraints(), bars)
        self._prompt_length = prompt_length
        self._rows: list[_Row] = []
        self._seen: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (batch, vocab) with -inf for what may not follow ids (batch, steps)."""
        if scores.shape[1] != self._rules.size:
            raise ValueError(
                f"The network scores {scores.shape[1]} tokens and the tokenizer has "
                f"{self._rules.size}; both must come from the same checkpoint."
            )
        self._follow(input_ids.cpu())
        allowed = torch.from_numpy(np.stack([row.allowed for row in self._rows]))
        return scores.masked_fill(~allowed.to(scores.device), -torch.inf)

    def _follow(self, ids: Tensor) -> None:
        origins = self._origins(ids)
        if origins is None:
            self._rows = self._read(ids)
        else:
            self._rows = [self._rows[origin].copy() for origin in origins]
            for row, token in zip(self._rows, ids[:, -1].tolist(), strict=True):
                row.advance(token)
        self._seen = ids.clone()

    def _origins(self, ids: Tensor) -> Sequence[int] | None:
        """Return for each row the row of the last call that it continues; None: not all do.

        Beams are reordered between two calls.
        """
        if self._seen is None or ids.shape[1] != self._seen.shape[1] + 1:
            return None
        if torch.equal(ids[:, :-1], self._seen):
            return range(len(ids))
        same = (ids[:, None, :-1] == self._seen[None]).all(-1)  # (rows, rows before)
        return same.int().argmax(1).tolist() if bool(same.any(1).all()) else None

    def _read(self, ids: Tensor) -> list[_Row]:
        length = ids.shape[1] if self._prompt_length is None else self._prompt_length
        prompts: dict[tuple[int, ...], _Row] = {}  # beams begin with equal prompts
        rows = []
        for row_ids in ids.tolist():
            prompt = _music_of(row_ids[:length])
            if prompt not in prompts:
                prompts[prompt] = _Row(self._rules, prompt)
            rows.append(prompts[prompt].copy())
            for token in row_ids[length:]:
                rows[-1].advance(token)
        return rows


def _music_of(prompt: list[int]) -> tuple[int, ...]:
    """Return a prompt without padding and without what is before its last BOS, from a bar on."""
    music: list[int] = []
    for token in prompt:
        if token == v.BOS:
            music = []
        elif token != v.PAD:
            music.append(token)
    if music and music[0] != v.BAR:
        music.insert(0, v.BAR)  # the beginning was cut off
    return tuple(music)


class _Rules:
    """What applies to all rows."""

    def __init__(
        self, tokenizer: MusicTokenizer, constraints: Constraints, bars: int | None
    ) -> None:
        if bars is not None and not (isinstance(bars, Integral) and bars >= 1):
            raise ValueError(f"bars must be 1 or more, got {bars}; None lets the network end.")
        if constraints.ending and bars is None:
            raise ValueError(
                "An ending needs to know which bar is the last; pass bars, or leave ending out of "
                "the constraints."
            )
        self.bars = bars
        self.size = len(tokenizer)
        self.grammar, self.lenient = Grammar(constraints), Grammar()
        scale = Scale.named(constraints.key) if constraints.key else None
        last = bars if constraints.ending else None
        request = GenerationRequest(
            constraints, Sampling(seed=0), Surprise(), last, lambda _: scale
        )
        self._plan = BarPlanner().plan(request)
        ids = np.arange(self.size)
        self.bar_ends = (ids == v.BAR) | (ids == v.EOS)
        self.after_end = (ids == v.PAD) | (ids == v.EOS)

    def of_bar(self, number: int) -> Grammar:
        """Return the grammar of a new bar, counted from 0."""
        return self._plan(number, ())[0]


class _Row:
    """The grammar state of one row.

    Attributes:
        allowed: Tokens that may follow, (vocab,) bool.
    """

    def __init__(self, rules: _Rules, prompt: tuple[int, ...]) -> None:
        self._rules = rules
        self._state = GrammarState(rules.grammar)
        # The last bar of the prompt may break the constraints already, and need not be completed.
        self._lenient: GrammarState | None = GrammarState(rules.lenient)
        self._new_bars = 0
        self._is_over = prompt[-1:] == (v.EOS,)
        if not self._is_over:
            self._state.read(prompt)
            self._lenient.read(prompt)
        self.allowed = self._allowed()

    def copy(self) -> _Row:
        other = copy.copy(self)
        other._state = self._state.copy()
        other._lenient = None if self._lenient is None else self._lenient.copy()
        return other

    def advance(self, token: int) -> None:
        # Beams take forbidden tokens where too few are permitted; such a row ends.
        self._is_over = self._is_over or token == v.EOS or not self.allowed[token]
        if not self._is_over:
            if token == v.BAR:
                self._state.open_bar(self._rules.of_bar(self._new_bars))
                self._new_bars += 1
                self._lenient = None
            self._state.advance(token)
            if self._lenient is not None:
                self._lenient.advance(token)
        self.allowed = self._allowed()

    def _allowed(self) -> np.ndarray:
        rules = self._rules
        if self._is_over:
            return rules.after_end
        found = self._state.allowed_tokens()
        if self._lenient is not None:
            lenient = self._lenient.allowed_tokens()
            found = found | lenient & rules.bar_ends if found.any() else lenient
            if not found.any():  # the prompt follows no grammar
                found = rules.bar_ends.copy()
        if rules.bars is not None:
            found[v.BAR if self._new_bars == rules.bars else v.EOS] = False
        return found


class SamplingLogitsProcessor(LogitsProcessor):
    """Makes `generate(do_sample=True)` sample as `Sampling` does, with torch's random numbers.

    Leave the settings of `generate()` itself at temperature 1, `top_k` 0 and `top_p` 1, and put
    this after the grammar, so that probabilities are those among permitted tokens.

    The repetition penalty counts the bars of the prompt too, which ids do not tell from new ones;
    a `Composer` counts new bars only.
    """

    def __init__(self, sampling: Sampling, tokenizer: MusicTokenizer | None = None) -> None:
        """Refuse settings that need a tokenizer where there is none.

        Args:
            sampling: How tokens are chosen; its seed and copy weight are not used.
            tokenizer: Of the weights. Without it, temperatures for pitches and rhythm and a penalty
                for repeated bars are not available, and the default penalty is not applied.

        Raises:
            ValueError: The sampling needs a tokenizer.
        """
        own = (sampling.pitch_temperature, sampling.rhythm_temperature)
        asked = sampling.repetition_penalty not in (1, Sampling.repetition_penalty)
        self._has_penalty = sampling.repetition_penalty > 1 and tokenizer is not None
        if tokenizer is None and (own != (None, None) or asked):
            raise ValueError(
                "pitch_temperature, rhythm_temperature and repetition_penalty need to know what a "
                "token is; pass the tokenizer too."
            )
        self._sampling = sampling
        self._kinds = None if tokenizer is None else TOKEN_KINDS

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return log-probabilities (batch, vocab), -inf for what is never taken."""
        found = scores.detach().float().cpu().numpy().copy()
        for ids, row in zip(input_ids.tolist(), found, strict=True):
            if self._has_penalty:
                self._penalize(np.array(ids, dtype=np.int64), row)
            probabilities = self._sampling.probabilities(row, self._kinds)
            logs = np.full(len(row), -np.inf)
            row[:] = np.log(probabilities, out=logs, where=probabilities > 0)
        return torch.from_numpy(found).to(scores)

    def _penalize(self, ids: np.ndarray, logits: np.ndarray) -> None:
        """Penalize copies of earlier bars, those of the prompt included."""
        starts = np.flatnonzero(ids == v.BAR)[-1 - self._sampling.repetition_bars :]
        if len(starts):
            split = np.split(ids[starts[0] :], starts[1:] - starts[0])
            *bars, now = (bar.tolist() for bar in split)
            penalty = BarRepetitionPenalty(self._sampling, bars, IS_PITCH, PITCHES)
            for token in now:
                penalty.advance(token)
            penalty.apply(logits)
