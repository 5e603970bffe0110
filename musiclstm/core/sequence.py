"""Sequences of tokens that the network reads and continues bar by bar, see sequence.c."""

from __future__ import annotations

from collections.abc import Sequence as Collection
from typing import Any

import numpy as np

from musiclstm.core.grammar import visible_parts
from musiclstm.core.library import check
from musiclstm.core.network import Network
from musiclstm.core.sampling import SAMPLING

MAX_ROWS = 32
MAX_BAR_TOKENS = 32_768

# Order of the offsets, as in core.h.
_PARTS = ("hidden", "cell", "logits", "tokens", "log_probs", "status")


class Sequence:
    """One stream of tokens; for one thread at a time.

    Attributes:
        hidden: Hidden states, (layers, size).
        cell: Cell states, (layers, size).
        logits: Logits of the next token, (vocab,).
    """

    def __init__(self, network: Network) -> None:
        """Start an empty sequence."""
        self.network = network
        library = network.library
        self._memory = library.zeros(library.call("sequence_bytes", network.address), np.uint8)
        self.address = library.address(self._memory)
        library.call("sequence_begin", self.address, network.address)
        offsets = library.zeros(len(_PARTS), np.int64)
        library.call("sequence_offsets", network.address, library.address(offsets))
        starts = dict(zip(_PARTS, offsets.tolist(), strict=True))
        states = network.layers, network.size
        self.hidden = self._view(starts["hidden"], states, np.float32)
        self.cell = self._view(starts["cell"], states, np.float32)
        self.logits = self._view(starts["logits"], (network.vocab,), np.float32)
        self._tokens = self._view(starts["tokens"], (MAX_BAR_TOKENS,), np.int32)
        self._log_probs = self._view(starts["log_probs"], (MAX_BAR_TOKENS,), np.float32)
        self._status = self._view(starts["status"], (2,), np.int32)

    def _view(self, start: int, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self._memory[start : start + size].view(dtype).reshape(shape)

    def read(self, ids: Collection[int]) -> None:
        """Read tokens.

        Raises:
            IndexError: A token outside the vocabulary. Nothing was read.
        """
        network, library = self.network, self.network.library
        tokens, workspace = self._visible(ids, np.int32), _workspace(network, 1)
        addresses = self.address, network.address, network.table_address
        code = library.call(
            "sequence_read",
            *addresses,
            library.address(tokens),
            len(tokens),
            library.address(workspace),
        )
        check(code)

    def restore(self, rules: np.ndarray, prompt: Collection[int], bars: Collection[int]) -> None:
        """Restore what `hidden`, `cell` and `logits`, which the caller has written, do not hold.

        Args:
            rules: Rules of the first new bar, `BarRules` of core.h.
            prompt: Ids of the prompt, after pieces that end with EOS. New bars may have its tracks.
            bars: Ids of the bars written so far.

        Raises:
            IndexError: A token outside the vocabulary.
            ValueError: Rules out of range.
        """
        network, library = self.network, self.network.library
        tokens = self._visible([*prompt, *bars], np.int32)
        stored = self._visible(rules, rules.dtype)
        code = library.call(
            "sequence_restore",
            self.address,
            network.table_address,
            library.address(stored),
            library.address(tokens),
            len(tokens),
            len(prompt),
        )
        check(code)

    def assign(self, other: Sequence) -> None:
        """Become a copy of a sequence of the same network."""
        self._memory[:] = other._memory

    def open_bar(
        self, rules: np.ndarray, sampling: np.ndarray, bar: int, candidate: int = 0
    ) -> None:
        """Open new bar number `bar`, from 0.

        Args:
            rules: `BarRules` of core.h.
            sampling: `SAMPLING`.
            bar: Selects the random numbers,
            candidate: and so does this, 0 or more.

        Raises:
            ValueError: Rules or sampling out of range.
        """
        network, library = self.network, self.network.library
        stored = self._visible(rules, rules.dtype), self._visible(sampling, SAMPLING)
        addresses = (library.address(each) for each in stored)
        code = library.call(
            "sequence_open_bar", self.address, network.table_address, *addresses, bar, candidate
        )
        check(code)

    def limit_parts(self, parts: np.ndarray) -> None:
        """End the kept parts of the open bar, see `CompiledGrammar.limit_parts`."""
        library = self.network.library
        rows = visible_parts(library, parts)
        check(library.call("sequence_limit_parts", self.address, *map(library.address, rows)))

    @property
    def is_complete(self) -> bool:
        """Whether the open bar is complete."""
        return bool(self._status[1])

    def bar(self) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """Return token ids of the bar, and their log-probabilities."""
        count = int(self._status[0])
        return tuple(self._tokens[:count].tolist()), tuple(self._log_probs[:count].tolist())

    def _visible(self, values: Collection[int] | np.ndarray, dtype: Any) -> np.ndarray:
        return self.network.library.visible(np.ascontiguousarray(values, dtype))


class Batch:
    """Sequences that are written together. Their results do not depend on each other."""

    def __init__(self, sequences: Collection[Sequence]) -> None:
        """Combine sequences of one network, 1 to `MAX_ROWS`."""
        self.sequences = list(sequences)
        network = self._network = self.sequences[0].network
        library = network.library
        self._workspace = _workspace(network, len(self.sequences))
        self._addresses = library.zeros(len(self.sequences), library.pointer)
        self._addresses[:] = [each.address for each in self.sequences]

    def append(self, ids: Collection[int]) -> None:
        """Append the same tokens to the open bar of each sequence.

        `Sequence.bar` gives them log-probabilities over the whole vocabulary. They need not be
        permitted.

        Args:
            ids: A meter, tempos, and whole blocks of parts.

        Raises:
            IndexError: A token outside the vocabulary. Nothing was appended.
            ValueError: No open bar, other tokens, or too many. Nothing was appended.
        """
        network, library = self._network, self._network.library
        tokens = library.visible(np.ascontiguousarray(ids, np.int32))
        code = library.call(
            "sequences_append",
            library.address(self._addresses),
            len(self.sequences),
            network.address,
            network.table_address,
            library.address(tokens),
            len(tokens),
            library.address(self._workspace),
        )
        check(code)

    def write(self) -> None:
        """Write tokens until at least one of the open bars is complete.

        Raises:
            ValueError: No token is permitted, or a logit is not a number.
        """
        network, library = self._network, self._network.library
        code = library.call(
            "sequences_write",
            library.address(self._addresses),
            len(self.sequences),
            network.address,
            network.table_address,
            library.address(self._workspace),
        )
        check(min(code, 0))


def _workspace(network: Network, rows: int) -> np.ndarray:
    size = network.library.call("workspace_bytes", network.address, rows)
    return network.library.zeros(size, np.uint8)
