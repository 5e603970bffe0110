"""N-gram language model with interpolated modified Kneser-Ney smoothing.

The formula is that of S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for
language modeling", Computer Speech and Language 13 (1999), 359-394, section 3 and appendix:

    p(w | h) = (c(h w) - D(c(h w)) + (D1 N1(h) + D2 N2(h) + D3 N3(h)) p(w | h')) / c(h)

where h' is the context h without its oldest token; N1(h), N2(h) and N3(h) are the numbers of
different tokens that follow h once, twice, and three times or more; and

    Y = n1 / (n1 + 2 n2),   D1 = 1 - 2 Y n2 / n1,   D2 = 2 - 3 Y n3 / n2,   D3 = 3 - 4 Y n4 / n3

where n1 to n4 are the numbers of n-grams that occur once to four times. At the highest order c
counts occurrences; at lower orders it counts different preceding tokens. For an unknown context
p(w | h) = p(w | h'). The unigram is interpolated with 1 / vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# For small corpora, where the formula for D divides by zero or leaves its range.
_DEFAULT_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class _NGramTable:
    """All n-grams of one length; the index of an n-gram in `keys` is its number.

    Attributes:
        keys: Number of the context times vocabulary plus token, sorted.
        counts: c of each n-gram.
        discounts: D of the counts 0, 1, 2, and 3 or more.
        totals: c of each context, by its number among the shorter n-grams.
        discounted: Sum of the discounts of each context.
    """

    keys: Ints
    counts: Ints
    discounts: Floats
    totals: Floats
    discounted: Floats


class NGram:
    """Probability of the next token, given the `order - 1` tokens before it."""

    def __init__(
        self, streams: Sequence[Sequence[int]], *, order: int, vocab_size: int, bos_id: int
    ) -> None:
        """Count the n-grams of the training streams.

        Args:
            streams: Token ids; the first of each stream is `bos_id` and is not predicted.
            order: Tokens in the longest n-gram, 1 or more.
            vocab_size: Vocabulary size.
            bos_id: Padding of the contexts at the start of a stream.

        Raises:
            ValueError: The streams have no tokens to predict, or order is below 1.
        """
        if order < 1:
            raise ValueError(f"order must be 1 or more, got {order}.")
        self.order, self.vocab_size, self._bos_id = order, vocab_size, bos_id
        text, predicted = _concatenate(streams, order, bos_id)
        if not predicted.any():
            raise ValueError("The training streams have no tokens to predict.")
        self._orders = _count(text, predicted, order, vocab_size)

    def bits(self, stream: Sequence[int]) -> float:
        """Return the negative log2-likelihood of a stream without its first token."""
        text, _ = _concatenate([stream], self.order, self._bos_id)
        windows = np.lib.stride_tricks.sliding_window_view(text, self.order)
        windows = windows[-(len(stream) - 1) :]
        return float(-np.log2(self.probabilities(windows[:, :-1], windows[:, -1])).sum())

    def probabilities(self, contexts: Ints, tokens: Ints) -> Floats:
        """Return the probability of each token after its context, (tokens,).

        Args:
            contexts: The `order - 1` tokens before each token, oldest first, (tokens, order - 1).
            tokens: Token ids, (tokens,).
        """
        found = np.full(len(tokens), 1 / self.vocab_size)
        for length, table in enumerate(self._orders):
            context = self._numbers(contexts[:, contexts.shape[1] - length :])
            seen = (context >= 0) & (table.totals[context] > 0)
            count = self._counts(table, context, tokens)
            discounted, total = table.discounted[context], table.totals[context]
            own = count - table.discounts[np.minimum(count, 3)]
            found[seen] = ((own + discounted * found) / np.where(seen, total, 1.0))[seen]
        return found

    def _numbers(self, grams: Ints) -> Ints:
        """Return the numbers of n-grams (tokens, length); -1: unknown."""
        number = np.zeros(len(grams), np.int64)
        for column, table in zip(range(grams.shape[1]), self._orders, strict=False):
            number = self._find(table, number, grams[:, column])
        return number

    def _counts(self, table: _NGramTable, context: Ints, tokens: Ints) -> Ints:
        number = self._find(table, context, tokens)
        return np.where(number >= 0, table.counts[number], 0)

    def _find(self, table: _NGramTable, context: Ints, tokens: Ints) -> Ints:
        keys = np.where(context >= 0, context * self.vocab_size + tokens, -1)
        place = np.minimum(np.searchsorted(table.keys, keys), len(table.keys) - 1)
        return np.where(table.keys[place] == keys, place, -1)


def _concatenate(
    streams: Sequence[Sequence[int]], order: int, bos_id: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """Concatenate the streams, each after `order - 1` times `bos_id`.

    Returns:
        Token ids, and a mask of those to predict, (tokens,) each.
    """
    before = np.full(max(order - 1, 1), bos_id, np.int64)
    parts = [part for stream in streams for part in (before, np.asarray(stream[1:], np.int64))]
    text = np.concatenate([*parts, before[:0]])
    lengths = [len(part) for part in parts]
    predicted = np.repeat(np.arange(len(parts)) % 2 == 1, lengths)
    return text, predicted


def _count(
    text: Ints, predicted: NDArray[np.bool_], order: int, vocab_size: int
) -> list[_NGramTable]:
    """Return the tables of all orders, the shortest first.

    N-grams that are never predicted (those in the padding) have a number, but a count of 0.
    """
    tables: list[_NGramTable] = []
    numbers, keys, contexts = np.zeros(len(text), np.int64), np.zeros(1, np.int64), 1
    for length in range(1, order + 1):
        shorter, shorter_numbers = keys, numbers
        context = np.concatenate([[0], numbers[:-1]])
        keys, first, numbers = np.unique(
            context * vocab_size + text, return_index=True, return_inverse=True
        )
        counts = np.bincount(numbers[predicted], minlength=len(keys))
        if length > 1:
            before = np.bincount(shorter_numbers[first[counts > 0]], minlength=len(shorter))
            tables.append(_table(shorter, before, contexts, vocab_size))
            contexts = len(shorter)
    return [*tables, _table(keys, counts, contexts, vocab_size)]


def _table(keys: Ints, counts: Ints, contexts: int, vocab_size: int) -> _NGramTable:
    discounts = _discounts(counts)
    parent = keys // vocab_size
    taken = discounts[np.minimum(counts, 3)]
    return _NGramTable(
        keys=keys,
        counts=counts,
        discounts=discounts,
        totals=np.bincount(parent, weights=counts, minlength=contexts).astype(np.float64),
        discounted=np.bincount(parent, weights=taken, minlength=contexts).astype(np.float64),
    )


def _discounts(counts: Ints) -> Floats:
    """Return D of the counts 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (float((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array([0.0, *_DEFAULT_DISCOUNTS])
    y = n1 / (n1 + 2 * n2)
    found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    possible = all(0 < d <= k for k, d in enumerate(found, start=1))
    return np.array([0.0, *(found if possible else _DEFAULT_DISCOUNTS)])
