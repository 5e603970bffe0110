"""The bytes of a MIDI file: whatever came -> one plain file that any reader understands.

Walks the table of chunks, and event by event (`midievents`) only where a track is damaged or its
times have to be written anew. Pure Python on bytes. This file does not know symusic, scores,
limits on music, or where the bytes came from.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from musiclstm.errors import ScoreError
from musiclstm.midi.smf_events import END_OF_TRACK, rewrite, tempo_event

MAX_TRACKS = 1_024
MAX_WALKED = 1_000_000  # bytes of a file that are walked event by event: half a second
_ADVICE = "drop a .mid or .midi file"

_HEADER = b"MThd"
_TRACK = b"MTrk"

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
        refuse_long_walk(sum(map(len, bodies)), label=label)
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
    bodies = [rewrite(data[start:stop]).body for start, stop in _track_spans(data, 14)]
    return _assembled(bodies, ticks=ticks)


def refuse_long_walk(size: int, *, label: str) -> None:
    """Refuse to walk more bytes, event by event, than can be done while someone waits.

    Raises:
        ScoreError: There are more.
    """
    if size > MAX_WALKED:
        raise ScoreError(
            f"{label} needs mending over {size:,} bytes, and at most {MAX_WALKED:,} can be mended; "
            "export it again from the program it came from."
        )


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
    if start < 0 or _stranger(data):
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


def _stranger(data: bytes) -> str | None:
    """What people drop by mistake, where its first bytes say so."""
    found = (what for offset, mark, what in _STRANGERS if data.startswith(mark, offset))
    return next(found, None)


def _what_it_is(data: bytes) -> str:
    if stranger := _stranger(data):
        return f"{stranger}, not a MIDI file"
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
    aliens, walked, start = 0, 0, header.stop
    while start + 8 <= len(data) and len(bodies) <= MAX_TRACKS:
        stop, damaged = _chunk_end(data, start)
        if data[start : start + 4] != _TRACK:
            aliens += 1
        elif damaged:
            walked += stop - start
            refuse_long_walk(walked, label=label)
            rewritten = rewrite(data[start + 8 : stop])
            bodies.append(rewritten.body)
            _tell_damage(data, start, stop, complete=rewritten.complete, result=result)
        else:
            body = data[start + 8 : stop]
            if _has_escapes(body) and walked + len(body) <= MAX_WALKED:
                walked += len(body)
                body = _without_escapes(body)
            bodies.append(body)
        start = stop
    _refuse_unusable(len(bodies), size=len(data), label=label)
    if len(bodies) < header.tracks:
        announced = f"{_count(header.tracks, 'track')} its header announces"
        result.repairs.append(f"found only {len(bodies):,} of the {announced}")
    if aliens:
        result.repairs.append(f"left out {_count(aliens, 'chunk')} without music")
    return bodies


def _has_escapes(body: bytes) -> bool:
    """Whether some system message may be more than a beginning (F0) and its end (F7)."""
    return body.count(0xF7) > body.count(0xF0)


def _without_escapes(body: bytes) -> bytes:
    """The track without messages in pieces or sent raw: some readers lose notes at them."""
    rewritten = rewrite(body)
    return rewritten.body if rewritten.complete else body


def _chunk_end(data: bytes, start: int) -> tuple[int, bool]:
    """Where a chunk ends, and whether that is elsewhere than it says."""
    declared = start + 8 + struct.unpack_from(">I", data, start + 4)[0]
    if declared == len(data) or _is_chunk_name(data[declared : declared + 4]):
        return declared, False
    following = data.find(_TRACK, start + 1)
    if following > 0:
        return following, True
    if declared < len(data) and data.endswith(END_OF_TRACK + b"\0", 0, declared):
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
            f"{label} has more than {MAX_TRACKS:,} tracks, the most that can be read; export fewer."
        )


# Times written anew -----------------------------------------------------------------------------


def _retimed(bodies: list[bytes], header: _Header) -> list[bytes]:
    """Patterns of format 2 follow one another; a file in seconds gets its one tempo."""
    bar, start = 4 * header.ticks, 0
    out: list[bytes] = []
    for body in bodies:
        lead = b"" if out or header.mspq is None else tempo_event(header.mspq)
        track = rewrite(body, start=start, lead=lead, tempos=header.mspq is None)
        out.append(track.body)
        if header.format == 2:
            start = -(-track.end // bar) * bar
    return out


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
