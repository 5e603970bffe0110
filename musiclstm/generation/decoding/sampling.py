"""From logits to one token.

The caller masks logits (-inf is not permitted) and names the kind of each token. The settings
narrow the choice in this order: temperatures, epsilon cut-off and `min_p`, `top_k`, `top_p`.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, isfinite, log
from numbers import Integral, Real

import numpy as np

from musiclstm.core import native
from musiclstm.core.sampling import NO_TOKEN, OUTSIDE, Sampler

MAX_SEED = 2**32 - 1
MAX_TEMPERATURE = 100.0
MAX_COPY_WEIGHT = 2.0

# Kinds of tokens that may have a temperature of their own; all others are of kind 0.
PITCH, RHYTHM = 1, 2

# A weight below e**-30 of the largest (one in ten trillion) counts as 0. That keeps most of a
# vocabulary out of the arithmetic, and numbers within the range of float32.
_MAX_LOGIT_GAP = 30.0
_MIN_TEMPERATURE = 1e-6  # lower ones are as good as 0, but can be divided by

# Bound once: the plain names pass through several Python functions for every token.
_add, _add_up, _exp = np.add.reduce, np.add.accumulate, np.exp

_THREAD = threading.local()


@dataclass(frozen=True)
class Sampling:
    """How each token is chosen.

    Args:
        temperature: 0 takes the most probable token every time; 1 samples from the network's own
            distribution; higher values flatten it. At most 100.
        top_p: Sample from the most probable tokens that together reach this probability, above 0
            to 1.
        top_k: Sample from this many most probable tokens; 0: no limit. Here and with `top_p`,
            tokens as probable as the last one that stays, stay too.
        seed: Start of the random numbers, 0 to 4294967295. None: a new one is drawn, and the
            composition tells which.
        min_p: Tokens less probable than this fraction of the most probable one are never taken, 0
            to 1.
        epsilon_cutoff: Tokens less probable than this are never taken, 0 to 1; the most probable
            one always may.
        pitch_temperature: For tokens that name a note, instead of `temperature`; None: the same.
            It changes which of them is taken, not how often one of them is.
        rhythm_temperature: Likewise, for tokens that say when and how long.
        repetition_penalty: Factor by which continuing a copy of an earlier bar becomes less
            probable, 1 or more; 1 is off.
        repetition_bars: Number of bars back that are not to be copied, 1 or more.
        copy_weight: Scale of the network's gates on copy candidates, 0 to 2: 0 ignores them, 1 is
            what the network was trained with.

    Raises:
        ValueError: A value is out of range.
    """

    temperature: float = 1.0
    top_p: float = 0.97
    top_k: int = 0
    seed: int | None = None
    min_p: float = 0.0
    epsilon_cutoff: float = 0.0
    pitch_temperature: float | None = None
    rhythm_temperature: float | None = None
    repetition_penalty: float = 1.5
    repetition_bars: int = 8
    copy_weight: float = 0.95

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name in ("temperature", "pitch_temperature", "rhythm_temperature"):
            _check_temperature(name, getattr(self, name), optional=name != "temperature")
        if not (_is_number(self.top_p) and 0 < self.top_p <= 1):
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}; 1 is off.")
        for name in ("min_p", "epsilon_cutoff"):
            value = getattr(self, name)
            if not (_is_number(value) and 0 <= value <= 1):
                raise ValueError(f"{name} must be from 0 to 1, got {value}; 0 is off.")
        if not isinstance(self.top_k, Integral):
            raise ValueError(f"top_k must be a whole number, got {self.top_k}; 0 is off.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 or more, got {self.top_k}; 0 is off.")
        self._check_repetition()
        if not (_is_number(self.copy_weight) and 0 <= self.copy_weight <= MAX_COPY_WEIGHT):
            raise ValueError(
                f"copy_weight must be from 0 to {MAX_COPY_WEIGHT:g}, got {self.copy_weight}; 0 "
                "ignores copy candidates, and 1 is what the network was trained with."
            )
        if self.seed is None:
            return
        # 7.0 is refused too: it would start other random numbers than 7.
        if not isinstance(self.seed, Integral) or not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be a whole number from 0 to {MAX_SEED}, got {self.seed}.")

    def _check_repetition(self) -> None:
        if not (_is_number(self.repetition_penalty) and 1 <= self.repetition_penalty < np.inf):
            raise ValueError(
                f"repetition_penalty must be 1 or more, got {self.repetition_penalty}; 1 is off, "
                "and 2 makes continuing a copy half as likely."
            )
        if not (isinstance(self.repetition_bars, Integral) and self.repetition_bars >= 1):
            raise ValueError(
                "repetition_bars must be a whole number, 1 or more, got "
                f"{self.repetition_bars}; repetition_penalty=1 turns the penalty off."
            )

    def with_seed(self) -> Sampling:
        """Return the same with a drawn seed if it has none."""
        if self.seed is not None:
            return self
        return replace(self, seed=random.SystemRandom().randint(0, MAX_SEED))

    def rng_for_bar(self, bar: int) -> random.Random:
        """Return the random numbers of one bar.

        Each bar has its own, so that a sequence continued later equals one composed at once, and a
        bar can be composed again alone.
        """
        return random.Random(f"{self.seed}/{bar}")

    def with_higher_temperature(self, amount: float) -> Sampling:
        """Return the same with higher temperatures: 0 changes nothing, 1 doubles them.

        A temperature rises at least to the amount, so temperature 0 changes too. The other limits
        move half as far: `top_p` toward 1, and `epsilon_cutoff`, `min_p` and `copy_weight` toward
        0.

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
            epsilon_cutoff=self.epsilon_cutoff * (1 - amount / 2),
            min_p=self.min_p * (1 - amount / 2),
            copy_weight=self.copy_weight * (1 - amount / 2),
        )

    # The choice. It runs for every token: about ten numpy calls, on as few numbers as possible.

    def sample(
        self, logits: np.ndarray, rng: random.Random, kinds: np.ndarray | None = None
    ) -> int:
        """Return one token.

        Args:
            logits: (vocab,) float; those at -inf are not permitted, and not all may be. Their
                values afterwards are undefined.
            rng: Random numbers; none is drawn at temperature 0.
            kinds: Kind of each token, (vocab,) int; only for temperatures of a kind.

        Raises:
            ValueError: No token is permitted, or a logit is no number.
        """
        if self._greedy:
            return _argmax(logits)
        if self._is_plain and (sampler := _sampler()) is not None:
            return self._sample_in_c(sampler, logits, rng)
        tokens, weights = self._candidates(logits, kinds)
        reached = _add_up(weights.astype(np.float64))
        total = reached.item(-1)
        place = int(reached.searchsorted(rng.random() * total, "right"))
        weight = weights.item(place)
        # Drawn from all; only what is outside the nucleus is drawn again, within it. The
        # probabilities are those of drawing within it, mostly without sorting. A token is outside
        # if more probable ones reach top_p without it; then it has no more than they leave.
        left = (1 - self.top_p) * total
        if weight <= left and _add(weights[weights > weight]) >= total - left:
            place = self._sample_in_nucleus(weights, rng)
        return tokens.item(place)

    def _sample_in_c(self, sampler: Sampler, logits: np.ndarray, rng: random.Random) -> int:
        """Do the same in one call of compiled code."""
        if logits.dtype != np.float32 or not logits.flags.c_contiguous:
            logits = logits.astype(np.float32)
        token = sampler.draw(logits, self._inverse, self.top_p, self.min_p, rng.random())
        if token == NO_TOKEN:
            _max_logit(logits)  # raises
        if token == OUTSIDE:
            return self._sample_in_nucleus(logits, rng)
        return token

    def probabilities(self, logits: np.ndarray, kinds: np.ndarray | None = None) -> np.ndarray:
        """Return the probability with which `sample` takes each token, (vocab,) float64."""
        found = np.zeros(len(logits))
        if self._greedy:
            found[_argmax(logits)] = 1
            return found
        tokens, weights = self._candidates(logits, kinds)
        least = self._least_in_nucleus(weights)
        kept = np.where(weights >= least, weights, 0).astype(np.float64)
        found[tokens] = kept / kept.sum()
        return found

    @cached_property
    def _greedy(self) -> bool:
        return self.temperature == 0 and not self._has_kinds

    # As numbers of numpy: at each use a Python float would be converted to one.
    @cached_property
    def _gap(self) -> np.float32:
        return np.float32(_MAX_LOGIT_GAP * self.temperature)

    @cached_property
    def _inverse_float32(self) -> np.float32:
        return np.float32(self._inverse)

    @cached_property
    def _inverse(self) -> float:
        return 1 / max(self.temperature, _MIN_TEMPERATURE)

    @cached_property
    def _is_plain(self) -> bool:
        """Whether only `temperature`, `top_p` and `min_p` matter."""
        return not (self._has_kinds or self.top_k or self.epsilon_cutoff)

    @cached_property
    def _has_kinds(self) -> bool:
        return self.pitch_temperature is not None or self.rhythm_temperature is not None

    def _candidates(
        self, logits: np.ndarray, kinds: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens that remain before `top_p`, and weights in proportion."""
        if self._has_kinds:
            tokens, weights = self._candidates_by_kind(logits, kinds)
        else:
            top = _max_logit(logits)
            tokens = (logits >= top - self._gap).nonzero()[0]
            weights = logits[tokens]
            weights -= top
            weights *= self._inverse_float32
            _exp(weights, out=weights)
        if self.epsilon_cutoff or self.min_p:
            best = weights.max()
            least = max(self.epsilon_cutoff * weights.sum(), self.min_p * best)
            tokens, weights = _keep_at_least(min(least, best), tokens, weights)
        if 0 < self.top_k < len(weights):
            least = np.partition(weights, -self.top_k)[-self.top_k]
            tokens, weights = _keep_at_least(least, tokens, weights)
        return tokens, weights

    def _candidates_by_kind(
        self, logits: np.ndarray, kinds: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Do the same where a kind has a temperature of its own.

        `temperature` decides how often each kind comes, its own temperature which token of it.
        Logits of different kinds divided by different temperatures could not be compared.
        """
        if kinds is None:
            raise ValueError(
                "pitch_temperature and rhythm_temperature need to know which kind each token is "
                "of; pass kinds, or leave both at None."
            )
        own = {PITCH: self.pitch_temperature, RHYTHM: self.rhythm_temperature}
        given = {kind: temperature for kind, temperature in own.items() if temperature is not None}
        gap = _MAX_LOGIT_GAP * (self.temperature + max(given.values()))
        tokens = (logits >= _max_logit(logits) - gap).nonzero()[0]
        left, kinds = logits[tokens], kinds[tokens]
        weights = _softmax(left, self.temperature)
        for kind, temperature in given.items():
            members = (kinds == kind).nonzero()[0]
            if len(members):
                weights[members] = weights[members].sum() * _softmax(left[members], temperature)
        return tokens, weights

    def _least_in_nucleus(self, weights: np.ndarray) -> float:
        """Return the weight of the last of the most probable tokens that together reach `top_p`.

        Those below the mean of what may be left out need not be sorted: there are fewer of them
        than tokens, so that together they have less than `1 - top_p`, and the others reach `top_p`.
        """
        if self.top_p == 1:
            return 0.0
        total = float(weights.sum(dtype=np.float64))
        high = np.sort(weights[weights >= (1 - self.top_p) * total / len(weights)])[::-1]
        enough = int(_add_up(high.astype(np.float64)).searchsorted(self.top_p * total))
        return high.item(min(enough, len(high) - 1))

    def _sample_in_nucleus(self, weights: np.ndarray, rng: random.Random) -> int:
        places = (weights >= self._least_in_nucleus(weights)).nonzero()[0]
        reached = _add_up(weights[places].astype(np.float64))
        return places.item(int(reached.searchsorted(rng.random() * reached.item(-1), "right")))


class BarRepetitionPenalty:
    """Lowers the probability of copying an earlier bar, while one bar is written.

    A bar is a copy as long as its tokens equal the first ones of an earlier bar, its pitches up to
    one transposition, and a note is among them: equal beginnings before the first note say nothing.
    The token that would continue the copy then loses log(penalty), once for every bar that it would
    copy. No token is forbidden, and nothing is lowered where the copied bar ended.
    """

    def __init__(
        self,
        sampling: Sampling,
        bars: Sequence[Sequence[int]],
        notes: np.ndarray | None = None,
        pitches: range = range(0),
    ) -> None:
        """Start before the first token of a bar.

        Args:
            sampling: Its `repetition_penalty` and `repetition_bars`.
            bars: Tokens of the bars so far, the latest last.
            notes: Which tokens name a note, (vocab,) bool; None: all.
            pitches: Tokens in steps of a semitone.
        """
        self._cost = log(sampling.repetition_penalty)
        # With the distance from their pitches to those of the new bar, None: not known yet.
        self._copied: list[tuple[Sequence[int], int | None]] = [
            (bar, None) for bar in bars[-sampling.repetition_bars :] if self._cost and bar
        ]
        self._notes, self._pitches = notes, pitches
        self._place = 0
        self._has_note = False

    def apply(self, logits: np.ndarray) -> None:
        """Lower the logits, (vocab,) float, in place."""
        if self._has_note:
            for bar, distance in self._copied:
                token = bar[self._place]
                if distance and token in self._pitches:
                    token += distance
                    if token not in self._pitches:
                        continue
                logits[token] -= self._cost

    def advance(self, token: int) -> None:
        """Move on by the token that was taken."""
        if not self._copied:
            return
        place, self._place = self._place, self._place + 1
        copied, self._copied = self._copied, []
        for bar, distance in copied:
            expected = bar[place]
            if expected in self._pitches and token in self._pitches:
                distance = token - expected if distance is None else distance
                expected += distance
            if token == expected and self._place < len(bar):
                self._copied.append((bar, distance))
        self._has_note = self._has_note or self._notes is None or bool(self._notes[token])


def logsumexp(logits: np.ndarray) -> float:
    """Return log(sum(exp(logits))); a logit minus it is a log-probability.

    Args:
        logits: (vocab,) float32, contiguous; -inf where not permitted. If the highest is not
            finite, so is the result, or it is meaningless: `Sampling.sample` refuses such logits.
    """
    sampler = _sampler()
    if sampler is not None:
        return sampler.log_sum(logits)
    top = logits.item(logits.argmax())
    return top + log(_add(_exp(logits - np.float32(top)))) if isfinite(top) else top


def _sampler() -> Sampler | None:
    """Return the compiled functions for this thread; None without a C compiler."""
    if not hasattr(_THREAD, "sampler"):
        library = native.load()
        _THREAD.sampler = None if library is None else Sampler(library)
    return _THREAD.sampler


def _argmax(logits: np.ndarray) -> int:
    """Return the most probable token, the first of several."""
    _max_logit(logits)  # raises where there is none
    return int(logits.argmax())


def _max_logit(logits: np.ndarray) -> np.floating:
    """Return the highest logit. By its place, which is three times faster than `max`."""
    found: np.floating = logits[logits.argmax()]
    if not isfinite(found):  # argmax finds a NaN
        raise ValueError(
            f"The highest logit must be a finite number, got {found}: no token is permitted, or "
            "the weights are damaged; download them again."
        )
    return found


def _softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    best = logits.argmax()
    if temperature == 0:
        return (np.arange(len(logits)) == best).astype(np.float32)
    weights = np.exp((logits - logits[best]) * (1 / max(temperature, _MIN_TEMPERATURE)))
    return weights / weights.sum()


def _keep_at_least(
    least: float, tokens: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    stays = weights >= least
    return tokens[stays], weights[stays]


def _raised(temperature: float, amount: float) -> float:
    return min(max(temperature * (1 + amount), amount), MAX_TEMPERATURE)


def _check_temperature(name: str, value: float | None, *, optional: bool) -> None:
    if optional and value is None:
        return
    if not (isinstance(value, Real) and value >= 0):
        raise ValueError(
            f"{name} must be 0 or more, got {value}; use 0 for the most likely note every time."
        )
    if value > MAX_TEMPERATURE:
        raise ValueError(
            f"{name} must be at most {MAX_TEMPERATURE:g}, got {value}; above 2 little of the "
            "network's distribution is left."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
