"""The loop: snapshots in, bars of tokens and new snapshots out, for one take or several at once.

Knows numbers, not music: what a bar is, the grammar says; what comes next, the network; which of it
is taken, the sampling; how one bar differs from another, the plan. No MIDI, no files, no sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from musiclstm.decoding import PackedLSTM, Snapshot, Stepper
from musiclstm.grammar import Grammar, Walk
from musiclstm.sampling import Repetition, Sampling, Votes, log_total

_REMEMBERED = 64  # bars; an endless take must not grow
_CERTAIN = 500.0  # logarithm of odds; numbers stay within what float64 can say

Bars: TypeAlias = Sequence[tuple[int, ...]]
Plan: TypeAlias = Callable[[int, Bars], tuple[Grammar, Sampling]]


@dataclass(frozen=True)
class Bar:
    """One bar of a take.

    Attributes:
        tokens: Its ids, the one that opens it first.
        snapshot: Where the network stands at the bar line after it.
        log_probs: For every token the natural logarithm of the network's own probability for it:
            the softmax over what the grammar allowed, at temperature 1, and what was recalled
            beside it, whatever the sampling made of both. For the one that opens the bar: given
            that a bar opens.
    """

    tokens: tuple[int, ...]
    snapshot: Snapshot
    log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Take:
    """What a take is made from.

    Attributes:
        snapshot: Where the network stands: at a bar line, one row.
        plan: What may come and how it is chosen in the bar of a number, counted from 0, given the
            last bars before it; the seed of every sampling must be set.
        before: Ids of the bars that this take has already. The random numbers of a bar depend on
            how many come before it, so that a take resumed at bar 8 goes on as it would have at
            once.
    """

    snapshot: Snapshot
    plan: Plan
    before: Bars = field(default=(), repr=False)


def compose_bars(network: PackedLSTM, take: Take) -> Iterator[Bar]:
    """Bars of one take without end, each as soon as it is finished."""
    return (bar for _, bar in compose_takes(network, [take]))


def compose_takes(
    network: PackedLSTM, takes: Sequence[Take], *, bars: int | None = None
) -> Iterator[tuple[int, Bar]]:
    """Bars of several takes, each as soon as it is finished, with the number of its take.

    What a take becomes does not depend on the others.

    Args:
        network: Scores the next token of every take.
        takes: At most 32.
        bars: How many new ones each take gets; None: no end.
    """
    stepper = network.stepper([take.snapshot for take in takes])
    scratch = np.empty(stepper.scores.shape[1], np.float32)  # one for all: see kernel.Library
    pens = [_Pen(number, take, bars, scratch) for number, take in enumerate(takes)]
    while pens:
        for row, pen in enumerate(pens):
            if pen.write(stepper.scores[row], stepper.votes(row)):
                tokens, log_probs = pen.finished()
                yield pen.number, Bar(tokens, stepper.snapshot(row), log_probs)
        if any(pen.done for pen in pens):
            pens = _still_writing(pens, stepper)
        if pens:
            stepper.step([pen.token for pen in pens])


def _still_writing(pens: list[_Pen], stepper: Stepper) -> list[_Pen]:
    rows = [row for row, pen in enumerate(pens) if not pen.done]
    if rows:
        stepper.keep(rows)
    return [pens[row] for row in rows]


class _Pen:
    """What writes one take: the bar it is in, and the rules and random numbers of that bar."""

    def __init__(self, number: int, take: Take, bars: int | None, scratch: np.ndarray) -> None:
        self.number = number
        self.token = 0
        self.done = False
        self._plan = take.plan
        self._bar = len(take.before)
        self._end = None if bars is None else self._bar + bars
        self._before = list(take.before[-_REMEMBERED:])
        self._walk = Walk(take.plan(self._bar, self._before)[0], self._before)
        self._tokens: list[int] = []
        self._log_probs: list[float] = []
        self._log_prob = 0.0  # of the token chosen last
        self._finished: tuple[float, ...] = ()
        self._scratch = scratch
        self._open()

    def _open(self) -> None:
        self._grammar, self._sampling = self._plan(self._bar, self._before)
        self._random = self._sampling.random_for(self._bar)
        self._repetition = Repetition(self._sampling, self._before, self._grammar.holds_note)
        self._walk.open_bar(self._grammar)
        self._tokens, self._log_probs = [], []

    def write(self, scores: np.ndarray, votes: Votes | None) -> bool:
        """Choose the next token from scores and votes; whether that ends a bar.

        A bar is over when a token is chosen that opens another. Which one does open it, the random
        numbers of that bar decide.
        """
        token = self._choose(scores, votes)
        over = bool(self._tokens) and self._grammar.ends_bar[token]
        if over:
            self._turn_page()
            token = token if self.done else self._choose(scores, votes)
        if not self.done:
            self._walk.advance(token)
            self._repetition.advance(token)
            self._tokens.append(token)
            self._log_probs.append(self._log_prob)
        self.token = token
        return over

    def _choose(self, scores: np.ndarray, votes: Votes | None) -> int:
        masked = self._walk.masked(scores, self._scratch)
        softness = self._grammar.softness
        whole = log_total(masked if softness is None else masked - softness)
        self._repetition.penalise(masked)
        recalled = self._recalled(votes, masked)
        total = 0.0 if recalled is None else log_total(scores)
        beside = None if recalled is None else _against(scores, total, masked, recalled)
        token = self._sampling.choose(masked, self._random, self._grammar.kinds, beside)
        self._log_prob = min(0.0, _log_prob(token, scores, total, whole, recalled))
        return token

    def _recalled(self, votes: Votes | None, masked: np.ndarray) -> Votes | None:
        """Those votes that are allowed, as willingly as they are asked for."""
        if votes is None or not self._sampling.recall:
            return None
        allowed = masked[votes.tokens] > -np.inf
        if not allowed.any():
            return None
        return Votes(votes.tokens[allowed], votes.odds[allowed] * self._sampling.recall)

    def _turn_page(self) -> None:
        self._before = [*self._before[1 - _REMEMBERED :], tuple(self._tokens)]
        self._finished = tuple(self._log_probs)
        self._bar += 1
        self.done = self._bar == self._end
        if not self.done:
            self._open()

    def finished(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Tokens of the bar that ended last, and the logarithms of their probabilities."""
        return self._before[-1], self._finished


def _against(scores: np.ndarray, total: float, masked: np.ndarray, votes: Votes) -> Votes:
    """Votes against what is left of the scores, by what their own tokens gained or lost as well."""
    tilt = np.subtract(masked[votes.tokens], scores[votes.tokens], dtype=np.float64)
    tilt += total - log_total(masked)
    return Votes(votes.tokens, votes.odds * np.exp(np.minimum(tilt, _CERTAIN)))


def _log_prob(
    token: int, scores: np.ndarray, total: float, allowed: float, votes: Votes | None
) -> float:
    """Of a token among those allowed, whose scores together are as high as `allowed`."""
    own = scores.item(token)
    if votes is None:
        return own - allowed
    odds = np.log(votes.odds) + total
    gained = odds[votes.tokens == token]
    return float(np.logaddexp.reduce([own, *gained]) - np.logaddexp.reduce([allowed, *odds]))
