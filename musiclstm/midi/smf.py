"""Convert any readable MIDI file to a plain Standard MIDI File.

Tracks are parsed event by event (`smf_events`) only if they are damaged or their times change.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

from musiclstm.errors import ScoreError
from musiclstm.midi.smf_events import END_OF_TRACK, rewrite_track, tempo_event
from musiclstm.midi.summary import pluralize

MAX_TRACKS = 1_024
MAX_REWRITE_BYTES = 1_000_000  # parsed event by event in Python: half a second
_ADVICE = "choose a .mid or .midi file"
EXPORT_AGAIN = "export it again from the program that wrote it"

_HEADER = b"MThd"
_TRACK = b"MTrk"
_MAX_HEADER_OFFSET = 1_024  # some files have bytes before the header, such as MacBinary's 128

# (offset, bytes, what it is) of files that users choose by mistake.
_OTHER_FORMATS = (
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
class CanonicalMidi:
    """A converted file and its repairs.

    Args:
        data: Header of length 6, format 0 or 1, ticks per quarter note, track chunks only.
        repairs: One clause per repair.
        truncation: Where the file ends too early, such as `breaks off after 41 of 1,203 bytes`, or
            empty.
    """

    data: bytes = b""
    repairs: list[str] = field(default_factory=list)
    truncation: str = ""


class _Header(NamedTuple):
    format: int
    tracks: int
    ticks: int  # per quarter note
    mspq: int | None  # microseconds per quarter note of SMPTE time; None: tempo events apply
    stop: int  # offset of the first chunk


def canonical_midi(data: bytes, *, label: str, limit: int) -> CanonicalMidi:
    """Convert a MIDI file to one that any reader understands.

    Removes gzip and RIFF wrappers, bytes before the header and unknown chunks. Closes truncated
    tracks. Concatenates the patterns of format 2. Converts SMPTE time to ticks at 120 quarter notes
    per minute.

    Args:
        data: Content of the file.
        label: Subject of error messages, such as `'motif.mid'`.
        limit: Maximum size in bytes of unpacked gzip data.

    Raises:
        ScoreError: Not a MIDI file, or nothing of it can be read.
    """
    result = CanonicalMidi()
    data = _unwrap(data, label=label, limit=limit, repairs=result.repairs)
    header = _read_header(data, label=label)
    bodies = _read_tracks(data, header, label=label, result=result)
    if header.format == 2 or header.mspq is not None:
        check_rewrite_size(sum(map(len, bodies)), label=label)
        bodies = _convert_times(bodies, header)
    if header.format == 2 and len(bodies) > 1:
        result.repairs.append("read its patterns (format 2) one after another")
    if header.mspq is not None:
        result.repairs.append("converted SMPTE time to ticks at 120 beats per minute")
    result.data = _assemble(bodies, ticks=header.ticks)
    return result


def repair_tracks(data: bytes) -> bytes:
    """Rewrite every track of a canonical file as far as it can be parsed.

    Keeps notes, controllers, track names, tempos, time and key signatures. Unterminated notes end
    at the end of their track.
    """
    ticks = struct.unpack_from(">H", data, 12)[0]
    bodies, start = [], 14
    while start < len(data):
        stop = start + 8 + struct.unpack_from(">I", data, start + 4)[0]
        bodies.append(rewrite_track(data[start + 8 : stop]).body)
        start = stop
    return _assemble(bodies, ticks=ticks)


def check_rewrite_size(size: int, *, label: str) -> None:
    """Check that so many bytes can be parsed in Python while a user waits.

    Raises:
        ScoreError: More than `MAX_REWRITE_BYTES`.
    """
    if size > MAX_REWRITE_BYTES:
        raise ScoreError(
            f"{label} needs repairs over {size:,} bytes, and at most {MAX_REWRITE_BYTES:,} can be "
            f"repaired; {EXPORT_AGAIN}."
        )


def _assemble(bodies: list[bytes], *, ticks: int) -> bytes:
    header = _HEADER + struct.pack(">IHHH", 6, int(len(bodies) != 1), len(bodies), ticks)
    chunks = (_TRACK + struct.pack(">I", len(body)) + body for body in bodies)
    return header + b"".join(chunks)


# Wrappers and the header ------------------------------------------------------------------------


def _unwrap(data: bytes, *, label: str, limit: int, repairs: list[str]) -> bytes:
    if not data:
        raise ScoreError(f"{label} is empty (0 bytes); {_ADVICE}.")
    if data[:3] == b"\x1f\x8b\x08":
        data = _decompress_gzip(data, label=label, limit=limit)
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        data = _riff_data(data, label=label)
    start = data.find(_HEADER, 0, _MAX_HEADER_OFFSET)
    if start < 0 or _other_format(data):
        raise ScoreError(f"{label} is {_describe(data)}; {_ADVICE}.")
    if start > 0:
        repairs.append(f"left out {pluralize(start, 'byte')} before the MIDI header")
    return data[start:]


def _decompress_gzip(data: bytes, *, label: str, limit: int) -> bytes:
    try:
        inner = zlib.decompressobj(wbits=31).decompress(data, limit + 1)
    except zlib.error as error:
        raise ScoreError(f"{label} is a damaged gzip file; {_ADVICE}.") from error
    if len(inner) > limit:
        raise ScoreError(f"{label} holds more than {limit:,} bytes once unpacked; {_ADVICE}.")
    return inner


def _riff_data(data: bytes, *, label: str) -> bytes:
    """Return the `data` chunk of a RIFF file of type RMID."""
    start = 12
    while start + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, start)
        if kind == b"data":
            return data[start + 8 : start + 8 + length]
        start += 8 + length + length % 2
    raise ScoreError(f"{label} is a RIFF file without MIDI in it; {_ADVICE}.")


def _other_format(data: bytes) -> str | None:
    """Return what the first bytes identify, such as `an MP3 recording`."""
    found = (what for offset, mark, what in _OTHER_FORMATS if data.startswith(mark, offset))
    return next(found, None)


def _describe(data: bytes) -> str:
    if other := _other_format(data):
        return f"{other}, not a MIDI file"
    text = data[:8].decode("ascii", errors="replace")
    shown = "".join(c if c.isprintable() and c.isascii() else "?" for c in text).strip()
    beginning = f"'{shown}'" if shown.strip("?") else f"the bytes {data[:4].hex(' ')}"
    return f"not a MIDI file (it begins with {beginning})"


def _read_header(data: bytes, *, label: str) -> _Header:
    if len(data) < 14:
        raise ScoreError(
            f"{label} breaks off in its header, after {pluralize(len(data), 'byte')}; "
            "fetch or export it again."
        )
    length, kind, tracks, division = struct.unpack_from(">IHHh", data, 4)
    ticks, mspq = (division, None) if division > 0 else _ticks_of_frames(division, label=label)
    stop = 8 + length if _is_chunk_name(data[8 + length : 12 + length]) else 14
    return _Header(kind, tracks, ticks, mspq, stop)


def _ticks_of_frames(division: int, *, label: str) -> tuple[int, int]:
    """Return ticks and microseconds per quarter note for an SMPTE division."""
    frames, subframes = _FRAMES_PER_SECOND.get(-(division >> 8)), division & 0xFF
    if not frames or not subframes:
        raise ScoreError(f"{label} has an invalid time division ({division}); {EXPORT_AGAIN}.")
    ticks = max(1, round(frames * subframes / 2))
    return ticks, round(1_000_000 * ticks / (frames * subframes))


# Chunks -----------------------------------------------------------------------------------------


def _read_tracks(data: bytes, header: _Header, *, label: str, result: CanonicalMidi) -> list[bytes]:
    """Return the event bytes of all tracks, with damaged tracks rewritten."""
    bodies: list[bytes] = []
    unknown, rewritten_bytes, start = 0, 0, header.stop
    while start + 8 <= len(data) and len(bodies) <= MAX_TRACKS:
        stop, damaged = _chunk_end(data, start)
        if data[start : start + 4] != _TRACK:
            unknown += 1
        elif damaged:
            rewritten_bytes += stop - start
            check_rewrite_size(rewritten_bytes, label=label)
            rewritten = rewrite_track(data[start + 8 : stop])
            bodies.append(rewritten.body)
            _add_length_repair(data, start, stop, complete=rewritten.complete, result=result)
        else:
            body = data[start + 8 : stop]
            # symusic loses notes at split and raw system messages, which have more F7 than F0.
            split = body.count(0xF7) > body.count(0xF0)
            if split and rewritten_bytes + len(body) <= MAX_REWRITE_BYTES:
                rewritten_bytes += len(body)
                rewritten = rewrite_track(body)
                body = rewritten.body if rewritten.complete else body
            bodies.append(body)
        start = stop
    _check_track_count(len(bodies), size=len(data), label=label)
    if len(bodies) < header.tracks:
        declared = f"{pluralize(header.tracks, 'track')} that its header declares"
        result.repairs.append(f"found only {len(bodies):,} of the {declared}")
    if unknown:
        result.repairs.append(f"left out {pluralize(unknown, 'chunk')} without music")
    return bodies


def _chunk_end(data: bytes, start: int) -> tuple[int, bool]:
    """Return where a chunk ends, and whether that differs from its declared length."""
    declared = start + 8 + struct.unpack_from(">I", data, start + 4)[0]
    if declared == len(data) or _is_chunk_name(data[declared : declared + 4]):
        return declared, False
    following = data.find(_TRACK, start + 1)
    if following > 0:
        return following, True
    if declared < len(data) and data.endswith(END_OF_TRACK + b"\0", 0, declared):
        return len(data), False  # a complete track, then bytes that are not a chunk
    return len(data), True


def _is_chunk_name(name: bytes) -> bool:
    return len(name) == 4 and all(0x20 <= byte < 0x7F for byte in name)


def _add_length_repair(
    data: bytes, start: int, stop: int, *, complete: bool, result: CanonicalMidi
) -> None:
    """Add the repair of a track whose declared length is wrong."""
    declared = start + 8 + struct.unpack_from(">I", data, start + 4)[0]
    if complete:
        result.repairs.append("read a track with a wrong length to its real end")
    elif stop == len(data) < declared:
        result.truncation = f"breaks off after {stop:,} of {declared:,} bytes"
        result.repairs.append(f"used what comes before the break: it {result.truncation}")
    else:
        result.repairs.append("read a damaged track as far as it goes")


def _check_track_count(tracks: int, *, size: int, label: str) -> None:
    if tracks == 0:
        raise ScoreError(
            f"{label} has a MIDI header, but no track in its {pluralize(size, 'byte')}; "
            "fetch or export it again."
        )
    if tracks > MAX_TRACKS:
        raise ScoreError(
            f"{label} has more than {MAX_TRACKS:,} tracks, the most that can be read; export fewer."
        )


# Times ------------------------------------------------------------------------------------------


def _convert_times(bodies: list[bytes], header: _Header) -> list[bytes]:
    """Concatenate the patterns of format 2 at bar lines, and set the tempo of SMPTE time."""
    bar, start = 4 * header.ticks, 0
    out: list[bytes] = []
    for body in bodies:
        lead = b"" if out or header.mspq is None else tempo_event(header.mspq)
        track = rewrite_track(body, start=start, lead=lead, tempos=header.mspq is None)
        out.append(track.body)
        if header.format == 2:
            start = -(-track.end // bar) * bar
    return out
