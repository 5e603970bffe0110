"""Store a text in a MIDI file as a text meta event, which MIDI programs ignore.

The event is at the beginning of the first track. A prefix tells it from other texts.
"""

from __future__ import annotations

from musiclstm.midi.smf_events import decode_variable_int, encode_variable_int

_PREFIX = b"musiclstm recipe "
_HEADER_BYTES, _CHUNK_BYTES = 14, 8
_TRACK, _META, _TEXT = b"MTrk", 0xFF, 0x01
_EMPTY_TRACK = b"\0\xff\x2f\0"
_MAX_EVENTS = 64  # searched for the text, because other programs may insert events before it


def embed_text(midi: bytes, text: str) -> bytes:
    """Return the file with a text in its first track.

    Args:
        midi: A file with a 14-byte header and track chunks only, as symusic writes it. A file
            without tracks gets one.
        text: ASCII.
    """
    content = _PREFIX + text.encode("ascii")
    event = bytes((0, _META, _TEXT)) + encode_variable_int(len(content)) + content
    if midi[_HEADER_BYTES : _HEADER_BYTES + 4] != _TRACK:
        one_track = midi[:10] + (1).to_bytes(2, "big") + midi[12:_HEADER_BYTES]
        midi = one_track + _TRACK + len(_EMPTY_TRACK).to_bytes(4, "big") + _EMPTY_TRACK
    start = _HEADER_BYTES + _CHUNK_BYTES
    size = int.from_bytes(midi[start - 4 : start], "big") + len(event)
    return midi[: start - 4] + size.to_bytes(4, "big") + event + midi[start:]


def extract_text(midi: bytes) -> str | None:
    """Return the text that `embed_text` wrote, or None.

    Reads meta events at the beginning of the first track only, so the time is bounded. Finds the
    text also in a file that another program rewrote.
    """
    position = midi.find(_TRACK, 0, 1_024) + _CHUNK_BYTES
    for _ in range(_MAX_EVENTS):
        if midi[position : position + 2] != bytes((0, _META)):
            return None
        try:
            kind = midi[position + 2]
            size, start = decode_variable_int(midi, position + 3)
        except (IndexError, ValueError):
            return None
        position = start + size
        content = midi[start:position]
        if kind == _TEXT and content.startswith(_PREFIX) and len(content) == size:
            return content[len(_PREFIX) :].decode("ascii", errors="replace")
    return None
