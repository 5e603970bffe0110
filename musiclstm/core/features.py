"""Step features in C (features.c): bit for bit those of `StepFeatures`, about 100 times as fast."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np

from musiclstm.core.library import BAD_TOKEN, Library, check, load_library
from musiclstm.core.token_table import compiled_table
from musiclstm.model.step_features import FeatureArrays, TokenTable

_HISTOGRAMS: Final = ("part", "recent", "piece", "onsets", "durations")
_NAMES: Final = tuple(field.name for field in fields(FeatureArrays))
_EMPTY: Final = [getattr(FeatureArrays.empty(0), name) for name in _NAMES]
_ARRAYS: Final = [(n, a.dtype, a.shape[1:]) for n, a in zip(_NAMES, _EMPTY, strict=True)]
"""Name, type and shape after the steps of every array."""


class FeatureRows:
    """Step features of several streams; for one thread at a time."""

    def __init__(self, table: TokenTable, rows: int, *, library: Library | None = None) -> None:
        """Start a stream in every row.

        Args:
            table: At most 4,096 tokens, with positions up to 191 and pitches up to 127.
            rows: At least 0.
            library: None: that of `load_library`.

        Raises:
            CoreMissingError: The core cannot be run here.
            ValueError: A token that the core cannot represent.
        """
        self._library = library or load_library()
        self._source, self._table = table, compiled_table(self._library, table)
        size = self._library.call("features_state_bytes")
        self._states = self._library.zeros((rows, size), np.uint8)
        for state in self._states:
            self._library.call("features_begin", self._library.address(state))
        self._last_out: FeatureArrays | None = None
        self._outputs = self._library.zeros(len(_ARRAYS), self._library.pointer)
        self._copied: list[tuple[np.ndarray, np.ndarray]] = []  # an array and what C writes into

    def __len__(self) -> int:
        return len(self._states)

    def _row(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"Rows must be from 0 to {len(self) - 1}, got {row}.")
        return row

    def read(
        self,
        ids: np.ndarray | Sequence[Sequence[int]],
        reset: np.ndarray | Sequence[bool] | None = None,
        *,
        lengths: np.ndarray | Sequence[int] | None = None,
        histograms: bool = True,
        out: FeatureArrays | None = None,
    ) -> FeatureArrays:
        """Read tokens; return the features after each, (rows, steps, ...).

        Args:
            ids: Integers, (rows, steps).
            reset: Rows that start a new stream first, (rows,) bool. None: no row.
            lengths: Tokens of each row, (rows,). Later steps are not read; their features are
                those of `FeatureArrays.empty`. None: all steps.
            histograms: False: the histograms have no steps, which saves most of the memory.
            out: Arrays to write into and return.

        Raises:
            IndexError: A token outside the vocabulary. Nothing was read.
            TypeError: Ids that are not integers.
            ValueError: Arrays with other shapes or types.
        """
        library = self._library
        tokens = library.visible(self._tokens(np.asarray(ids)))
        restarts = None if reset is None else self._per_row("reset", reset, np.bool_)
        counts = None if lengths is None else self._per_row("lengths", lengths, np.int64)
        if out is None:
            out = _allocate(library, tokens.shape, histograms=histograms)
        if out is not self._last_out or out.follows.shape != tokens.shape:
            self._write_into(out, tokens.shape)
        code = library.call(
            "features_read_rows",
            library.address(self._states),
            self._table.address,
            library.address(tokens),
            *tokens.shape,
            library.address(counts),
            library.address(restarts),
            library.address(self._outputs),
        )
        if code == BAD_TOKEN:
            raise IndexError(
                f"Tokens must be from 0 to {self._table.size - 1}, "
                f"got {tokens.min()} to {tokens.max()}."
            )
        check(code)
        for array, written in self._copied:
            array[...] = written
        return out

    def _tokens(self, ids: np.ndarray) -> np.ndarray:
        if ids.ndim != 2 or len(ids) != len(self):
            raise ValueError(f"ids must be of shape ({len(self)}, steps), got {ids.shape}.")
        if ids.size and ids.dtype.kind not in "iu":
            raise TypeError(f"ids must be integers, got {ids.dtype}.")
        if ids.dtype == np.uint64:  # so that none wraps around
            ids = np.minimum(ids, self._table.size)
        return np.ascontiguousarray(ids, np.int64)

    def _per_row(self, name: str, values: Any, dtype: Any) -> np.ndarray:
        array = np.ascontiguousarray(values, dtype)
        if array.shape != (len(self),):
            raise ValueError(f"{name} must be of shape ({len(self)},), got {array.shape}.")
        return self._library.visible(array)

    def _write_into(self, out: FeatureArrays, shape: tuple[int, ...]) -> None:
        self._last_out, self._copied = None, []
        for i, array in enumerate(_checked_arrays(out, shape, optional=_HISTOGRAMS)):
            written = None if array is None else self._library.visible(array)
            self._outputs[i] = self._library.address(written)
            if array is not None and written is not None and written is not array:
                self._copied.append((array, written))
        self._last_out = out

    def replace_row(self, row: int, other: FeatureRows, source: int) -> None:
        """Replace a row by a copy of row `source` of `other`, which may be this object.

        Raises:
            IndexError: There is no such row.
            ValueError: The other object has another token table.
        """
        if other._source is not self._source or other._library is not self._library:
            raise ValueError("A row can only be replaced by one with the same token table.")
        self._states[self._row(row)] = other._states[other._row(source)]

    def select(self, rows: Iterable[int]) -> FeatureRows:
        """Return copies of rows, in this order; a row may repeat."""
        chosen = [self._row(row) for row in rows]
        selected = FeatureRows(self._source, 0, library=self._library)
        selected._states = self._library.zeros((len(chosen), self._states.shape[1]), np.uint8)
        for state, row in zip(selected._states, chosen, strict=True):
            state[:] = self._states[row]
        return selected

    def __deepcopy__(self, memo: object) -> FeatureRows:
        return self.select(range(len(self)))


def _allocate(library: Library, shape: tuple[int, ...], *, histograms: bool) -> FeatureArrays:
    none = (0,) * len(shape)
    return FeatureArrays(
        *(
            library.zeros(
                (*(shape if histograms or name not in _HISTOGRAMS else none), *last), dtype
            )
            for name, dtype, last in _ARRAYS
        )
    )


def _checked_arrays(
    arrays: FeatureArrays, shape: tuple[int, ...], *, optional: Collection[str] = ()
) -> Iterator[np.ndarray | None]:
    """Yield arrays that C may write into, in the order of `FeatureOutputs`; None for a skipped one.

    Args:
        arrays: As `FeatureArrays.empty(*shape)`, contiguous and writeable.
        shape: The dimensions before the last one.
        optional: Names of arrays that may be empty, which skips them.

    Raises:
        ValueError: An array has another shape or type, or is not contiguous.
    """
    for name, dtype, last in _ARRAYS:
        array = getattr(arrays, name)
        if name in optional and not array.size:
            yield None
            continue
        if array.shape != (*shape, *last) or array.dtype != dtype:
            raise ValueError(
                f"{name} must be {dtype} of shape {(*shape, *last)}, "
                f"got {array.dtype} of shape {array.shape}."
            )
        if not array.flags.c_contiguous or not array.flags.writeable:
            raise ValueError(f"{name} must be contiguous and writeable.")
        yield array


class FeaturePointers(ctypes.Structure):
    """`FeatureOutputs` of core.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in _NAMES]


def feature_pointers(arrays: FeatureArrays, shape: tuple[int, ...]) -> FeaturePointers:
    """Return the addresses of arrays for C; they are valid only as long as the arrays.

    Raises:
        ValueError: An array has another shape or type, or is not contiguous.
    """
    return FeaturePointers(
        *(array.ctypes.data for array in _checked_arrays(arrays, shape) if array is not None)
    )
