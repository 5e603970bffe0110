"""Random pieces, and an index of some of them."""

from __future__ import annotations

import numpy as np
import pytest

from musiclstm.memorization import MemorizationIndex, PitchedNotes


def _random_piece(seed: int, count: int = 400, programs=(0, 40)) -> PitchedNotes:
    rng = np.random.default_rng(seed)
    onset = np.concatenate([np.cumsum(rng.choice([0, 12, 24, 48], count)) for _ in programs])
    return PitchedNotes.from_columns(
        onset, np.repeat(programs, count), rng.integers(40, 80, count * len(programs))
    )


@pytest.fixture(scope="session")
def random_piece():
    """Return a function of a random seed; pieces share no long passages."""
    return _random_piece


@pytest.fixture(scope="session")
def index(random_piece):
    """Index of the pieces 0 to 19, with the pieces 100 to 119 held out."""
    pieces = ((f"piece-{seed}.mid, random", random_piece(seed)) for seed in range(20))
    return MemorizationIndex.build(pieces, map(random_piece, range(100, 120)))
