"""The bytes of a MIDI file: whatever came -> one plain file that any reader understands.

Walks the table of chunks, and event by event only where a track is damaged or its times have to be
written anew. Pure Python on bytes. This file does not know symusic, scores, limits on music, or
where the bytes came from.
"""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from musiclstm.errors import ScoreError

MAX_TRACKS = 1_024
MAX_TICK = 0x0FFF_FFFF  # the longest time one delta can hold
_ADVICE = "drop a .mid or .midi file"

_HEADER = b"MThd"
_TRACK = b"MTrk"
_END_OF_TRACK = b"\xff\x2f"
_NAME, _TEMPO, _METER, _KEY, _END = 0x03, 0x51, 0x58, 0x59, 0x2F
_META_LENGTHS = {_TEMPO: 3, _METER: 4, _KEY: 2, _END: 0}
_LONGEST_NAME = 127

# Some files carry a few bytes in front of the header (a MacBinary header has 128).
_SEARCHED_FOR_HEADER = 1_024

# Beginnings of what people drop by mistake.
_STRANGERS = (
    (0, b"ID3", "an MP3 recording"),
    (0, b"\xff\xfb", "an MP3 recording"),
    (0, b"OggS", "an Ogg recording"),
    (0, b"fLaC", "a FLAC recording"),
    (4, b"ftyp", "an MP4 recording"),
    (8, b"WAVE", "a WAV recording"),
    (0, b"PK\x03\x04", "a zip archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"<?xml", "an XML document"),
)
_FRAMES_PER_SECOND = {24: 24.0, 25: 25.0, 29: 30_000 / 1_001, 30: 30.0}


@dataclass
class Canonical:
    """A rewritten file and what had to be repaired for it.

    Args:
        data: Header of length 6, format 0 or 1, ticks per quarter note, track chunks only.
        repairs: One clause for each thing a person may want to know.
        cut: Where the file breaks off, such as `breaks off after 41 of 1,203 bytes`; empty if not.
    """

    data: bytes = b""
    repairs: list[str] = field(default_factory=list)
    cut: str = ""


class _Header(NamedTuple):
    format: int
    tracks: int
    ticks: int  # per quarter note
    mspq: int | None  # the only tempo, in microseconds per quarter note, where times are seconds
    stop: int  # where the first chunk begins


class _Rewritten(NamedTuple):
    body: bytes
    end: int  # tick of the last event
    complete: bool  # an end of track was reached


def canonical_midi(data: bytes, *, label: str, limit: int) -> Canonical:
    """Rewrite a MIDI file so that any reader understands it.

    gzip and RIFF wrappers are taken off, bytes before the header and chunks that are no tracks
    are left out, tracks that break off are closed. Patterns of a format 2 file follow one another;
    times counted in film frames (SMPTE) become ticks at 120 quarter notes a minute.

    Args:
        data: What came.
        label: How messages begin, such as `'motif.mid'`.
        limit: Most bytes that a gzip wrapper may hold.

    Raises:
        ScoreError: It is no MIDI file, or nothing of it can be read.
    """
    result = Canonical()
    data = _unwrapped(data, label=label, limit=limit, repairs=result.repairs)
    header = _read_header(data, label=label)
    bodies = _read_tracks(data, header, label=label, result=result)
    if header.format == 2 or header.mspq is not None:
        bodies = _retimed(bodies, header)
    if header.format == 2 and len(bodies) > 1:
        result.repairs.append("read its patterns (format 2) one after another")
    if header.mspq is not None:
        result.repairs.append("read its film frames (SMPTE) as ticks at 120 beats a minute")
    result.data = _assembled(bodies, ticks=header.ticks)
    return result


def mended_midi(data: bytes) -> bytes:
    """Write every track of a canonical file anew, as far as it can be read.

    Only notes, controllers, names, tempos, time and key signatures are kept; notes that never end
    are ended at the end of their track.
    """
    ticks = struct.unpack_from(">H", data, 12)[0]
    bodies = [_rewrite(data[start:stop]).body for start, stop in _track_spans(data, 14)]
    return _assembled(bodies, ticks=ticks)


def _assembled(bodies: list[bytes], *, ticks: int) -> bytes:
    header = _HEADER + struct.pack(">IHHH", 6, int(len(bodies) != 1), len(bodies), ticks)
    chunks = (_TRACK + struct.pack(">I", len(body)) + body for body in bodies)
    return header + b"".join(chunks)


def _track_spans(data: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where the bodies of a canonical file's tracks begin and end."""
    while start < len(data):
        length = struct.unpack_from(">I", data, start + 4)[0]
        yield start + 8, start + 8 + length
        start += 8 + length


# Wrappers and the header ------------------------------------------------------------------------


def _unwrapped(data: bytes, *, label: str, limit: int, repairs: list[str]) -> bytes:
    if not data:
        raise ScoreError(f"{label} is empty (0 bytes); {_ADVICE}.")
    if data[:3] == b"\x1f\x8b\x08":
        data = _gunzip(data, label=label, limit=limit)
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        data = _riff_data(data, label=label)
    start = data.find(_HEADER, 0, _SEARCHED_FOR_HEADER)
    if start < 0:
        raise ScoreError(f"{label} is {_what_it_is(data)}; {_ADVICE}.")
    if start > 0:
        repairs.append(f"left out {_count(start, 'byte')} before the MIDI header")
    return data[start:]


def _gunzip(data: bytes, *, label: str, limit: int) -> bytes:
    try:
        inner = zlib.decompressobj(wbits=31).decompress(data, limit + 1)
    except zlib.error as error:
        raise ScoreError(f"{label} is a damaged gzip file; {_ADVICE}.") from error
    if len(inner) > limit:
        raise ScoreError(f"{label} holds more than {limit:,} bytes once unpacked; {_ADVICE}.")
    return inner


def _riff_data(data: bytes, *, label: str) -> bytes:
    """The `data` chunk of a RIFF file of type RMID."""
    start = 12
    while start + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        if kind == b"data":
            return data[start + 8 : start + 8 + length]
        start += 8 + length + length % 2
    raise ScoreError(f"{label} is a RIFF file without MIDI in it; {_ADVICE}.")


def _what_it_is(data: bytes) -> str:
    for offset, mark, what in _STRANGERS:
        if data.startswith(mark, offset):
            return f"{what}, not a MIDI file"
    text = data[:8].decode("ascii", errors="replace")
    shown = "".join(c if c.isprintable() and c.isascii() else "?" for c in text).strip()
    beginning = f"'{shown}'" if shown.strip("?") else f"the bytes {data[:4].hex(' ')}"
    return f"not a MIDI file (it begins with {beginning})"


def _read_header(data: bytes, *, label: str) -> _Header:
    if len(data) < 14:
        raise ScoreError(
            f"{label} breaks off in its header, after {_count(len(data), 'byte')}; "
            "fetch or export it again."
        )
    length, kind, tracks, division = struct.unpack_from(">IHHh", data, 4)
    ticks, mspq = (division, None) if division > 0 else _ticks_of_frames(division, label=label)
    stop = 8 + length if _is_chunk_name(data[8 + length : 12 + length]) else 14
    return _Header(kind, tracks, ticks, mspq, stop)


def _ticks_of_frames(division: int, *, label: str) -> tuple[int, int]:
    """Ticks and microseconds per quarter note for a division in SMPTE frames."""
    frames, parts = _FRAMES_PER_SECOND.get(-(division >> 8)), division & 0xFF
    if not frames or not parts:
        raise ScoreError(
            f"{label} does not say how long a tick is (its division is {division}); "
            "export it again from the program it came from."
        )
    ticks = max(1, round(frames * parts / 2))
    return ticks, round(1_000_000 * ticks / (frames * parts))


# Chunks -----------------------------------------------------------------------------------------


def _read_tracks(data: bytes, header: _Header, *, label: str, result: Canonical) -> list[bytes]:
    """The bodies of all tracks, damaged ones written anew as far as they can be read."""
    bodies: list[bytes] = []
    aliens, start = 0, header.stop
    while start + 8 <= len(data):
        stop, damaged = _chunk_end(data, start)
        if data[start : start + 4] != _TRACK:
            aliens += 1
        elif damaged:
            rewritten = _rewrite(data[start + 8 : stop])
            bodies.append(rewritten.body)
            _tell_damage(data, start, stop, complete=rewritten.complete, result=result)
        else:
            bodies.append(data[start + 8 : stop])
        start = stop
    _refuse_unusable(len(bodies), size=len(data), label=label)
    if len(bodies) < header.tracks:
        announced = f"{_count(header.tracks, 'track')} its header announces"
        result.repairs.append(f"found only {len(bodies):,} of the {announced}")
    if aliens:
        result.repairs.append(f"left out {_count(aliens, 'chunk')} without music")
    return bodies


def _chunk_end(data: bytes, start: int) -> tuple[int, bool]:
    """Where a chunk ends, and whether that is elsewhere than it says."""
    declared = start + 8 + struct.unpack_from(">I", data, start + 4)[0]
    if declared == len(data) or _is_chunk_name(data[declared : declared + 4]):
        return declared, False
    following = data.find(_TRACK, start + 1)
    if following > 0:
        return following, True
    if declared < len(data) and data.endswith(_END_OF_TRACK + b"\0", 0, declared):
        return len(data), False  # a complete track, then bytes that are no chunk
    return len(data), True


def _is_chunk_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _tell_damage(data: bytes, start: int, stop: int, *, complete: bool, result: Canonical) -> None:
    """Write down that a track is not as long as it says."""
    declared = start + 8 + struct.unpack_from(">I", data, start + 4)[0]
    if complete:
        result.repairs.append("read a track with a wrong length to its real end")
    elif stop == len(data) < declared:
        result.cut = f"breaks off after {stop:,} of {declared:,} bytes"
        result.repairs.append(f"used what comes before the break: it {result.cut}")
    else:
        result.repairs.append("read a damaged track as far as it goes")


def _refuse_unusable(tracks: int, *, size: int, label: str) -> None:
    if tracks == 0:
        raise ScoreError(
            f"{label} has a MIDI header, but no track in its {_count(size, 'byte')}; "
            "fetch or export it again."
        )
    if tracks > MAX_TRACKS:
        raise ScoreError(
            f"{label} has {tracks:,} tracks, and at most {MAX_TRACKS:,} can be read; export fewer."
        )


# Events -----------------------------------------------------------------------------------------


def _rewrite(body: bytes, *, start: int = 0, lead: bytes = b"", tempos: bool = True) -> _Rewritten:
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
        if event == _END_OF_TRACK:
            complete = True
        elif tempos or event[:2] != bytes((0xFF, _TEMPO)):
            out += _delta(end - written) + event
            written = end
            _follow(event, sounding)
    _end_notes(out, sounding, wait=end - written)
    return _Rewritten(bytes(out) + b"\0\xff\x2f\0", end, complete)


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
        if event == _END_OF_TRACK:
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
        return _END_OF_TRACK, stop
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


# Times written anew -----------------------------------------------------------------------------


def _retimed(bodies: list[bytes], header: _Header) -> list[bytes]:
    """Patterns of format 2 follow one another; a file in seconds gets its one tempo."""
    bar, start = 4 * header.ticks, 0
    out: list[bytes] = []
    for body in bodies:
        lead = b"" if out or header.mspq is None else _tempo_event(header.mspq)
        track = _rewrite(body, start=start, lead=lead, tempos=header.mspq is None)
        out.append(track.body)
        if header.format == 2:
            start = -(-track.end // bar) * bar
    return out


def _tempo_event(mspq: int) -> bytes:
    return bytes((0xFF, _TEMPO, 3)) + mspq.to_bytes(3, "big")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
