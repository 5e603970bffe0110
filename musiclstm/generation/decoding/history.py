"""The tokens that a row has read, in chunks that snapshots share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Tokens; 128 for each of the most bars that a recipe may have. Step features that are computed
# again from a part of their history may differ from those of a stream that went on.
MAX_HISTORY = 2**21
CHUNK = 1_024  # tokens


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class History:
    """Tokens read so far; the oldest chunks are dropped beyond `MAX_HISTORY` tokens.

    Attributes:
        chunks: int32 arrays of `CHUNK` tokens, the last one of 1 to `CHUNK`.
    """

    chunks: tuple[np.ndarray, ...] = ()

    def extended(self, ids: Sequence[int] | np.ndarray) -> History:
        """Return a history with further tokens; whole chunks are shared with this one."""
        fresh = np.asarray(ids, np.int32)
        if not fresh.size:
            return self
        whole, tail = self.chunks, fresh
        if whole and len(whole[-1]) < CHUNK:
            whole, tail = whole[:-1], np.concatenate([whole[-1], fresh])
        pieces = tuple(tail[at : at + CHUNK].copy() for at in range(0, len(tail), CHUNK))
        return History((*whole, *pieces)[-MAX_HISTORY // CHUNK :])

    def ids(self) -> np.ndarray:
        """Return all tokens that are kept, (tokens,) int32."""
        return np.concatenate([np.empty(0, np.int32), *self.chunks])


class HistoryWriter:
    """The history of a row that is being extended token by token."""

    def __init__(self, history: History) -> None:
        """Go on from a history."""
        self._history = history
        self._pending: list[int] = []

    def append(self, token: int) -> None:
        """Add a token."""
        self._pending.append(token)
        if len(self._pending) == CHUNK:
            self.history()

    def history(self) -> History:
        """Return the tokens so far."""
        self._history = self._history.extended(self._pending)
        self._pending = []
        return self._history
