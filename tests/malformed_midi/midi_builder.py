"""The words in which hostile files are written: events, chunks and whole files, byte by byte.

Nothing here is committed as a binary file, so that each case shows what is wrong with it.
"""

from __future__ import annotations

import struct

END = b"\0\xff\x2f\0"
TEMPO_100 = b"\0\xff\x51\x03\x09\x27\xc0"
THREE_FOUR = b"\0\xff\x58\x04\x03\x02\x18\x08"
MUSIC, SENTENCE = "music", "sentence"

Cases = dict[str, tuple[str, bytes]]  # name -> verdict and bytes


def number(value: int) -> bytes:
    """A number of variable length."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | value & 0x7F)
    return bytes(reversed(out))


def note(pitch: int = 60, ticks: int = 480, *, channel: int = 0, wait: int = 0) -> bytes:
    """A note that is struck after `wait` ticks and let go after `ticks` more."""
    on, off = bytes((0x90 | channel, pitch, 80)), bytes((0x80 | channel, pitch, 0))
    return number(wait) + on + number(ticks) + off


def meta(kind: int, data: bytes = b"", *, wait: int = 0) -> bytes:
    """A meta event."""
    return number(wait) + bytes((0xFF, kind)) + number(len(data)) + data


def tempo(mspq: int, *, wait: int = 0) -> bytes:
    """A tempo in microseconds a quarter note."""
    return meta(0x51, mspq.to_bytes(3, "big"), wait=wait)


def meter(above: int, power: int, *, wait: int = 0) -> bytes:
    """A time signature, its denominator as a power of two."""
    return meta(0x58, bytes((above, power, 24, 8)), wait=wait)


def named(text: bytes) -> bytes:
    """The name of a track."""
    return meta(0x03, text)


def chunk(name: bytes, body: bytes, *, length: int | None = None) -> bytes:
    """A chunk that may lie about its length."""
    return name + struct.pack(">I", len(body) if length is None else length) + body


def track(*events: bytes, end: bytes = END, length: int | None = None) -> bytes:
    """A track, closed unless told otherwise."""
    return chunk(b"MTrk", b"".join(events) + end, length=length)


def midi(*chunks: bytes, kind: int = 1, division: int = 480, tracks: int | None = None) -> bytes:
    """A file with a header of length 6; `tracks`: how many it announces."""
    count = len(chunks) if tracks is None else tracks
    return b"MThd" + struct.pack(">IHHh", 6, kind, count, division) + b"".join(chunks)


def tune(*before: bytes) -> bytes:
    """Four quarter notes, after whatever comes first."""
    return track(*before, *(note(pitch) for pitch in (60, 64, 67, 72)))
