"""Batches of consecutive windows: row r of every batch goes on where row r of the last one stopped.

Pieces are drawn at random by weight, changed by an `Augmentation`, and read whole; the last window
of a piece is filled up with padding. `reset` names the rows whose state is reset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from musiclstm.errors import CorpusError
from training.pretraining.augmentation import IGNORED, Augmentation, Stream
from training.pretraining.encoded_corpora import SPLITS, EncodedCorpora


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


class PieceStreams:
    """Endless batches, the same for the same seed.

    Args:
        corpora: Training pieces of these are drawn.
        weights: How often a piece of each corpus is drawn, relative to the others; 0: never.
        augmentation: Applied to every piece that is drawn.
        rows: Of a batch.
        steps: Of a window.
        bar_id: Token that opens a bar; long pieces are cut there.
        pad_id: Fills up the last window of a piece.
        longest: Tokens of a piece that are read; longer ones are cut at a random bar line.
        follow: Share of pieces that follow another piece of their corpus without a reset.
        seed: Of all random decisions.

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
        longest: int = 12_000,
        follow: float = 0.1,
        seed: int = 0,
    ) -> None:
        self._corpora, self._augmentation = corpora, augmentation
        self._rows, self._steps, self._bar_id, self._pad_id = rows, steps, bar_id, pad_id
        self._longest, self._follow = longest, follow
        self._rng = np.random.default_rng(seed)
        shares = np.asarray(weights, np.float64)[corpora.corpus]
        shares[corpora.split != SPLITS.index("train")] = 0.0
        if not shares.any():
            raise CorpusError(
                "No piece can be drawn: every corpus has no training piece or the weight 0; "
                f"prepare another one beside {', '.join(corpora.corpora)}."
            )
        self._shares = shares / shares.sum()
        self._streams: list[Stream | None] = [None] * rows
        self._at = [0] * rows

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
        index = int(self._rng.choice(len(self._shares), p=self._shares))
        stream = self._drawn(index)
        if self._rng.random() < self._follow:
            stream = _joined(stream, self._drawn(self._companion(index)), self._augmentation.eos_id)
        self._streams[row], self._at[row] = stream, 0
        return stream, True

    def _companion(self, index: int) -> int:
        """A piece of the same corpus; a share of 0 is that of held-out pieces."""
        corpus = self._corpora.corpus
        own = np.flatnonzero((corpus == corpus[index]) & (self._shares > 0))
        return int(self._rng.choice(own))

    def _drawn(self, index: int) -> Stream:
        ids = self._corpora.piece(index)
        if len(ids) > self._longest:
            bars = np.flatnonzero(ids == self._bar_id)
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
