"""Step features in C (features.c): bit for bit those of `StepFeatures`, about 100 times as fast."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any, Final

import numpy as np

from musiclstm.core import native
from musiclstm.model.step_features import FeatureArrays, TokenTable

_HISTOGRAMS: Final = ("part", "recent", "piece", "onsets", "durations")
_NAMES: Final = tuple(field.name for field in fields(FeatureArrays))
_EMPTY: Final = [getattr(FeatureArrays.empty(0), name) for name in _NAMES]
_ARRAYS: Final = [(n, a.dtype, a.shape[1:]) for n, a in zip(_NAMES, _EMPTY, strict=True)]
"""Name, type and shape after the steps of every array."""

_BAD_TOKEN = -1
_MESSAGES: Final = {  # by the error codes of features.h
    -2: "The length of a row must be from 0 to the number of steps.",
    -3: "A stream must have fewer than 2,147,483,647 tokens.",
    -4: "A vocabulary must have 1 to 4,096 tokens.",
    -5: "Pitches must be from 0 to 127.",
    -6: "Positions must be from 0 to 191.",
    -7: "Programs must be from -1 to 127.",
    -8: "Bars must last 1 to 8,191 units of 1/48 quarter, in positions of 1 to 16 of them.",
    -9: "Durations must be from 1 to 8,191 positions.",
    -10: "A token has a kind that the compiled features do not support.",
}


class FeaturePointers(ctypes.Structure):
    """`FeatureOutputs` of features.h."""

    _fields_ = [(name, ctypes.c_void_p) for name in _NAMES]


def load_library() -> ctypes.CDLL:
    """Return the compiled core.

    Raises:
        OSError: There is no C compiler, or the core is switched off.
    """
    library = _library()
    if library is None:
        raise OSError("There is no compiled core on this machine; use StepFeatures.")
    return library


@cache
def _library() -> ctypes.CDLL | None:
    library = native.load()
    if library is None:
        return None
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    library.features_table_bytes.restype = library.features_state_bytes.restype = size
    library.features_make_table.argtypes = (pointer, ctypes.c_int32, *3 * (pointer,))
    library.features_begin.argtypes = (pointer,)
    library.features_begin.restype = None
    library.features_read_rows.argtypes = (*3 * (pointer,), size, size, *3 * (pointer,))
    return library


def is_available() -> bool:
    """Whether this machine has a compiled core."""
    return _library() is not None


def _check(code: int) -> None:
    if code:
        raise ValueError(_MESSAGES[code])


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])  # faster than `array.ctypes.data`


class _CompiledTable:
    """The token table in the layout of features.c; read-only."""

    def __init__(self, table: TokenTable) -> None:
        library = load_library()
        self.size = len(table)
        self._buffer = np.zeros(library.features_table_bytes(), np.uint8)
        self.address = _address(self._buffer)
        limits = np.iinfo(np.int32)
        columns = [
            np.clip(np.array(column, np.int64), limits.min, limits.max).astype(np.int32)
            for column in (table.kind, table.value, table.unit)
        ]
        _check(library.features_make_table(self.address, self.size, *map(_address, columns)))


@lru_cache(maxsize=16)
def _compiled(table: TokenTable) -> _CompiledTable:
    return _CompiledTable(table)


class FeatureRows:
    """Step features of several streams; for one thread at a time."""

    def __init__(self, table: TokenTable, rows: int) -> None:
        """Start a stream in every row.

        Args:
            table: At most 4,096 tokens, with positions up to 191 and pitches up to 127.
            rows: At least 0.

        Raises:
            OSError: There is no compiled core.
            ValueError: A token that the compiled features cannot represent.
        """
        self._library, self._source, self._table = load_library(), table, _compiled(table)
        size = self._library.features_state_bytes()
        self._states = np.empty((rows, size), np.uint8)
        for state in self._states:
            self._library.features_begin(_address(state))
        self._last_out: FeatureArrays | None = None
        self._last_outputs = FeaturePointers()

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
        tokens = self._tokens(np.asarray(ids))
        restarts = None if reset is None else self._per_row("reset", reset, np.bool_)
        counts = None if lengths is None else self._per_row("lengths", lengths, np.int64)
        if out is None:
            out = _allocate(tokens.shape, histograms=histograms)
        outputs = self._outputs(out, tokens.shape)
        code = self._library.features_read_rows(
            _address(self._states),
            self._table.address,
            _address(tokens),
            *tokens.shape,
            None if counts is None else _address(counts),
            None if restarts is None else _address(restarts),
            ctypes.byref(outputs),
        )
        if code == _BAD_TOKEN:
            raise IndexError(
                f"Tokens must be from 0 to {self._table.size - 1}, "
                f"got {tokens.min()} to {tokens.max()}."
            )
        _check(code)
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
        return array

    def _outputs(self, out: FeatureArrays, shape: tuple[int, ...]) -> FeaturePointers:
        if out is not self._last_out or out.follows.shape != shape:
            self._last_outputs = feature_pointers(out, shape, optional=_HISTOGRAMS)
            self._last_out = out
        return self._last_outputs

    def replace_row(self, row: int, other: FeatureRows, source: int) -> None:
        """Replace a row by a copy of row `source` of `other`, which may be this object.

        Raises:
            IndexError: There is no such row.
            ValueError: The other object has another token table.
        """
        if other._source is not self._source:
            raise ValueError("A row can only be replaced by one with the same token table.")
        self._states[self._row(row)] = other._states[other._row(source)]

    def select(self, rows: Iterable[int]) -> FeatureRows:
        """Return copies of rows, in this order; a row may repeat."""
        selected = FeatureRows(self._source, 0)
        selected._states = self._states[[self._row(row) for row in rows]]
        return selected

    def __deepcopy__(self, memo: object) -> FeatureRows:
        return self.select(range(len(self)))


class CompiledStepFeatures:
    """Compiled `StepFeatures`.

    Attributes:
        rows: The stream as one row.
    """

    def __init__(self, table: TokenTable) -> None:
        """Start a stream; errors as in `FeatureRows`."""
        self.rows = FeatureRows(table, 1)

    def read(self, ids: Sequence[int] | np.ndarray, *, histograms: bool = True) -> FeatureArrays:
        """Read tokens, (steps,); return the features after each. As `FeatureRows.read`."""
        tokens = np.asarray(ids)
        if tokens.ndim != 1:
            raise ValueError(f"ids must be of shape (steps,), got {tokens.shape}.")
        rows = self.rows.read(tokens[np.newaxis], histograms=histograms)
        arrays = (getattr(rows, name) for name in _NAMES)
        return FeatureArrays(*(array.reshape(array.shape[1:]) for array in arrays))

    def advance(self, ids: Sequence[int] | np.ndarray) -> None:
        """Read tokens without returning features; errors as in `read`."""
        self.read(ids, histograms=False)

    def copy(self) -> CompiledStepFeatures:
        """Return an independent copy."""
        twin = object.__new__(CompiledStepFeatures)
        twin.rows = self.rows.select([0])
        return twin

    def __deepcopy__(self, memo: object) -> CompiledStepFeatures:
        return self.copy()


def _allocate(shape: tuple[int, ...], *, histograms: bool) -> FeatureArrays:
    none = (0,) * len(shape)
    return FeatureArrays(
        *(
            np.empty((*(shape if histograms or name not in _HISTOGRAMS else none), *last), dtype)
            for name, dtype, last in _ARRAYS
        )
    )


def feature_pointers(
    arrays: FeatureArrays, shape: tuple[int, ...], *, optional: Collection[str] = ()
) -> FeaturePointers:
    """Return the addresses of arrays for C; they are valid only as long as the arrays.

    Args:
        arrays: As `FeatureArrays.empty(*shape)`, contiguous and writeable.
        shape: The dimensions before the last one.
        optional: Names of arrays that may be empty; their address is then NULL.

    Raises:
        ValueError: An array has another shape or type, or is not contiguous.
    """
    addresses: list[int | None] = []
    for name, dtype, last in _ARRAYS:
        array = getattr(arrays, name)
        if name in optional and not array.size:
            addresses.append(None)
            continue
        if array.shape != (*shape, *last) or array.dtype != dtype:
            raise ValueError(
                f"{name} must be {dtype} of shape {(*shape, *last)}, "
                f"got {array.dtype} of shape {array.shape}."
            )
        if not array.flags.c_contiguous or not array.flags.writeable:
            raise ValueError(f"{name} must be contiguous and writeable.")
        addresses.append(_address(array))
    return FeaturePointers(*addresses)
