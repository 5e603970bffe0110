"""Events of one Standard MIDI File track: parse as far as possible and rewrite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

MAX_TICK = 0x0FFF_FFFF  # largest delta time of the MIDI specification
END_OF_TRACK = b"\xff\x2f"
_NAME, _TEMPO, _METER, _KEY, _END = 0x03, 0x51, 0x58, 0x59, 0x2F
_META_LENGTHS = {_TEMPO: 3, _METER: 4, _KEY: 2, _END: 0}
_MAX_NAME_BYTES = 127


class RewriteResult(NamedTuple):
    """A rewritten track.

    Args:
        body: Event bytes without the chunk header.
        end: Tick of the last event.
        complete: Whether the end-of-track event was reached.
    """

    body: bytes
    end: int
    complete: bool


def rewrite_track(
    body: bytes, *, start: int = 0, lead: bytes = b"", tempos: bool = True
) -> RewriteResult:
    """Rewrite a track as far as it can be parsed, and end unterminated notes.

    Args:
        body: Event bytes without the chunk header.
        start: Tick of the beginning.
        lead: An event to insert at tick 0, without its delta time.
        tempos: Whether to keep tempo events.
    """
    out = bytearray(b"\0" + lead if lead else b"")
    active: Counter[tuple[int, int]] = Counter()  # (channel, pitch) -> open note-ons
    written, end, complete = 0, start, False
    for tick, event in _events(body):
        end = start + tick
        if end > MAX_TICK:
            end = written
            break
        if event == END_OF_TRACK:
            complete = True
        elif tempos or event[:2] != bytes((0xFF, _TEMPO)):
            out += encode_variable_int(end - written) + event
            written = end
            _count_note(event, active)
    delta = end - written
    for channel, pitch in sorted(active.elements()):
        out += encode_variable_int(delta) + bytes((0x80 | channel, pitch, 0))
        delta = 0
    return RewriteResult(bytes(out) + b"\0\xff\x2f\0", end, complete)


def _count_note(event: bytes, active: Counter[tuple[int, int]]) -> None:
    kind, key = event[0] >> 4, (event[0] & 0x0F, event[1])
    if kind == 0x9 and event[2] > 0:
        active[key] += 1
    elif kind in (0x8, 0x9) and active[key] > 0:
        active[key] -= 1


def _events(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tick, event with its status byte) until the end of track or the first error.

    Events that do not affect the music are left out.
    """
    position, tick, running = 0, 0, 0
    while True:
        try:
            delta, position = decode_variable_int(body, position)
            tick += delta
            status = running
            if body[position] & 0x80:
                status, position = body[position], position + 1
                running = status if status < 0xF0 else running
            event, position = _event(body, position, status)
        except (IndexError, ValueError):
            return
        if event:
            yield tick, event
        if event == END_OF_TRACK:
            return


def _event(body: bytes, position: int, status: int) -> tuple[bytes, int]:
    """Return one event (empty if the music does not need it) and the position after it."""
    if 0x80 <= status < 0xF0:
        stop = position + (1 if status & 0xE0 == 0xC0 else 2)
        values = body[position:stop]
        if stop > len(body) or not values.isascii():
            raise ValueError("channel event without data bytes")
        return bytes((status,)) + values, stop
    if status == 0xFF:
        return _meta(body, position)
    if status in (0xF0, 0xF7):
        length, position = decode_variable_int(body, position)
        return b"", position + length
    if status in (0xF1, 0xF2, 0xF3):
        return b"", position + (2 if status == 0xF2 else 1)
    if status > 0xF3:
        return b"", position
    raise ValueError("running status before any status")


def _meta(body: bytes, position: int) -> tuple[bytes, int]:
    kind = body[position]
    length, start = decode_variable_int(body, position + 1)
    stop = start + length
    if stop > len(body):
        raise IndexError("truncated meta event")
    if kind == _END:
        return END_OF_TRACK, stop
    if kind == _NAME:
        text = body[start:stop][:_MAX_NAME_BYTES]
        return bytes((0xFF, kind, len(text))) + text, stop
    if _META_LENGTHS.get(kind) == length:
        return bytes((0xFF, kind, length)) + body[start:stop], stop
    return b"", stop


def decode_variable_int(data: bytes, position: int) -> tuple[int, int]:
    """Return a variable-length quantity and the position after it.

    Raises:
        IndexError: It is truncated.
        ValueError: It has more than four bytes.
    """
    value = 0
    for stop in range(position + 1, position + 5):
        byte = data[stop - 1]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, stop
    raise ValueError("variable-length quantity of more than four bytes")


def encode_variable_int(value: int) -> bytes:
    """Return a variable-length quantity: 7 bits per byte, the high bit set in all but the last."""
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | value & 0x7F)
    return bytes(reversed(out))


def tempo_event(mspq: int) -> bytes:
    """Return a tempo event, in microseconds per quarter note, without its delta time."""
    return bytes((0xFF, _TEMPO, 3)) + mspq.to_bytes(3, "big")
