"""Step features of the rows of a batch, read window by window.

The compiled features of `musiclstm.core` where there is a C compiler, else the reference in Python,
which gives the same numbers at about a hundredth of the speed.
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
    """The part of `FeatureRows` that training needs, in Python."""

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
        """Read tokens, (rows, steps); arguments and arrays as those of `FeatureRows.read`."""
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
        """Return copies of rows, in the order given."""
        selected = ReferenceRows(self._table, 0)
        selected._rows = [self._rows[row].copy() for row in rows]
        return selected


Rows: TypeAlias = FeatureRows | ReferenceRows


def feature_rows(table: TokenTable, rows: int) -> Rows:
    """Begin a stream in every row, in the fastest form that this machine has."""
    return FeatureRows(table, rows) if is_available() else ReferenceRows(table, rows)


def table_of(model: Any) -> TokenTable | None:
    """Return the token table of a network; None for one without step features."""
    names = getattr(model.config, "token_names", None)
    return None if names is None else TokenTable(names)


def on_device(arrays: FeatureArrays, device: torch.device) -> dict[str, Tensor]:
    """Return what `MusicLSTMForCausalLM.forward` takes as `features`, on a device."""
    tensors = feature_tensors(arrays)
    return {name: x.to(device, non_blocking=True) for name, x in tensors.items()}


class CarriedFeatures:
    """Step features of rows that go on from window to window, as the state of the network does.

    A checkpoint holds the tokens of each row since its last reset: the features follow from them
    in every form, and they are fewer bytes than the tables of the features.
    """

    def __init__(self, table: TokenTable, rows: int) -> None:
        """Begin a stream in every row."""
        self._rows = feature_rows(table, rows)
        self._read: list[list[np.ndarray]] = [[] for _ in range(rows)]

    def read(self, ids: Tensor, reset: Tensor) -> dict[str, Tensor]:
        """Return the features after each token.

        Args:
            ids: (rows, steps).
            reset: Rows that begin a new stream first, bool (rows,).

        Returns:
            What `MusicLSTMForCausalLM.forward` takes as `features`, on the device of `ids`.
        """
        tokens, begins = ids.cpu().numpy(), reset.cpu().numpy()
        for row, begin in enumerate(begins):
            if begin:
                self._read[row].clear()
            self._read[row].append(tokens[row].astype(np.int32))
        return on_device(self._rows.read(tokens, begins), ids.device)

    def history(self) -> tuple[Tensor, Tensor]:
        """Return the tokens of all rows since their resets, (tokens,), and how many, (rows,)."""
        counts = [sum(map(len, row)) for row in self._read]
        parts = [part for row in self._read for part in row]
        tokens = np.concatenate([np.zeros(0, np.int32), *parts])
        return torch.from_numpy(tokens), torch.tensor(counts)

    @classmethod
    def from_history(cls, table: TokenTable, tokens: Tensor, counts: Tensor) -> CarriedFeatures:
        """Return the rows that read these tokens; arguments as `history` returns them."""
        carried = cls(table, len(counts))
        ids = np.zeros((len(counts), int(counts.max())), np.int64)
        for row, part in enumerate(tokens.split(counts.tolist())):
            ids[row, : len(part)] = part.numpy()
            carried._read[row].append(part.numpy())
        carried._rows.read(ids, lengths=counts.numpy())
        return carried
