"""Tokens of notes in C (remi*.c): bit for bit what `musiclstm.tokens` encodes and decodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from musiclstm.core.library import Library, check
from musiclstm.core.token_table import compiled_table
from musiclstm.model.step_features import TokenTable

_COLUMNS: Final = {"notes": 5, "tempos": 2, "meters": 3}
MAX_PARTS: Final = 129 * 8
UNUSED: Final = -1
"""Part of a track without notes."""


@dataclass(frozen=True)
class ScoreArrays:
    """A score in ticks as arrays of int32; events are in any order.

    Attributes:
        ticks_per_quarter: At least 1.
        programs: MIDI program of each track, -1 for drums, (tracks,).
        notes: Tick, duration, pitch, velocity and track of each note, (notes, 5).
        tempos: Tick and microseconds per quarter of each tempo, (tempos, 2).
        meters: Tick, numerator and denominator of each time signature, (meters, 3).
    """

    ticks_per_quarter: int
    programs: np.ndarray
    notes: np.ndarray
    tempos: np.ndarray
    meters: np.ndarray


class ScoreStruct:
    """`Score` of core.h, with the arrays that it points to."""

    def __init__(self, library: Library, score: ScoreArrays) -> None:
        pointer = library.pointer
        counts = ("ticks_per_quarter", "tracks", "note_count", "tempo_count", "meter_count")
        pointers = ("programs", "notes", "tempos", "meters")
        fields = [*((name, np.int32) for name in counts), *((name, pointer) for name in pointers)]
        self.arrays = [library.visible(_int32(getattr(score, name), name)) for name in pointers]
        self.struct = library.zeros(1, np.dtype(fields, align=True))
        lengths = (score.ticks_per_quarter, *map(len, self.arrays))
        self.struct[0] = (*lengths, *map(library.address, self.arrays))
        self.address = library.address(self.struct)


class Remi:
    """Encode and decode token ids; without state, for any number of threads.

    Attributes:
        library: The core.
    """

    def __init__(self, library: Library, table: TokenTable) -> None:
        """Convert the token table.

        Raises:
            ValueError: A token that the core does not support.
        """
        self.library = library
        self._table = compiled_table(library, table)

    @property
    def table(self) -> int:
        """Address of the token table."""
        return self._table.address

    def order_parts(self, score: ScoreArrays) -> np.ndarray:
        """Return the part of each track, 0 for the first one of a bar, (tracks,) int32.

        Raises:
            ValueError: A number of the score is out of range.
        """
        parts = self.library.zeros(len(score.programs), np.int32)
        self._call("remi_order_parts", score, parts)
        return parts

    def encode(self, score: ScoreArrays, part_of_track: np.ndarray | None = None) -> np.ndarray:
        """Return the ids of a score without BOS and EOS, (steps,) int32; none without notes.

        Args:
            score: Left unchanged.
            part_of_track: Part of each track, -1 for tracks to omit, (tracks,). None:
                `order_parts(score)`.

        Raises:
            ValueError: A number of the score or of `part_of_track` is out of range.
        """
        if part_of_track is None:
            part_of_track = self.order_parts(score)
        parts = self.library.visible(np.ascontiguousarray(part_of_track, np.int32))
        if parts.shape != (len(score.programs),):
            raise ValueError(f"{len(parts)} parts were given for {len(score.programs)} tracks.")
        capacity = 2048 + 4 * len(score.notes)
        while True:
            ids = self.library.zeros(capacity, np.int32)
            count = self._call("remi_encode", score, parts, ids, len(ids))
            if count <= capacity:
                return ids[:count]
            capacity = count

    def decode(self, ids: Sequence[int] | np.ndarray) -> tuple[ScoreArrays, np.ndarray]:
        """Return the score of any ids, and the number of each track among those of its program.

        It has 48 ticks per quarter and one track per part, in order of appearance.

        Raises:
            ValueError: More than four million ids, or a piece that is longer than 2^31 ticks.
        """
        tokens = self._ids(ids)
        count, library = len(tokens), self.library
        shapes: dict[str, int | tuple[int, ...]] = {
            "programs": MAX_PARTS,
            "notes": (count // 2, _COLUMNS["notes"]),
            "tempos": (count, _COLUMNS["tempos"]),
            "meters": (count + 1, _COLUMNS["meters"]),
        }
        arrays = {name: library.zeros(shape, np.int32) for name, shape in shapes.items()}
        numbers = library.zeros(MAX_PARTS, np.int32)
        struct = ScoreStruct(library, ScoreArrays(1, **arrays))
        ids_at, numbers_at = map(library.address, (tokens, numbers))
        check(library.call("remi_decode", self.table, ids_at, count, struct.address, numbers_at))
        quarter, *lengths = struct.struct[0].tolist()[:5]
        trimmed = {
            name: array[:length]
            for (name, array), length in zip(arrays.items(), lengths, strict=True)
        }
        return ScoreArrays(quarter, **trimmed), numbers[: lengths[0]]

    def length_ticks(self, ids: Sequence[int] | np.ndarray) -> int:
        """Return the length of all bars in ticks of `decode`."""
        tokens = self._ids(ids)
        at = self.library.address(tokens)
        return int(self.library.call("remi_length_ticks", self.table, at, len(tokens)))

    def _ids(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        limits = np.iinfo(np.int32)  # numbers beyond are not ids either
        tokens = np.clip(np.asarray(ids, np.int64), limits.min, limits.max).astype(np.int32)
        return self.library.visible(np.ascontiguousarray(tokens))

    def _call(self, name: str, score: ScoreArrays, *arguments: Any) -> int:
        """Call a function with the table, a score, arguments and scratch memory."""
        library = self.library
        struct = ScoreStruct(library, score)
        scratch = library.zeros(check(library.call("remi_scratch_bytes", struct.address)), np.uint8)
        found = [library.address(a) if isinstance(a, np.ndarray) else a for a in arguments]
        addresses = self.table, struct.address
        return check(library.call(name, *addresses, *found, library.address(scratch)))


def _int32(values: np.ndarray, name: str) -> np.ndarray:
    array = np.ascontiguousarray(values, np.int32)
    columns = _COLUMNS.get(name)
    if array.shape[1:] != (() if columns is None else (columns,)):
        raise ValueError(f"{name} must have {columns or 'no'} columns, got {array.shape}.")
    return array
