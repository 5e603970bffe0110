"""The same masks and samplings for `generate()`: logits processors for plain transformers.

    wish = Constraints(key="D minor")
    processors = logits_processors(tokenizer, constraints=wish, sampling=Sampling(), bars=8)
    model.generate(ids, logits_processor=processors, do_sample=True, top_k=0, max_new_tokens=4_000)

`generate()` has one stream: the token that ends a bar opens the next one. Nothing here knows the
network, and nothing that is not said by the ids: neither stand-ins for rare programs nor the tempo
that `tempo_bpm` asks for, which only keeps the ids free of tempos.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from musiclstm.constraints import Constraints, Scale
from musiclstm.grammar import Grammar, Walk
from musiclstm.planning import Planner, Wishes
from musiclstm.sampling import Repetition, Sampling
from musiclstm.surprise import Surprise
from musiclstm.tokenization import MusicTokenizer


def logits_processors(
    tokenizer: MusicTokenizer,
    *,
    constraints: Constraints | None = None,
    sampling: Sampling | None = None,
    bars: int | None = None,
) -> LogitsProcessorList:
    """What to pass to `generate()` as `logits_processor`.

    Args:
        tokenizer: That of the weights.
        constraints: What the new music keeps to; None: it only has to be playable.
        sampling: How tokens are chosen, see `SamplingLogitsProcessor`; None: as `generate()` does.
        bars: How many new ones; None: the network ends the piece. Allow enough `max_new_tokens`,
            for `generate()` stops there whatever is missing.

    Raises:
        ValueError: The constraints cannot be met, or bars is less than 1.
    """
    found: list[LogitsProcessor] = [GrammarLogitsProcessor(tokenizer, constraints, bars=bars)]
    if sampling is not None:
        found.append(SamplingLogitsProcessor(sampling, tokenizer))
    return LogitsProcessorList(found)


class GrammarLogitsProcessor(LogitsProcessor):
    """Leaves only tokens that go on as music which keeps to the constraints.

    The prompt is taken as it is, be it BOS alone, padded, or cut off in the middle of a bar. That
    bar may be filled up before the first new one begins, and ends when the network likes; what is
    added to it keeps to the constraints as far as that is still possible. A row that has ended
    stays so: only PAD and EOS.

    Follows the calls of one `generate()` after another, greedy, sampling or with beams; a call
    whose rows go on from none of the call before begins anew.
    """

    def __init__(
        self,
        tokenizer: MusicTokenizer,
        constraints: Constraints | None = None,
        *,
        bars: int | None = None,
        prompt_length: int | None = None,
    ) -> None:
        """Refuse what cannot be met.

        Args:
            tokenizer: That of the weights.
            constraints: What the new music keeps to; None: it only has to be playable. An ending
                needs `bars`.
            bars: So many new ones are begun, then EOS comes, and not before; None: EOS may come at
                every bar line, as the network likes.
            prompt_length: How many ids of a row are the prompt, padding included; None: those of
                the first call.

        Raises:
            ValueError: The constraints cannot be met, or bars is less than 1.
        """
        self._rules = _Rules(tokenizer, constraints or Constraints(), bars)
        self._prompt_length = prompt_length
        self._rows: list[_Row] = []
        self._seen: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (batch, vocab) with -inf for what may not come after the ids (batch, steps)."""
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
            self._rows = [self._rows[origin].fork() for origin in origins]
            for row, token in zip(self._rows, ids[:, -1].tolist(), strict=True):
                row.advance(token)
        self._seen = ids.clone()

    def _origins(self, ids: Tensor) -> Sequence[int] | None:
        """Of every row the row of the last call that it goes on from; None: not all do.

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
        prompts: dict[tuple[int, ...], _Row] = {}  # beams begin alike
        rows = []
        for row_ids in ids.tolist():
            prompt = self._rules.music_of(row_ids[:length])
            if prompt not in prompts:
                prompts[prompt] = _Row(self._rules, prompt)
            rows.append(prompts[prompt].fork())
            for token in row_ids[length:]:
                rows[-1].advance(token)
        return rows


class _Rules:
    """What holds for all rows."""

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
        self.grammar = Grammar(tokenizer, constraints)
        self.lenient = Grammar(tokenizer)
        scale = Scale.named(constraints.key) if constraints.key else None
        last = bars if constraints.ending else None
        wishes = Wishes(constraints, Sampling(seed=0), Surprise(), last, lambda _: scale)
        self._plan = Planner(tokenizer).plan(wishes)
        self.opens = _opens_bar(tokenizer)
        self.bar_id = tokenizer.base_tokens.index("Bar_None")
        self.eos_id = tokenizer.eos_id
        self.ends = self.lenient.ends_bar
        self._beyond = (tokenizer.pad_id, tokenizer.bos_id)
        self.after_end = np.isin(np.arange(self.size), [tokenizer.pad_id, tokenizer.eos_id])

    def of_bar(self, number: int) -> Grammar:
        """What rules in a new bar, counted from 0."""
        return self._plan(number, ())[0]

    def music_of(self, prompt: list[int]) -> tuple[int, ...]:
        """A prompt without padding and without what came before its last BOS, from a bar on."""
        music: list[int] = []
        pad_id, bos_id = self._beyond
        for token in prompt:
            if token == bos_id:
                music = []
            elif token != pad_id:
                music.append(token)
        if music and not self.opens[music[0]]:
            music.insert(0, self.bar_id)  # the beginning was cut off
        return tuple(music)


class _Row:
    """Where one row stands, and what may come next in it.

    Attributes:
        allowed: (vocab,) bool.
    """

    def __init__(self, rules: _Rules, prompt: tuple[int, ...]) -> None:
        self._rules = rules
        self._walk = Walk(rules.grammar)
        # The bar that the prompt ends in may have broken the constraints already, and need not be
        # filled up to meet them.
        self._lenient: Walk | None = Walk(rules.lenient)
        self._begun = 0  # new bars
        self._over = prompt[-1:] == (rules.eos_id,)
        for token in () if self._over else prompt:
            self._walk.advance(token)
            self._lenient.advance(token)
        self.allowed = self._what_may_come()

    def fork(self) -> _Row:
        other = copy.copy(self)
        other._walk = self._walk.fork()
        other._lenient = None if self._lenient is None else self._lenient.fork()
        return other

    def advance(self, token: int) -> None:
        # Beams take what was forbidden where too little is allowed; they come to nothing.
        self._over = self._over or token == self._rules.eos_id or not self.allowed[token]
        if not self._over:
            if self._rules.opens[token]:
                self._walk.open_bar(self._rules.of_bar(self._begun))
                self._begun += 1
                self._lenient = None
            self._walk.advance(token)
            if self._lenient is not None:
                self._lenient.advance(token)
        self.allowed = self._what_may_come()

    def _what_may_come(self) -> np.ndarray:
        rules = self._rules
        if self._over:
            return rules.after_end
        found = self._walk.allowed()
        if self._lenient is not None:
            lenient = self._lenient.allowed()
            found = found | lenient & rules.ends if found.any() else lenient
        if self._begun == rules.bars:
            return found & ~rules.opens
        if rules.bars is not None:
            found[rules.eos_id] = False
        if (found & rules.opens).any():
            found &= ~rules.opens | self._openers()
        return found

    def _openers(self) -> np.ndarray:
        """Tokens that may open the next bar. Some that may end this one may not."""
        then = self._walk.fork()
        then.open_bar(self._rules.of_bar(self._begun))
        return then.allowed()


class SamplingLogitsProcessor(LogitsProcessor):
    """Makes `generate(do_sample=True)` choose as `Sampling` does; only chance is another.

    Leave the settings of `generate()` itself at temperature 1, `top_k` 0 and `top_p` 1; and put
    this after the grammar, so that shares are shares of what is allowed.
    """

    def __init__(self, sampling: Sampling, tokenizer: MusicTokenizer | None = None) -> None:
        """Refuse what cannot be done without a tokenizer.

        Args:
            sampling: How tokens are chosen; its seed is not used.
            tokenizer: That of the weights. Without it, there are no temperatures for pitches and
                rhythm and no penalty for repeated bars.

        Raises:
            ValueError: The sampling needs a tokenizer.
        """
        own = (sampling.pitch_temperature, sampling.rhythm_temperature)
        self._penalises = sampling.repetition_penalty > 1
        if tokenizer is None and (own != (None, None) or self._penalises):
            raise ValueError(
                "pitch_temperature, rhythm_temperature and repetition_penalty need to know what a "
                "token is; pass the tokenizer too."
            )
        self._sampling = sampling
        self._kinds = None
        if tokenizer is not None:
            grammar = Grammar(tokenizer)
            self._kinds, self._notes = grammar.kinds, grammar.holds_note
            self._opens = _opens_bar(tokenizer)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logarithms of shares (batch, vocab), -inf for what is never taken."""
        found = scores.detach().float().cpu().numpy().copy()
        for ids, row in zip(input_ids.tolist(), found, strict=True):
            if self._penalises:
                self._penalise(np.array(ids, dtype=np.int64), row)
            shares = self._sampling.shares(row, self._kinds)
            row[:] = np.log(shares, out=np.full(len(row), -np.inf), where=shares > 0)
        return torch.from_numpy(found).to(scores)

    def _penalise(self, ids: np.ndarray, scores: np.ndarray) -> None:
        """Against copies of earlier bars, those of the prompt included."""
        starts = np.flatnonzero(self._opens[ids])[-1 - self._sampling.repetition_bars :]
        if len(starts):
            split = np.split(ids[starts[0] :], starts[1:] - starts[0])
            *bars, now = (bar.tolist() for bar in split)
            repetition = Repetition(self._sampling, bars, self._notes)
            for token in now:
                repetition.advance(token)
            repetition.penalise(scores)


def _opens_bar(tokenizer: MusicTokenizer) -> np.ndarray:
    """Tokens that begin with a bar line, (vocab,) bool."""
    return np.array([parts[0] == "Bar_None" for parts in tokenizer.parts])
