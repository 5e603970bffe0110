"""A file nobody trusts -> a clean Score and a SeedReport, or one sentence.

Page, command, library and corpus all come through here. The steps: read a bounded number of bytes,
rewrite them as a plain file (`midifile`), let symusic parse them, then copy over what the music
needs (`cleaning`), within limits. Nothing else survives, so that what comes later need not be
afraid.

This file does not know tokens, the model or sound.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from symusic.core import ScoreTick

from musiclstm.errors import ScoreError
from musiclstm.midi import analysis
from musiclstm.midi.sanitize import (
    clean_keys,
    clean_meters,
    clean_tempos,
    clean_text,
    copy_controls,
    copy_tracks,
)
from musiclstm.midi.smf import Canonical, canonical_midi, mended_midi, refuse_long_walk
from musiclstm.midi.summary import MidiSummary, summarize

__all__ = [
    "MidiLimits",
    "MidiSummary",
    "check_score",
    "clean_text",
    "read_midi",
    "read_midi_bytes",
]

MOST_TRACKS = 256

_AGAIN = "export it again from the program it came from"
_PARSER_ERRORS = (RuntimeError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class MidiLimits:
    """How much of a file is accepted; the defaults are those for uploads.

    Args:
        bytes: Size of the file.
        notes: Notes of all tracks together, at least one.
        beats: Quarter notes to the end of the last note; also the most bars.
        minutes: Playing time.
    """

    bytes: int = 2_000_000
    notes: int = 60_000
    beats: int = 4_096
    minutes: int = 60

    @classmethod
    def training(cls) -> MidiLimits:
        """Limits for files of one's own: whole symphonies."""
        return cls(bytes=20_000_000, notes=1_000_000, beats=65_536, minutes=600)


UPLOAD = MidiLimits()


def read_midi(
    source: str | Path | bytes, *, name: str | None = None, limits: MidiLimits = UPLOAD
) -> tuple[ScoreTick, MidiSummary]:
    """Read a MIDI file from anywhere.

    Args:
        source: The path of a file, or its bytes.
        name: What messages and the report call it. None: the file's own name, or no name for bytes.
        limits: How much is accepted.

    Returns:
        The score in ticks (sorted; notes, pedals, controllers, bends, tempos, meters and keys; no
        text but cleaned track names; only tracks with notes; nothing after the last note), and
        what it holds.

    Raises:
        ScoreError: It cannot be read, is beyond the limits, or has no notes.
    """
    data, shown = read_bounded(source, name=name, limits=limits)
    return read_midi_bytes(data, name=shown, limits=limits)


def read_bounded(
    source: str | Path | bytes, *, name: str | None = None, limits: MidiLimits = UPLOAD
) -> tuple[bytes, str]:
    """The bytes of a file and a clean name for it: the only place where a file is opened.

    Args:
        source: The path of a file, or its bytes.
        name: What messages call it. None: the file's own name, or no name for bytes.
        limits: At most one byte more than these allow is read.

    Raises:
        ScoreError: It is no regular file, or cannot be opened.
    """
    if isinstance(source, bytes):
        return source, _file_name(name or "")
    shown = _file_name(str(source) if name is None else name)
    return _read_file(Path(source), label=called(shown), most=limits.bytes), shown


def read_midi_bytes(data: bytes, *, name: str, limits: MidiLimits) -> tuple[ScoreTick, MidiSummary]:
    """`read_midi` for bytes and a clean name: everything after the disk, and nothing but numbers.

    All that goes in and comes out can be pickled, so that a helper process can do it.
    """
    label = called(name)
    if len(data) > limits.bytes:
        raise ScoreError(
            f"{label} is larger than {limits.bytes:,} bytes, the most that can be read; "
            "cut it into shorter pieces."
        )
    canonical = canonical_midi(data, label=label, limit=limits.bytes)
    score = _parse(canonical, label=label)
    return check_score(score, name=name, limits=limits, repairs=tuple(canonical.repairs))


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
        name: What messages and the report call it.
        limits: How much is accepted.
        repairs: What was put right before.

    Returns:
        As `read_midi`.

    Raises:
        ScoreError: No notes, or beyond the limits.
    """
    label, told = called(name), list(repairs)
    score = analysis.in_ticks(score)
    _refuse_counts(score, label=label, limits=limits)
    clean = ScoreTick(score.ticks_per_quarter)
    pairs = copy_tracks(score, clean, told)
    for _, new in pairs:
        clean.tracks.append(new)
    end = _refuse_length(clean, label=label, limits=limits)
    clean.tempos = clean_tempos(score, end, told)
    clean.time_signatures = clean_meters(score, end, told)
    _refuse_more(len(clean.time_signatures), limits.beats, "time signatures", label=label)
    clean.key_signatures = clean_keys(score, end)
    copy_controls(pairs, end, told)
    clean.sort()
    report = summarize(clean, name=name, repairs=tuple(told))
    _refuse_time(report, label=label, limits=limits)
    return clean, report


def called(name: str) -> str:
    """How sentences begin that are about a file of this clean name."""
    return f"'{name}'" if name else "This file"


# Bytes ------------------------------------------------------------------------------------------


def _file_name(path: str) -> str:
    """The last part of a path of any system, cleaned: the rest is nobody's business."""
    return clean_text(path.rstrip("/\\").replace("\\", "/").rpartition("/")[2])


def _read_file(path: Path, *, label: str, most: int) -> bytes:
    """At most one byte more than `most`, and only from a regular file."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ScoreError(f"{label} is a folder; pass one .mid or .midi file.")
        if not stat.S_ISREG(mode):
            raise ScoreError(f"{label} is not a regular file; pass a .mid or .midi file.")
        with path.open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError as error:
        raise ScoreError(f"{label} does not exist; pass a .mid or .midi file.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is not one a file can have"
        raise ScoreError(f"{label} cannot be opened ({reason}); pass another file.") from error


def _parse(canonical: Canonical, *, label: str) -> ScoreTick:
    """The score of a canonical file, by the gentlest way that gives notes."""
    plain = _try_to_parse(canonical.data)
    if plain is not None and plain.note_num() > 0:
        return plain
    bent = _try_to_parse(canonical.data, sanitize=True) if plain is None else None
    if bent is not None and bent.note_num() > 0:
        canonical.repairs.append("brought values out of range into the range of MIDI")
        return bent
    if canonical.cut and plain is not None:
        raise ScoreError(f"{label} {canonical.cut}, before its first note; fetch it again.")
    refuse_long_walk(len(canonical.data), label=label)
    mended = _try_to_parse(mended_midi(canonical.data))
    if mended is not None and mended.note_num() > 0:
        canonical.repairs.append("read its tracks as far as they go and ended notes that never end")
        return mended
    if plain is None:
        raise ScoreError(f"{label} is a damaged MIDI file without a readable note; {_AGAIN}.")
    return plain


def _try_to_parse(data: bytes, *, sanitize: bool = False) -> ScoreTick | None:
    try:
        return ScoreTick.from_midi(data, sanitize_data=sanitize)
    except _PARSER_ERRORS:
        return None


# Limits -----------------------------------------------------------------------------------------


def _refuse_counts(score: ScoreTick, *, label: str, limits: MidiLimits) -> None:
    notes = score.note_num()
    tracks = sum(1 for track in score.tracks if len(track.notes))
    if notes == 0:
        raise ScoreError(f"{label} has no notes; choose a file with something to play.")
    _refuse_more(notes, limits.notes, "notes", label=label)
    _refuse_more(tracks, MOST_TRACKS, "tracks with notes", label=label)
    if not 1 <= score.ticks_per_quarter <= 32_767:
        raise ScoreError(
            f"{label} has {score.ticks_per_quarter:,} ticks in a quarter note; "
            "it must be 1 to 32,767."
        )


def _refuse_length(score: ScoreTick, *, label: str, limits: MidiLimits) -> int:
    """The tick where the last note ends."""
    if score.note_num() == 0:
        raise ScoreError(
            f"{label} has no note that can sound; choose a file with something to play."
        )
    end, tpq = analysis.last_note_end(score), score.ticks_per_quarter
    if min(int(track.notes.numpy()["time"].min()) for track in score.tracks) < 0:
        raise ScoreError(f"{label} has notes before its beginning; {_AGAIN}.")
    _refuse_more(-(-end // tpq), limits.beats, "beats", label=label)
    return end


def _refuse_time(report: MidiSummary, *, label: str, limits: MidiLimits) -> None:
    _refuse_more(report.bars, limits.beats, "bars", label=label)
    _refuse_more(int(report.seconds / 60), limits.minutes, "minutes of music", label=label)


def _refuse_more(number: int, most: int, what: str, *, label: str) -> None:
    if number > most:
        raise ScoreError(
            f"{label} has {number:,} {what}, and at most {most:,} can be read; "
            "cut it into shorter pieces."
        )
