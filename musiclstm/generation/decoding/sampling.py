"""Sample one token from masked logits.

The caller masks logits (-inf: not permitted) and passes the kind of each token. Settings apply in
this order: temperatures, epsilon cut-off and `min_p`, `top_k`, `top_p`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from math import ceil, isfinite, log
from numbers import Integral, Real

import numpy as np

from musiclstm.core import native
from musiclstm.core.sampling import NO_TOKEN, OUTSIDE_TOP_P, CompiledSampler

MAX_SEED = 2**32 - 1
MAX_TEMPERATURE = 100.0
MAX_COPY_WEIGHT = 2.0

# Kinds of tokens that may have a temperature of their own; all others are of kind 0.
PITCH, RHYTHM = 1, 2

# A weight below e**-30 of the largest (one in ten trillion) counts as 0: the arithmetic skips most
# of the vocabulary and stays within the range of float32.
_MAX_LOGIT_GAP = 30.0
_MIN_TEMPERATURE = 1e-6  # replaces lower ones, so that the inverse is finite

# Bound once: `np.sum` and `np.cumsum` pass through several Python functions for every token.
_add, _add_up, _exp = np.add.reduce, np.add.accumulate, np.exp


@dataclass(frozen=True)
class Sampling:
    """Settings for choosing each token.

    Args:
        temperature: 0 takes the most probable token every time; 1 samples from the network's own
            distribution; higher values flatten it. At most 100.
        top_p: Sample from the most probable tokens that together reach this probability, above 0
            to 1.
        top_k: Sample from this many most probable tokens; 0: no limit. `top_k` and `top_p` keep
            ties with the last token.
        seed: Random seed, 0 to 4294967295. None: a new one is drawn; the composition records it.
        min_p: Exclude tokens less probable than this fraction of the most probable one, 0 to 1.
        epsilon_cutoff: Exclude tokens less probable than this, except the most probable one, 0 to
            1.
        pitch_temperature: For Program and Pitch tokens, instead of `temperature`; None: the same.
            It changes which of them is sampled, not how often one of them is.
        rhythm_temperature: Likewise, for tokens of time: Bar, meter, tempo, position, duration.
        repetition_penalty: Factor by which continuing a copy of an earlier bar becomes less
            probable, 1 or more; 1 is off.
        repetition_bars: Number of previous bars to which the penalty applies, 1 or more.
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
    copy_weight: float = 1.0

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
        # 7.0 is refused too, because it gives other random numbers than 7.
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
        """Return these settings with a random seed if they have none."""
        if self.seed is not None:
            return self
        return replace(self, seed=random.SystemRandom().randint(0, MAX_SEED))

    def rng_for_bar(self, bar: int) -> random.Random:
        """Return the random number generator of one bar.

        Each bar has its own. Thus a sequence continued later equals one composed at once, and a
        single bar can be composed again.
        """
        return random.Random(f"{self.seed}/{bar}")

    def with_higher_temperature(self, amount: float) -> Sampling:
        """Return these settings with higher temperatures: 0 changes nothing, 1 doubles them.

        The result is at least the amount, so temperature 0 changes too. The other settings move
        half as far: `top_p` toward 1, and `epsilon_cutoff`, `min_p` and `copy_weight` toward 0.

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

    # Sampling runs for every token: about ten numpy calls on as few numbers as possible.
    def sample(
        self, logits: np.ndarray, rng: random.Random, kinds: np.ndarray | None = None
    ) -> int:
        """Return one token.

        Args:
            logits: (vocab,) float, -inf where not permitted. Overwritten.
            rng: Not used at temperature 0.
            kinds: Kind of each token, (vocab,) int; needed for the temperature of a kind.

        Raises:
            ValueError: No token is permitted, or a logit is NaN.
        """
        if self._is_greedy:
            return _argmax(logits)
        if self._is_plain and (sampler := _compiled_sampler()) is not None:
            return self._sample_in_c(sampler, logits, rng)
        tokens, weights = self._weigh(logits, kinds)
        cumulative = _add_up(weights.astype(np.float64))
        total = cumulative.item(-1)
        index = int(cumulative.searchsorted(rng.random() * total, "right"))
        weight = weights.item(index)
        # Sample from all tokens, and again within the nucleus if the token is outside it. The
        # distribution is that of the nucleus, mostly without sorting. A token is outside if more
        # probable ones reach top_p without it; then its weight is at most what they leave.
        rest = (1 - self.top_p) * total
        if weight <= rest and _add(weights[weights > weight]) >= total - rest:
            index = self._sample_in_nucleus(weights, rng)
        return tokens.item(index)

    def _sample_in_c(self, sampler: CompiledSampler, logits: np.ndarray, rng: random.Random) -> int:
        if logits.dtype != np.float32 or not logits.flags.c_contiguous:
            logits = logits.astype(np.float32)
        limits = self._inverse_temperature, self.top_p, self.min_p
        token = sampler.sample(logits, *limits, rng.random())
        if token == NO_TOKEN:
            _max_logit(logits)  # raises
        if token == OUTSIDE_TOP_P:  # the logits are weights now
            return self._sample_in_nucleus(logits, rng)
        return token

    def probabilities(self, logits: np.ndarray, kinds: np.ndarray | None = None) -> np.ndarray:
        """Return the probability with which `sample` returns each token, (vocab,) float64."""
        result = np.zeros(len(logits))
        if self._is_greedy:
            result[_argmax(logits)] = 1
            return result
        tokens, weights = self._weigh(logits, kinds)
        threshold = self._nucleus_threshold(weights)
        kept = np.where(weights >= threshold, weights, 0).astype(np.float64)
        result[tokens] = kept / kept.sum()
        return result

    @cached_property
    def _is_greedy(self) -> bool:
        return self.temperature == 0 and not self._has_kinds

    # numpy scalars, because a Python float would be converted at each use.
    @cached_property
    def _gap(self) -> np.float32:
        return np.float32(_MAX_LOGIT_GAP * self.temperature)

    @cached_property
    def _inverse_float32(self) -> np.float32:
        return np.float32(self._inverse_temperature)

    @cached_property
    def _inverse_temperature(self) -> float:
        return 1 / max(self.temperature, _MIN_TEMPERATURE)

    @cached_property
    def _is_plain(self) -> bool:
        """Whether only `temperature`, `top_p` and `min_p` matter."""
        return not (self._has_kinds or self.top_k or self.epsilon_cutoff)

    @cached_property
    def _has_kinds(self) -> bool:
        return self.pitch_temperature is not None or self.rhythm_temperature is not None

    def _weigh(self, logits: np.ndarray, kinds: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens that remain before `top_p`, and their unnormalized probabilities."""
        if self._has_kinds:
            tokens, weights = self._weigh_by_kind(logits, kinds)
        else:
            max_logit = _max_logit(logits)
            tokens = (logits >= max_logit - self._gap).nonzero()[0]
            weights = logits[tokens]
            weights -= max_logit
            weights *= self._inverse_float32
            _exp(weights, out=weights)
        if self.epsilon_cutoff or self.min_p:
            largest = weights.max()
            threshold = max(self.epsilon_cutoff * weights.sum(), self.min_p * largest)
            tokens, weights = _keep_at_least(min(threshold, largest), tokens, weights)
        if 0 < self.top_k < len(weights):
            threshold = np.partition(weights, -self.top_k)[-self.top_k]
            tokens, weights = _keep_at_least(threshold, tokens, weights)
        return tokens, weights

    def _weigh_by_kind(
        self, logits: np.ndarray, kinds: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Do the same where a kind has its own temperature.

        `temperature` sets the probability of each kind, the kind's own temperature the
        probabilities within it. Logits divided by different temperatures cannot be compared.
        """
        if kinds is None:
            raise ValueError(
                "pitch_temperature and rhythm_temperature need the kind of each token; pass kinds, "
                "or leave both at None."
            )
        own = {PITCH: self.pitch_temperature, RHYTHM: self.rhythm_temperature}
        given = {kind: temperature for kind, temperature in own.items() if temperature is not None}
        gap = _MAX_LOGIT_GAP * (self.temperature + max(given.values()))
        tokens = (logits >= _max_logit(logits) - gap).nonzero()[0]
        kept, kinds = logits[tokens], kinds[tokens]
        weights = _softmax(kept, self.temperature)
        for kind, temperature in given.items():
            members = (kinds == kind).nonzero()[0]
            if len(members):
                weights[members] = weights[members].sum() * _softmax(kept[members], temperature)
        return tokens, weights

    def _nucleus_threshold(self, weights: np.ndarray) -> float:
        """Return the smallest weight among the most probable tokens that together reach `top_p`.

        Weights below `(1 - top_p) * total / n` are not sorted: together they are less than
        `(1 - top_p) * total`, so the others reach `top_p`.
        """
        if self.top_p == 1:
            return 0.0
        total = float(weights.sum(dtype=np.float64))
        high = np.sort(weights[weights >= (1 - self.top_p) * total / len(weights)])[::-1]
        enough = int(_add_up(high.astype(np.float64)).searchsorted(self.top_p * total))
        return high.item(min(enough, len(high) - 1))

    def _sample_in_nucleus(self, weights: np.ndarray, rng: random.Random) -> int:
        nucleus = (weights >= self._nucleus_threshold(weights)).nonzero()[0]
        cumulative = _add_up(weights[nucleus].astype(np.float64))
        uniform = rng.random() * cumulative.item(-1)
        return nucleus.item(int(cumulative.searchsorted(uniform, "right")))


class BarRepetitionPenalty:
    """Logit penalty for copying an earlier bar.

    A bar is a copy while its tokens equal the first ones of an earlier bar, with its pitches
    shifted by one interval, and include a note. The penalty log(repetition_penalty) is subtracted
    from the token that continues the copy, once for each bar that it copies. No token is forbidden.
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
            sampling: Its `repetition_penalty` and `repetition_bars` apply.
            bars: Tokens of the previous bars, the latest last.
            notes: Whether a token names a note, (vocab,) bool; None: all do.
            pitches: Pitch tokens in steps of a semitone.
        """
        self._log_penalty = log(sampling.repetition_penalty)
        # With the interval from their pitches to those of the new bar, None: not known yet.
        self._copied: list[tuple[Sequence[int], int | None]] = [
            (bar, None) for bar in bars[-sampling.repetition_bars :] if self._log_penalty and bar
        ]
        self._notes, self._pitches = notes, pitches
        self._index = 0
        self._has_note = False

    def apply(self, logits: np.ndarray) -> None:
        """Subtract the penalty from logits, (vocab,) float, in place."""
        if self._has_note:
            for bar, interval in self._copied:
                token = bar[self._index]
                if interval and token in self._pitches:
                    token += interval
                    if token not in self._pitches:
                        continue
                logits[token] -= self._log_penalty

    def advance(self, token: int) -> None:
        """Read the next token of the bar."""
        if not self._copied:
            return
        index, self._index = self._index, self._index + 1
        copied, self._copied = self._copied, []
        for bar, interval in copied:
            expected = bar[index]
            if expected in self._pitches and token in self._pitches:
                interval = token - expected if interval is None else interval
                expected += interval
            if token == expected and self._index < len(bar):
                self._copied.append((bar, interval))
        self._has_note = self._has_note or self._notes is None or bool(self._notes[token])


def logsumexp(logits: np.ndarray) -> float:
    """Return log(sum(exp(logits))); a logit minus it is a log-probability.

    Args:
        logits: (vocab,) float32, contiguous; -inf where not permitted. The result is meaningless if
            the highest is not finite; `Sampling.sample` refuses such logits.
    """
    sampler = _compiled_sampler()
    if sampler is not None:
        return sampler.logsumexp(logits)
    max_logit = logits.item(logits.argmax())
    if not isfinite(max_logit):
        return max_logit
    return max_logit + log(_add(_exp(logits - np.float32(max_logit))))


@cache
def _compiled_sampler() -> CompiledSampler | None:
    """Return the compiled functions; None without a C compiler."""
    library = native.load()
    return None if library is None else CompiledSampler(library)


def _argmax(logits: np.ndarray) -> int:
    """Return the most probable token, the first one of ties."""
    _max_logit(logits)  # raises where there is none
    return int(logits.argmax())


def _max_logit(logits: np.ndarray) -> np.floating:
    """Return the highest logit; `argmax` is three times as fast as `max` and finds a NaN."""
    result: np.floating = logits[logits.argmax()]
    if not isfinite(result):
        raise ValueError(
            f"The highest logit must be a finite number, got {result}: no token is permitted, or "
            "the weights are damaged; download them again."
        )
    return result


def _softmax(logits: np.ndarray, temperature: float) -> np.ndarray:
    best = logits.argmax()
    if temperature == 0:
        return (np.arange(len(logits)) == best).astype(np.float32)
    weights = np.exp((logits - logits[best]) * (1 / max(temperature, _MIN_TEMPERATURE)))
    return weights / weights.sum()


def _keep_at_least(
    threshold: float, tokens: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    kept = weights >= threshold
    return tokens[kept], weights[kept]


def _raised(temperature: float, amount: float) -> float:
    return min(max(temperature * (1 + amount), amount), MAX_TEMPERATURE)


def _check_temperature(name: str, value: float | None, *, optional: bool) -> None:
    if optional and value is None:
        return
    if not (isinstance(value, Real) and value >= 0):
        raise ValueError(
            f"{name} must be 0 or more, got {value}; 0 always gives the most probable token."
        )
    if value > MAX_TEMPERATURE:
        raise ValueError(
            f"{name} must be at most {MAX_TEMPERATURE:g}, got {value}; above 2 the distribution is "
            "nearly uniform."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
