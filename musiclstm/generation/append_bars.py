"""Append generated bars to a score, and new music to the tracks of a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from symusic.core import (
    ControlChangeTick,
    NoteTickList,
    PitchBendTick,
    ScoreTick,
    TempoTick,
    TempoTickList,
    TimeSignatureTick,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm.generation.key_signatures import add_key_signatures
from musiclstm.midi import analysis
from musiclstm.tokens import PartName, normalize_time_signature, program_of

if TYPE_CHECKING:
    from musiclstm.generation.composition import GeneratedBar

PEDAL = 64  # controller number
_DEFAULT_LEVELS = {7: 100, 11: 127}  # of volume and expression

_Events = TypeVar("_Events", TempoTickList, NoteTickList)


def append_bar_scores(
    score: ScoreTick, parts: Sequence[PartName], at: int, bars: Iterable[GeneratedBar]
) -> tuple[ScoreTick, tuple[PartName, ...]]:
    """Return a copy of a score with bars appended, one track for each part and program.

    Args:
        score: Score with the ticks per quarter of the bars.
        parts: Part of each of its tracks.
        at: Tick where the first bar starts.
        bars: Bars in order.

    Returns:
        The longer score, and the part of each of its tracks. Tracks are in the order of their first
        notes, so that a track keeps its index while the piece grows.
    """
    longer = score.copy()
    own = zip(parts, longer.tracks, strict=True)
    indices = {(part, program_of(track)): index for index, (part, track) in enumerate(own)}
    for new in bars:
        bar = new.score
        for part, track in zip(new.parts, bar.tracks, strict=True):
            if not len(track.notes):
                continue
            index = indices.setdefault((part, program_of(track)), len(longer.tracks))
            if index == len(longer.tracks):
                longer.tracks.append(TrackTick(track.name, track.program, track.is_drum))
            longer.tracks[index].notes.extend(_shifted(track.notes, at))
        longer.tempos.extend(_shifted(bar.tempos, at))
        for meter in bar.time_signatures:
            last = longer.time_signatures[-1] if len(longer.time_signatures) else None
            signature = meter.numerator, meter.denominator
            if last is None or (last.numerator, last.denominator) != signature:
                longer.time_signatures.append(TimeSignatureTick(meter.time + at, *signature))
        at += new.length_ticks
    return longer, tuple(part for part, _ in indices)


def _shifted(events: _Events, by: int) -> _Events:
    table = events.numpy()
    table["time"] = table["time"] + by
    return type(events).from_numpy(*table.values())


def concat_prompt(
    score: ScoreTick, at: int, new: ScoreTick, players: Sequence[Sequence[int]]
) -> tuple[ScoreTick, list[int]]:
    """Return a copy of a score that continues with new music from a bar line on.

    Args:
        score: Left unchanged.
        at: Tick of the bar line.
        new: New music from tick 0 on.
        players: For each track of `new` the indices of tracks of `score` that play it: each note
            goes to the track with the nearest median pitch. Empty: a track is added.

    Returns:
        The whole score, and the indices in `new` of the tracks that were added.
    """
    whole = score.copy()
    added: list[int] = []
    scale = whole.ticks_per_quarter / new.ticks_per_quarter
    for track in whole.tracks:
        _reset_controls(track, at)
    for number, (track, own) in enumerate(zip(new.tracks, players, strict=True)):
        notes = track.notes.numpy()
        time = np.rint(notes["time"] * scale).astype(np.int32)
        end = np.rint((notes["time"] + notes["duration"]) * scale).astype(np.int32)
        notes["time"], notes["duration"] = time + at, np.maximum(end - time, 1)
        if not own and len(time):
            whole.tracks.append(TrackTick(track.name, track.program, track.is_drum))
            added.append(number)
            own = [len(whole.tracks) - 1]
        _distribute([whole.tracks[index] for index in own], notes)
    if any(tempo.time == 0 for tempo in new.tempos):
        whole.tempos = TempoTickList(tempo for tempo in whole.tempos if tempo.time < at)
    for tempo in new.tempos:
        whole.tempos.append(TempoTick(round(tempo.time * scale) + at, mspq=tempo.mspq))
    _add_meters(whole, new, at, scale)
    add_key_signatures(whole, new, at, scale)
    return whole, added


def _reset_controls(track: TrackTick, at: int) -> None:
    """Release the pedal, center the pitch bend and undo a fade-out at a tick."""
    pedal = [control.value for control in track.controls if control.number == PEDAL]
    if pedal and pedal[-1]:
        track.controls.append(ControlChangeTick(at, PEDAL, 0))
    if len(track.pitch_bends) and track.pitch_bends[-1].value:
        track.pitch_bends.append(PitchBendTick(at, 0))
    for number, default in _DEFAULT_LEVELS.items():
        own = [control for control in track.controls if control.number == number]
        levels = [control.value for control in own]
        if own and own[0].time > 0:  # until then the default
            levels.insert(0, default)
        if levels and levels[-1] < max(levels) / 2:  # a fade-out
            track.controls.append(ControlChangeTick(at, number, max(levels)))


def _add_meters(whole: ScoreTick, new: ScoreTick, at: int, scale: float) -> None:
    """Add the meters of the new music that differ from the one in force."""
    current = normalize_time_signature(*analysis.meter_at(whole, at))
    for meter in new.time_signatures:
        signature = (meter.numerator, meter.denominator)
        if signature != current:
            time = round(meter.time * scale) + at
            own = (each for each in whole.time_signatures if each.time < time)
            whole.time_signatures = TimeSignatureTickList(own)
            whole.time_signatures.append(TimeSignatureTick(time, *signature))
        current = signature


def _distribute(tracks: Sequence[TrackTick], notes: dict[str, np.ndarray]) -> None:
    """Append each note to the track with the nearest median pitch."""
    if not tracks:
        return
    medians = np.array([median_pitch(track) for track in tracks])
    nearest = np.abs(notes["pitch"][:, None] - medians).argmin(axis=1)
    for index, track in enumerate(tracks):
        chosen = {name: values[nearest == index] for name, values in notes.items()}
        track.notes.extend(NoteTickList.from_numpy(*chosen.values()))


def median_pitch(track: TrackTick) -> float:
    """Return the median pitch of a track; 60 without notes."""
    return float(np.median(track.notes.numpy()["pitch"])) if len(track.notes) else 60.0
