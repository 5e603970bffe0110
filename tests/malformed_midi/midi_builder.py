"""Build MIDI events, chunks and files byte by byte."""

from __future__ import annotations

import struct

END = b"\0\xff\x2f\0"
TEMPO_100 = b"\0\xff\x51\x03\x09\x27\xc0"
THREE_FOUR = b"\0\xff\x58\x04\x03\x02\x18\x08"
READ, REFUSED = "read", "refused"

Cases = dict[str, tuple[str, bytes]]  # name -> expected result and bytes


def encode_variable_int(value: int) -> bytes:
    """Return a quantity of variable length."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | value & 0x7F)
    return bytes(reversed(out))


def note(pitch: int = 60, ticks: int = 480, *, channel: int = 0, delta: int = 0) -> bytes:
    """Return a note-on after `delta` ticks and its note-off `ticks` later."""
    on, off = bytes((0x90 | channel, pitch, 80)), bytes((0x80 | channel, pitch, 0))
    return encode_variable_int(delta) + on + encode_variable_int(ticks) + off


def meta(kind: int, data: bytes = b"", *, delta: int = 0) -> bytes:
    """Return a meta event."""
    return encode_variable_int(delta) + bytes((0xFF, kind)) + encode_variable_int(len(data)) + data


def tempo(mspq: int, *, delta: int = 0) -> bytes:
    """Return a tempo in microseconds per quarter note."""
    return meta(0x51, mspq.to_bytes(3, "big"), delta=delta)


def meter(numerator: int, power: int, *, delta: int = 0) -> bytes:
    """Return a time signature with the denominator 2 ** power."""
    return meta(0x58, bytes((numerator, power, 24, 8)), delta=delta)


def track_name(text: bytes) -> bytes:
    """Return a track name event."""
    return meta(0x03, text)


def chunk(name: bytes, body: bytes, *, length: int | None = None) -> bytes:
    """Return a chunk, optionally with a wrong length."""
    return name + struct.pack(">I", len(body) if length is None else length) + body


def track(*events: bytes, end: bytes = END, length: int | None = None) -> bytes:
    """Return a track chunk."""
    return chunk(b"MTrk", b"".join(events) + end, length=length)


def midi(*chunks: bytes, kind: int = 1, division: int = 480, tracks: int | None = None) -> bytes:
    """Return a file whose header declares format `kind` and `tracks` tracks."""
    count = len(chunks) if tracks is None else tracks
    return b"MThd" + struct.pack(">IHHh", 6, kind, count, division) + b"".join(chunks)


def tune(*before: bytes) -> bytes:
    """Return a track of four quarter notes after some events."""
    return track(*before, *(note(pitch) for pitch in (60, 64, 67, 72)))
