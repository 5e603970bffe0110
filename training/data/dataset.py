"""Token streams cut into windows that follow each other in the same row of the batch.

Window t + 1 of a row continues where window t stopped; `reset` says where a new piece begins.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from itertools import count
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from musiclstm.tokens import MusicTokenizer
from training.data.weighting import times_seen
from training.pretraining.augmentation import IGNORED, Augmentation, Stream

__all__ = ["IGNORED", "StatefulWindowDataset"]

_BYTES, _MOST_BYTES = np.dtype(np.int32).itemsize, 1 << 28  # of an id; of windows in memory


class StatefulWindowDataset(Dataset[dict[str, Tensor]]):
    """Windows of pieces, laid out in lanes: item i is window i // lanes of lane i % lanes.

    Read in order with a batch of `lanes` (or a divisor of it), row r of every batch is the same
    lane. Each window belongs to one piece; the last one of a piece is filled up with padding. Those
    of a large corpus lie in a temporary file that is mapped into memory.
    """

    def __init__(
        self,
        pieces: Sequence[np.ndarray],
        tokenizer: MusicTokenizer,
        *,
        lanes: int,
        batch_size: int,
        steps: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        weights: Sequence[float] | None = None,
    ) -> None:
        """Prepare the first epoch.

        Args:
            pieces: Token ids without BOS and EOS.
            tokenizer: Its special tokens are used.
            lanes: Rows of all accumulated batches together.
            batch_size: Rows of one batch.
            steps: Tokens of a window.
            augmentation: Changes every piece in every epoch. None: pieces stay as they are, in the
                same order.
            seed: Of the order of pieces and of their changes.
            weights: How many times an epoch shows each piece (see weighting.py). None: once.
        """
        self._pieces, self._tokenizer = pieces, tokenizer
        self._weights = [1.0] * len(pieces) if weights is None else list(weights)
        self._lanes, self._batch_size, self._steps = lanes, batch_size, steps
        self._augmentation, self._seed = augmentation, seed
        self._per_lane = self._windows_in_an_epoch()
        self._epoch = -1
        self.set_epoch(0)

    def _windows_in_an_epoch(self) -> int:
        """Windows of each lane: as many as the unchanged pieces need."""
        if not len(self._pieces):
            return 0
        windows = (self._windows_of(len(piece) + 1) for piece in self._pieces)
        wanted = sum(n * weight for n, weight in zip(windows, self._weights, strict=True))
        return max(1, math.ceil(wanted / self._lanes - 1e-9))

    def _windows_of(self, tokens: int) -> int:
        return -(-tokens // self._steps)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle and change the pieces again; the same epoch always gives the same windows.

        The number of windows stays that of the unchanged pieces, so that a schedule over steps is
        exact: what is too long is cut off at the end, and what is too short is filled up with the
        first pieces of the next epoch.
        """
        if epoch == self._epoch:
            return
        self._epoch, self._tokens, total = epoch, 0, len(self)
        self._rows = _windows_in_memory_or_file(total, self._steps)
        self._reset = np.ones(total, bool)
        at, streams = 0, self._streams(epoch)
        while at < total:
            at += self._lay(next(streams), at)

    def _lay(self, stream: Stream, at: int) -> int:
        """Cut a piece into windows from place `at`; return how many they are."""
        steps = self._steps
        windows = min(self._windows_of(len(stream)), len(self) - at)
        rows = self._rows[at : at + windows]  # (windows, 2, steps)
        rows[:, 0], rows[:, 1] = self._tokenizer.pad_id, IGNORED
        for window, row in enumerate(rows):
            part = slice(window * steps, (window + 1) * steps)
            inputs, labels = stream.inputs[part], stream.labels[part]
            row[0, : len(inputs)], row[1, : len(labels)] = inputs, labels
            self._tokens += int((labels != IGNORED).sum())
        self._reset[at + 1 : at + windows] = False
        return windows

    def _streams(self, epoch: int) -> Iterator[Stream]:
        """Pieces of an epoch, changed, and then those of the next ones, without end."""
        rng = np.random.default_rng([self._seed, epoch])
        for turn in count(epoch):
            times = times_seen(self._weights, turn, seed=self._seed)
            chosen = np.repeat(np.arange(len(times)), times)
            if self._augmentation is None:
                yield from (self._unchanged(self._pieces[i]) for i in chosen.tolist())
                continue
            for i in rng.permutation(chosen).tolist():
                yield self._augmentation.apply(self._pieces[i], rng)

    def _unchanged(self, piece: np.ndarray) -> Stream:
        ids = [self._tokenizer.bos_id, *piece, self._tokenizer.eos_id]
        tokens = np.array(ids, np.int32)
        return Stream(tokens[:-1], tokens[1:])

    @property
    def steps(self) -> int:
        """Tokens in a window, padding included."""
        return self._steps

    @property
    def updates(self) -> int:
        """Steps of the optimizer in an epoch: one for each window of a lane."""
        return self._per_lane

    @property
    def tokens(self) -> int:
        """Tokens that are predicted in this epoch."""
        return self._tokens

    def __len__(self) -> int:
        return self._lanes * self._per_lane

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one window.

        Returns:
            `input_ids`, `labels` and `shift_labels` (the same: already the next tokens, -100 where
            none counts), each (steps,); `reset`, true where a piece begins; `slot`, which group of
            rows of an accumulated batch this is.
        """
        lane, step = index % self._lanes, index // self._lanes
        row = lane * self._per_lane + step
        inputs, labels = torch.from_numpy(self._rows[row].astype(np.int64))
        return {
            "input_ids": inputs,
            "labels": labels,
            "shift_labels": labels,
            "reset": torch.tensor(bool(self._reset[row]) or step == 0),
            "slot": torch.tensor(lane // self._batch_size),
        }


def _windows_in_memory_or_file(windows: int, steps: int) -> np.ndarray:
    """Return zeros, (windows, 2, steps) int32: inputs and labels."""
    shape = windows, 2, steps
    size = math.prod(shape) * _BYTES
    if size <= _MOST_BYTES:
        return np.zeros(shape, np.int32)
    with TemporaryFile() as file:  # the map outlives it
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk fails here
        return np.memmap(file, np.int32, "r+", shape=shape)
