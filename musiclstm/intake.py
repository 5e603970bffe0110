"""A file nobody trusts -> a clean Score and a SeedReport, or one sentence.

Page, command, library and corpus all come through here. The steps: read a bounded number of bytes,
rewrite them as a plain file (`midifile`), let symusic parse them, then copy over what the music
needs, within limits. Nothing else survives, so that what comes later need not be afraid.

This file does not know tokens, the model or sound.
"""

from __future__ import annotations

import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from symusic.core import (
    ControlChangeTickList,
    KeySignatureTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTickList,
    ScoreTick,
    TempoTickList,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm import analysis
from musiclstm.errors import ScoreError
from musiclstm.midifile import Canonical, canonical_midi, mended_midi
from musiclstm.report import SeedReport, TrackReport, count, report_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "Limits",
    "SeedReport",
    "TrackReport",
    "check_score",
    "clean_text",
    "read_midi",
    "read_midi_bytes",
]

SLOWEST_BPM, FASTEST_BPM = 10, 300
LARGEST_NUMERATOR, LARGEST_DENOMINATOR = 32, 32
MOST_TRACKS = 256
MOST_CONTROLS = 200_000
MOST_TEMPOS = 16_384
LONGEST_NAME = 80

_AGAIN = "export it again from the program it came from"
_PEDAL = 64
_PARSER_ERRORS = (RuntimeError, ValueError, OverflowError, MemoryError)


@dataclass(frozen=True)
class Limits:
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
    def training(cls) -> Limits:
        """Limits for files of one's own: whole symphonies."""
        return cls(bytes=20_000_000, notes=1_000_000, beats=65_536, minutes=600)


UPLOAD = Limits()


def read_midi(
    source: str | Path | bytes, *, name: str | None = None, limits: Limits = UPLOAD
) -> tuple[ScoreTick, SeedReport]:
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
    if isinstance(source, bytes):
        return read_midi_bytes(source, name=_file_name(name or ""), limits=limits)
    shown = _file_name(str(source) if name is None else name)
    data = _read_file(Path(source), label=_label(shown), most=limits.bytes)
    return read_midi_bytes(data, name=shown, limits=limits)


def read_midi_bytes(data: bytes, *, name: str, limits: Limits) -> tuple[ScoreTick, SeedReport]:
    """`read_midi` for bytes and a clean name: everything after the disk, and nothing but numbers.

    All that goes in and comes out can be pickled, so that a helper process can do it.
    """
    label = _label(name)
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
    limits: Limits = UPLOAD,
    repairs: tuple[str, ...] = (),
) -> tuple[ScoreTick, SeedReport]:
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
    label, told = _label(name), list(repairs)
    score = analysis.in_ticks(score)
    _refuse_counts(score, label=label, limits=limits)
    clean = ScoreTick(score.ticks_per_quarter)
    pairs = _copy_tracks(score, clean, told)
    for _, new in pairs:
        clean.tracks.append(new)
    end = _refuse_length(clean, label=label, limits=limits)
    clean.tempos = _clean_tempos(score, end, told)
    clean.time_signatures = _clean_meters(score, end, told)
    _refuse_more(len(clean.time_signatures), limits.beats, "time signatures", label=label)
    clean.key_signatures = _clean_keys(score, end)
    _copy_controls(pairs, end, told)
    clean.sort()
    report = report_on(clean, name=name, repairs=tuple(told))
    _refuse_time(report, label=label, limits=limits)
    return clean, report


def clean_text(text: str, *, longest: int = LONGEST_NAME) -> str:
    """A name from a stranger as one line of plain text.

    Control characters, characters that turn the direction of writing, and halves of characters
    are taken out. What remains is text, not markup: whoever puts it on a page escapes it.
    """
    spaced = " ".join(text.split())
    kept = (c for c in spaced if not unicodedata.category(c).startswith("C"))
    return "".join(kept)[:longest].strip()


# Bytes ------------------------------------------------------------------------------------------


def _file_name(path: str) -> str:
    """The last part of a path of any system, cleaned: the rest is nobody's business."""
    return clean_text(path.rstrip("/\\").replace("\\", "/").rpartition("/")[2])


def _label(name: str) -> str:
    return f"'{name}'" if name else "This file"


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


def _refuse_counts(score: ScoreTick, *, label: str, limits: Limits) -> None:
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


def _refuse_length(score: ScoreTick, *, label: str, limits: Limits) -> int:
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


def _refuse_time(report: SeedReport, *, label: str, limits: Limits) -> None:
    _refuse_more(report.bars, limits.beats, "bars", label=label)
    _refuse_more(int(report.seconds / 60), limits.minutes, "minutes of music", label=label)


def _refuse_more(number: int, most: int, what: str, *, label: str) -> None:
    if number > most:
        raise ScoreError(
            f"{label} has {number:,} {what}, and at most {most:,} can be read; "
            "cut it into shorter pieces."
        )


# What is kept -----------------------------------------------------------------------------------


def _copy_tracks(
    score: ScoreTick, clean: ScoreTick, told: list[str]
) -> list[tuple[TrackTick, TrackTick]]:
    """Copy the tracks that have notes, controllers not yet; returns pairs of old and new."""
    pairs = []
    shortest = np.int32(max(1, score.ticks_per_quarter // 12))
    silent = lengthless = 0
    for track in score.tracks:
        notes = track.notes.numpy()
        sounds = (notes["pitch"] >= 0) & (notes["velocity"] > 0)
        flat = sounds & (notes["duration"] < 1)
        notes["duration"] = np.where(flat, shortest, notes["duration"])
        silent += int((~sounds).sum())
        lengthless += int(flat.sum())
        if sounds.any():
            fresh = TrackTick(clean_text(track.name), min(track.program, 127), track.is_drum)
            fresh.notes = NoteTickList.from_numpy(*(part[sounds] for part in notes.values()))
            pairs.append((track, fresh))
    _tell(told, silent, "left out {} that cannot sound", "note")
    _tell(told, lengthless, "gave {} without length a twelfth of a beat", "note")
    return pairs


def _clean_tempos(score: ScoreTick, end: int, told: list[str]) -> TempoTickList:
    found = score.tempos.numpy()
    keep = _within(found["time"], end) & (found["mspq"] > 0)
    time, mspq = found["time"][keep], found["mspq"][keep]
    played = np.clip(mspq, 60_000_000 // FASTEST_BPM, 60_000_000 // SLOWEST_BPM)
    finest = score.ticks_per_quarter // 12 if len(time) > MOST_TEMPOS else 1
    changes = _changes(time, played, finest=finest)
    clipped = int((played != mspq).sum())
    _tell(
        told, clipped, f"brought {{}} into the range of {SLOWEST_BPM} to {FASTEST_BPM} bpm", "tempo"
    )
    return TempoTickList.from_numpy(time[changes], played[changes])


def _clean_meters(score: ScoreTick, end: int, told: list[str]) -> TimeSignatureTickList:
    found = score.time_signatures.numpy()
    above, below = found["numerator"], found["denominator"]
    possible = (above >= 1) & (above <= LARGEST_NUMERATOR)
    possible &= (below >= 1) & (below <= LARGEST_DENOMINATOR) & ((below & (below - 1)) == 0)
    keep = possible & _within(found["time"], end)
    time, above, below = (part[keep] for part in found.values())
    changes = _changes(time, above, below)
    _tell(told, int((~possible).sum()), "left out {} that no bar can have", "time signature")
    return TimeSignatureTickList.from_numpy(time[changes], above[changes], below[changes])


def _clean_keys(score: ScoreTick, end: int) -> KeySignatureTickList:
    found = score.key_signatures.numpy()
    keep = _within(found["time"], end) & (np.abs(found["key"]) <= 7) & (found["tonality"] <= 1)
    time, key, tonality = (part[keep] for part in found.values())
    changes = _changes(time, key, tonality)
    return KeySignatureTickList.from_numpy(time[changes], key[changes], tonality[changes])


def _copy_controls(pairs: list[tuple[TrackTick, TrackTick]], end: int, told: list[str]) -> None:
    """Copy controllers, bends and pedals; a pedal that is lifted after the end is lifted there."""
    values = sum(len(old.controls) + len(old.pitch_bends) + len(old.pedals) for old, _ in pairs)
    if values > MOST_CONTROLS:
        told.append(f"left out all {values:,} controller values, more than {MOST_CONTROLS:,}")
        return
    bad = 0
    for old, new in pairs:
        bad += _copy_track_controls(old, new, end) + _copy_bends(old, new, end)
        _copy_pedals(old, new, end)
    _tell(told, bad, "left out {} out of range", "controller value")


def _copy_track_controls(old: TrackTick, new: TrackTick, end: int) -> int:
    """Copy the controllers of a track; returns how many have values out of range."""
    time, number, value = old.controls.numpy().values()
    possible = (number <= 127) & (value <= 127)
    keep = possible & (time >= 0) & ((time <= end) | (number == _PEDAL))
    time = np.minimum(time, np.int32(end))
    new.controls = ControlChangeTickList.from_numpy(time[keep], number[keep], value[keep])
    return int((~possible).sum())


def _copy_bends(old: TrackTick, new: TrackTick, end: int) -> int:
    time, value = old.pitch_bends.numpy().values()
    possible = (value >= -8_192) & (value <= 8_191)
    keep = possible & _within(time, end)
    new.pitch_bends = PitchBendTickList.from_numpy(time[keep], value[keep])
    return int((~possible).sum())


def _copy_pedals(old: TrackTick, new: TrackTick, end: int) -> None:
    time, duration = old.pedals.numpy().values()
    keep = _within(time, end) & (duration >= 0)
    duration = np.minimum(duration, np.int32(end) - time)
    new.pedals = PedalTickList.from_numpy(time[keep], duration[keep])


def _within(time: NDArray[Any], end: int) -> NDArray[np.bool_]:
    return (time >= 0) & (time < end)


def _changes(time: NDArray[Any], *values: NDArray[Any], finest: int = 1) -> NDArray[np.intp]:
    """Where something changes: the last of the events at one time, the first of equal ones.

    Args:
        time: In ticks, in any order.
        values: What the events say, each as long as `time`.
        finest: How many ticks count as one time.

    Returns:
        Indices in the order of time.
    """
    order = np.argsort(time, kind="stable")
    slots = time[order] // max(1, finest)
    last = order[np.append(slots[1:] != slots[:-1], True)[: len(order)]]
    differs = np.zeros(len(last), dtype=bool)
    differs[:1] = True
    for value in values:
        differs[1:] |= value[last][1:] != value[last][:-1]
    return last[differs]


def _tell(told: list[str], number: int, sentence: str, what: str) -> None:
    if number:
        told.append(sentence.format(count(number, what)))
