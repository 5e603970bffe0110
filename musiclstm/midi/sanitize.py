"""Copy the musical events of a parsed score: in range, in order and without repetitions.

The functions append a clause to `repairs` for each kind of repair. They raise no errors.
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
    TimeSignatureTick,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm.midi.analysis import meter_changes
from musiclstm.midi.meters import supports_time_signature
from musiclstm.midi.summary import pluralize

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_NUMERATOR, MAX_DENOMINATOR = 255, 128
MAX_CONTROLS = 200_000
MAX_TEMPOS = 16_384  # with more, at most one per twelfth of a quarter note is kept
MAX_NAME_LENGTH = 80

_SUSTAIN_PEDAL = 64
_MAX_NAMES = 3  # of meters in a clause


def clean_text(text: str, *, max_length: int = MAX_NAME_LENGTH) -> str:
    """Return untrusted text as one line without control, format and surrogate characters.

    The result may contain markup; the caller escapes it.
    """
    spaced = " ".join(text.split())
    kept = (c for c in spaced if not unicodedata.category(c).startswith("C"))
    return "".join(kept)[:max_length].strip()


def copy_tracks(score: ScoreTick, repairs: list[str]) -> list[tuple[TrackTick, TrackTick]]:
    """Return (old, new) for each track with notes; the new one has no controllers yet."""
    pairs = []
    shortest = np.int32(max(1, score.ticks_per_quarter // 12))
    inaudible = lengthened = 0
    for track in score.tracks:
        notes = track.notes.numpy()
        audible = (notes["pitch"] >= 0) & (notes["velocity"] > 0)
        zero_length = audible & (notes["duration"] < 1)
        notes["duration"] = np.where(zero_length, shortest, notes["duration"])
        inaudible += int((~audible).sum())
        lengthened += int(zero_length.sum())
        if audible.any():
            copy = TrackTick(clean_text(track.name), min(track.program, 127), track.is_drum)
            copy.notes = NoteTickList.from_numpy(*(values[audible] for values in notes.values()))
            pairs.append((track, copy))
    _report(repairs, inaudible, "left out {} that cannot sound", "note")
    _report(repairs, lengthened, "gave {} without length a twelfth of a beat", "note")
    return pairs


def clean_tempos(score: ScoreTick, end: int, repairs: list[str]) -> TempoTickList:
    """Return the tempos before the end, however fast or slow."""
    table = score.tempos.numpy()
    _report(repairs, int((table["mspq"] <= 0).sum()), "left out {} of 0 seconds a beat", "tempo")
    keep = _within(table["time"], end) & (table["mspq"] > 0)
    time, mspq = table["time"][keep], table["mspq"][keep]
    finest = score.ticks_per_quarter // 12 if len(time) > MAX_TEMPOS else 1
    changes = _changes(time, mspq, finest=finest)
    return TempoTickList.from_numpy(time[changes], mspq[changes])


def clean_meters(score: ScoreTick, end: int, repairs: list[str]) -> TimeSignatureTickList:
    """Return the valid time signatures before the end, without those that change no bar line."""
    table = score.time_signatures.numpy()
    numerator, denominator = table["numerator"], table["denominator"]
    valid = (numerator >= 1) & (numerator <= MAX_NUMERATOR)
    valid &= (denominator >= 1) & (denominator <= MAX_DENOMINATOR)
    valid &= (denominator & (denominator - 1)) == 0
    keep = valid & _within(table["time"], end)
    _report(repairs, int((~valid).sum()), "left out {} out of range", "time signature")
    clean = ScoreTick(score.ticks_per_quarter)
    columns = [values[keep] for values in table.values()]
    clean.time_signatures = TimeSignatureTickList.from_numpy(*columns)
    return TimeSignatureTickList(
        TimeSignatureTick(*change)
        for change in meter_changes(clean)
        if change[0] or (columns[0] == 0).any()
    )


def report_unread_meters(meters: TimeSignatureTickList, repairs: list[str]) -> None:
    """Report meters without a token; scores keep them."""
    meters_read = ((each.numerator, each.denominator) for each in meters)
    unread = [meter for meter in dict.fromkeys(meters_read) if not supports_time_signature(*meter)]
    if unread:
        names = ", ".join(f"{above}/{below}" for above, below in unread[:_MAX_NAMES])
        more = f" and {len(unread) - _MAX_NAMES} more" if len(unread) > _MAX_NAMES else ""
        repairs.append(f"kept {names}{more} in the file, which the network reads as 4/4")


def clean_keys(score: ScoreTick, end: int) -> KeySignatureTickList:
    """Return the valid key signatures before the end."""
    table = score.key_signatures.numpy()
    keep = _within(table["time"], end) & (np.abs(table["key"]) <= 7) & (table["tonality"] <= 1)
    columns = [values[keep] for values in table.values()]
    changes = _changes(*columns)
    return KeySignatureTickList.from_numpy(*(values[changes] for values in columns))


def copy_controls(pairs: list[tuple[TrackTick, TrackTick]], end: int, repairs: list[str]) -> None:
    """Copy controllers, pitch bends and pedals. Pedals are released at the end at the latest."""
    values = sum(len(old.controls) + len(old.pitch_bends) + len(old.pedals) for old, _ in pairs)
    if values > MAX_CONTROLS:
        repairs.append(f"left out all {values:,} controller values, more than {MAX_CONTROLS:,}")
        return
    out_of_range = 0
    for old, new in pairs:
        out_of_range += _copy_track_controls(old, new, end) + _copy_bends(old, new, end)
        _copy_pedals(old, new, end)
    _report(repairs, out_of_range, "left out {} out of range", "controller value")


def _copy_track_controls(old: TrackTick, new: TrackTick, end: int) -> int:
    """Copy the controllers of a track; return how many are out of range."""
    time, number, value = old.controls.numpy().values()
    valid = (number <= 127) & (value <= 127)
    keep = valid & (time >= 0) & ((time <= end) | (number == _SUSTAIN_PEDAL))
    time = np.minimum(time, np.int32(end))
    kept = np.flatnonzero(keep)
    kept = kept[np.argsort(time[kept], kind="stable")]  # simultaneous ones keep their order
    new.controls = ControlChangeTickList.from_numpy(time[kept], number[kept], value[kept])
    return int((~valid).sum())


def _copy_bends(old: TrackTick, new: TrackTick, end: int) -> int:
    time, value = old.pitch_bends.numpy().values()
    valid = (value >= -8_192) & (value <= 8_191)
    kept = np.flatnonzero(valid & _within(time, end))
    kept = kept[np.argsort(time[kept], kind="stable")]
    new.pitch_bends = PitchBendTickList.from_numpy(time[kept], value[kept])
    return int((~valid).sum())


def _copy_pedals(old: TrackTick, new: TrackTick, end: int) -> None:
    time, duration = old.pedals.numpy().values()
    keep = _within(time, end) & (duration >= 0)
    duration = np.minimum(duration, np.int32(end) - time)
    new.pedals = PedalTickList.from_numpy(time[keep], duration[keep])


def _within(time: NDArray[Any], end: int) -> NDArray[np.bool_]:
    return (time >= 0) & (time < end)


def _changes(time: NDArray[Any], *values: NDArray[Any], finest: int = 1) -> NDArray[np.intp]:
    """Return the indices, by time, of events that change a value; the last of simultaneous ones.

    Args:
        time: In ticks, in any order.
        values: Columns of the events, each as long as `time`.
        finest: Number of ticks that count as simultaneous.
    """
    order = np.argsort(time, kind="stable")
    slots = time[order] // max(1, finest)
    last = order[np.append(slots[1:] != slots[:-1], True)[: len(order)]]
    differs = np.zeros(len(last), dtype=bool)
    differs[:1] = True
    for value in values:
        differs[1:] |= value[last][1:] != value[last][:-1]
    return last[differs]


def _report(repairs: list[str], number: int, clause: str, what: str) -> None:
    if number:
        repairs.append(clause.format(pluralize(number, what)))
