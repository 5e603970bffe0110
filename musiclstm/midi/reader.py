"""Read untrusted MIDI files within limits.

All callers (library, command line, page, training) read MIDI here. Steps: read at most the
permitted number of bytes, read their events (`smf`), make a score of them (`score_tables`), and
copy what the music needs (`sanitize`).
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, replace
from pathlib import Path

from symusic.core import ScoreTick, TimeSignatureTickList

from musiclstm.errors import ScoreError
from musiclstm.midi import analysis
from musiclstm.midi.sanitize import (
    clean_keys,
    clean_meters,
    clean_tempos,
    clean_text,
    copy_controls,
    copy_tracks,
    report_unread_meters,
)
from musiclstm.midi.score_tables import to_score, unkept_texts
from musiclstm.midi.smf import EXPORT_AGAIN, read_events
from musiclstm.midi.summary import MidiSummary, summarize

__all__ = [
    "MidiLimits",
    "MidiSummary",
    "check_score",
    "clean_text",
    "read_midi",
    "read_midi_bytes",
]

MAX_TRACKS_WITH_NOTES = 256
MAX_TICK = 2**31 - 1


@dataclass(frozen=True)
class MidiLimits:
    """Largest accepted MIDI file. The defaults are for uploads.

    Args:
        bytes: File size, also after unpacking.
        notes: Notes of all tracks together.
        beats: Quarter notes to the end of the last note. Also the limit of bars and meter changes.
        minutes: Playing time.
    """

    bytes: int = 2_000_000
    notes: int = 60_000
    beats: int = 4_096
    minutes: int = 60

    @classmethod
    def training(cls) -> MidiLimits:
        """Return the limits for training data, large enough for symphonies."""
        return cls(bytes=20_000_000, notes=1_000_000, beats=65_536, minutes=600)


UPLOAD = MidiLimits()


def read_midi(
    source: str | Path | bytes, *, name: str | None = None, limits: MidiLimits = UPLOAD
) -> tuple[ScoreTick, MidiSummary]:
    """Read a MIDI file.

    Args:
        source: Path of a file, or its bytes.
        name: Name in messages and in the summary. None: the name of the file; bytes have none.
        limits: Largest accepted file.

    Returns:
        The sorted score in ticks, and its summary. The score has notes, pedals, controllers, pitch
        bends, tempos, time and key signatures, and cleaned track names. It has no other text, no
        track without notes, no notes or controllers after the last note, and nothing after the
        last bar line.

    Raises:
        ScoreError: The file cannot be read, exceeds the limits, or has no notes.
    """
    data, file_name = read_bounded(source, name=name, limits=limits)
    return read_midi_bytes(data, name=file_name, limits=limits)


def read_bounded(
    source: str | Path | bytes, *, name: str | None = None, limits: MidiLimits = UPLOAD
) -> tuple[bytes, str]:
    """Return the bytes of a file and its cleaned name.

    Args:
        source: Path of a file, or its bytes.
        name: Name in messages. None: the name of the file; bytes have none.
        limits: At most one byte more than permitted is read.

    Raises:
        ScoreError: Not a regular file, or it cannot be opened.
    """
    if isinstance(source, bytes):
        return source, _file_name(name or "")
    file_name = _file_name(str(source) if name is None else name)
    return _read_file(Path(source), label=label_of(file_name), limit=limits.bytes), file_name


def read_midi_bytes(data: bytes, *, name: str, limits: MidiLimits) -> tuple[ScoreTick, MidiSummary]:
    """Read bytes that have a cleaned name, as `read_midi` does.

    Arguments and results can be pickled, so a sandbox worker can run it.
    """
    label = label_of(name)
    if len(data) > limits.bytes:
        raise ScoreError(
            f"{label} is larger than {limits.bytes:,} bytes, the most that can be read; "
            "cut it into shorter pieces."
        )
    tables, repairs, content = read_events(data, label=label, limit=limits.bytes)
    score = to_score(tables, content)
    clean, summary = check_score(score, name=name, limits=limits, repairs=tuple(repairs))
    return clean, replace(summary, unkept=unkept_texts(tables))


def check_score(
    score: analysis.AnyScore,
    *,
    name: str = "",
    limits: MidiLimits = UPLOAD,
    repairs: tuple[str, ...] = (),
) -> tuple[ScoreTick, MidiSummary]:
    """Copy from a score what the music needs, within the limits.

    Args:
        score: In any time unit; left unchanged.
        name: Name in messages and in the summary.
        limits: Largest accepted score.
        repairs: Repairs so far, one clause each.

    Returns:
        As `read_midi`.

    Raises:
        ScoreError: No notes, or beyond the limits.
    """
    label, all_repairs = label_of(name), list(repairs)
    score = analysis.in_ticks(score)
    _check_counts(score, label=label, limits=limits)
    clean = ScoreTick(score.ticks_per_quarter)
    pairs = copy_tracks(score, all_repairs)
    for _, new in pairs:
        clean.tracks.append(new)
    end = _checked_end(clean, label=label, limits=limits)
    clean.time_signatures = clean_meters(score, end, all_repairs)
    _check_at_most(len(clean.time_signatures), limits.beats, "time signatures", label=label)
    stop = _last_tick(clean, clean_meters(score, MAX_TICK, []), end) + 1
    clean.time_signatures = clean_meters(score, stop, [])
    report_unread_meters(clean.time_signatures, all_repairs)
    clean.tempos = clean_tempos(score, stop, all_repairs)
    clean.key_signatures = clean_keys(score, stop)
    copy_controls(pairs, end, all_repairs)
    for track in clean.tracks:
        track.notes.sort()
    summary = summarize(clean, name=name, repairs=tuple(all_repairs))
    _check_at_most(summary.bars, limits.beats, "bars", label=label)
    minutes = int(summary.seconds / 60)
    _check_at_most(minutes, limits.minutes, "minutes of music", label=label)
    return clean, summary


def label_of(name: str) -> str:
    """Return the subject of messages about a file with this cleaned name."""
    return f"'{name}'" if name else "This file"


# Bytes ------------------------------------------------------------------------------------------


def _file_name(path: str) -> str:
    """Return the cleaned last part of a POSIX or Windows path. Messages show no folders."""
    return clean_text(path.rstrip("/\\").replace("\\", "/").rpartition("/")[2])


def _read_file(path: Path, *, label: str, limit: int) -> bytes:
    """Return at most `limit + 1` bytes of a regular file."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ScoreError(f"{label} is a folder; pass one .mid or .midi file.")
        if not stat.S_ISREG(mode):
            raise ScoreError(f"{label} is not a regular file; pass a .mid or .midi file.")
        with path.open("rb") as file:
            return file.read(limit + 1)
    except FileNotFoundError as error:
        raise ScoreError(f"{label} does not exist; pass a .mid or .midi file.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "invalid file name"
        raise ScoreError(f"{label} cannot be opened ({reason}); pass another file.") from error


# Limits -----------------------------------------------------------------------------------------


def _check_counts(score: ScoreTick, *, label: str, limits: MidiLimits) -> None:
    notes = score.note_num()
    tracks = sum(1 for track in score.tracks if len(track.notes))
    if notes == 0:
        raise ScoreError(f"{label} has no notes; choose a file with something to play.")
    _check_at_most(notes, limits.notes, "notes", label=label)
    _check_at_most(tracks, MAX_TRACKS_WITH_NOTES, "tracks with notes", label=label)
    if not 1 <= score.ticks_per_quarter <= 32_767:
        raise ScoreError(
            f"{label} has {score.ticks_per_quarter:,} ticks in a quarter note; "
            "it must be 1 to 32,767."
        )


def _checked_end(score: ScoreTick, *, label: str, limits: MidiLimits) -> int:
    """Return the tick where the last note ends."""
    if score.note_num() == 0:
        raise ScoreError(
            f"{label} has no note that can sound; choose a file with something to play."
        )
    end, tpq = analysis.last_note_end(score), score.ticks_per_quarter
    if min(int(track.notes.numpy()["time"].min()) for track in score.tracks) < 0:
        raise ScoreError(f"{label} has notes before its beginning; {EXPORT_AGAIN}.")
    _check_at_most(-(-end // tpq), limits.beats, "beats", label=label)
    return end


def _last_tick(score: ScoreTick, meters: TimeSignatureTickList, end: int) -> int:
    """Return the tick of the last bar line: its tempo, meter and key are those of what follows.

    Args:
        score: With the time signatures before the end.
        meters: All of them. One in the last bar ends it.
        end: Of the last note.
    """
    last_line = int(analysis.bar_starts(score)[-1])
    return min([max(end - 1, last_line), *(each.time for each in meters if each.time >= end)])


def _check_at_most(number: int, limit: int, what: str, *, label: str) -> None:
    if number > limit:
        raise ScoreError(
            f"{label} has {number:,} {what}, and at most {limit:,} can be read; "
            "cut it into shorter pieces."
        )
