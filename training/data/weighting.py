"""How often each piece is seen: a weight says how many times an epoch, on the average.

A weight of 2 shows every piece twice an epoch, 0.5 every other piece, each in every second epoch.
Nothing is drawn by lot and nothing is remembered: what an epoch shows follows from its number
alone, so that a resumed run sees what an uninterrupted one sees. Knows neither pieces nor tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def times_seen(weights: Sequence[float], epoch: int, *, seed: int = 0) -> NDArray[np.int64]:
    """How many times an epoch shows each piece.

    Pieces of the same weight take turns. Their turns are spread evenly (the identity of Hermite: n
    floors of x + k/n add up to the floor of nx), so that each epoch shows n times the weight of
    them, but for rounding, and after any number of epochs no piece is ahead by more than one.

    Args:
        weights: One for each piece, above 0.
        epoch: Counted from 0.
        seed: Shuffles whose turn comes first.
    """
    wanted = np.asarray(weights, np.float64)
    times = np.zeros(len(wanted), np.int64)
    for weight in np.unique(wanted):
        own = np.flatnonzero(wanted == weight)
        turns = np.random.default_rng([seed, len(own)]).permutation(len(own)) / len(own)
        before, after = np.floor(epoch * weight + turns), np.floor((epoch + 1) * weight + turns)
        times[own] = (after - before).astype(np.int64)
    if len(times) and not times.any():
        times[epoch % len(times)] = 1  # an epoch of nothing cannot be learned from
    return times
