"""Decoder states that the forward pass of the model updates, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from musiclstm.generation.decoding.history import TokenHistory
from musiclstm.generation.decoding.rows import (
    PREFILL_CHUNK,
    DecoderRows,
    FeatureStream,
    feature_stream,
    replay,
)
from musiclstm.model.modeling_musiclstm import (
    LSTMLayerState,
    LSTMState,
    MusicLSTMForCausalLM,
    feature_tensors,
)
from musiclstm.model.step_features import FeatureArrays, TokenTable


class TorchRows(DecoderRows):
    """Decoder states that PyTorch updates, one row after the other."""

    def __init__(self, model: MusicLSTMForCausalLM, table: TokenTable | None, rows: int) -> None:
        """Allocate rows in the initial state; `table` is None without step features."""
        config = model.config
        shape = config.num_hidden_layers, rows, config.hidden_size
        self._model, self._table = model, table
        self._streams = [None if table is None else feature_stream(table) for _ in range(rows)]
        self.hidden, self.cell = np.zeros((2, *shape), np.float32)
        self.logits = np.zeros((rows, config.vocab_size), np.float32)
        self.copy_weights = np.ones(rows, np.float32)

    def step(self, ids: Sequence[int]) -> None:
        """Read one token per row."""
        for row, token in enumerate(ids):
            self._read(row, np.array([token], np.int64))

    def read(self, ids: Sequence[int]) -> None:
        """Read several tokens into a single row; equal to single steps up to rounding."""
        tokens = np.array(ids, np.int64)
        for start in range(0, len(tokens), PREFILL_CHUNK):
            self._read(0, tokens[start : start + PREFILL_CHUNK])

    def _read(self, row: int, ids: np.ndarray) -> None:
        stream = self._streams[row]
        arrays = None if stream is None else stream.read(ids)
        state = _state(self.hidden[:, row], self.cell[:, row])
        output = _forward(self._model, ids, state, arrays, float(self.copy_weights[row]))
        state = output["cache" if "cache" in output else "past_key_values"]
        self.logits[row] = output.logits[0, -1].numpy()
        self.hidden[:, row] = state.h[:, 0].numpy()
        self.cell[:, row] = state.c[:, 0].numpy()

    def select(self, rows: Sequence[int]) -> TorchRows:
        """Return copies of rows, in this order."""
        selected = TorchRows(self._model, self._table, len(rows))
        selected._copy_arrays(self, rows)
        selected._streams = [_copy(self._streams[row]) for row in rows]
        return selected

    def copy_features(self, source: int, target: int) -> None:
        """Copy the step features of one row to another."""
        self._streams[target] = _copy(self._streams[source])

    def restore_features(self, row: int, history: TokenHistory) -> None:
        """Compute the step features of a row from its history."""
        if self._table is not None:
            stream = self._streams[row] = feature_stream(self._table)
            replay(stream, history)


@torch.inference_mode()
def _forward(
    model: MusicLSTMForCausalLM,
    ids: np.ndarray,
    state: LSTMState,
    arrays: FeatureArrays | None,
    copy_weight: float,
) -> Any:
    features = None
    if arrays is not None:
        features = {name: x[None] for name, x in feature_tensors(arrays).items()}
    return model(
        torch.from_numpy(ids)[None],
        past_key_values=state,
        features=features,
        logits_to_keep=1,
        copy_weight=copy_weight,
        use_cache=True,
        return_dict=True,
    )


def _state(hidden: np.ndarray, cell: np.ndarray) -> LSTMState:
    layers = [
        LSTMLayerState(*(torch.from_numpy(each.copy())[None] for each in pair))
        for pair in zip(hidden, cell, strict=True)
    ]
    return LSTMState(layers)


def _copy(stream: FeatureStream | None) -> FeatureStream | None:
    return None if stream is None else stream.copy()
