"""Token history of a row, in chunks that snapshots share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Tokens: 128 for each bar of the longest recipe. Step features computed again from a truncated
# history may differ from the original ones.
MAX_HISTORY = 2**21
CHUNK = 1_024  # tokens


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class TokenHistory:
    """Tokens read so far, at most `MAX_HISTORY`; the oldest chunks are dropped.

    Attributes:
        chunks: int32 arrays of `CHUNK` tokens, the last one of 1 to `CHUNK`.
    """

    chunks: tuple[np.ndarray, ...] = ()

    def extended(self, ids: Sequence[int] | np.ndarray) -> TokenHistory:
        """Return a history with more tokens; it shares all full chunks with this one."""
        new_ids = np.asarray(ids, np.int32)
        if not new_ids.size:
            return self
        full, tail = self.chunks, new_ids
        if full and len(full[-1]) < CHUNK:
            full, tail = full[:-1], np.concatenate([full[-1], new_ids])
        chunks = tuple(tail[start : start + CHUNK].copy() for start in range(0, len(tail), CHUNK))
        return TokenHistory((*full, *chunks)[-MAX_HISTORY // CHUNK :])

    def ids(self) -> np.ndarray:
        """Return the tokens, (tokens,) int32."""
        return np.concatenate([np.empty(0, np.int32), *self.chunks])


class TokenHistoryWriter:
    """Mutable history, extended token by token."""

    def __init__(self, history: TokenHistory) -> None:
        """Start from a history."""
        self._history = history
        self._pending: list[int] = []

    def append(self, token: int) -> None:
        """Append a token."""
        self._pending.append(token)
        if len(self._pending) == CHUNK:
            self.history()

    def history(self) -> TokenHistory:
        """Return the tokens so far."""
        self._history = self._history.extended(self._pending)
        self._pending = []
        return self._history
