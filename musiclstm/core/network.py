"""Pack the weights of a network as int8, in the order in which step.c reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from musiclstm.core.library import Library, load_library
from musiclstm.core.token_table import compiled_table
from musiclstm.core.weights import EPSILON, Weights
from musiclstm.model.step_features import (
    CANDIDATES,
    CONTEXT_SIZES,
    REFERENCE_PITCHES,
    TokenTable,
)

_COLUMNS = 64  # of two blocks, as in products.h
_MAX_WEIGHT = 31  # as in products.h; bits per note are those of 127 (benchmarks.quality.int4)
_KINDS = ("pitch", "position", "duration")  # kinds of tokens that the context head scores
_TINY = 3e-39  # a smaller scale has no reciprocal in float32

INTEGERS = (
    *("layers", "size", "vocab", "residual", "layer_norm"),
    *("has_features", "programs", "tracks", "ages", "pitches", "positions", "durations"),
    "position_limit",
)
"""Integers at the start of `Network` of core.h; `epsilon` follows."""

POINTERS = (
    *("weights", "weight_sums", "scales", "biases", "norms", "embeddings"),
    *("head", "head_sums", "head_scales", "head_bias"),
    *("program", "track", "following", "age", "candidate_inputs", "gates", "gate_bias"),
    *("context", "context_sums", "context_scales", "context_bias", "pitch_tokens"),
    *("pitch_values", "position_tokens", "position_values"),
    *("duration_tokens", "duration_values"),
)
"""Arrays of `Network` of core.h, in its order."""


class PackedWeights(NamedTuple):
    """Weights in the layout of core.h.

    Attributes:
        sizes: Integers of `Network` of core.h, by name.
        arrays: Its arrays, by name.
        tokens: Number of tokens; `sizes` has it rounded up.
    """

    sizes: dict[str, int]
    arrays: dict[str, np.ndarray]
    tokens: int


class Network:
    """Packed weights and token table in memory of the core. Read-only after construction.

    Attributes:
        library: The core that has the memory.
        layers: Number of layers.
        size: Hidden size.
        vocab: Number of tokens.
        address: Address of the `Network` of core.h.
        table_address: Address of the `TokenTable` of core.h.
    """

    def __init__(
        self,
        weights: Weights | PackedWeights,
        table: TokenTable,
        *,
        library: Library | None = None,
    ) -> None:
        """Pack weights.

        Args:
            weights: The weights, packed or not.
            table: The tokens; at most 4,096, with positions up to 191 and pitches up to 127.
            library: None: the one of `load_library`.

        Raises:
            OSError: There is no core on this machine.
            ValueError: A token that the core cannot represent, or another number of tokens.
        """
        self.library = load_library() if library is None else library
        packed = pack(weights) if isinstance(weights, Weights) else weights
        self.vocab = packed.tokens
        self.size, self.layers = packed.sizes["size"], packed.sizes["layers"]
        if self.vocab != len(table):
            raise ValueError(f"The network has {self.vocab} tokens and the table {len(table)}.")
        self._table = compiled_table(self.library, table)
        self.table_address = self._table.address
        self._arrays = {name: self.library.visible(array) for name, array in packed.arrays.items()}
        self._struct = self._network_struct(packed.sizes)
        self.address = self.library.address(self._struct)

    def _network_struct(self, sizes: dict[str, int]) -> np.ndarray:
        fields = [
            *((name, np.int32) for name in INTEGERS),
            ("epsilon", np.float32),
            *((name, self.library.pointer) for name in POINTERS),
        ]
        struct = self.library.zeros(1, np.dtype(fields, align=True))
        for name, value in sizes.items():
            struct[name] = value
        struct["epsilon"] = EPSILON
        for name, array in self._arrays.items():
            struct[name] = self.library.address(array)
        return struct


# Packing ------------------------------------------------------------------------------------------


def pack(weights: Weights) -> PackedWeights:
    """Quantize weights and reorder them."""
    arrays = _stack_arrays(weights) | _context_arrays(weights)
    contiguous = {name: np.ascontiguousarray(each) for name, each in arrays.items()}
    return PackedWeights(_sizes(weights), contiguous, len(weights.embeddings))


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
        sizes["position_limit"] = 1 + int(max(context.position_values, default=-1))
    return sizes


def _stack_arrays(weights: Weights) -> dict[str, np.ndarray]:
    """Return the arrays of the layers and the head, by their names in core.h."""
    layers = [_pack_layer(*each) for each in zip(weights.of_input, weights.of_hidden, strict=True)]
    head, head_scales = _pack_matrix(_pad4(weights.head))
    return {
        "weights": np.stack([blocks for blocks, _ in layers]),
        "weight_sums": np.stack([_sums(blocks) for blocks, _ in layers]),
        "scales": np.stack([scales for _, scales in layers]),
        "biases": np.stack([_by_gate(each) for each in weights.biases]),
        "norms": np.array(weights.norms, np.float32),
        "embeddings": _pad4(weights.embeddings),
        "head": head,
        "head_sums": _sums(head),
        "head_scales": head_scales,
        "head_bias": _pad4(weights.head_bias),
    }


def _context_arrays(weights: Weights) -> dict[str, np.ndarray]:
    """Return the arrays for step features, by their names in core.h."""
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
        "context_sums": _sums(head),
        "context_scales": head_scales,
        "context_bias": np.where(rows >= 0, context.head_bias[rows], 0).astype(np.float32),
        **{name: getattr(context, name).astype(np.int32) for name in tokens},
    }


def _context_rows() -> np.ndarray:
    """Return the row of the model's context head for each row of core.h, -1 for padding."""
    rows = np.split(np.arange(sum(CONTEXT_SIZES)), np.cumsum(CONTEXT_SIZES)[:-1])
    pitches, forward, around, weights, filters, rhythm = rows
    groups = [*pitches.reshape(REFERENCE_PITCHES, -1), np.append(weights, filters)]
    groups += [forward, around, rhythm]
    return np.concatenate(
        [np.pad(each, (0, -len(each) % 4), constant_values=-1) for each in groups]
    )


def _project_vocabulary(embeddings: np.ndarray, candidate_inputs: np.ndarray) -> np.ndarray:
    """Return the projected embedding of every token as each candidate, (6, vocab, size).

    It is computed in float64 and rounded to float16 where that has such values. Thus it hardly
    depends on numpy's order of sums, and half as many bytes travel to a browser.
    """
    matrices = candidate_inputs.reshape(len(candidate_inputs), len(CANDIDATES), -1).swapaxes(0, 1)
    projected = np.matmul(embeddings.astype(np.float64), matrices.swapaxes(1, 2))
    with np.errstate(over="ignore"):
        rounded = projected.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(rounded), rounded, projected.astype(np.float32))


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


def _sums(blocks: np.ndarray) -> np.ndarray:
    """Return the sum of each row of blocks (..., blocks, 4, 32)."""
    return blocks.sum(axis=(-3, -1), dtype=np.int32)


def quantize_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize each row to -31..31 with one scale; a row of zeros has the scale 0."""
    scales = np.abs(matrix).max(axis=1) / _MAX_WEIGHT
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
    return padded.reshape(*rows.shape[:2], -1, _COLUMNS // 2).swapaxes(1, 2)


def _pad4(array: np.ndarray) -> np.ndarray:
    return np.pad(array, ((0, -len(array) % 4), *((0, 0) for _ in array.shape[1:])))
