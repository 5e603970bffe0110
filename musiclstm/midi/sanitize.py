"""What is kept of a parsed score: events of the music, in range, in order, each said once.

Every function copies one kind of thing and tells what it put right, as clauses of the report. Knows
no files, and refuses nothing.
"""

from __future__ import annotations

import unicodedata
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

from musiclstm.midi.summary import pluralize

if TYPE_CHECKING:
    from numpy.typing import NDArray

SLOWEST_BPM, FASTEST_BPM = 10, 300
LARGEST_NUMERATOR, LARGEST_DENOMINATOR = 32, 32
MOST_CONTROLS = 200_000
MOST_TEMPOS = 16_384
LONGEST_NAME = 80

_PEDAL = 64


def clean_text(text: str, *, longest: int = LONGEST_NAME) -> str:
    """A name from a stranger as one line of plain text.

    Control characters, characters that turn the direction of writing, and halves of characters
    are taken out. What remains is text, not markup: whoever puts it on a page escapes it.
    """
    spaced = " ".join(text.split())
    kept = (c for c in spaced if not unicodedata.category(c).startswith("C"))
    return "".join(kept)[:longest].strip()


def copy_tracks(
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


def clean_tempos(score: ScoreTick, end: int, told: list[str]) -> TempoTickList:
    """Tempos before the end, within range, thinned where there is a flood of them."""
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


def clean_meters(score: ScoreTick, end: int, told: list[str]) -> TimeSignatureTickList:
    """Time signatures before the end that a bar can have."""
    found = score.time_signatures.numpy()
    above, below = found["numerator"], found["denominator"]
    possible = (above >= 1) & (above <= LARGEST_NUMERATOR)
    possible &= (below >= 1) & (below <= LARGEST_DENOMINATOR) & ((below & (below - 1)) == 0)
    keep = possible & _within(found["time"], end)
    time, above, below = (part[keep] for part in found.values())
    changes = _changes(time, above, below)
    _tell(told, int((~possible).sum()), "left out {} that no bar can have", "time signature")
    return TimeSignatureTickList.from_numpy(time[changes], above[changes], below[changes])


def clean_keys(score: ScoreTick, end: int) -> KeySignatureTickList:
    """Key signatures before the end that have a name."""
    found = score.key_signatures.numpy()
    keep = _within(found["time"], end) & (np.abs(found["key"]) <= 7) & (found["tonality"] <= 1)
    time, key, tonality = (part[keep] for part in found.values())
    changes = _changes(time, key, tonality)
    return KeySignatureTickList.from_numpy(time[changes], key[changes], tonality[changes])


def copy_controls(pairs: list[tuple[TrackTick, TrackTick]], end: int, told: list[str]) -> None:
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
        told.append(sentence.format(pluralize(number, what)))
