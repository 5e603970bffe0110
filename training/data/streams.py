"""Batches of consecutive windows: row r of every batch goes on where row r of the last one stopped.

Pieces are drawn at random by weight, changed by an `Augmentation`, and read whole; the last window
of a piece is filled up with padding. `reset` names the rows whose state is reset.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from training.data.augmentation import IGNORED, Augmentation, Stream


class Batch(NamedTuple):
    """One window of every row.

    Attributes:
        inputs: Token ids, (rows, steps) int32.
        labels: Next tokens, `IGNORED` where none counts, (rows, steps) int32.
        reset: Rows whose state is reset, (rows,) bool.
    """

    inputs: np.ndarray
    labels: np.ndarray
    reset: np.ndarray


@dataclass(frozen=True)
class Pieces:
    """Token ids of many pieces in one array.

    Attributes:
        ids: All of them, (tokens,) uint16.
        offsets: Where each begins, and the end of the last, (pieces + 1,).
        corpus: Number of its corpus, (pieces,).
        weights: How often each is drawn, relative to the others, (pieces,).
        bar_id: Token that opens a bar; long pieces are cut there.
    """

    ids: np.ndarray
    offsets: np.ndarray
    corpus: np.ndarray
    weights: np.ndarray
    bar_id: int

    def __len__(self) -> int:
        return len(self.weights)

    def piece(self, index: int) -> np.ndarray:
        """Ids of one piece."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


class PieceStreams:
    """Endless batches, the same for the same seed.

    Args:
        pieces: What is drawn from.
        augmentation: Applied to every piece that is drawn.
        rows: Of a batch.
        steps: Of a window.
        pad_id: Fills up the last window of a piece.
        longest: Tokens of a piece that are read; longer ones are cut at a random bar line.
        follow: Share of pieces that follow another piece of their corpus without a reset.
        seed: Of all random decisions.
    """

    def __init__(
        self,
        pieces: Pieces,
        augmentation: Augmentation,
        *,
        rows: int,
        steps: int,
        pad_id: int,
        longest: int = 12_000,
        follow: float = 0.1,
        seed: int = 0,
    ) -> None:
        self._pieces, self._augmentation = pieces, augmentation
        self._rows, self._steps, self._pad_id = rows, steps, pad_id
        self._longest, self._follow = longest, follow
        self._rng = np.random.default_rng(seed)
        self._shares = pieces.weights / pieces.weights.sum()
        self._streams: list[Stream | None] = [None] * rows
        self._at = [0] * rows
        self._corpus = [-1] * rows

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.next()

    def next(self) -> Batch:
        """The next window of every row."""
        shape = self._rows, self._steps
        inputs = np.full(shape, self._pad_id, np.int32)
        labels = np.full(shape, IGNORED, np.int32)
        reset = np.zeros(self._rows, bool)
        for row in range(self._rows):
            stream, reset[row] = self._stream(row)
            begin = self._at[row]
            part = slice(begin, begin + self._steps)
            count = len(stream.inputs[part])
            inputs[row, :count], labels[row, :count] = stream.inputs[part], stream.labels[part]
            self._at[row] = begin + count
        return Batch(inputs, labels, reset)

    def _stream(self, row: int) -> tuple[Stream, bool]:
        stream = self._streams[row]
        if stream is not None and self._at[row] < len(stream):
            return stream, False
        index = int(self._rng.choice(len(self._pieces), p=self._shares))
        stream = self._drawn(index)
        if self._rng.random() < self._follow:
            stream = _joined(stream, self._drawn(self._companion(index)), self._augmentation.eos_id)
        self._streams[row], self._at[row] = stream, 0
        return stream, True

    def _companion(self, index: int) -> int:
        """A piece of the same corpus; pieces of weight 0 are held out and never read."""
        pieces = self._pieces
        own = np.flatnonzero((pieces.corpus == pieces.corpus[index]) & (pieces.weights > 0))
        return int(self._rng.choice(own))

    def _drawn(self, index: int) -> Stream:
        ids = self._pieces.piece(index)
        if len(ids) > self._longest:
            bars = np.flatnonzero(ids == self._pieces.bar_id)
            first = int(bars[bars <= max(0, len(ids) - self._longest)][-1:].max(initial=0))
            choices = bars[bars <= first]
            begin = int(self._rng.choice(choices)) if len(choices) else 0
            end = bars[bars <= begin + self._longest]
            stop = int(end[-1]) if len(end) and end[-1] > begin else begin + self._longest
            ids = ids[begin:stop]
        return self._augmentation.apply(ids, self._rng)


def _joined(first: Stream, second: Stream, eos_id: int) -> Stream:
    """One piece after the other, EOS between them; that another begins is not to be predicted."""
    between = np.array([IGNORED], np.int32)
    return Stream(
        np.concatenate([first.inputs, np.array([eos_id], np.int32), second.inputs]),
        np.concatenate([first.labels, between, second.labels]),
    )


def weights_by_corpus(corpus: Sequence[int] | np.ndarray, weight_of: Sequence[float]) -> np.ndarray:
    """Weight of every piece from that of its corpus, (pieces,)."""
    return np.asarray(weight_of, np.float64)[np.asarray(corpus)]
