"""Decoder states of the rows of a batch, updated by the compiled step or by PyTorch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Protocol

import numpy as np

from musiclstm.core.features import CompiledStepFeatures, FeatureRows
from musiclstm.core.step import CompiledNetwork
from musiclstm.generation.decoding.history import TokenHistory
from musiclstm.model.step_features import FeatureArrays, StepFeatures, TokenTable

PREFILL_CHUNK = 2_048  # tokens; bounds the memory that the features of a long prompt take


class FeatureStream(Protocol):
    """`StepFeatures` or `CompiledStepFeatures`."""

    def read(self, ids: np.ndarray) -> FeatureArrays:
        """Read tokens; return the features after each of them."""

    def advance(self, ids: np.ndarray) -> None:
        """Read tokens without returning features."""

    def copy(self) -> FeatureStream:
        """Return an independent copy."""


def feature_stream(table: TokenTable) -> FeatureStream:
    """Return step features before the first token, compiled if possible."""
    try:
        return CompiledStepFeatures(table)
    except (OSError, ValueError):  # no compiled core, or a token that it cannot represent
        return StepFeatures(table)


def replay(stream: FeatureStream, history: TokenHistory) -> None:
    """Read the tokens of a history into a stream."""
    for chunk in history.chunks:  # one at a time, because features take memory
        stream.advance(chunk)


class DecoderRows(ABC):
    """Decoder states as arrays that every step updates in place.

    Attributes:
        hidden: Hidden states, (layers, rows, hidden).
        cell: Cell states, (layers, rows, hidden).
        logits: Logits of the next token, (rows, vocab) float32.
        copy_weights: Factor of the copy gates, (rows,) float32.
    """

    hidden: np.ndarray
    cell: np.ndarray
    logits: np.ndarray
    copy_weights: np.ndarray

    @abstractmethod
    def step(self, ids: Sequence[int]) -> None:
        """Read one token per row."""

    @abstractmethod
    def read(self, ids: Sequence[int]) -> None:
        """Read several tokens into a single row."""

    @abstractmethod
    def select(self, rows: Sequence[int]) -> DecoderRows:
        """Return copies of rows, in this order."""

    @abstractmethod
    def copy_features(self, source: int, target: int) -> None:
        """Copy the step features of one row to another."""

    @abstractmethod
    def restore_features(self, row: int, history: TokenHistory) -> None:
        """Compute the step features of a row from its history."""

    def _copy_arrays(self, other: DecoderRows, rows: Sequence[int]) -> None:
        chosen = list(rows)
        self.hidden[:], self.cell[:] = other.hidden[:, chosen], other.cell[:, chosen]
        self.logits[:] = other.logits[chosen]
        self.copy_weights[:] = other.copy_weights[chosen]


class CompiledRows(DecoderRows):
    """Decoder states that the compiled int8 step updates."""

    def __init__(
        self,
        network: CompiledNetwork,
        table: TokenTable | None,
        rows: int,
        states: FeatureRows | None = None,
    ) -> None:
        """Allocate rows in the initial state.

        Args:
            network: The packed weights.
            table: The token table. None: the network has no step features.
            rows: At least 1.
            states: State of the step features of each row. None: the initial one.

        Raises:
            ValueError: A token that the compiled features cannot represent.
        """
        self._network, self._table = network, table
        if states is None and table is not None:
            states = FeatureRows(table, rows)
        self._states = states
        self._steps = FeatureArrays.empty(rows, 1)
        arrays = (getattr(self._steps, field.name) for field in fields(self._steps))
        self._features = FeatureArrays(*(array.reshape(rows, *array.shape[2:]) for array in arrays))
        self.hidden, self.cell = np.zeros((2, network.layers, rows, network.size), np.float32)
        features = None if table is None else self._features
        work = self._work = network.workspace(self.hidden, self.cell, features)
        self.logits, self.copy_weights = work.logits, work.copy_weights
        self.logits[:] = 0

    def step(self, ids: Sequence[int]) -> None:
        """Read one token per row; the ids are not checked."""
        self._work.ids[:] = ids
        if self._states is not None:
            self._states.read(self._work.ids[:, None], out=self._steps)
        self._work.read()
        self._work.score()

    def read(self, ids: Sequence[int]) -> None:
        """Read several tokens into a single row, with the same bits as single steps."""
        tokens = np.array(ids, np.int64)
        for start in range(0, len(tokens), PREFILL_CHUNK):
            part = tokens[start : start + PREFILL_CHUNK]
            steps = None
            if self._states is not None:
                read = self._states.read(part[None])
                arrays = (getattr(read, field.name) for field in fields(read))
                steps = FeatureArrays(*(array[0] for array in arrays))
                for field in fields(steps):  # the logits need those of the last token
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
        """Copy the step features of one row to another."""
        if self._states is not None:
            self._states.replace_row(target, self._states, source)

    def restore_features(self, row: int, history: TokenHistory) -> None:
        """Compute the step features of a row from its history."""
        if self._states is not None and self._table is not None:
            stream = CompiledStepFeatures(self._table)
            replay(stream, history)
            self._states.replace_row(row, stream.rows, 0)
