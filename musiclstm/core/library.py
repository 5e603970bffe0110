"""Call the functions of core.h: one interface for the compiled core and for WebAssembly."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final, Protocol

import numpy as np

from musiclstm.core import native
from musiclstm.errors import CoreMissingError, shorten

SIGNATURES: Final = {
    # Result and arguments of each function of core.h; a test compares them.
    "token_table_bytes": "int64",
    "token_table_fill": "int32 pointer int32 pointer pointer pointer int32",
    "remi_scratch_bytes": "int64 pointer",
    "remi_order_parts": "int32 pointer pointer pointer pointer",
    "remi_encode": "int64 pointer pointer pointer pointer int64 pointer",
    "remi_decode": "int32 pointer pointer int64 pointer pointer",
    "remi_length_ticks": "int64 pointer pointer int64",
    "midi_count": "int32 pointer int64 pointer",
    "midi_scratch_bytes": "int64 pointer",
    "midi_read": "int32 pointer int64 pointer pointer",
    "midi_write_scratch_bytes": "int64 pointer",
    "midi_write": "int64 pointer int32 pointer int64 pointer int64 pointer",
    "prompt_map_programs": "void pointer pointer pointer",
    "prompt_scratch_bytes": "int64 pointer int32",
    "prompt_read": "int32 pointer pointer pointer int32 int32 pointer pointer",
    "prompt_set_velocities": "void pointer pointer pointer double",
    "prompt_program": "int32 pointer pointer pointer pointer int32 int32",
    "prompt_track": "int32 pointer pointer int32 int32 int32 int32",
    "features_state_bytes": "int64",
    "features_begin": "void pointer",
    "features_read_rows": "int32 pointer pointer pointer int64 int64 pointer pointer pointer",
    "bar_rules_fill": "int32 pointer pointer pointer int32 int32",
    "grammar_state_bytes": "int64",
    "grammar_begin": "int32 pointer pointer pointer",
    "grammar_read_prompt": "int32 pointer pointer pointer int64",
    "grammar_open_bar": "int32 pointer pointer pointer",
    "grammar_advance": "int32 pointer pointer pointer int64",
    "grammar_limit_parts": "int32 pointer pointer pointer pointer pointer",
    "grammar_permitted": "void pointer pointer pointer",
    "random_uniform": "double pointer",
    "sampling_probabilities": "int32 pointer pointer pointer pointer pointer",
    "sample_token": "int32 pointer pointer pointer pointer pointer int32 pointer pointer",
    "bar_context_bytes": "int64",
    "bar_context_begin": "int32 pointer pointer pointer int64",
    "bar_context_add": "int32 pointer pointer pointer int64",
    "bar_context_features": "int32 pointer pointer pointer int64 pointer pointer",
    "bar_score": "float pointer pointer",
    "self_check": "int32",
    "workspace_bytes": "int64 pointer int32",
    "sequence_bytes": "int64 pointer",
    "sequence_offsets": "void pointer pointer",
    "sequence_begin": "void pointer pointer",
    "sequence_read": "int32 pointer pointer pointer pointer int64 pointer",
    "sequence_restore": "int32 pointer pointer pointer pointer int64 int64",
    "sequence_open_bar": "int32 pointer pointer pointer pointer int32 int32",
    "sequences_append": "int32 pointer int32 pointer pointer pointer int64 pointer",
    "sequence_limit_parts": "int32 pointer pointer pointer pointer pointer",
    "sequences_write": "int32 pointer int32 pointer pointer pointer",
}

BAD_TOKEN: Final = -1
MESSAGES: Final = {
    # A sentence for each error code of core.h.
    BAD_TOKEN: "A token is outside the vocabulary.",
    -2: "A count or the length of a row is out of range.",
    -3: "A stream must have fewer than 2,147,483,647 tokens.",
    -4: "A vocabulary must have 1 to 4,096 tokens.",
    -5: "Pitches must be from 0 to 127, and velocities from 1 to 127.",
    -6: "Positions must be from 0 to 191.",
    -7: "Programs must be from -1 to 127.",
    -8: "Bars must last 1 to 8,191 units of 1/48 quarter, in positions of 1 to 16 of them.",
    -9: "Durations must be from 1 to 8,191 positions.",
    -10: "A token has a kind that the compiled features do not support.",
    -11: "No token can be sampled: none is permitted, or the highest logit is not finite.",
    -12: "A number of the rules or the sampling settings of a bar is out of range.",
    -13: "A bar must have at most 32,768 tokens.",
    -14: "Ticks must be at least 0, and before bar 1,000,000.",
    -15: "A track or a part does not exist, or a part has no track.",
    -16: "A sequence can be written only while a bar is open.",
    -17: "Kept tokens must be a meter, tempos and whole notes of parts of one bar.",
    -18: "A file must have a MIDI header in its first 1,024 bytes.",
    -19: "A MIDI file must have 1 to 32,767 ticks per quarter or a frame rate, and valid tempos.",
    -20: "A MIDI file must have at most 1,024 voices.",
}

_CTYPES: Final[dict[str, Any]] = {
    "void": None,
    "pointer": ctypes.c_void_p,
    "int32": ctypes.c_int32,
    "int64": ctypes.c_int64,
    "uint32": ctypes.c_uint32,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}


class Library(Protocol):
    """The core, and memory that it can read and write."""

    def __hash__(self) -> int:
        """Return a hash, so that functions can cache what belongs to a library."""

    @property
    def pointer(self) -> np.dtype[Any]:
        """Type of an address in a struct."""

    @property
    def is_threadsafe(self) -> bool:
        """Whether several calls run at the same time. Otherwise each waits for the previous one."""

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return an array of zeros in memory of the core."""

    def visible(self, array: np.ndarray) -> np.ndarray:
        """Return the array itself if the core can read and write it, else a copy in its memory.

        Args:
            array: Contiguous.
        """

    def address(self, array: np.ndarray | None) -> int:
        """Return the address of an array of `zeros` or `visible`, or of a part of it; 0 for None.

        It is valid as long as the array exists.
        """

    def call(self, name: str, *arguments: float) -> Any:
        """Call a function of core.h.

        Args:
            name: A key of `SIGNATURES`.
            arguments: Addresses and numbers; they are not checked.

        Returns:
            An int, a float for `double`, None for `void`.
        """


class NativeLibrary:
    """The core as a shared library of this machine."""

    pointer: Final = np.dtype(np.uint64)
    is_threadsafe: Final = True

    def __init__(self, library: ctypes.CDLL) -> None:
        """Wrap a library of `native.load`; functions are looked up at their first call."""
        self._library = library
        self._functions: dict[str, Callable[..., Any]] = {}

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
        """See `Library`."""
        return np.zeros(shape, dtype)

    def visible(self, array: np.ndarray) -> np.ndarray:
        """See `Library`."""
        return array

    def address(self, array: np.ndarray | None) -> int:
        """See `Library`; of any array."""
        # Faster than `array.ctypes.data`.
        return 0 if array is None else int(array.__array_interface__["data"][0])

    def call(self, name: str, *arguments: float) -> Any:
        """See `Library`."""
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = self._bind(name)
        return function(*arguments)

    def _bind(self, name: str) -> Callable[..., Any]:
        result, *arguments = SIGNATURES[name].split()
        function = self._library[name]  # a new object, unlike the attribute of this name
        function.restype = _CTYPES[result]
        function.argtypes = [_CTYPES[argument] for argument in arguments]
        return function


def check(code: int) -> int:
    """Return the result of a function of core.h unless it is an error code.

    Raises:
        IndexError: A token outside the vocabulary.
        ValueError: Another error code.
    """
    if code >= 0:
        return code
    raise (IndexError if code == BAD_TOKEN else ValueError)(MESSAGES[code])


@cache
def load_library() -> Library:
    """Return the core: compiled for this machine, else as WebAssembly.

    The environment variable MUSICLSTM_KERNEL limits the choice: "native", "wasm", or "off" for
    neither.

    Raises:
        CoreMissingError: The core cannot be run here.
    """
    library = next(_libraries(), None)
    if library is None:
        raise CoreMissingError(_reason())
    return library


def is_available() -> bool:
    """Whether the core can be run on this machine."""
    try:
        load_library()
    except CoreMissingError:
        return False
    return True


def _choice() -> str:
    choice = os.environ.get(native.KERNEL_VARIABLE) or native.ANY
    if choice not in native.CHOICES:
        allowed = ", ".join(native.CHOICES)
        raise CoreMissingError(
            f"{native.KERNEL_VARIABLE} must be one of {allowed}; got {shorten(choice)}."
        )
    return choice


def _libraries() -> Iterator[Library]:
    if _choice() in (native.ANY, native.NATIVE):
        compiled = native.load()
        if compiled is not None:
            yield NativeLibrary(compiled)
    if _choice() in (native.ANY, native.WASM):
        module = _web_assembly()
        if module is not None:
            yield module


def _web_assembly() -> Library | None:
    try:
        from musiclstm.core import wasm
    except ImportError:  # wasmtime is optional
        return None
    return wasm.load()


def _reason() -> str:
    choice = _choice()
    if choice == native.OFF:
        return (
            f"The core is switched off by {native.KERNEL_VARIABLE}={choice}; unset this variable."
        )
    compiler = "install a C compiler (gcc or clang)"
    runtime = "run: pip install musiclstm[wasm]"
    if choice == native.NATIVE:
        return (
            f"No C compiler works on this machine; {compiler}, or unset {native.KERNEL_VARIABLE}."
        )
    if choice == native.WASM:
        return f"WebAssembly cannot be run; {runtime}, or unset {native.KERNEL_VARIABLE}."
    return (
        "No C compiler works on this machine, and WebAssembly cannot be run. Either "
        f"{compiler}, or {runtime}"
    )
