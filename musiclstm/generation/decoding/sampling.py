"""Settings for sampling; sampling.c applies them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from math import ceil, log
from numbers import Integral, Real

import numpy as np

from musiclstm.core.sampling import MAX_REPETITION_BARS, SAMPLING
from musiclstm.core.sequence import MAX_ROWS
from musiclstm.tokens.vocabulary import TABLE

MAX_SEED = 2**32 - 1
MAX_TEMPERATURE = 100.0
MAX_COPY_WEIGHT = 2.0
MAX_SIMILARITY = 2.0


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
        repetition_penalty: Factor by which continuing a copy of two previous bars becomes less
            probable, 1 or more; for a copy of n bars its power n (n - 1) / 2. So a bar may be
            repeated once. 1 is off.
        repetition_bars: Number of previous bars to which the penalty applies, 1 or more; of more
            than 64 the last 64 count.
        candidates: Number of candidates for each bar, 1 to 32, of which the best one is kept, see
            `training.bar_score`. 1 is off.
        similarity: How much the choice among candidates prefers bars that are like the prompt, 0
            (roam) to 2 (stay close); 1 is what the score was fitted with.
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
    repetition_penalty: float = 1.25
    repetition_bars: int = 8
    copy_weight: float = 1.0
    candidates: int = 8
    similarity: float = 1.0

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
        if not isinstance(self.candidates, Integral) or not 1 <= self.candidates <= MAX_ROWS:
            raise ValueError(
                f"candidates must be a whole number from 1 to {MAX_ROWS}, got {self.candidates}; 1 "
                "keeps every bar as it is sampled."
            )
        if not (_is_number(self.similarity) and 0 <= self.similarity <= MAX_SIMILARITY):
            raise ValueError(
                f"similarity must be from 0 to {MAX_SIMILARITY:g}, got {self.similarity}; 0 roams, "
                "and 2 stays close to the prompt."
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
                "and 2 makes a second copy half as likely."
            )
        if not (isinstance(self.repetition_bars, Integral) and self.repetition_bars >= 1):
            raise ValueError(
                "repetition_bars must be a whole number, 1 or more, got "
                f"{self.repetition_bars}; repetition_penalty=1 turns the penalty off."
            )

    def with_seed(self) -> Sampling:
        """Return these settings with a random seed if they have none.

        Each bar has random numbers of its own. Thus a sequence continued later equals one composed
        at once, and a single bar can be composed again.
        """
        if self.seed is not None:
            return self
        return replace(self, seed=random.SystemRandom().randint(0, MAX_SEED))

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

    def packed(self) -> np.ndarray:
        """Return `SamplingSettings` of core.h; the seed must be set."""
        own = [each if each is not None else -1 for each in self._own_temperatures]
        bars = min(self.repetition_bars, MAX_REPETITION_BARS)
        limits = (self.top_p, self.min_p, self.epsilon_cutoff)
        penalty = log(self.repetition_penalty)
        top_k = min(self.top_k, len(TABLE))
        settings = (self.temperature, *own, *limits, penalty, self.copy_weight, top_k, bars)
        return np.array((*settings, self.seed), SAMPLING)

    @property
    def _own_temperatures(self) -> tuple[float | None, float | None]:
        return self.pitch_temperature, self.rhythm_temperature


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
