"""Read the events of any MIDI file that can be read, and say what was repaired."""

from __future__ import annotations

import struct
import zlib

from musiclstm.core.midi_file import (
    BAD_DIVISION,
    NOT_MIDI,
    MidiFileError,
    MidiReport,
    MidiTables,
    read_tables,
)
from musiclstm.errors import ScoreError
from musiclstm.midi.summary import pluralize

MAX_TRACKS = 1_024
_ADVICE = "choose a .mid or .midi file"
EXPORT_AGAIN = "export it again from the program that wrote it"

_HEADER = b"MThd"
_HEADER_BYTES = 14
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


def read_events(data: bytes, *, label: str, limit: int) -> tuple[MidiTables, list[str], bytes]:
    """Read the events of a MIDI file, gzip and RIFF files included.

    Args:
        data: Content of the file.
        label: Subject of error messages, such as `'motif.mid'`.
        limit: Maximum size in bytes of unpacked gzip data.

    Returns:
        The events, one clause per repair, and the unpacked bytes, to which the texts refer.

    Raises:
        ScoreError: Not a MIDI file, or it has no note that can be read.
    """
    data = _unwrap(data, label=label, limit=limit)
    try:
        tables, report = read_tables(data)
    except MidiFileError as error:
        raise ScoreError(_refusal(error.code, data, label)) from error
    _check_tracks(report, size=len(data), label=label)
    if not len(tables.notes):
        _refuse_without_notes(report, label)
    return tables, _repairs(report, is_riff=data[:4] == b"RIFF"), data


# Wrappers ---------------------------------------------------------------------------------------


def _unwrap(data: bytes, *, label: str, limit: int) -> bytes:
    if not data:
        raise ScoreError(f"{label} is empty (0 bytes); {_ADVICE}.")
    if data[:3] == b"\x1f\x8b\x08":
        data = _decompress_gzip(data, label=label, limit=limit)
    if data[:4] == b"RIFF" and data[8:12] == b"RMID":
        data = _riff_data(data, label=label)
    if _HEADER not in data[:_MAX_HEADER_OFFSET] or _other_format(data):
        raise ScoreError(f"{label} is {_describe(data)}; {_ADVICE}.")
    return data


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
            content = data[start + 8 : start + 8 + length]
            return content if _HEADER in content else data[start + 8 :]  # an unfinished length
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


# Refusals ---------------------------------------------------------------------------------------


def _refusal(code: int, data: bytes, label: str) -> str:
    start = data.find(_HEADER)
    if code == NOT_MIDI:
        there = pluralize(len(data) - start, "byte")
        return f"{label} breaks off in its header, after {there}; fetch or export it again."
    if code == BAD_DIVISION:
        division = struct.unpack_from(">h", data, start + 12)[0]
        return f"{label} has an invalid time division ({division}); {EXPORT_AGAIN}."
    return f"{label} has more than 1,024 tracks and programs with notes; export fewer."


def _check_tracks(report: MidiReport, *, size: int, label: str) -> None:
    if report.tracks == 0:
        raise ScoreError(
            f"{label} has a MIDI header, but no track in its {pluralize(size, 'byte')}; "
            "fetch or export it again."
        )
    if report.tracks > MAX_TRACKS:
        raise ScoreError(
            f"{label} has more than {MAX_TRACKS:,} tracks, the most that can be read; export fewer."
        )


def _refuse_without_notes(report: MidiReport, label: str) -> None:
    if report.break_after:
        raise ScoreError(f"{label} {_break_of(report)}, before its first note; fetch it again.")
    if report.damaged_tracks or report.wrong_lengths:
        raise ScoreError(f"{label} is a damaged MIDI file without a readable note; {EXPORT_AGAIN}.")


# Repairs ----------------------------------------------------------------------------------------


def _break_of(report: MidiReport) -> str:
    return f"breaks off after {report.break_after:,} of {report.break_of:,} bytes"


def _repairs(report: MidiReport, *, is_riff: bool) -> list[str]:
    """Return one clause per repair."""
    found = report.tracks
    declared = f"{pluralize(report.declared_tracks, 'track')} that its header declares"
    clauses = (
        (
            report.leading_bytes and not is_riff,
            f"left out {pluralize(report.leading_bytes, 'byte')} before the MIDI header",
        ),
        (report.wrong_lengths, "read a track with a wrong length to its real end"),
        (report.break_after, f"used what comes before the break: it {_break_of(report)}"),
        (report.damaged_tracks, "read a damaged track as far as it goes"),
        (found < report.declared_tracks, f"found only {found:,} of the {declared}"),
        (
            report.unknown_chunks,
            f"left out {pluralize(report.unknown_chunks, 'chunk')} without music",
        ),
        (
            report.format == 2 and found > 1,
            "read its patterns (format 2) one after another",
        ),
        (report.division < 0, "converted SMPTE time to ticks at 120 beats per minute"),
        (report.out_of_range, "brought values out of range into the range of MIDI"),
        (report.running_after_system, "read events without a status after system messages"),
        (report.endless_notes, f"ended {pluralize(report.endless_notes, 'note')} without an end"),
        (
            report.doubled_notes,
            f"left out {pluralize(report.doubled_notes, 'note')} without length that double others",
        ),
        (
            report.lengthless_notes,
            f"gave {pluralize(report.lengthless_notes, 'note')} without length a twelfth of a beat",
        ),
        (
            report.pedalled_ends,
            f"let the pedal, pressed as they end, hold {pluralize(report.pedalled_ends, 'note')}",
        ),
        (report.pressures, f"left out {pluralize(report.pressures, 'value')} of aftertouch"),
        (
            report.master_volumes,
            f"left out {pluralize(report.master_volumes, 'master volume')}; channels keep theirs",
        ),
        (
            report.shared_events,
            "gave tracks that share a channel their own instruments and controllers",
        ),
    )
    return [clause for applies, clause in clauses if applies]
