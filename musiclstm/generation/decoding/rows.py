"""States of streams that are stepped together, and the compiled int8 step of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol

import numpy as np

from musiclstm.core.features import CompiledStepFeatures, FeatureRows
from musiclstm.core.step import CompiledNetwork
from musiclstm.generation.decoding.history import History
from musiclstm.model.step_features import FeatureArrays, StepFeatures, TokenTable

READ_AT_ONCE = 2_048  # tokens, so that a long prompt takes a bounded amount of memory


class FeatureStream(Protocol):
    """`StepFeatures` or `CompiledStepFeatures`."""

    def read(self, ids: np.ndarray) -> FeatureArrays:
        """Read tokens; return the features after each of them."""

    def advance(self, ids: np.ndarray) -> None:
        """Read tokens without returning features."""

    def copy(self) -> FeatureStream:
        """Return a stream that continues from here on its own."""


def feature_stream(table: TokenTable) -> FeatureStream:
    """Return step features at the beginning of a stream, compiled where that is possible."""
    try:
        return CompiledStepFeatures(table)
    except (OSError, ValueError):  # no compiled core, or a token that it cannot represent
        return StepFeatures(table)


def replay(stream: FeatureStream, history: History) -> None:
    """Let a stream read a history."""
    for chunk in history.chunks:  # one by one, since the features take memory
        stream.advance(chunk)


class Rows(ABC):
    """States of some rows as arrays that every step updates in place.

    Attributes:
        hidden: Hidden state of each layer, (layers, rows, size).
        cell: Cell of each layer, (layers, rows, size).
        logits: Of the next token, (rows, vocab) float32.
        copy_weights: Factor of the gates of each row, (rows,) float32.
    """

    hidden: np.ndarray
    cell: np.ndarray
    logits: np.ndarray
    copy_weights: np.ndarray

    @abstractmethod
    def step(self, ids: Sequence[int]) -> None:
        """Read one token for each row."""

    @abstractmethod
    def read(self, ids: Sequence[int]) -> None:
        """Read several tokens into a single row."""

    @abstractmethod
    def select(self, rows: Sequence[int]) -> Rows:
        """Return copies of rows, in this order."""

    @abstractmethod
    def copy_features(self, source: int, target: int) -> None:
        """Copy the state of the step features of a row to another one."""

    @abstractmethod
    def restore_features(self, row: int, history: History) -> None:
        """Set the step features of a row to those after a history."""

    def _copy_arrays(self, other: Rows, rows: Sequence[int]) -> None:
        """Take over rows of another object."""
        chosen = list(rows)
        self.hidden[:], self.cell[:] = other.hidden[:, chosen], other.cell[:, chosen]
        self.logits[:] = other.logits[chosen]
        self.copy_weights[:] = other.copy_weights[chosen]


class CompiledRows(Rows):
    """Rows that the compiled int8 step updates."""

    def __init__(
        self,
        network: CompiledNetwork,
        table: TokenTable | None,
        rows: int,
        states: FeatureRows | None = None,
    ) -> None:
        """Make rows at the beginning of a stream.

        Args:
            network: The packed weights.
            table: Of the step features. None: the network has none.
            rows: At least 1.
            states: Of the step features of each row. None: at the beginning.

        Raises:
            ValueError: A token that the compiled features cannot represent.
        """
        self._network, self._table = network, table
        if states is None and table is not None:
            states = FeatureRows(table, rows)
        self._states = states
        self._steps = FeatureArrays.empty(rows, 1)
        flat = (getattr(self._steps, field.name) for field in fields(self._steps))
        self._features = FeatureArrays(*(array.reshape(rows, *array.shape[2:]) for array in flat))
        self.hidden, self.cell = np.zeros((2, network.layers, rows, network.size), np.float32)
        features = None if table is None else self._features
        work = self._work = network.workspace(self.hidden, self.cell, features)
        self.logits, self.copy_weights = work.logits, work.copy_weights
        self.logits[:] = 0

    def step(self, ids: Sequence[int]) -> None:
        """Read one token for each row; ids must be tokens of the network."""
        self._work.ids[:] = ids
        if self._states is not None:
            self._states.read(self._work.ids[:, None], out=self._steps)
        self._work.read()
        self._work.score()

    def read(self, ids: Sequence[int]) -> None:
        """Read several tokens into a single row; equal to single steps bit for bit."""
        tokens = np.array(ids, np.int64)
        for at in range(0, len(tokens), READ_AT_ONCE):
            part = tokens[at : at + READ_AT_ONCE]
            steps = None
            if self._states is not None:
                read = self._states.read(part[None])
                arrays = (getattr(read, field.name) for field in fields(read))
                steps = FeatureArrays(*(array[0] for array in arrays))
                for field in fields(steps):  # of the last token, for the score
                    getattr(self._features, field.name)[0] = getattr(steps, field.name)[-1]
            self._work.read_sequence(part, steps)
        self._work.score()

    def select(self, rows: Sequence[int]) -> CompiledRows:
        """Return copies of rows, in this order."""
        states = None if self._states is None else self._states.select(rows)
        selected = CompiledRows(self._network, self._table, len(rows), states)
        selected._copy_arrays(self, rows)
        return selected

    def copy_features(self, source: int, target: int) -> None:
        """Copy the state of the step features of a row to another one."""
        if self._states is not None:
            self._states.replace_row(target, self._states, source)

    def restore_features(self, row: int, history: History) -> None:
        """Set the step features of a row to those after a history."""
        if self._states is not None and self._table is not None:
            stream = CompiledStepFeatures(self._table)
            replay(stream, history)
            self._states.replace_row(row, stream.rows, 0)
