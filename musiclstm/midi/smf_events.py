"""The events of one track: read as far as they can be, and written anew.

Knows no chunks, no files and no music beyond which note is let go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

MAX_TICK = 0x0FFF_FFFF  # the longest time one delta can hold
END_OF_TRACK = b"\xff\x2f"
_NAME, _TEMPO, _METER, _KEY, _END = 0x03, 0x51, 0x58, 0x59, 0x2F
_META_LENGTHS = {_TEMPO: 3, _METER: 4, _KEY: 2, _END: 0}
_LONGEST_NAME = 127


class Rewritten(NamedTuple):
    """A track written anew.

    Args:
        body: Without its chunk header.
        end: Tick of the last event.
        complete: Whether its own end was reached.
    """

    body: bytes
    end: int
    complete: bool


def rewrite(body: bytes, *, start: int = 0, lead: bytes = b"", tempos: bool = True) -> Rewritten:
    """Write a track anew as far as it can be read, ending the notes that never end.

    Args:
        body: The track without its chunk header.
        start: The tick at which it begins.
        lead: An event to put in front, without its delta.
        tempos: Whether to keep tempo events.
    """
    out = bytearray(b"\0" + lead if lead else b"")
    sounding: Counter[tuple[int, int]] = Counter()
    written, end, complete = 0, start, False
    for tick, event in _events(body):
        end = start + tick
        if end > MAX_TICK:
            end = written
            break
        if event == END_OF_TRACK:
            complete = True
        elif tempos or event[:2] != bytes((0xFF, _TEMPO)):
            out += _delta(end - written) + event
            written = end
            _follow(event, sounding)
    _end_notes(out, sounding, wait=end - written)
    return Rewritten(bytes(out) + b"\0\xff\x2f\0", end, complete)


def _follow(event: bytes, sounding: Counter[tuple[int, int]]) -> None:
    kind, key = event[0] >> 4, (event[0] & 0x0F, event[1])
    if kind == 0x9 and event[2] > 0:
        sounding[key] += 1
    elif kind in (0x8, 0x9) and sounding[key] > 0:
        sounding[key] -= 1


def _end_notes(out: bytearray, sounding: Counter[tuple[int, int]], *, wait: int) -> None:
    for channel, pitch in sorted(sounding.elements()):
        out += _delta(wait) + bytes((0x80 | channel, pitch, 0))
        wait = 0


def _events(body: bytes) -> Iterator[tuple[int, bytes]]:
    """(tick, event with its status byte) as far as the track can be read.

    Only what the music needs comes through. The end of the track, where there is one, comes last.
    """
    position, tick, running = 0, 0, 0
    while True:
        try:
            delta, position = _number(body, position)
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
    """One event (empty where the music does not need it) and where the next one begins."""
    if 0x80 <= status < 0xF0:
        stop = position + (1 if status & 0xE0 == 0xC0 else 2)
        values = body[position:stop]
        if stop > len(body) or not values.isascii():
            raise ValueError("a channel event without its values")
        return bytes((status,)) + values, stop
    if status == 0xFF:
        return _meta(body, position)
    if status in (0xF0, 0xF7):
        length, position = _number(body, position)
        return b"", position + length
    if status in (0xF1, 0xF2, 0xF3):
        return b"", position + (2 if status == 0xF2 else 1)
    if status > 0xF3:
        return b"", position
    raise ValueError("a running status before any status")


def _meta(body: bytes, position: int) -> tuple[bytes, int]:
    kind = body[position]
    length, start = _number(body, position + 1)
    stop = start + length
    if stop > len(body):
        raise IndexError("a meta event that breaks off")
    if kind == _END:
        return END_OF_TRACK, stop
    if kind == _NAME:
        text = body[start:stop][:_LONGEST_NAME]
        return bytes((0xFF, kind, len(text))) + text, stop
    if _META_LENGTHS.get(kind) == length:
        return bytes((0xFF, kind, length)) + body[start:stop], stop
    return b"", stop


def _number(body: bytes, position: int) -> tuple[int, int]:
    """A number of variable length and where it ends; IndexError where it breaks off."""
    value = 0
    for read in range(4):
        byte = body[position + read]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, position + read + 1
    raise ValueError("a number of more than four bytes")


def _delta(ticks: int) -> bytes:
    out = [ticks & 0x7F]
    while ticks := ticks >> 7:
        out.append(0x80 | ticks & 0x7F)
    return bytes(reversed(out))


def tempo_event(mspq: int) -> bytes:
    """A tempo in microseconds per quarter note, without its delta."""
    return bytes((0xFF, _TEMPO, 3)) + mspq.to_bytes(3, "big")
