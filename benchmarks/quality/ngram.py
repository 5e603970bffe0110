"""How well the last few tokens alone predict the next one: interpolated modified Kneser-Ney.

The formula is that of S. F. Chen and J. Goodman, "An empirical study of smoothing techniques for
language modeling", Computer Speech and Language 13 (1999), 359-394, section 3 and appendix:

    p(w | h) = (c(h w) - D(c(h w)) + (D1 N1(h) + D2 N2(h) + D3 N3(h)) p(w | h')) / c(h)

with h' the context h without its oldest token, N1(h), N2(h) and N3(h) the number of different
tokens that follow h once, twice, and three times or more, and

    Y = n1 / (n1 + 2 n2),   D1 = 1 - 2 Y n2 / n1,   D2 = 2 - 3 Y n3 / n2,   D3 = 3 - 4 Y n4 / n3

from the numbers n1 to n4 of n-grams seen once to four times. c counts occurrences at the highest
order; below it, before how many different tokens the n-gram was seen. A context that was never seen
leaves p(w | h'); below the single tokens stands 1 / vocabulary.

Knows numbers, not music.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# For corpora so small that the formula for D divides by zero or leaves its range.
_USUAL_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class _Order:
    """All n-grams of one length.

    Attributes:
        keys: Context times vocabulary plus token, rising; an n-gram's place here is its number.
        counts: What c says of each.
        discounts: D of the counts 0, 1, 2, 3 or more.
        totals: c of each context, by its number among the shorter n-grams.
        spared: What the discounts take away from each context.
    """

    keys: Ints
    counts: Ints
    discounts: Floats
    totals: Floats
    spared: Floats


class NGram:
    """Probabilities of the next token, given the `order - 1` before it."""

    def __init__(
        self, streams: Sequence[Sequence[int]], *, order: int, vocab_size: int, bos_id: int
    ) -> None:
        """Count the n-grams of streams; every token but `bos_id` at the beginning is predicted.

        Args:
            streams: Token ids; the first of each stream is taken to be `bos_id` and is not
                predicted.
            order: Tokens in the longest n-gram, 1 or more.
            vocab_size: Among how many tokens one is predicted.
            bos_id: What fills the contexts before a stream begins.

        Raises:
            ValueError: No token to learn from, or order below 1.
        """
        if order < 1:
            raise ValueError(f"order must be 1 or more, got {order}.")
        self.order, self.vocab_size, self._bos_id = order, vocab_size, bos_id
        text, predicted = _joined(streams, order, bos_id)
        if not predicted.any():
            raise ValueError("There is no token to learn from.")
        self._orders = _count(text, predicted, order, vocab_size)

    def bits(self, stream: Sequence[int]) -> float:
        """Bits that a stream costs, its first token not counted."""
        text, _ = _joined([stream], self.order, self._bos_id)
        windows = np.lib.stride_tricks.sliding_window_view(text, self.order)
        windows = windows[-(len(stream) - 1) :]
        return float(-np.log2(self.probabilities(windows[:, :-1], windows[:, -1])).sum())

    def probabilities(self, contexts: Ints, tokens: Ints) -> Floats:
        """Probability of each token after its context.

        Args:
            contexts: The `order - 1` tokens before, the latest last, (tokens, order - 1).
            tokens: (tokens,).

        Returns:
            (tokens,), each above 0.
        """
        found = np.full(len(tokens), 1 / self.vocab_size)
        for length, table in enumerate(self._orders):
            context = self._numbers(contexts[:, contexts.shape[1] - length :])
            seen = (context >= 0) & (table.totals[context] > 0)
            count = self._counts(table, context, tokens)
            spared, total = table.spared[context], table.totals[context]
            own = count - table.discounts[np.minimum(count, 3)]
            found[seen] = ((own + spared * found) / np.where(seen, total, 1.0))[seen]
        return found

    def _numbers(self, grams: Ints) -> Ints:
        """The number of each n-gram, (tokens, length), among those of its length; -1: unknown."""
        number = np.zeros(len(grams), np.int64)
        for place, table in zip(range(grams.shape[1]), self._orders, strict=False):
            number = self._find(table, number, grams[:, place])
        return number

    def _counts(self, table: _Order, context: Ints, tokens: Ints) -> Ints:
        number = self._find(table, context, tokens)
        return np.where(number >= 0, table.counts[number], 0)

    def _find(self, table: _Order, context: Ints, tokens: Ints) -> Ints:
        keys = np.where(context >= 0, context * self.vocab_size + tokens, -1)
        place = np.minimum(np.searchsorted(table.keys, keys), len(table.keys) - 1)
        return np.where(table.keys[place] == keys, place, -1)


def _joined(
    streams: Sequence[Sequence[int]], order: int, bos_id: int
) -> tuple[Ints, NDArray[np.bool_]]:
    """All streams in a row, before each as much beginning as a context holds.

    Returns:
        Token ids and which of them are predicted, both (tokens,).
    """
    before = np.full(max(order - 1, 1), bos_id, np.int64)
    parts = [part for stream in streams for part in (before, np.asarray(stream[1:], np.int64))]
    text = np.concatenate([*parts, before[:0]])
    lengths = [len(part) for part in parts]
    predicted = np.repeat(np.arange(len(parts)) % 2 == 1, lengths)
    return text, predicted


def _count(text: Ints, predicted: NDArray[np.bool_], order: int, vocab_size: int) -> list[_Order]:
    """Tables of all orders, the shortest first.

    Every place of the text has the number of the n-gram that ends there; the one before it is the
    context of the next. N-grams that are never predicted (those that end before a stream begins)
    are numbered, but count nothing.
    """
    tables: list[_Order] = []
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


def _table(keys: Ints, counts: Ints, contexts: int, vocab_size: int) -> _Order:
    discounts = _discounts(counts)
    parent = keys // vocab_size
    taken = discounts[np.minimum(counts, 3)]
    return _Order(
        keys=keys,
        counts=counts,
        discounts=discounts,
        totals=np.bincount(parent, weights=counts, minlength=contexts).astype(np.float64),
        spared=np.bincount(parent, weights=taken, minlength=contexts).astype(np.float64),
    )


def _discounts(counts: Ints) -> Floats:
    """D of the counts 0, 1, 2, and 3 or more."""
    n1, n2, n3, n4 = (float((counts == times).sum()) for times in (1, 2, 3, 4))
    if not (n1 and n2 and n3):
        return np.array([0.0, *_USUAL_DISCOUNTS])
    y = n1 / (n1 + 2 * n2)
    found = [1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
    possible = all(0 < d <= k for k, d in enumerate(found, start=1))
    return np.array([0.0, *(found if possible else _USUAL_DISCOUNTS)])
