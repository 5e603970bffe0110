"""From scores to one token. Knows no model and no music, only numbers and chance.

Whoever calls decides what is allowed (a score of -inf is not) and which kind each token is of. The
settings narrow the choice in this order: temperatures, probability floor and `min_p`, `top_k`,
`top_p`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, exp, isfinite, log
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from musiclstm import kernel

MAX_SEED = 2**32 - 1
MAX_TEMPERATURE = 100.0
MAX_RECALL = 100.0

# The kinds of tokens that have a temperature of their own; every other token is of kind 0.
PITCH, RHYTHM = 1, 2

# A share below e**-30 of the likeliest (one in ten trillion) is taken for none. It keeps most of a
# vocabulary out of the arithmetic, and numbers within what float32 can say.
_REACH = 30.0
_COLDEST = 1e-6  # a temperature below is as good as 0, but can be divided by

# Bound once: the plain names pass through several Python functions for every token.
_add, _add_up, _exp = np.add.reduce, np.add.accumulate, np.exp


class Votes(NamedTuple):
    """Tokens that something besides the scores speaks for.

    Attributes:
        tokens: Each once, (n,).
        odds: How likely each is, where all that the scores say together is 1, (n,) float64.
    """

    tokens: np.ndarray
    odds: np.ndarray


@dataclass(frozen=True)
class Sampling:
    """How adventurous the choice of each token is.

    Args:
        temperature: 0 takes the most likely token every time; 1 follows the network as it is;
            more flattens. At most 100.
        top_p: Choose among the likeliest tokens that together reach this share, above 0 to 1.
        top_k: Choose among so many likeliest tokens; 0: no limit. Here and with `top_p`, tokens as
            likely as the last one that stays, stay too.
        seed: Start of the random numbers, 0 to 4294967295. None: a fresh one is drawn, and the
            composition tells which.
        min_p: A token less likely than this share of the likeliest is never taken, 0 to 1.
        floor: A token less likely than this is never taken, 0 to 1; the likeliest always may.
        pitch_temperature: For tokens that say which note, in place of `temperature`; None: the
            same. It changes only which of them is taken, not how often one of them is.
        rhythm_temperature: Likewise, for tokens that say when and how long.
        repetition_penalty: How many times less likely it becomes to go on copying an earlier bar,
            1 or more; 1 is off.
        repetition_bars: So many bars back are not to be copied, 1 or more.
        recall: How willingly the music goes back to what was heard, if the network can: 0 never, 1
            at the odds that foretell music best, at most 100. At 0.7, with the rest as it is, bars
            return as often as in real music. `top_p`, `top_k`, `min_p` and `floor` are about the
            network's own ideas only.

    Raises:
        ValueError: A value out of range.
    """

    temperature: float = 1.0
    top_p: float = 0.98
    top_k: int = 0
    seed: int | None = None
    min_p: float = 0.05
    floor: float = 0.0
    pitch_temperature: float | None = None
    rhythm_temperature: float | None = None
    repetition_penalty: float = 1.0
    repetition_bars: int = 4
    recall: float = 0.7

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        for name in ("temperature", "pitch_temperature", "rhythm_temperature"):
            _refuse_temperature(name, getattr(self, name), optional=name != "temperature")
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}; 1 is off.")
        for name in ("min_p", "floor"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value <= 1):
                raise ValueError(f"{name} must be from 0 to 1, got {value}; 0 is off.")
        if not isinstance(self.top_k, Integral):
            raise ValueError(f"top_k must be a whole number, got {self.top_k}; 0 is off.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 or more, got {self.top_k}; 0 is off.")
        if not (_is_number(self.repetition_penalty) and 1 <= self.repetition_penalty < np.inf):
            raise ValueError(
                f"repetition_penalty must be 1 or more, got {self.repetition_penalty}; 1 is off, "
                "and 2 makes going on with a copy half as likely."
            )
        if not (isinstance(self.repetition_bars, Integral) and self.repetition_bars >= 1):
            raise ValueError(
                "repetition_bars must be a whole number, 1 or more, got "
                f"{self.repetition_bars}; repetition_penalty=1 turns the penalty off."
            )
        if not (_is_number(self.recall) and 0 <= self.recall <= MAX_RECALL):
            raise ValueError(
                f"recall must be from 0 to {MAX_RECALL:g}, got {self.recall}; 0 is off, and 0.7 "
                "lets bars return as often as in real music."
            )
        if self.seed is None:
            return
        # Not 7.0 either: it would name other random numbers than 7.
        if not isinstance(self.seed, Integral) or not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}, got {self.seed}.")

    def with_seed(self) -> Sampling:
        """The same, with a seed drawn where there was none."""
        if self.seed is not None:
            return self
        return replace(self, seed=random.SystemRandom().randint(0, MAX_SEED))

    def random_for(self, part: int) -> random.Random:
        """Random numbers for one numbered part (a bar).

        Each part has its own, so that going on later gives what going on at once would have given,
        and a part can be made again alone.
        """
        return random.Random(f"{self.seed}/{part}")

    def hotter(self, amount: float) -> Sampling:
        """The same, more adventurous: 0 changes nothing, 1 doubles the temperatures.

        A temperature rises at least to the amount: someone who asks for the likeliest note every
        time is surprised as well. What holds the choice together gives way, but only half the way,
        so that a surprise is a turn of the music and no noise: `top_p` moves toward 1, `floor`,
        `min_p` and `recall` toward 0.

        Raises:
            ValueError: The amount is not from 0 to 1.
        """
        if not (_is_number(amount) and 0 <= amount <= 1):
            raise ValueError(f"amount must be from 0 to 1, got {amount}; 0 changes nothing.")
        pitch, rhythm = self.pitch_temperature, self.rhythm_temperature
        return replace(
            self,
            temperature=_raised(self.temperature, amount),
            pitch_temperature=None if pitch is None else _raised(pitch, amount),
            rhythm_temperature=None if rhythm is None else _raised(rhythm, amount),
            top_p=self.top_p + (1 - self.top_p) * amount / 2,
            top_k=ceil(self.top_k * (1 + amount)),
            floor=self.floor * (1 - amount / 2),
            min_p=self.min_p * (1 - amount / 2),
            recall=self.recall * (1 - amount / 2),
        )

    # The choice. This runs for every token: about ten calls of numpy, on as few numbers as can be.

    def choose(
        self,
        scores: np.ndarray,
        rng: random.Random,
        kinds: np.ndarray | None = None,
        votes: Votes | None = None,
    ) -> int:
        """One token.

        Args:
            scores: Logits, (vocab,) float; those at -inf are not allowed, and not all may be. What
                they are afterwards is not promised.
            rng: Where chance comes from; not used where nothing is left to it (temperature 0).
            kinds: Which kind each token is of, (vocab,) int; only for temperatures of their own.
            votes: Chosen as often as their odds say, and nothing is cut off them; None: there are
                none.

        Raises:
            ValueError: No token is allowed, or a score is no number.
        """
        if votes is not None and (token := self._followed(scores, rng, votes)) is not None:
            return token
        if self._greedy:
            return _likeliest(scores)
        if self._is_plain and (library := kernel.load()) is not None:
            return self._drawn_by(library, scores, rng)
        tokens, shares = self._candidates(scores, kinds)
        reached = _add_up(shares.astype(np.float64))
        whole = reached.item(-1)
        place = int(reached.searchsorted(rng.random() * whole, "right"))
        share = shares.item(place)
        # Drawn from all, and only what fell outside the nucleus is drawn again within it: the same
        # chances as always drawing within it, and mostly without sorting. A token is outside if
        # those likelier reach top_p without it; then it has no more than they leave.
        left = (1 - self.top_p) * whole
        if share <= left and _add(shares[shares > share]) >= whole - left:
            place = self._draw_in_nucleus(shares, rng)
        return tokens.item(place)

    def _followed(self, scores: np.ndarray, rng: random.Random, votes: Votes) -> int | None:
        """The token of the votes; None: the choice is the network's own."""
        if self.temperature == 0:
            own = log_total(scores)
            likely = np.exp(scores[votes.tokens] - own) + votes.odds
            best = int(likely.argmax())
            first = _highest(scores)
            return votes.tokens.item(best) if likely[best] > exp(first - own) else None
        reached = _add_up(votes.odds)
        place = int(reached.searchsorted(rng.random() * (1 + reached.item(-1)), "right"))
        return votes.tokens.item(place) if place < len(reached) else None

    def _drawn_by(self, library: kernel.Library, scores: np.ndarray, rng: random.Random) -> int:
        """The same in one call of compiled code."""
        if scores.dtype != np.float32 or not scores.flags.c_contiguous:
            scores = scores.astype(np.float32)
        token = library.draw(scores, self._plain_rate, self.top_p, self.min_p, rng.random())
        if token == kernel.NO_TOKEN:
            _highest(scores)  # says why
        if token == kernel.OUTSIDE:
            return self._draw_in_nucleus(scores, rng)
        return token

    def shares(self, scores: np.ndarray, kinds: np.ndarray | None = None) -> np.ndarray:
        """How likely `choose` takes each token, (vocab,) float64; 0 for what it never takes."""
        found = np.zeros(len(scores))
        if self._greedy:
            found[_likeliest(scores)] = 1
            return found
        tokens, shares = self._candidates(scores, kinds)
        shares = np.where(shares >= self._least_in_nucleus(shares), shares, 0).astype(np.float64)
        found[tokens] = shares / shares.sum()
        return found

    @cached_property
    def _greedy(self) -> bool:
        return self.temperature == 0 and not self._has_kinds

    # As numbers of numpy: at each use a plain float would be made one, half as dear as the use.
    @cached_property
    def _reach(self) -> np.float32:
        return np.float32(_REACH * self.temperature)

    @cached_property
    def _rate(self) -> np.float32:
        return np.float32(1 / max(self.temperature, _COLDEST))

    @cached_property
    def _plain_rate(self) -> float:
        return 1 / max(self.temperature, _COLDEST)

    @cached_property
    def _is_plain(self) -> bool:
        """Whether only `temperature`, `top_p` and `min_p` have a say."""
        return not (self._has_kinds or self.top_k or self.floor)

    @cached_property
    def _has_kinds(self) -> bool:
        return self.pitch_temperature is not None or self.rhythm_temperature is not None

    def _candidates(
        self, scores: np.ndarray, kinds: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens that may be taken as far as `top_p` is not asked, and shares in proportion."""
        if self._has_kinds:
            tokens, shares = self._candidates_by_kind(scores, kinds)
        else:
            top = _highest(scores)
            tokens = (scores >= top - self._reach).nonzero()[0]
            shares = scores[tokens]
            shares -= top
            shares *= self._rate
            _exp(shares, out=shares)
        if self.floor or self.min_p:
            best = shares.max()
            least = max(self.floor * shares.sum(), self.min_p * best)
            tokens, shares = _from(min(least, best), tokens, shares)
        if 0 < self.top_k < len(shares):
            tokens, shares = _from(np.partition(shares, -self.top_k)[-self.top_k], tokens, shares)
        return tokens, shares

    def _candidates_by_kind(
        self, scores: np.ndarray, kinds: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Likewise, where a kind has a temperature of its own.

        How often each kind comes is a matter of `temperature`; what is taken within it, of its own.
        Scores of unlike kinds divided by unlike temperatures could not be compared.
        """
        if kinds is None:
            raise ValueError(
                "pitch_temperature and rhythm_temperature need to know which kind each token is "
                "of; pass kinds, or leave both at None."
            )
        own = {PITCH: self.pitch_temperature, RHYTHM: self.rhythm_temperature}
        given = {kind: temperature for kind, temperature in own.items() if temperature is not None}
        reach = _REACH * (self.temperature + max(given.values()))
        tokens = (scores >= _highest(scores) - reach).nonzero()[0]
        left, kinds = scores[tokens], kinds[tokens]
        shares = _softmax(left, self.temperature)
        for kind, temperature in given.items():
            members = (kinds == kind).nonzero()[0]
            if len(members):
                shares[members] = shares[members].sum() * _softmax(left[members], temperature)
        return tokens, shares

    def _least_in_nucleus(self, shares: np.ndarray) -> float:
        """The share of the last of the likeliest that together reach `top_p`; likelier ones are in.

        Those below the mean of what may be left out need not be sorted: there are fewer of them
        than tokens, so that together they have less than `1 - top_p` and the others reach `top_p`.
        """
        if self.top_p == 1:
            return 0.0
        whole = float(shares.sum(dtype=np.float64))
        likely = np.sort(shares[shares >= (1 - self.top_p) * whole / len(shares)])[::-1]
        enough = int(_add_up(likely.astype(np.float64)).searchsorted(self.top_p * whole))
        return likely.item(min(enough, len(likely) - 1))

    def _draw_in_nucleus(self, shares: np.ndarray, rng: random.Random) -> int:
        places = (shares >= self._least_in_nucleus(shares)).nonzero()[0]
        reached = _add_up(shares[places].astype(np.float64))
        return places.item(int(reached.searchsorted(rng.random() * reached.item(-1), "right")))


class Repetition:
    """Makes it less likely, while one bar is written, to go on copying an earlier one.

    A bar is being copied as long as it has the same tokens from its beginning on, a note among
    them: that bars begin alike before the first note says nothing. The token that would go on with
    the copy then loses log(penalty), once for every bar that it would copy. Nothing is forbidden,
    and where the copied bar ended, ending is free.
    """

    def __init__(
        self, sampling: Sampling, bars: Sequence[Sequence[int]], notes: np.ndarray | None = None
    ) -> None:
        """Before the first token of a bar.

        Args:
            sampling: Says how much is taken off, and how many bars back it looks.
            bars: Tokens of the bars so far, the latest last.
            notes: Which tokens hold a note, (vocab,) bool; None: all.
        """
        self._cost = log(sampling.repetition_penalty)
        self._copied = [bar for bar in bars[-sampling.repetition_bars :] if self._cost and bar]
        self._notes = notes
        self._place = 0
        self._has_note = False

    def penalise(self, scores: np.ndarray) -> None:
        """Take the cost off the scores, (vocab,) float, in place."""
        if self._has_note:
            for bar in self._copied:
                scores[bar[self._place]] -= self._cost

    def advance(self, token: int) -> None:
        """The token that was taken."""
        if not self._copied:
            return
        place, self._place = self._place, self._place + 1
        alike = [bar for bar in self._copied if bar[place] == token]
        self._copied = [bar for bar in alike if self._place < len(bar)]
        self._has_note = self._has_note or self._notes is None or bool(self._notes[token])


def log_total(scores: np.ndarray) -> float:
    """What a score is measured against: score - log_total is the log of its softmax.

    Args:
        scores: (vocab,) float32, contiguous; -inf for what is not allowed. Where the highest is no
            finite number, so is the result, or it means nothing: `choose` refuses them.
    """
    library = kernel.load()
    if library is not None:
        return library.log_sum(scores)
    top = scores.item(scores.argmax())
    return top + log(_add(_exp(scores - np.float32(top)))) if isfinite(top) else top


def _likeliest(scores: np.ndarray) -> int:
    """The token with the highest score, the first of several."""
    _highest(scores)  # refuses what is no choice
    return int(scores.argmax())


def _highest(scores: np.ndarray) -> np.floating:
    """The highest score. Found by its place, which is three times faster than `max`."""
    found: np.floating = scores[scores.argmax()]
    if not isfinite(found):  # a NaN counts as the highest
        raise ValueError(
            f"The highest score must be a finite number, got {found}: no token is allowed, or the "
            "weights are damaged; take them from where they came from once more."
        )
    return found


def _softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    best = scores.argmax()
    if temperature == 0:
        return (np.arange(len(scores)) == best).astype(np.float32)
    shares = np.exp((scores - scores[best]) * (1 / max(temperature, _COLDEST)))
    return shares / shares.sum()


def _from(least: float, tokens: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    stays = shares >= least
    return tokens[stays], shares[stays]


def _raised(temperature: float, amount: float) -> float:
    return min(max(temperature * (1 + amount), amount), MAX_TEMPERATURE)


def _refuse_temperature(name: str, value: float | None, *, optional: bool) -> None:
    if optional and value is None:
        return
    if not (isinstance(value, Real) and value >= 0):
        raise ValueError(
            f"{name} must be 0 or more, got {value}; use 0 for the most likely note every time."
        )
    if value > MAX_TEMPERATURE:
        raise ValueError(
            f"{name} must be at most {MAX_TEMPERATURE:g}, got {value}; above 2 hardly anything of "
            "the network is left."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
