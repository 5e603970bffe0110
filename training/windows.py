"""Token streams cut into windows that follow each other in the same row of the batch.

A piece is cut, its memory is not: window t + 1 of a row goes on where window t stopped, and says
with `reset` where a new piece begins. Knows nothing of the network that reads it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from tempfile import TemporaryFile

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from musiclstm.tokenization import MusicTokenizer
from training.augmentation import Augmentation
from training.weighting import times_seen

IGNORED = -100  # a label that does not count
_AT_ONCE = 64  # pieces that are merged together
_BYTES, _MOST_BYTES = np.dtype(np.int32).itemsize, 1 << 28  # of an id; of windows in memory


class Windows(Dataset[dict[str, Tensor]]):
    """Windows of pieces, laid out in lanes: item i is window i // lanes of lane i % lanes.

    Read in order with a batch of `lanes` (or a divisor of it), row r of every batch is the same
    lane. Each window belongs to one piece; the last one of a piece is filled up with padding. Those
    of a large corpus lie in a file that is mapped into memory, and goes when they go.
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
        """Take pieces of unmerged ids; lanes and batch_size in rows, steps in tokens per window.

        `weights` say how many times an epoch shows each piece (see weighting.py); None: once.
        """
        self._pieces, self._tokenizer = pieces, tokenizer
        self._weights = [1.0] * len(pieces) if weights is None else list(weights)
        self._lanes, self._batch_size, self._steps = lanes, batch_size, steps
        self._augmentation, self._seed = augmentation, seed
        self._per_lane = self._windows_in_an_epoch()
        self._epoch = -1
        self.set_epoch(0)

    def _windows_in_an_epoch(self) -> int:
        """Of each lane; as many as the unmoved pieces need."""
        if not len(self._pieces):
            return 0
        windows = (self._windows_of(len(each) - 1) for each in self._merged(self._pieces))
        wanted = sum(n * weight for n, weight in zip(windows, self._weights, strict=True))
        return max(1, math.ceil(wanted / self._lanes - 1e-9))

    def _windows_of(self, tokens: int) -> int:
        return -(-tokens // self._steps)

    def _merged(self, pieces: Iterable[np.ndarray]) -> Iterator[list[int]]:
        """Each piece as the network reads it, some at a time: lists of Python's take much room."""
        begin, end = [self._tokenizer.bos_id], [self._tokenizer.eos_id]
        rest = iter(pieces)
        while some := list(islice(rest, _AT_ONCE)):
            yield from (begin + ids + end for ids in self._tokenizer.compress_many(some))

    def set_epoch(self, epoch: int) -> None:
        """Shuffle and move the pieces anew; the same epoch always gives the same windows.

        The number of windows stays that of the unmoved pieces, so that a schedule over steps is
        exact: what is too long is cut off at the end, and what is too short is filled up with those
        whose turn would come next. So there is something to learn in every window.
        """
        if epoch == self._epoch:
            return
        self._epoch, total = epoch, len(self)
        self._rows = _room(total, self._steps + 1)  # one token more than is read
        self._labels = np.zeros(total, np.int32)  # how many of them count
        self._reset = np.ones(total, bool)
        at, streams = 0, self._merged(self._in_turn(epoch))
        while at < total:
            at += self._lay(next(streams), at)

    def _lay(self, stream: list[int], at: int) -> int:
        """Cut a piece into windows from place `at`; how many they are."""
        tokens, steps = np.asarray(stream, np.int32), self._steps
        windows = min(self._windows_of(len(tokens) - 1), len(self) - at)
        for window in range(windows):
            part = tokens[window * steps : (window + 1) * steps + 1]
            row = self._rows[at + window]
            row[: len(part)], row[len(part) :] = part, self._tokenizer.pad_id
            self._labels[at + window] = len(part) - 1
        self._reset[at + 1 : at + windows] = False
        return windows

    def _in_turn(self, epoch: int) -> Iterator[np.ndarray]:
        """The pieces of an epoch, moved, and then those of the next ones, without end."""
        rng = np.random.default_rng([self._seed, epoch])
        for turn in count(epoch):
            times = times_seen(self._weights, turn, seed=self._seed)
            chosen = np.repeat(np.arange(len(times)), times)
            if self._augmentation is None:
                yield from (self._pieces[i] for i in chosen.tolist())
                continue
            for i in rng.permutation(chosen).tolist():
                yield self._augmentation.apply(self._pieces[i], rng)

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
        return int(self._labels.sum())

    def __len__(self) -> int:
        return self._lanes * self._per_lane

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """One window.

        Returns:
            `input_ids`, `labels` and `shift_labels` (the same: already the next tokens), each
            (steps,); `reset`, true where a piece begins; `slot`, which group of rows of an
            accumulated batch this is.
        """
        lane, step = index % self._lanes, index // self._lanes
        row = lane * self._per_lane + step
        tokens = torch.from_numpy(self._rows[row].astype(np.int64))  # (steps + 1,)
        labels = tokens[1:].clone()
        labels[self._labels[row] :] = IGNORED
        return {
            "input_ids": tokens[:-1],
            "labels": labels,
            "shift_labels": labels,
            "reset": torch.tensor(bool(self._reset[row]) or step == 0),
            "slot": torch.tensor(lane // self._batch_size),
        }


def _room(rows: int, width: int) -> np.ndarray:
    """Zeros, (rows, width), in memory or, where they are many, on the disk."""
    if rows * width * _BYTES <= _MOST_BYTES:
        return np.zeros((rows, width), np.int32)
    with TemporaryFile() as file:  # the map outlives it
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, rows * width * _BYTES)  # a full disk says so now
        return np.memmap(file, np.int32, "r+", shape=(rows, width))
