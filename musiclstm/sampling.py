"""From scores and a mask to one token. Knows no model and no music."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class Sampling:
    """How adventurous the choice of each token is.

    Args:
        temperature: 0 takes the most likely token every time; 1 follows the network as it is;
            more flattens.
        top_p: Choose among the likeliest tokens that together reach this share, above 0 to 1.
        top_k: Choose among so many likeliest tokens; 0: no limit.
        seed: Start of the random numbers, 0 to 4294967295. None: a fresh one is drawn, and the
            composition tells which.

    Raises:
        ValueError: A value out of range.
    """

    temperature: float = 0.9
    top_p: float = 0.98
    top_k: int = 0
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not self.temperature >= 0:
            raise ValueError(
                f"temperature must be 0 or more, got {self.temperature}; use 0 for the most likely "
                "note every time."
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}; 1 is off.")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 or more, got {self.top_k}; 0 is off.")
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

    def choose(self, scores: np.ndarray, allowed: np.ndarray, rng: random.Random) -> int:
        """One token among those allowed.

        Args:
            scores: Logits, (vocab,) float.
            allowed: Which tokens may be chosen, (vocab,) bool; at least one.
            rng: Where chance comes from; not used at temperature 0.
        """
        candidates = np.flatnonzero(allowed)
        logits = scores[candidates].astype(np.float64)
        if self.temperature == 0 or len(candidates) == 1:
            return int(candidates[logits.argmax()])
        order, shares = self._likeliest(logits)
        place = int(np.searchsorted(shares.cumsum(), rng.random() * shares.sum(), side="right"))
        return int(candidates[order[min(place, len(order) - 1)]])

    def _likeliest(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The tokens to choose among, likeliest first, and their shares."""
        order = np.argsort(-logits, kind="stable")
        if self.top_k:
            order = order[: self.top_k]
        shares = np.exp((logits[order] - logits[order[0]]) / self.temperature)
        shares /= shares.sum()
        enough = int(np.searchsorted(shares.cumsum(), self.top_p)) + 1
        return order[:enough], shares[:enough]
