"""Step a trained network token by token, from snapshots of its state.

The compiled step works on int8 weights (core/step.c) and reads prompts as well: on one core it is
faster than a forward pass. Without a compiler PyTorch computes the steps in float32.

Threads: a step uses one. A second one would help only with weights too large for the cache.
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
from musiclstm.generation.decoding.history import History, HistoryWriter
from musiclstm.generation.decoding.rows import CompiledRows, Rows
from musiclstm.generation.decoding.torch_rows import TorchRows
from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.model.step_features import TokenTable

Engine: TypeAlias = Literal["compiled", "torch"]
MAX_ROWS = 32


@dataclass(frozen=True, eq=False)  # arrays have no single truth value
class DecoderState:
    """Everything that is needed to continue from a place in a stream.

    Attributes:
        logits: Of the next token, with the copy weight of then, (vocab,).
        hidden: Hidden state of each layer, (layers, size).
        cell: Cell of each layer, (layers, size).
        history: The tokens so far, from which the step features are computed again.
    """

    logits: np.ndarray
    hidden: np.ndarray
    cell: np.ndarray
    history: History

    def to_bytes(self) -> bytes:
        """Return the snapshot as safetensors, to continue in another process."""
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
                raise ValueError("its history is not a list of tokens")
            return cls(
                logits=parts["logits"],
                hidden=parts["hidden"],
                cell=parts["cell"],
                history=History().extended(ids),
            )
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"These bytes are not a snapshot: {error}.") from error


class InferenceModel:
    """A network that reads prompts and makes steppers.

    It has no state of its own; any number of steppers can share it.

    Attributes:
        model: In evaluation mode.
        config: The model's.
        engine: `compiled` (int8, core/step.c) or `torch` (the model in float32).
    """

    def __init__(self, model: MusicLSTMForCausalLM, *, engine: Engine | None = None) -> None:
        """Pack the weights of a model, which must not change afterwards.

        Args:
            model: float32 and on the CPU.
            engine: None: `compiled` where the core can be built and the vocabulary fits it.

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
                    "The compiled engine needs a C compiler; leave engine out, and PyTorch "
                    "computes the steps."
                )
            network = CompiledNetwork(library, _weights(self.model))
            CompiledRows(network, self._table, 1)  # refuses a vocabulary that it cannot represent
        except ValueError:
            if required:
                raise
            return None
        return network

    def read(self, ids: Sequence[int], snapshot: DecoderState | None = None) -> DecoderState:
        """Read tokens at once, from a snapshot or from the beginning.

        With the compiled engine this gives what single steps give, bit for bit; with PyTorch up to
        rounding.

        Args:
            ids: At least one token.
            snapshot: The place before these tokens. None: the beginning.

        Raises:
            ValueError: No tokens, or a snapshot of another network.
            IndexError: A token that does not exist.
        """
        stepper = DecodingBatch(self.config, self._rows(1))
        if snapshot is not None:
            stepper.restore(snapshot)
        return stepper.read(ids)

    def stepper(self, snapshots: Sequence[DecoderState]) -> DecodingBatch:
        """Return a stepper that continues some snapshots side by side.

        Args:
            snapshots: One for each row, 1 to `MAX_ROWS`.

        Raises:
            ValueError: No row, too many rows, or a snapshot of another network.
        """
        if not 1 <= len(snapshots) <= MAX_ROWS:
            raise ValueError(f"A stepper has from 1 to {MAX_ROWS} rows, got {len(snapshots)}.")
        stepper = DecodingBatch(self.config, self._rows(len(snapshots)))
        stepper.restore_all(snapshots)
        return stepper

    def _rows(self, count: int) -> Rows:
        if self._compiled is not None:
            return CompiledRows(self._compiled, self._table, count)
        return TorchRows(self.model, self._table, count)


class DecodingBatch:
    """Streams side by side, one token a row and step.

    The results of a row do not depend on the other rows.

    Attributes:
        scores: Logits of each row's next token, (rows, vocab) float32. Every step overwrites them.
    """

    def __init__(self, config: MusicLSTMConfig, rows: Rows) -> None:
        """Wrap rows at the beginning of a stream; `InferenceModel.start` is the constructor to use."""
        self._config = config
        self._vocab = config.vocab_size  # reading a config of transformers takes microseconds
        self._take(rows, [HistoryWriter(History()) for _ in rows.logits])

    def _take(self, rows: Rows, histories: list[HistoryWriter]) -> None:
        self._rows, self._histories = rows, histories
        self.scores = rows.logits

    def __len__(self) -> int:
        return len(self._histories)

    def step(self, ids: Sequence[int]) -> None:
        """Read one token for each row; `scores` become those of the next ones.

        Raises:
            ValueError: More or fewer tokens than rows.
            IndexError: A token that does not exist.
        """
        if len(ids) != len(self._histories):
            raise ValueError(f"A step has one token a row, {len(self)}; got {len(ids)}.")
        check_tokens(ids, self._vocab)
        self._rows.step(ids)
        for history, token in zip(self._histories, ids, strict=True):
            history.append(token)

    def read(self, ids: Sequence[int]) -> DecoderState:
        """Read several tokens into a stepper of one row, and return where it stands then.

        Raises:
            ValueError: There are several rows, or no tokens.
            IndexError: A token that does not exist.
        """
        if len(self) != 1:
            raise ValueError(f"Several tokens are read into one row, and there are {len(self)}.")
        if not len(ids):
            raise ValueError("There is nothing to read: ids is empty.")
        check_tokens(ids, self._vocab)
        self._rows.read(ids)
        self._histories[0] = HistoryWriter(self._histories[0].history().extended(ids))
        return self.snapshot()

    def set_copy_weight(self, weight: float, row: int = 0) -> None:
        """Scale the gates of a row, 1 at first, from its next step on.

        Raises:
            ValueError: The weight is not finite.
        """
        if not isfinite(weight):
            raise ValueError(f"copy_weight must be finite, got {weight}.")
        self._rows.copy_weights[row] = weight

    def snapshot(self, row: int = 0) -> DecoderState:
        """Return where a row stands; later steps do not change it."""
        rows = self._rows
        return DecoderState(
            logits=rows.logits[row].copy(),
            hidden=rows.hidden[:, row].copy(),
            cell=rows.cell[:, row].copy(),
            history=self._histories[row].history(),
        )

    def restore(self, snapshot: DecoderState, row: int = 0) -> None:
        """Let a row continue from a snapshot, with the copy weight that the row has.

        Raises:
            ValueError: It is of another network.
        """
        check_snapshot(snapshot, self._config)
        self._rows.restore_features(row, snapshot.history)
        self._fill(snapshot, row)

    def restore_all(self, snapshots: Sequence[DecoderState]) -> None:
        """Let every row continue from a snapshot; equal histories are read once.

        Raises:
            ValueError: One is of another network.
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
        self._histories[row] = HistoryWriter(snapshot.history)

    def keep(self, rows: Sequence[int]) -> None:
        """Continue with these rows only, in this order; one may occur several times.

        Raises:
            ValueError: No row is left, or more than `MAX_ROWS`.
        """
        if not 1 <= len(rows) <= MAX_ROWS:
            raise ValueError(f"A stepper has from 1 to {MAX_ROWS} rows, got {len(rows)}.")
        histories = [HistoryWriter(self._histories[row].history()) for row in rows]
        self._take(self._rows.select(rows), histories)


def check_tokens(ids: Sequence[int], vocab: int) -> None:
    """Refuse ids outside a vocabulary, which compiled code would use as addresses.

    Raises:
        IndexError: A token that does not exist.
    """
    for token in ids if len(ids) <= MAX_ROWS else (min(ids), max(ids)):
        if not 0 <= token < vocab:
            raise IndexError(f"Tokens go from 0 to {vocab - 1}, got {token}.")


def check_snapshot(snapshot: DecoderState, config: MusicLSTMConfig) -> None:
    """Refuse a snapshot of another network.

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
                f"This is a snapshot of another network: its {name} has the shape {array.shape}, "
                f"here it is {shape}."
            )
    for chunk in snapshot.history.chunks:
        if not 0 <= chunk.min() <= chunk.max() < vocab:
            raise ValueError(
                f"This is a snapshot of another network: it has read tokens outside 0 to "
                f"{vocab - 1}."
            )


def _weights(model: MusicLSTMForCausalLM) -> Weights:
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    config = model.config
    return Weights.from_state_dict(arrays, residual=config.residual, token_names=config.token_names)
