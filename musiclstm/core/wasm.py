"""The core as WebAssembly (core.wasm, built by scripts/build_wasm.sh), run by wasmtime.

It gives the same bits as the compiled core and needs no C compiler. This module needs wasmtime.
"""

from __future__ import annotations

import ctypes
import logging
import math
import sys
import threading
import weakref
from bisect import bisect_left
from collections import deque
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import wasmtime

FILE: Final = Path(__file__).with_name("core.wasm")

_ALIGNMENT: Final = 64  # bytes; that of a cache line
_PAGE: Final = 65_536
_RESERVED: Final = 1 << 32  # all that 32-bit addresses reach, so that memory never moves
_GROWTH: Final = 64  # pages by which memory grows at least

_Export = TypeVar("_Export")

_log = logging.getLogger(__name__)


class _Engine(wasmtime.Engine):
    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # When Python ends, wasmtime may already have lost the functions that it needs.
        if not is_finalizing():
            super().__del__()


class _Store(wasmtime.Store):
    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not is_finalizing():
            super().__del__()


class WasmLibrary:
    """The core in a WebAssembly instance; see `musiclstm.core.library.Library`.

    Arrays are views of the linear memory of the instance.
    """

    pointer: Final = np.dtype(np.uint32)
    is_threadsafe: Final = False

    def __init__(self, module: bytes) -> None:
        """Compile and start a module.

        Raises:
            wasmtime.WasmtimeError: The module is not valid, or 4 GiB cannot be reserved.
        """
        config = wasmtime.Config()
        config.memory_reservation = _RESERVED
        config.memory_may_move = False
        engine = _Engine(config)
        self._store = _Store(engine)
        instance = wasmtime.Instance(self._store, wasmtime.Module(engine, module), [])
        self._exports = instance.exports(self._store)
        self._linear_memory = _kind(self._exports["memory"], wasmtime.Memory)
        self._functions: dict[str, tuple[wasmtime.Func, list[str]]] = {}  # and argument types
        self._base = ctypes.addressof(self._linear_memory.data_ptr(self._store).contents)
        self._size = self._linear_memory.data_len(self._store)
        heap = _kind(self._exports["__heap_base"], wasmtime.Global)
        start = _rounded(heap.value(self._store))
        self._free = FreeList(start, self._size)
        # Freed by whichever thread collects garbage, perhaps while it holds the lock.
        self._collected: deque[tuple[int, int]] = deque()
        self._lock = threading.Lock()

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array of zeros.

        Raises:
            MemoryError: More than 4 GiB altogether.
        """
        shape = (shape,) if isinstance(shape, int) else shape
        dtype = np.dtype(dtype)
        size = _rounded(max(math.prod(shape) * dtype.itemsize, 1))
        with self._lock:
            while self._collected:
                self._free.give_back(*self._collected.popleft())
            offset = self._free.take(size)
            if offset is None:
                self._grow(size)
                offset = self._free.take(size)
        assert offset is not None
        memory = (ctypes.c_uint8 * size).from_address(self._base + offset)
        # The finalizer keeps the instance alive as long as one of its arrays.
        weakref.finalize(memory, self._collect, offset, size).atexit = False
        array = np.ndarray(shape, dtype, memoryview(memory))
        array.fill(0)
        return array

    def visible(self, array: np.ndarray) -> np.ndarray:
        """Return the array if it is in the linear memory, else a copy that is."""
        if 0 <= _data(array) - self._base < self._size:
            return array
        copy = self.zeros(array.shape, array.dtype)
        copy[...] = array
        return copy

    def address(self, array: np.ndarray | None) -> int:
        """Return the address in the linear memory; 0 for None.

        Raises:
            ValueError: The array is not in the linear memory.
        """
        if array is None:
            return 0
        offset = _data(array) - self._base
        if not 0 <= offset < self._size:
            raise ValueError("The array must come from `zeros` or `visible` of this library.")
        return offset

    def call(self, name: str, *arguments: float) -> Any:
        """Call a function; see `Library.call`."""
        with self._lock:
            found = self._functions.get(name)
            if found is None:
                found = self._functions[name] = self._bind(name)
            function, kinds = found
            pairs = zip(kinds, arguments, strict=True)
            return function(self._store, *(_convert(kind, value) for kind, value in pairs))

    def _bind(self, name: str) -> tuple[wasmtime.Func, list[str]]:
        found = self._exports.get(name)
        if found is None:
            raise AttributeError(f"{FILE.name} has no function {name}.")
        function = _kind(found, wasmtime.Func)
        return function, [str(kind) for kind in function.type(self._store).params]

    def _grow(self, size: int) -> None:
        """Append at least `size` bytes to the linear memory."""
        pages = max(-(-size // _PAGE), _GROWTH)
        try:
            self._linear_memory.grow(self._store, pages)
        except wasmtime.WasmtimeError as error:
            raise MemoryError(f"The core cannot get {size:,} more bytes of memory.") from error
        self._free.give_back(self._size, pages * _PAGE)
        self._size += pages * _PAGE

    def _collect(self, offset: int, size: int) -> None:
        self._collected.append((offset, size))


class FreeList:
    """Free blocks of a memory, in order, of which no two touch."""

    def __init__(self, start: int, end: int) -> None:
        self._blocks = [(start, end - start)]  # offsets and sizes in bytes

    def take(self, size: int) -> int | None:
        """Return the offset of a block of this size; None if there is none."""
        for i, (offset, available) in enumerate(self._blocks):
            if available >= size:
                self._blocks[i : i + 1] = [(offset + size, available - size)][: available > size]
                return offset
        return None

    def give_back(self, offset: int, size: int) -> None:
        """Add a block, joined with its neighbours."""
        i = bisect_left(self._blocks, (offset, 0))
        if i < len(self._blocks) and offset + size == self._blocks[i][0]:
            size += self._blocks.pop(i)[1]
        if i and sum(self._blocks[i - 1]) == offset:
            i -= 1
            offset, before = self._blocks.pop(i)
            size += before
        self._blocks.insert(i, (offset, size))


@cache
def load() -> WasmLibrary | None:
    """Return the core; None if core.wasm is missing or cannot be used here."""
    try:
        return WasmLibrary(FILE.read_bytes())
    except (OSError, wasmtime.WasmtimeError) as error:
        _log.info("The core does not run as WebAssembly (%s).", error)
        return None


def _kind(export: object, kind: type[_Export]) -> _Export:
    assert isinstance(export, kind)
    return export


def _rounded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _data(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _convert(kind: str, value: float) -> float:
    """Convert an argument to the type and range that wasmtime expects."""
    if kind in ("f32", "f64"):
        return float(value)
    value = int(value)
    return value - (1 << 32) if kind == "i32" and value >= 1 << 31 else value
