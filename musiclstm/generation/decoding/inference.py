"""Inference token by token: snapshots of decoder states, and batches that continue them.

The compiled engine (core/step.c, int8 weights) reads prompts too: on one core it is faster than a
forward pass. Without a C compiler PyTorch computes the steps in float32. A step uses one thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from musiclstm.core import native
from musiclstm.core.step import CompiledNetwork
from musiclstm.core.weights import Weights
from musiclstm.generation.decoding.history import TokenHistory, TokenHistoryWriter
from musiclstm.generation.decoding.rows import CompiledRows, DecoderRows
from musiclstm.generation.decoding.torch_rows import TorchRows
from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.model.step_features import TokenTable

Engine: TypeAlias = Literal["compiled", "torch"]
MAX_ROWS = 32


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class DecoderState:
    """Snapshot of one row, from which decoding continues.

    Attributes:
        logits: Logits of the next token, (vocab,) float32.
        hidden: Hidden states, (layers, hidden) float32.
        cell: Cell states, (layers, hidden) float32.
        history: Tokens read so far, from which the step features are computed again.
    """

    logits: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray
    history: TokenHistory

    def to_bytes(self) -> bytes:
        """Return the snapshot in safetensors format."""
        return save(
            {
                "logits": self.logits,
                "hidden": self.hidden,
                "cell": self.cell,
                "history": self.history.ids(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> DecoderState:
        """Return the snapshot that `to_bytes` wrote.

        Raises:
            ValueError: The bytes are not a snapshot.
        """
        try:
            parts = load(data)
            ids = parts["history"]
            if ids.dtype != np.int32 or ids.ndim != 1:
                raise ValueError("the history is not an int32 vector")
            return cls(
                logits=parts["logits"],
                hidden=parts["hidden"],
                cell=parts["cell"],
                history=TokenHistory().extended(ids),
            )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"These bytes are not a snapshot: {error}.") from error


class InferenceModel:
    """Weights packed for inference. Immutable, so threads and batches can share it.

    Attributes:
        model: The model in evaluation mode.
        config: Its configuration.
        engine: `compiled` (int8, core/step.c) or `torch` (the model in float32).
    """

    def __init__(self, model: MusicLSTMForCausalLM, *, engine: Engine | None = None) -> None:
        """Pack the weights of a model; they must not change afterwards.

        Args:
            model: float32 and on the CPU.
            engine: None: `compiled` if the core can be built and supports the vocabulary.

        Raises:
            ValueError: The model is not float32 on the CPU, or the engine is not available.
        """
        if engine not in (None, "compiled", "torch"):
            raise ValueError(f"engine must be 'compiled', 'torch' or None, got {engine!r}.")
        weight = model.lm_head.weight
        if weight.dtype != torch.float32 or weight.device.type != "cpu":
            raise ValueError(
                f"Steps are computed in float32 on the CPU, and this model is "
                f"{str(weight.dtype).removeprefix('torch.')} on {weight.device.type}; pass "
                "model.float().cpu()."
            )
        self.model = model.eval()
        self.config: MusicLSTMConfig = model.config
        names = self.config.token_names
        self._table = None if names is None else TokenTable(names)
        self._compiled = None if engine == "torch" else self._compile(required=engine is not None)
        self.engine: Engine = "torch" if self._compiled is None else "compiled"

    def _compile(self, *, required: bool) -> CompiledNetwork | None:
        library = native.load()
        try:
            if library is None:
                raise ValueError(
                    "The compiled engine needs a C compiler; leave engine out to use PyTorch."
                )
            network = CompiledNetwork(library, _weights(self.model))
            CompiledRows(network, self._table, 1)  # raises if the vocabulary is not supported
        except ValueError:
            if required:
                raise
            return None
        return network

    def prefill(self, ids: Sequence[int], snapshot: DecoderState | None = None) -> DecoderState:
        """Read tokens and return the state after them.

        The compiled engine gives the same bits as single steps; PyTorch the same up to rounding.

        Args:
            ids: At least one token.
            snapshot: The state before these tokens. None: the initial state.

        Raises:
            ValueError: No tokens, or a snapshot of another model.
            IndexError: A token outside the vocabulary.
        """
        batch = DecodingBatch(self.config, self._rows(1))
        if snapshot is not None:
            batch.restore(snapshot)
        return batch.prefill(ids)

    def start(self, snapshots: Sequence[DecoderState]) -> DecodingBatch:
        """Return a batch that continues snapshots.

        Args:
            snapshots: One for each row, 1 to `MAX_ROWS`.

        Raises:
            ValueError: No row, too many rows, or a snapshot of another model.
        """
        _check_row_count(len(snapshots))
        batch = DecodingBatch(self.config, self._rows(len(snapshots)))
        batch.restore_all(snapshots)
        return batch

    def _rows(self, count: int) -> DecoderRows:
        if self._compiled is not None:
            return CompiledRows(self._compiled, self._table, count)
        return TorchRows(self.model, self._table, count)


class DecodingBatch:
    """Sequences that are decoded together, one token per row and step.

    The results of a row do not depend on the other rows.

    Attributes:
        logits: Logits of the next token, (rows, vocab) float32. Every step overwrites them.
    """

    def __init__(self, config: MusicLSTMConfig, rows: DecoderRows) -> None:
        """Wrap rows in the initial state; `InferenceModel.start` calls this."""
        self._config = config
        self._vocab = config.vocab_size  # a transformers config takes microseconds to read
        self._assign(rows, [TokenHistoryWriter(TokenHistory()) for _ in rows.logits])

    def _assign(self, rows: DecoderRows, histories: list[TokenHistoryWriter]) -> None:
        self._rows, self._histories = rows, histories
        self.logits = rows.logits

    def __len__(self) -> int:
        return len(self._histories)

    def step(self, ids: Sequence[int]) -> None:
        """Read one token per row and update `logits`.

        Raises:
            ValueError: The number of tokens is not the number of rows.
            IndexError: A token outside the vocabulary.
        """
        if len(ids) != len(self._histories):
            raise ValueError(f"A step needs one token per row, {len(self)}; got {len(ids)}.")
        check_tokens(ids, self._vocab)
        self._rows.step(ids)
        for history, token in zip(self._histories, ids, strict=True):
            history.append(token)

    def prefill(self, ids: Sequence[int]) -> DecoderState:
        """Read several tokens into a batch of one row; return its state after them.

        Raises:
            ValueError: There are several rows, or no tokens.
            IndexError: A token outside the vocabulary.
        """
        if len(self) != 1:
            raise ValueError(f"Prefill needs a batch of one row; there are {len(self)}.")
        if not len(ids):
            raise ValueError("There is nothing to read: ids is empty.")
        check_tokens(ids, self._vocab)
        self._rows.read(ids)
        self._histories[0] = TokenHistoryWriter(self._histories[0].history().extended(ids))
        return self.snapshot()

    def set_copy_weight(self, weight: float, row: int = 0) -> None:
        """Set the factor of a row's copy gates, initially 1, from its next step on.

        Raises:
            ValueError: The weight is not finite.
        """
        if not isfinite(weight):
            raise ValueError(f"copy_weight must be finite, got {weight}.")
        self._rows.copy_weights[row] = weight

    def snapshot(self, row: int = 0) -> DecoderState:
        """Return the state of a row; later steps do not change it."""
        rows = self._rows
        return DecoderState(
            logits=rows.logits[row].copy(),
            hidden=rows.hidden[:, row].copy(),
            cell=rows.cell[:, row].copy(),
            history=self._histories[row].history(),
        )

    def restore(self, snapshot: DecoderState, row: int = 0) -> None:
        """Set the state of a row; its copy weight stays.

        Raises:
            ValueError: The snapshot belongs to another model.
        """
        check_snapshot(snapshot, self._config)
        self._rows.restore_features(row, snapshot.history)
        self._fill(snapshot, row)

    def restore_all(self, snapshots: Sequence[DecoderState]) -> None:
        """Set the state of every row; a history that rows share is read once.

        Raises:
            ValueError: A snapshot belongs to another model.
        """
        first: dict[int, int] = {}
        for row, snapshot in enumerate(snapshots):
            source = first.setdefault(id(snapshot.history), row)
            if source == row:
                self.restore(snapshot, row)
            else:
                check_snapshot(snapshot, self._config)
                self._rows.copy_features(source, row)
                self._fill(snapshot, row)

    def _fill(self, snapshot: DecoderState, row: int) -> None:
        rows = self._rows
        rows.logits[row] = snapshot.logits
        rows.hidden[:, row], rows.cell[:, row] = snapshot.hidden, snapshot.cell
        self._histories[row] = TokenHistoryWriter(snapshot.history)

    def select_rows(self, rows: Sequence[int]) -> None:
        """Keep these rows in this order; a row may repeat.

        Raises:
            ValueError: No row, or more than `MAX_ROWS`.
        """
        _check_row_count(len(rows))
        histories = [TokenHistoryWriter(self._histories[row].history()) for row in rows]
        self._assign(self._rows.select(rows), histories)


def _check_row_count(count: int) -> None:
    if not 1 <= count <= MAX_ROWS:
        raise ValueError(f"A batch has from 1 to {MAX_ROWS} rows, got {count}.")


def check_tokens(ids: Sequence[int], vocab: int) -> None:
    """Raise if an id is outside the vocabulary; compiled code uses ids as indices unchecked.

    Raises:
        IndexError: A token outside the vocabulary.
    """
    for token in ids if len(ids) <= MAX_ROWS else (min(ids), max(ids)):
        if not 0 <= token < vocab:
            raise IndexError(f"Tokens must be from 0 to {vocab - 1}, got {token}.")


def check_snapshot(snapshot: DecoderState, config: MusicLSTMConfig) -> None:
    """Raise if a snapshot belongs to another model.

    Raises:
        ValueError: Shapes, types or tokens do not fit.
    """
    layers, size, vocab = config.num_hidden_layers, config.hidden_size, config.vocab_size
    expected = {
        "logits": (vocab,),
        "hidden": (layers, size),
        "cell": (layers, size),
    }
    for name, shape in expected.items():
        array = getattr(snapshot, name)
        if array.shape != shape or array.dtype != np.float32:
            raise ValueError(
                f"The snapshot belongs to another model: {name} has the shape {array.shape} "
                f"instead of {shape}."
            )
    for chunk in snapshot.history.chunks:
        if not 0 <= chunk.min() <= chunk.max() < vocab:
            raise ValueError(
                f"The snapshot belongs to another model: it holds tokens outside 0 to {vocab - 1}."
            )


def _weights(model: MusicLSTMForCausalLM) -> Weights:
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    config = model.config
    return Weights.from_state_dict(arrays, residual=config.residual, token_names=config.token_names)
