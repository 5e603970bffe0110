"""A text written into a MIDI file, where every program that reads MIDI passes over it.

One text event at the beginning of the first track, behind a mark of our own. Knows bytes only:
neither scores, nor what the text says.
"""

from __future__ import annotations

_MARK = b"musiclstm recipe "
_HEADER_BYTES, _CHUNK_BYTES = 14, 8
_TRACK, _META, _TEXT = b"MTrk", 0xFF, 0x01
_EMPTY_TRACK = b"\0\xff\x2f\0"
_MOST_EVENTS = 64  # that may stand before it, where another program wrote the file anew


def embed_text(midi: bytes, text: str) -> bytes:
    """The file with a text in its first track.

    Args:
        midi: As symusic writes it: a plain header, then tracks only; none will do.
        text: ASCII.
    """
    content = _MARK + text.encode("ascii")
    event = bytes((0, _META, _TEXT)) + _length(len(content)) + content
    if midi[_HEADER_BYTES : _HEADER_BYTES + 4] != _TRACK:
        one_track = midi[:10] + (1).to_bytes(2, "big") + midi[12:_HEADER_BYTES]
        midi = one_track + _TRACK + len(_EMPTY_TRACK).to_bytes(4, "big") + _EMPTY_TRACK
    start = _HEADER_BYTES + _CHUNK_BYTES
    size = int.from_bytes(midi[start - 4 : start], "big") + len(event)
    return midi[: start - 4] + size.to_bytes(4, "big") + event + midi[start:]


def extract_text(midi: bytes) -> str | None:
    """The text that `embed_text` wrote, also where another program wrote the file anew; else None.

    Only what stands at the beginning of the first track is looked at, so that no file can take
    long.
    """
    at = midi.find(_TRACK, 0, 1_024) + _CHUNK_BYTES
    for _ in range(_MOST_EVENTS):
        if midi[at : at + 2] != bytes((0, _META)) or len(midi) < at + 4:
            return None
        kind = midi[at + 2]
        size, at = _read_length(midi, at + 3)
        content = midi[at : at + size]
        if kind == _TEXT and content.startswith(_MARK) and len(content) == size:
            return content[len(_MARK) :].decode("ascii", errors="replace")
        at += size
    return None


def _length(number: int) -> bytes:
    out = [number & 0x7F]
    while number := number >> 7:
        out.append(0x80 | number & 0x7F)
    return bytes(reversed(out))


def _read_length(midi: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    number = 0
    for byte in midi[at : at + 4]:
        number, at = number << 7 | byte & 0x7F, at + 1
        if byte < 0x80:
            break
    return number, at
