"""Compute the step features of batch rows, window by window.

With a C compiler, `musiclstm.core` computes them; otherwise the Python reference, which gives the
same numbers about a hundred times slower.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from musiclstm.core import FeatureRows, is_available
from musiclstm.model import FeatureArrays, StepFeatures, TokenTable, feature_tensors

_NAMES = [field.name for field in fields(FeatureArrays)]


class ReferenceRows:
    """The methods of `FeatureRows` that training uses, in Python."""

    def __init__(self, table: TokenTable, rows: int) -> None:
        self._table = table
        self._rows = [StepFeatures(table) for _ in range(rows)]

    def __len__(self) -> int:
        return len(self._rows)

    def read(
        self,
        ids: np.ndarray,
        reset: np.ndarray | None = None,
        *,
        lengths: np.ndarray | None = None,
    ) -> FeatureArrays:
        """Return the features after each token; see `FeatureRows.read`.

        Args:
            ids: Token ids, (rows, steps).
            reset: Rows that start a new stream first, bool (rows,).
            lengths: Tokens to read of each row, (rows,); None: all.
        """
        arrays = FeatureArrays.empty(*ids.shape)
        for row, tokens in enumerate(ids):
            if reset is not None and reset[row]:
                self._rows[row] = StepFeatures(self._table)
            count = ids.shape[1] if lengths is None else lengths[row]
            found = self._rows[row].read(tokens[:count])
            for name in _NAMES:
                getattr(arrays, name)[row, :count] = getattr(found, name)
        return arrays

    def select(self, rows: Iterable[int]) -> ReferenceRows:
        """Return copies of the rows with the given indices."""
        selected = ReferenceRows(self._table, 0)
        selected._rows = [self._rows[row].copy() for row in rows]
        return selected


AnyFeatureRows: TypeAlias = FeatureRows | ReferenceRows


def feature_rows(table: TokenTable, rows: int) -> AnyFeatureRows:
    """Return the fastest available implementation, with an empty stream in every row."""
    return FeatureRows(table, rows) if is_available() else ReferenceRows(table, rows)


def table_of(model: Any) -> TokenTable | None:
    """Return the token table of a network; None for one without step features."""
    names = getattr(model.config, "token_names", None)
    return None if names is None else TokenTable(names)


def on_device(arrays: FeatureArrays, device: torch.device) -> dict[str, Tensor]:
    """Return the `features` argument of `MusicLSTMForCausalLM.forward` on a device."""
    tensors = feature_tensors(arrays)
    return {name: x.to(device, non_blocking=True) for name, x in tensors.items()}


class StatefulFeatures:
    """Step features of rows that continue from window to window.

    A checkpoint stores the tokens of each row since its last reset, because they take fewer bytes
    than the state of the features, which can be computed from them.
    """

    def __init__(self, table: TokenTable, rows: int) -> None:
        """Start an empty stream in every row."""
        self._rows = feature_rows(table, rows)
        self._history: list[list[np.ndarray]] = [[] for _ in range(rows)]

    def read(self, ids: Tensor, reset: Tensor) -> dict[str, Tensor]:
        """Return the features after each token.

        Args:
            ids: Token ids, (rows, steps).
            reset: Rows that start a new stream first, bool (rows,).

        Returns:
            The `features` argument of `MusicLSTMForCausalLM.forward`, on the device of `ids`.
        """
        tokens, resets = ids.cpu().numpy(), reset.cpu().numpy()
        for row, is_reset in enumerate(resets):
            if is_reset:
                self._history[row].clear()
            self._history[row].append(tokens[row].astype(np.int32))
        return on_device(self._rows.read(tokens, resets), ids.device)

    def history(self) -> tuple[Tensor, Tensor]:
        """Return the tokens of all rows since their resets, (tokens,), and counts, (rows,)."""
        counts = [sum(map(len, row)) for row in self._history]
        parts = [part for row in self._history for part in row]
        tokens = np.concatenate([np.zeros(0, np.int32), *parts])
        return torch.from_numpy(tokens), torch.tensor(counts)

    @classmethod
    def from_history(cls, table: TokenTable, tokens: Tensor, counts: Tensor) -> StatefulFeatures:
        """Restore the rows from the results of `history`."""
        carried = cls(table, len(counts))
        ids = np.zeros((len(counts), int(counts.max())), np.int64)
        for row, part in enumerate(tokens.split(counts.tolist())):
            ids[row, : len(part)] = part.numpy()
            carried._history[row].append(part.numpy())
        carried._rows.read(ids, lengths=counts.numpy())
        return carried
