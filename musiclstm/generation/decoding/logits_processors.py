"""Logits processors for transformers' `generate()`: grammar masks and sampling.

    constraints = Constraints(key="D minor")
    processors = logits_processors(tokenizer, constraints=constraints, sampling=Sampling(), bars=8)
    model.generate(ids, logits_processor=processors, do_sample=True, top_k=0, max_new_tokens=4_000)

Not applied, because ids do not express them: substitute programs, the tempo of `tempo_bpm` (tempo
tokens are masked), and velocities. `copy_weight` is an argument of `generate()` itself.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import log
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from musiclstm.core.grammar import CompiledGrammar
from musiclstm.core.sampling import repetition_penalties, sampling_probabilities
from musiclstm.generation.bar_plan import GenerationRequest, Surprise, plan_bars
from musiclstm.generation.constraints import Constraints, Scale
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.generation.decoding.sampling import Sampling
from musiclstm.model.step_features import TokenTable
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
        tokenizer: The tokenizer of the model.
        constraints: Constraints on the new bars; None: the grammar only.
        sampling: Settings, see `SamplingLogitsProcessor`; None: those of `generate()`.
        bars: Number of new bars; None: the model ends the piece. Pass enough `max_new_tokens`,
            because `generate()` stops there, even within a bar.

    Raises:
        ValueError: The constraints contradict each other, or bars is less than 1.
    """
    processors: list[LogitsProcessor] = [GrammarLogitsProcessor(tokenizer, constraints, bars=bars)]
    if sampling is not None:
        processors.append(SamplingLogitsProcessor(sampling, tokenizer))
    return LogitsProcessorList(processors)


class GrammarLogitsProcessor(LogitsProcessor):
    """Mask tokens that the grammar and the constraints forbid.

    Any prompt is accepted: BOS alone, padded, or truncated within a bar. That bar may be continued
    before the first new one and may end anywhere; what is added to it satisfies the constraints as
    far as possible. After EOS only PAD and EOS are permitted.

    One processor serves several calls of `generate()`: greedy, sampling or with beams. It keeps the
    state of each row between steps, and starts again if rows do not continue the previous ones.
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
            tokenizer: The tokenizer of the model.
            constraints: Constraints on the new bars; None: the grammar only. An ending needs
                `bars`.
            bars: Number of new bars before EOS; None: EOS may follow at every bar line.
            prompt_length: Length of the prompt in each row, padding included; None: that of the
                first call.

        Raises:
            ValueError: The constraints contradict each other, or bars is less than 1.
        """
        self._settings = _GrammarSettings(tokenizer, constraints or Constraints(), bars)
        self._prompt_length = prompt_length
        self._rows: list[_RowGrammar] = []
        self._last_ids: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (batch, vocab) with -inf for tokens that may not follow (batch, steps)."""
        if scores.shape[1] != self._settings.vocab_size:
            raise ValueError(
                f"The model has {scores.shape[1]} tokens and the tokenizer "
                f"{self._settings.vocab_size}; both must come from the same checkpoint."
            )
        self._update(input_ids.cpu())
        allowed = torch.from_numpy(np.stack([row.allowed for row in self._rows]))
        return scores.masked_fill(~allowed.to(scores.device), -torch.inf)

    def _update(self, ids: Tensor) -> None:
        previous_rows = self._previous_rows(ids)
        if previous_rows is None:
            self._rows = self._read(ids)
        else:
            if previous_rows != range(len(ids)):
                self._rows = [self._rows[row].copy() for row in previous_rows]
            for row, token in zip(self._rows, ids[:, -1].tolist(), strict=True):
                row.advance(token)
        self._last_ids = ids.clone()

    def _previous_rows(self, ids: Tensor) -> Sequence[int] | None:
        """Return for each row the row of the last call that it continues; None: not all do.

        Beam search reorders rows.
        """
        last = self._last_ids
        if last is None or ids.shape[1] != last.shape[1] + 1:
            return None
        if torch.equal(ids[:, :-1], last):
            return range(len(ids))
        same = (ids[:, None, :-1] == last[None]).all(-1)  # (rows, previous rows)
        return same.int().argmax(1).tolist() if bool(same.any(1).all()) else None

    def _read(self, ids: Tensor) -> list[_RowGrammar]:
        length = ids.shape[1] if self._prompt_length is None else self._prompt_length
        prompts: dict[tuple[int, ...], _RowGrammar] = {}  # beams start with equal prompts
        rows = []
        for row_ids in ids.tolist():
            prompt = _music_of(row_ids[:length])
            if prompt not in prompts:
                prompts[prompt] = _RowGrammar(self._settings, prompt)
            rows.append(prompts[prompt].copy())
            for token in row_ids[length:]:
                rows[-1].advance(token)
        return rows


def _music_of(prompt: list[int]) -> tuple[int, ...]:
    """Return a prompt from its last BOS on, without padding, starting with a Bar token."""
    music: list[int] = []
    for token in prompt:
        if token == v.BOS:
            music = []
        elif token != v.PAD:
            music.append(token)
    if music and music[0] != v.BAR:
        music.insert(0, v.BAR)  # a truncated prompt
    return tuple(music)


class _GrammarSettings:
    """Rules and masks of all rows."""

    def __init__(
        self, tokenizer: MusicTokenizer, constraints: Constraints, bars: int | None
    ) -> None:
        if bars is not None and not (isinstance(bars, Integral) and bars >= 1):
            raise ValueError(f"bars must be 1 or more, got {bars}; None: the model ends the piece.")
        if constraints.ending and bars is None:
            raise ValueError(
                "An ending needs a number of bars; pass bars, or leave ending out of the "
                "constraints."
            )
        self.bars = bars
        self.vocab_size = len(tokenizer)
        self.rules, self.lenient_rules = bar_rules(constraints), bar_rules()
        scale = Scale.named(constraints.key) if constraints.key else None
        last = bars if constraints.ending else None
        request = GenerationRequest(
            constraints, Sampling(seed=0), Surprise(), last, lambda _: scale
        )
        self._plan = plan_bars(request)
        ids = np.arange(self.vocab_size)
        self.bar_ends = (ids == v.BAR) | (ids == v.EOS)
        self.after_end = (ids == v.PAD) | (ids == v.EOS)

    def rules_of_bar(self, number: int) -> np.ndarray:
        """Return the rules of a new bar, counted from 0."""
        return self._plan(number, ()).rules


class _RowGrammar:
    """Grammar state of one row.

    Attributes:
        allowed: Tokens that may follow, (vocab,) bool.
    """

    def __init__(self, settings: _GrammarSettings, prompt: tuple[int, ...]) -> None:
        self._settings = settings
        self._state = CompiledGrammar(v.TABLE, settings.rules)
        # The last bar of the prompt may violate the constraints, and need not be completed.
        self._lenient: CompiledGrammar | None = CompiledGrammar(v.TABLE, settings.lenient_rules)
        self._new_bars = 0
        self._is_over = prompt[-1:] == (v.EOS,)
        if not self._is_over:
            self._state.read_prompt(prompt)
            self._lenient.read_prompt(prompt)
        self.allowed = self._allowed()

    def copy(self) -> _RowGrammar:
        other = copy.copy(self)
        other._state = self._state.copy()
        other._lenient = None if self._lenient is None else self._lenient.copy()
        return other

    def advance(self, token: int) -> None:
        # Beam search takes forbidden tokens if too few are permitted; such a row ends.
        self._is_over = self._is_over or token == v.EOS or not self.allowed[token]
        if not self._is_over:
            if token == v.BAR:
                self._state.open_bar(self._settings.rules_of_bar(self._new_bars))
                self._new_bars += 1
                self._lenient = None
            self._state.advance(token)
            if self._lenient is not None:
                self._lenient.advance(token)
        self.allowed = self._allowed()

    def _allowed(self) -> np.ndarray:
        settings = self._settings
        if self._is_over:
            return settings.after_end
        allowed = self._state.permitted()
        if self._lenient is not None:
            lenient = self._lenient.permitted()
            allowed = allowed | lenient & settings.bar_ends if allowed.any() else lenient
            if not allowed.any():  # the prompt follows no grammar
                allowed = settings.bar_ends.copy()
        if settings.bars is not None:
            allowed[v.BAR if self._new_bars == settings.bars else v.EOS] = False
        return allowed


class SamplingLogitsProcessor(LogitsProcessor):
    """Apply a `Sampling` in `generate(do_sample=True)`, with torch's random numbers.

    Leave the settings of `generate()` itself at temperature 1, `top_k` 0 and `top_p` 1. Put this
    after the grammar, so that probabilities are those among permitted tokens. The repetition
    penalty counts the bars of the prompt too; a `Composer` counts new bars only.
    """

    def __init__(self, sampling: Sampling, tokenizer: MusicTokenizer | None = None) -> None:
        """Check that settings which need a tokenizer have one.

        Args:
            sampling: The settings; seed and copy weight are not used.
            tokenizer: The tokenizer of the model. None: temperatures of pitches and rhythm and a
                repetition penalty are errors, and the default penalty is not applied.

        Raises:
            ValueError: The sampling needs a tokenizer.
        """
        own = (sampling.pitch_temperature, sampling.rhythm_temperature)
        asked = sampling.repetition_penalty not in (1, Sampling.repetition_penalty)
        self._has_penalty = sampling.repetition_penalty > 1 and tokenizer is not None
        if tokenizer is None and (own != (None, None) or asked):
            raise ValueError(
                "pitch_temperature, rhythm_temperature and repetition_penalty need the kind of "
                "each token; pass the tokenizer."
            )
        self._sampling = sampling
        self._settings = replace(sampling, seed=0).packed()
        self._has_kinds = tokenizer is not None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return log-probabilities (batch, vocab), -inf for excluded tokens."""
        logits = scores.detach().float().cpu().numpy()
        table = v.TABLE if self._has_kinds else _table_without_kinds(logits.shape[1])
        result = np.empty(logits.shape)
        for ids, row, out in zip(input_ids.tolist(), logits, result, strict=True):
            penalized = self._penalized(ids, row) if self._has_penalty else row
            probabilities = sampling_probabilities(self._settings, table, penalized)
            with np.errstate(divide="ignore"):
                out[:] = np.log(probabilities / probabilities.sum(dtype=np.float64))
        return torch.from_numpy(result).to(scores)

    def _penalized(self, ids: list[int], logits: np.ndarray) -> np.ndarray:
        """Penalize copies of earlier bars, those of the prompt included."""
        starts = [place for place, token in enumerate(ids) if token == v.BAR]
        starts = starts[-1 - self._sampling.repetition_bars :]
        bars = [ids[start:end] for start, end in pairwise([*starts, len(ids)])]
        result = logits.copy()
        log_penalty = log(self._sampling.repetition_penalty)
        if bars:
            penalties = repetition_penalties(v.TABLE, bars[:-1], bars[-1], log_penalty)
            for token, amount in penalties.items():
                result[token] -= amount
        return result


@lru_cache(maxsize=4)
def _table_without_kinds(size: int) -> TokenTable:
    return TokenTable(["Other"] * size)
