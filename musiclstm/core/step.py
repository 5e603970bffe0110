"""The compiled step: pack weights as int8 and run step.c."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from musiclstm.core.features import FeaturePointers, feature_pointers
from musiclstm.core.weights import EPSILON, Weights
from musiclstm.model.step_features import (
    CANDIDATES,
    CONTEXT_SIZES,
    REFERENCE_PITCHES,
    FeatureArrays,
)

_COLUMNS = 32  # columns of a block, as in products.h
_FEATURES_MISSING = "Pass step features if the network has them, and only then."
_KINDS = ("pitch", "position", "duration")  # kinds of tokens that the context head scores
_TINY = 3e-39  # a smaller scale has no reciprocal in float32


class _NetworkStruct(ctypes.Structure):
    """`Network` of step.h."""

    INTEGERS = (
        *("layers", "size", "vocab", "residual", "layer_norm"),
        *("has_features", "programs", "tracks", "ages", "pitches", "positions", "durations"),
        "position_limit",
    )
    POINTERS = (
        *("weights", "scales", "biases", "norms", "embeddings", "head", "head_scales", "head_bias"),
        *("program", "track", "following", "age", "candidate_inputs", "gates", "gate_bias"),
        *("context", "context_scales", "context_bias", "pitch_tokens"),
        *("pitch_values", "position_tokens", "position_values"),
        *("duration_tokens", "duration_values"),
    )
    _fields_ = (
        *((name, ctypes.c_int32) for name in INTEGERS),
        ("epsilon", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in POINTERS),
    )


class CompiledNetwork:
    """Packed weights, in the order in which step.c reads them. Read-only after construction.

    Attributes:
        size: Hidden size.
        vocab: Number of tokens.
        layers: Number of layers.
    """

    def __init__(self, library: ctypes.CDLL, weights: Weights) -> None:
        """Pack weights for a library of `native.load`."""
        self._library = library
        library.workspace_bytes.restype = ctypes.c_int64
        self.vocab, self.size = weights.embeddings.shape
        self.layers = len(weights.of_input)
        arrays = _stack_arrays(weights) | _context_arrays(weights)
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._network = _NetworkStruct(
            **_sizes(weights),
            epsilon=EPSILON,
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )

    def workspace(
        self, hidden: np.ndarray, cell: np.ndarray, features: FeatureArrays | None = None
    ) -> StepWorkspace:
        """Return a workspace that updates `hidden` and `cell`, (layers, rows, size), in place.

        Args:
            hidden: Hidden states, float32 and contiguous.
            cell: Cell states, likewise.
            features: Step features, (rows, ...) each, read at every step. None: the network has
                none.

        Raises:
            ValueError: An array has another shape or type, or is not contiguous.
        """
        shape = (self._network.layers, hidden.shape[1], self.size)
        for name, array in (("hidden", hidden), ("cell", cell)):
            _check_array(name, array, shape, np.dtype(np.float32))
        if (features is not None) != bool(self._network.has_features):
            raise ValueError(_FEATURES_MISSING)
        return StepWorkspace(self, self._library, self._network, hidden, cell, features)


class StepWorkspace:
    """Input, output and scratch arrays of some rows; for one thread at a time.

    Attributes:
        ids: The tokens to read, (rows,) int64; they are not checked.
        copy_weights: Factor of the copy gates, (rows,) float32.
        outputs: Hidden states after the final norm, (rows, size).
        logits: Logits of the next token, (rows, vocab).
    """

    def __init__(
        self,
        owner: CompiledNetwork,
        library: ctypes.CDLL,
        network: _NetworkStruct,
        hidden: np.ndarray,
        cell: np.ndarray,
        features: FeatureArrays | None,
    ) -> None:
        rows, size = hidden.shape[1:]
        self.ids = np.zeros(rows, np.int64)
        self.copy_weights = np.ones(rows, np.float32)
        self.outputs = np.empty((rows, size), np.float32)
        padded = np.empty((rows, network.vocab), np.float32)
        self.logits = padded[:, : owner.vocab]
        scratch = np.zeros(library.workspace_bytes(ctypes.byref(network), rows), np.uint8)
        pointers = _pointers(features, rows)
        self._has_features = features is not None
        # References to everything whose address C has.
        self._kept = (owner, hidden, cell, features, padded, scratch, pointers)
        self._read, self._score = library.read_tokens, library.score_tokens
        self._read_sequence = library.read_sequence
        both: list[Any] = [ctypes.byref(network), ctypes.c_int32(rows)]
        ids, weights, h, c, outputs, logits, memory = (
            ctypes.c_void_p(array.ctypes.data)
            for array in (self.ids, self.copy_weights, hidden, cell, self.outputs, padded, scratch)
        )
        inputs = ctypes.byref(pointers)
        self._read_arguments = (*both, ids, inputs, h, c, outputs, memory)
        self._sequence_arguments = (both[0], h, c, outputs, memory)
        self._score_arguments = (*both, inputs, weights, outputs, logits, memory)

    def read(self) -> None:
        """Read one token per row: update hidden and cell states and `outputs`."""
        self._read(*self._read_arguments)

    def read_sequence(self, ids: np.ndarray, features: FeatureArrays | None) -> None:
        """Read several tokens into a workspace of one row; `outputs` are those of the last.

        Args:
            ids: (steps,) int64, contiguous; not checked.
            features: Step features, (steps, ...) each. None: the network has none.

        Raises:
            ValueError: The workspace has several rows, or an array has another shape or type.
        """
        if len(self.ids) != 1:
            raise ValueError(f"A sequence needs a workspace of one row; there are {len(self.ids)}.")
        _check_array("ids", ids, (len(ids),), self.ids.dtype)
        if (features is not None) != self._has_features:
            raise ValueError(_FEATURES_MISSING)
        network, *rest = self._sequence_arguments
        inputs = ctypes.byref(_pointers(features, len(ids)))
        self._read_sequence(
            network, ctypes.c_int64(len(ids)), ctypes.c_void_p(ids.ctypes.data), inputs, *rest
        )

    def score(self) -> None:
        """Compute `logits` from `outputs` and the features."""
        self._score(*self._score_arguments)


def _pointers(features: FeatureArrays | None, steps: int) -> FeaturePointers:
    return FeaturePointers() if features is None else feature_pointers(features, (steps,))


# Checks -------------------------------------------------------------------------------------------


def _check_array(
    name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be contiguous, {dtype}, of shape {shape}; got {array.dtype} of shape "
            f"{array.shape}."
        )


# Packing ------------------------------------------------------------------------------------------


def _sizes(weights: Weights) -> dict[str, int]:
    context = weights.context
    vocab, size = weights.embeddings.shape
    sizes = {
        "layers": len(weights.of_input),
        "size": size,
        "vocab": vocab + -vocab % 4,
        "residual": int(weights.residual),
        "layer_norm": int(len(weights.norms) > 0),
        "has_features": int(context is not None),
    }
    if context is not None:
        sizes["programs"], sizes["tracks"] = len(context.program), len(context.track)
        sizes["ages"], sizes["pitches"] = len(context.age), len(context.pitch_tokens)
        sizes["positions"] = len(context.position_tokens)
        sizes["durations"] = len(context.duration_tokens)
        sizes["position_limit"] = 1 + max(context.position_values, default=-1)
    return sizes


def _stack_arrays(weights: Weights) -> dict[str, np.ndarray]:
    """Return the arrays of the layers and the head, by their names in step.h."""
    layers = [_pack_layer(*each) for each in zip(weights.of_input, weights.of_hidden, strict=True)]
    head, head_scales = _pack_matrix(_pad4(weights.head))
    return {
        "weights": np.stack([blocks for blocks, _ in layers]),
        "scales": np.stack([scales for _, scales in layers]),
        "biases": np.stack([_by_gate(each) for each in weights.biases]),
        "norms": np.array(weights.norms, np.float32),
        "embeddings": _pad4(weights.embeddings),
        "head": head,
        "head_scales": head_scales,
        "head_bias": _pad4(weights.head_bias),
    }


def _context_arrays(weights: Weights) -> dict[str, np.ndarray]:
    """Return the arrays for step features, by their names in step.h."""
    context = weights.context
    if context is None:
        return {}
    rows = _context_rows()
    head, head_scales = _pack_matrix(np.where(rows[:, None] >= 0, context.head[rows], 0))
    tables = ("program", "track", "following", "age", "gates", "gate_bias")
    tokens = [f"{kind}_{what}" for kind in _KINDS for what in ("tokens", "values")]
    return {
        **{name: getattr(context, name) for name in tables},
        "candidate_inputs": _project_vocabulary(
            _pad4(weights.embeddings), context.candidate_inputs
        ),
        "context": head,
        "context_scales": head_scales,
        "context_bias": np.where(rows >= 0, context.head_bias[rows], 0).astype(np.float32),
        **{name: getattr(context, name).astype(np.int32) for name in tokens},
    }


def _context_rows() -> np.ndarray:
    """Return the row of the model's context head for each row of step.h, -1 for padding."""
    rows = np.split(np.arange(sum(CONTEXT_SIZES)), np.cumsum(CONTEXT_SIZES)[:-1])
    pitches, forward, around, weights, filters, rhythm = rows
    groups = [*pitches.reshape(REFERENCE_PITCHES, -1), np.append(weights, filters)]
    groups += [forward, around, rhythm]
    return np.concatenate(
        [np.pad(each, (0, -len(each) % 4), constant_values=-1) for each in groups]
    )


def _project_vocabulary(embeddings: np.ndarray, candidate_inputs: np.ndarray) -> np.ndarray:
    """Return the projected embedding of every token as each candidate, (6, vocab, size)."""
    matrices = candidate_inputs.reshape(len(candidate_inputs), len(CANDIDATES), -1).swapaxes(0, 1)
    return np.matmul(embeddings, matrices.swapaxes(1, 2)).astype(np.float32)


def _pack_layer(of_input: np.ndarray, of_hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return blocks (units / 4, 4 gates, 2, blocks, 4 units, 32) and scales (2, 4, units)."""
    parts = [quantize_rows(each) for each in (of_input, of_hidden)]
    blocks = [_in_blocks(_by_gate(values).reshape(-1, 4, values.shape[1])) for values, _ in parts]
    # (4 gates * units / 4, blocks, 4 units, 32) each, gates first
    both = np.stack([each.reshape(4, -1, *each.shape[1:]) for each in blocks], axis=2)
    return both.swapaxes(0, 1), np.stack([_by_gate(scales) for _, scales in parts])


def _pack_matrix(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return blocks (rows / 4, blocks, 4, 32) and scales (rows,) of a matrix."""
    values, scales = quantize_rows(matrix)
    return _in_blocks(values.reshape(-1, 4, matrix.shape[1])), scales


def quantize_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize each row to int8 with one scale; a row of zeros has the scale 0."""
    scales = np.abs(matrix).max(axis=1) / 127
    scales[scales < _TINY] = 0
    inverse = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    return np.rint(matrix * inverse[:, None]).astype(np.int8), scales.astype(np.float32)


def _by_gate(rows: np.ndarray) -> np.ndarray:
    """Reshape (4 * size, …) to (4, units, …), each gate padded to a multiple of four."""
    gates = rows.reshape(4, -1, *rows.shape[1:])
    missing = -gates.shape[1] % 4
    return np.pad(gates, ((0, 0), (0, missing), *((0, 0) for _ in rows.shape[1:])))


def _in_blocks(rows: np.ndarray) -> np.ndarray:
    """Reorder (n, 4, size) to (n, blocks, 4, 32), padded with zeros."""
    missing = -rows.shape[2] % _COLUMNS
    padded = np.pad(rows, ((0, 0), (0, 0), (0, missing)))
    return padded.reshape(*rows.shape[:2], -1, _COLUMNS).swapaxes(1, 2)


def _pad4(array: np.ndarray) -> np.ndarray:
    return np.pad(array, ((0, -len(array) % 4), *((0, 0) for _ in array.shape[1:])))
