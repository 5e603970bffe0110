"""Torch data set of windows whose network state is carried from one window to the next.

Window t + 1 of a batch row continues window t of the same row; `reset` marks the start of a piece.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from tempfile import TemporaryFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from musiclstm.tokens import MusicTokenizer
from training.data.augmentation import IGNORED, Augmentation, Stream

__all__ = ["IGNORED", "StatefulWindowDataset", "times_seen"]

_ID_BYTES = np.dtype(np.int32).itemsize
_MAX_MEMORY_BYTES = 1 << 28  # larger windows are mapped from a temporary file


class StatefulWindowDataset(Dataset[dict[str, Tensor]]):
    """Windows of pieces in batch order: item i is window i // rows of batch row i % rows.

    With batches of `rows` items (or a divisor of it), read in order, each row of a batch continues
    the same row of the batch before it. A window belongs to one piece; the last one of a piece is
    padded.
    """

    def __init__(
        self,
        pieces: Sequence[np.ndarray],
        tokenizer: MusicTokenizer,
        *,
        rows: int,
        batch_size: int,
        steps: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Prepare the first epoch.

        Args:
            pieces: Token ids without BOS and EOS.
            tokenizer: Tokenizer whose special tokens are used.
            rows: Rows of all accumulated batches together.
            batch_size: Rows of one batch.
            steps: Tokens of a window.
            augmentation: Applied to every piece in every epoch. None: pieces are unchanged and in
                the same order.
            seed: Random seed of the order of pieces and of the augmentation.
            weights: How many times an epoch shows each piece, on average (see `times_seen`). None:
                once.
        """
        self._pieces, self._tokenizer = pieces, tokenizer
        self._weights = [1.0] * len(pieces) if weights is None else list(weights)
        self._rows, self._batch_size, self._steps = rows, batch_size, steps
        self._augmentation, self._seed = augmentation, seed
        self._windows_per_row = self._count_windows()
        self._epoch = -1
        self.set_epoch(0)

    def _count_windows(self) -> int:
        """Return the windows of each row in an epoch: as many as the unchanged pieces need."""
        if not len(self._pieces):
            return 0
        windows = (self._windows_of(len(piece) + 1) for piece in self._pieces)
        total = sum(count * weight for count, weight in zip(windows, self._weights, strict=True))
        return max(1, math.ceil(total / self._rows - 1e-9))

    def _windows_of(self, tokens: int) -> int:
        return -(-tokens // self._steps)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle and augment the pieces again; the same epoch always gives the same windows.

        The number of windows is that of the unchanged pieces in every epoch, so that a schedule in
        steps is exact. Surplus windows are dropped; missing ones come from the next epoch.
        """
        if epoch == self._epoch:
            return
        self._epoch, self._tokens, total = epoch, 0, len(self)
        self._windows = _allocate(total, self._steps)
        self._reset = np.ones(total, bool)
        first, streams = 0, self._streams(epoch)
        while first < total:
            first += self._add(next(streams), first)

    def _add(self, stream: Stream, first: int) -> int:
        """Cut a piece into windows from index `first`; return the number of windows."""
        steps = self._steps
        count = min(self._windows_of(len(stream)), len(self) - first)
        windows = self._windows[first : first + count]  # (windows, 2, steps)
        windows[:, 0], windows[:, 1] = self._tokenizer.pad_id, IGNORED
        for index, window in enumerate(windows):
            part = slice(index * steps, (index + 1) * steps)
            inputs, labels = stream.inputs[part], stream.labels[part]
            window[0, : len(inputs)], window[1, : len(labels)] = inputs, labels
            self._tokens += int((labels != IGNORED).sum())
        self._reset[first + 1 : first + count] = False
        return count

    def _streams(self, epoch: int) -> Iterator[Stream]:
        """Yield the augmented pieces of an epoch, then those of the next epochs, without end."""
        rng = np.random.default_rng([self._seed, epoch])
        for number in itertools.count(epoch):
            times = times_seen(self._weights, number, seed=self._seed)
            indices = np.repeat(np.arange(len(times)), times)
            if self._augmentation is not None:
                indices = rng.permutation(indices)
            for index in indices.tolist():
                yield self._stream(self._pieces[index], rng)

    def _stream(self, ids: np.ndarray, rng: np.random.Generator) -> Stream:
        if self._augmentation is not None:
            return self._augmentation.apply(ids, rng)
        tokens = np.array([self._tokenizer.bos_id, *ids, self._tokenizer.eos_id], np.int32)
        return Stream(tokens[:-1], tokens[1:])

    @property
    def steps(self) -> int:
        """Tokens of a window, including padding."""
        return self._steps

    @property
    def updates(self) -> int:
        """Optimizer steps of an epoch: the windows of a row."""
        return self._windows_per_row

    @property
    def tokens(self) -> int:
        """Number of labels of this epoch."""
        return self._tokens

    def __len__(self) -> int:
        return self._rows * self._windows_per_row

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return the window with an index in batch order.

        Returns:
            `input_ids`, `labels` and `shift_labels`, each (steps,). Both labels are the next
            tokens, -100 where none counts. `reset`: whether a piece begins. `slot`: which of the
            accumulated batches the row belongs to.
        """
        row, step = index % self._rows, index // self._rows
        window = row * self._windows_per_row + step
        inputs, labels = torch.from_numpy(self._windows[window].astype(np.int64))
        return {
            "input_ids": inputs,
            "labels": labels,
            "shift_labels": labels,
            "reset": torch.tensor(bool(self._reset[window]) or step == 0),
            "slot": torch.tensor(row // self._batch_size),
        }


def _allocate(windows: int, steps: int) -> np.ndarray:
    """Return zeros, (windows, 2, steps) int32, for inputs and labels, in memory or in a file."""
    shape = windows, 2, steps
    size = math.prod(shape) * _ID_BYTES
    if size <= _MAX_MEMORY_BYTES:
        return np.zeros(shape, np.int32)
    with TemporaryFile() as file:  # the mapping outlives it
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk fails here
        return np.memmap(file, np.int32, "r+", shape=shape)


def times_seen(weights: Sequence[float], epoch: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Return how many times an epoch shows each piece: its weight, rounded alternately up and down.

    With a weight of 0.5 a piece is shown in every other epoch. The result depends on the arguments
    alone, so that a resumed run sees the same pieces as an uninterrupted one. Pieces of the same
    weight have evenly spaced offsets (identity of Hermite: n floors of x + k/n sum to the floor of
    nx), so that every epoch shows n times the weight of them, up to rounding.

    Args:
        weights: Weight of each piece, above 0.
        epoch: Number of the epoch, from 0.
        seed: Random seed of the offsets.
    """
    values = np.asarray(weights, np.float64)
    times = np.zeros(len(values), np.int64)
    for weight in np.unique(values):
        own = np.flatnonzero(values == weight)
        offsets = np.random.default_rng([seed, len(own)]).permutation(len(own)) / len(own)
        before, after = np.floor(epoch * weight + offsets), np.floor((epoch + 1) * weight + offsets)
        times[own] = (after - before).astype(np.int64)
    if len(times) and not times.any():
        times[epoch % len(times)] = 1  # an epoch must not be empty
    return times
