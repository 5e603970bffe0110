"""Endless batches of consecutive windows: each row continues the same row of the batch before.

Pieces are drawn at random by weight, augmented, and read whole; the last window of a piece is
padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musiclstm.errors import CorpusError
from training.data.augmentation import IGNORED, Augmentation, Stream
from training.data.splits import SPLITS
from training.pretraining.corpora import EncodedCorpora


class WindowBatch(NamedTuple):
    """One window of every row.

    Attributes:
        inputs: Token ids, (rows, steps) int32.
        labels: Next tokens, or `IGNORED`, (rows, steps) int32.
        reset: Rows that start a new piece, bool (rows,).
    """

    inputs: np.ndarray
    labels: np.ndarray
    reset: np.ndarray


class PieceStreams:
    """Random pieces in batches; the same seed gives the same batches.

    Args:
        corpora: Corpora whose training pieces are drawn.
        weights: Relative frequency of the pieces of each corpus; 0: never.
        augmentation: Applied to every drawn piece.
        rows: Rows of a batch.
        steps: Tokens of a window.
        bar_id: Token id of Bar; long pieces are cut at bar lines.
        pad_id: Token id of PAD.
        max_tokens: Longest piece; longer ones are cut at a random bar line.
        join: Share of pieces that are followed by another piece of their corpus without a reset.
        seed: Random seed.

    Raises:
        CorpusError: No training piece has a weight above 0.
    """

    def __init__(
        self,
        corpora: EncodedCorpora,
        weights: Sequence[float],
        augmentation: Augmentation,
        *,
        rows: int,
        steps: int,
        bar_id: int,
        pad_id: int,
        max_tokens: int = 12_000,
        join: float = 0.1,
        seed: int = 0,
    ) -> None:
        self._corpora, self._augmentation = corpora, augmentation
        self._rows, self._steps, self._bar_id, self._pad_id = rows, steps, bar_id, pad_id
        self._max_tokens, self._join = max_tokens, join
        self._rng = np.random.default_rng(seed)
        probabilities = np.asarray(weights, np.float64)[corpora.corpus]
        probabilities[corpora.split != SPLITS.index("train")] = 0.0
        if not probabilities.any():
            raise CorpusError(
                "No piece can be drawn: every corpus has no training piece or the weight 0; "
                f"prepare another one beside {', '.join(corpora.corpora)}."
            )
        self._probabilities = probabilities / probabilities.sum()
        self._streams: list[Stream | None] = [None] * rows
        self._positions = [0] * rows

    def next(self) -> WindowBatch:
        """Return the next window of every row."""
        shape = self._rows, self._steps
        inputs = np.full(shape, self._pad_id, np.int32)
        labels = np.full(shape, IGNORED, np.int32)
        reset = np.zeros(self._rows, bool)
        for row in range(self._rows):
            stream, reset[row] = self._stream(row)
            position = self._positions[row]
            part = slice(position, position + self._steps)
            count = len(stream.inputs[part])
            inputs[row, :count], labels[row, :count] = stream.inputs[part], stream.labels[part]
            self._positions[row] = position + count
        return WindowBatch(inputs, labels, reset)

    def _stream(self, row: int) -> tuple[Stream, bool]:
        stream = self._streams[row]
        if stream is not None and self._positions[row] < len(stream):
            return stream, False
        index = int(self._rng.choice(len(self._probabilities), p=self._probabilities))
        stream = self._load(index)
        if self._rng.random() < self._join:
            second = self._load(self._draw_from_corpus_of(index))
            stream = _concatenate(stream, second, self._augmentation.eos_id)
        self._streams[row], self._positions[row] = stream, 0
        return stream, True

    def _draw_from_corpus_of(self, index: int) -> int:
        """Draw another training piece of the corpus of a piece."""
        corpus = self._corpora.corpus
        own = np.flatnonzero((corpus == corpus[index]) & (self._probabilities > 0))
        return int(self._rng.choice(own))

    def _load(self, index: int) -> Stream:
        """Return an augmented piece, cut at bar lines if it is too long."""
        ids = self._corpora.piece(index)
        if len(ids) > self._max_tokens:
            bars = np.flatnonzero(ids == self._bar_id)
            last = int(bars[bars <= max(0, len(ids) - self._max_tokens)][-1:].max(initial=0))
            choices = bars[bars <= last]
            start = int(self._rng.choice(choices)) if len(choices) else 0
            ends = bars[bars <= start + self._max_tokens]
            end = int(ends[-1]) if len(ends) and ends[-1] > start else start + self._max_tokens
            ids = ids[start:end]
        return self._augmentation.apply(ids, self._rng)


def _concatenate(first: Stream, second: Stream, eos_id: int) -> Stream:
    """Concatenate two pieces with EOS between them; the BOS of the second is not predicted."""
    between = np.array([IGNORED], np.int32)
    return Stream(
        np.concatenate([first.inputs, np.array([eos_id], np.int32), second.inputs]),
        np.concatenate([first.labels, between, second.labels]),
    )
