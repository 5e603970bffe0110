"""Token streams cut into windows that follow each other in the same row of the batch.

A piece is cut, its memory is not: window t + 1 of a row goes on where window t stopped, and says
with `reset` where a new piece begins. Knows nothing of the network that reads it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from musiclstm.tokenization import MusicTokenizer
from training.augmentation import Augmentation
from training.weighting import times_seen

IGNORED = -100  # a label that does not count


class Windows(Dataset[dict[str, Tensor]]):
    """Windows of pieces, laid out in lanes: item i is window i // lanes of lane i % lanes.

    Read in order with a batch of `lanes` (or a divisor of it), row r of every batch is the same
    lane. Each window belongs to one piece; the last one of a piece is filled up with padding.
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
        self._pieces, self._tokenizer = list(pieces), tokenizer
        self._weights = [1.0] * len(self._pieces) if weights is None else list(weights)
        self._lanes, self._batch_size, self._steps = lanes, batch_size, steps
        self._augmentation, self._seed = augmentation, seed
        plain = tokenizer.compress_many(self._pieces)
        windows = [self._windows_of(len(ids) + 1) for ids in plain]
        wanted = sum(n * weight for n, weight in zip(windows, self._weights, strict=True))
        self._per_lane = max(1, math.ceil(wanted / lanes - 1e-9)) if windows else 0
        self._epoch = -1
        self.set_epoch(0)

    def _windows_of(self, tokens: int) -> int:
        return -(-tokens // self._steps)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle and move the pieces anew; the same epoch always gives the same windows.

        The number of windows stays that of the unmoved pieces: a few at the end are dropped, or
        empty, so that a schedule over steps is exact.
        """
        if epoch == self._epoch:
            return
        self._epoch = epoch
        streams = self._streams(epoch)
        total = self._lanes * self._per_lane
        inputs = np.full((total, self._steps), self._tokenizer.pad_id, np.int32)
        labels = np.full((total, self._steps), IGNORED, np.int32)
        reset = np.ones(total, bool)
        at = 0
        for stream in streams:
            n = min(self._windows_of(len(stream) - 1), total - at)
            _fill(inputs[at : at + n], stream[:-1])
            _fill(labels[at : at + n], stream[1:])
            reset[at + 1 : at + n] = False
            at += n
        self._inputs, self._labels, self._reset = inputs, labels, reset

    def _streams(self, epoch: int) -> list[list[int]]:
        rng = np.random.default_rng([self._seed, epoch])
        times = times_seen(self._weights, epoch, seed=self._seed)
        pieces = [self._pieces[i] for i in np.repeat(np.arange(len(times)), times)]
        if self._augmentation is not None:
            pieces = [pieces[i] for i in rng.permutation(len(pieces))]
            pieces = [self._augmentation.apply(piece, rng) for piece in pieces]
        begin, end = [self._tokenizer.bos_id], [self._tokenizer.eos_id]
        return [begin + ids + end for ids in self._tokenizer.compress_many(pieces)]

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
        return int((self._labels != IGNORED).sum())

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
        labels = torch.from_numpy(self._labels[row]).long()
        return {
            "input_ids": torch.from_numpy(self._inputs[row]).long(),
            "labels": labels,
            "shift_labels": labels,
            "reset": torch.tensor(bool(self._reset[row]) or step == 0),
            "slot": torch.tensor(lane // self._batch_size),
        }


def _fill(rows: np.ndarray, stream: list[int]) -> None:
    """Write a stream into rows (windows, steps), cut off where they end."""
    flat = rows.reshape(-1)
    part = stream[: flat.size]
    flat[: len(part)] = part
