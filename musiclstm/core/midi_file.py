"""MIDI files in C (midi_*.c): events of a file as arrays, and a file from arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Final

import numpy as np

from musiclstm.core.library import Library, check, load_library

NOT_MIDI: Final = -18
BAD_DIVISION: Final = -19
TOO_MANY_VOICES: Final = -20
CONTROL_CHANGE, PITCH_BEND = 0xB0, 0xE0

_NUMBERS: Final = (
    *("format", "division", "ticks_per_quarter", "declared_tracks", "tracks"),
    *("event_count", "note_count", "control_count", "tempo_count", "meter_count", "key_count"),
    *("text_count", "voice_count", "leading_bytes", "unknown_chunks", "wrong_lengths"),
    *("damaged_tracks", "break_after", "break_of", "out_of_range", "running_after_system"),
    *("endless_notes", "doubled_notes", "lengthless_notes", "shared_events"),
    *("pedalled_ends", "pressures", "master_volumes"),
)
_COLUMNS: Final = {"notes": 5, "controls": 6, "tempos": 2, "meters": 3, "keys": 3, "texts": 5}
_VOICE_COLUMNS: Final = 5
_MAX_VOICES: Final = 1024


class MidiFileError(ValueError):
    """Bytes that are not a MIDI file, or cannot be read.

    Attributes:
        code: `NOT_MIDI`, `BAD_DIVISION` or `TOO_MANY_VOICES`.
    """

    def __init__(self, code: int) -> None:
        """Store the code."""
        super().__init__(f"error {code} of core.h")
        self.code = code


@dataclass(frozen=True)
class MidiTables:
    """Events of a file in ticks, as arrays of int32.

    Attributes:
        ticks_per_quarter: 1 to 32,767.
        notes: Tick, duration, pitch, velocity and voice, (notes, 5).
        controls: Tick, channel, status (0xB0 controller, 0xE0 pitch bend), two data bytes and
            track, (controls, 6). In a file to write, the channel is the index of a voice, and the
            track is not read.
        tempos: Tick and microseconds per quarter note, (tempos, 2).
        meters: Tick, numerator and denominator, (meters, 3); 0 for a denominator above 128.
        keys: Tick, fifths (-7 to 7 in a valid file) and mode (1: minor), (keys, 3).
        texts: Tick, track, type of the meta event (1 to 7), and offset and length of the bytes,
            (texts, 5). In a file to write, track 0 is the first chunk and track 1 the first voice.
        voices: Track, channel, program, bank (controller 0 * 128 + controller 32) and whether it
            is a drum part, (voices, 5).
    """

    ticks_per_quarter: int
    notes: np.ndarray = field(default_factory=partial(np.zeros, (0, 5), np.int32))
    controls: np.ndarray = field(default_factory=partial(np.zeros, (0, 6), np.int32))
    tempos: np.ndarray = field(default_factory=partial(np.zeros, (0, 2), np.int32))
    meters: np.ndarray = field(default_factory=partial(np.zeros, (0, 3), np.int32))
    keys: np.ndarray = field(default_factory=partial(np.zeros, (0, 3), np.int32))
    texts: np.ndarray = field(default_factory=partial(np.zeros, (0, 5), np.int32))
    voices: np.ndarray = field(default_factory=partial(np.zeros, (0, _VOICE_COLUMNS), np.int32))


@dataclass(frozen=True)
class MidiReport:
    """Numbers of a file and of what was repaired; `MidiFile` in core.h describes them."""

    format: int
    declared_tracks: int
    tracks: int
    division: int
    leading_bytes: int
    unknown_chunks: int
    wrong_lengths: int
    damaged_tracks: int
    break_after: int
    break_of: int
    out_of_range: int
    running_after_system: int
    endless_notes: int
    doubled_notes: int
    lengthless_notes: int
    shared_events: int
    pedalled_ends: int
    pressures: int
    master_volumes: int


class _Struct:
    """`MidiFile` of core.h."""

    def __init__(self, library: Library) -> None:
        self.library = library
        numbers = [(name, np.int32) for name in _NUMBERS]
        pointers = [(name, library.pointer) for name in (*_COLUMNS, "voices")]
        self.values = library.zeros(1, np.dtype([*numbers, *pointers], align=True))
        self.address = library.address(self.values)
        self.arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> int:
        return int(self.values[name][0])

    def set(self, name: str, array: np.ndarray) -> None:
        self.arrays[name] = array
        self.values[name] = self.library.address(array)

    def set_count(self, name: str, count: int) -> None:
        self.values[f"{name.removesuffix('s')}_count"] = count

    def count(self, name: str) -> int:
        return self[f"{name.removesuffix('s')}_count"]


def read_tables(data: bytes, library: Library | None = None) -> tuple[MidiTables, MidiReport]:
    """Read the events of a MIDI file; damaged tracks as far as they go.

    Args:
        data: At most 2^31 - 1 bytes, not compressed. Up to 1,024 bytes before the header are
            skipped.
        library: The core; None: that of this machine.

    Raises:
        MidiFileError: Not a MIDI file, or beyond the limits of core.h.
    """
    library = library or load_library()
    content = library.visible(np.frombuffer(data or b"\0", np.uint8))
    at, size, struct = library.address(content), len(data), _Struct(library)
    _call(library, "midi_count", at, size, struct.address)
    for name, columns in _COLUMNS.items():
        struct.set(name, library.zeros((struct.count(name), columns), np.int32))
    struct.set("voices", library.zeros((_MAX_VOICES, _VOICE_COLUMNS), np.int32))
    scratch_bytes = _call(library, "midi_scratch_bytes", struct.address)
    scratch = library.zeros(scratch_bytes, np.uint8)
    _call(library, "midi_read", at, size, struct.address, library.address(scratch))
    found = {name: array[: struct.count(name)] for name, array in struct.arrays.items()}
    report = MidiReport(**{each.name: struct[each.name] for each in fields(MidiReport)})
    return MidiTables(struct["ticks_per_quarter"], **found), report


def write_tables(
    tables: MidiTables, *, end_tick: int, texts: bytes = b"", library: Library | None = None
) -> bytes:
    """Return a MIDI file of format 1; `midi_write` in core.h describes it.

    Args:
        tables: Notes and controls ordered by voice; tracks and channels of voices are not read.
        end_tick: Where every track ends, or at its last event if that is later.
        texts: Bytes of the texts.
        library: The core; None: that of this machine.

    Raises:
        ValueError: A number is out of range, or an event has no voice.
    """
    library = library or load_library()
    struct = _Struct(library)
    struct.values["ticks_per_quarter"] = tables.ticks_per_quarter
    for name in (*_COLUMNS, "voices"):
        array = np.ascontiguousarray(getattr(tables, name), np.int32)
        struct.set(name, library.visible(array))
        struct.set_count(name, len(array))
    scratch = library.zeros(
        check(library.call("midi_write_scratch_bytes", struct.address)), np.uint8
    )
    content = library.visible(np.frombuffer(texts or b"\0", np.uint8))
    capacity = 4096 + 10 * len(tables.notes) + 8 * len(tables.controls) + len(texts)
    while True:
        out = library.zeros(capacity, np.uint8)
        size = check(
            library.call(
                "midi_write",
                *(struct.address, end_tick, library.address(content), len(texts)),
                *(library.address(out), len(out), library.address(scratch)),
            )
        )
        if size <= capacity:
            return bytes(out[:size])
        capacity = size


def _call(library: Library, name: str, *arguments: int) -> int:
    code = int(library.call(name, *arguments))
    if code in (NOT_MIDI, BAD_DIVISION, TOO_MANY_VOICES):
        raise MidiFileError(code)
    return check(code)
