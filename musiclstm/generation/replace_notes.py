"""Replace the notes of some tracks in some bars, and add tracks; all other events stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from symusic.core import (
    ControlChangeTick,
    ControlChangeTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTick,
    PitchBendTickList,
    ScoreTick,
    TrackTick,
)

from musiclstm.generation.append_bars import PEDAL, median_pitch
from musiclstm.midi.score_ops import trim_overlapping_notes
from musiclstm.tokens import DRUMS

Columns = Mapping[str, np.ndarray]
_Event = TypeVar("_Event", ControlChangeTick, PitchBendTick)


class NewTrack(NamedTuple):
    """Composed notes of one part.

    Attributes:
        notes: Columns time, duration, pitch and velocity, from the first composed bar on.
        ticks_per_quarter: Their resolution.
        tracks: Indices of the tracks that play them: each note goes to the track with the nearest
            median pitch. Empty: a track is added.
        program: Program of an added track, -1 for drums; else None.
        name: Name of an added track.
    """

    notes: Columns
    ticks_per_quarter: int
    tracks: tuple[int, ...]
    program: int | None
    name: str


def replace_notes(
    score: ScoreTick, start: int, end: int, cleared: Collection[int], new: Sequence[NewTrack]
) -> tuple[ScoreTick, tuple[int, ...]]:
    """Return a copy of a score with new notes in ticks [start, end), and the tracks that have them.

    In cleared tracks the notes that begin there are left out; sustain pedal and pitch bend are
    neutral there and as before afterwards. New notes end by `end`; they are left out where their
    track still holds an earlier note of their pitch, which would end it in a MIDI file.
    """
    whole = score.copy()
    for index in cleared:
        _clear(whole.tracks[index], start, end)
    changed = {*cleared}
    for each in new:
        notes = _in_ticks(each, score.ticks_per_quarter, start, end)
        own = each.tracks
        if each.program is not None:
            own = (len(whole.tracks),)
            whole.tracks.append(TrackTick(each.name, max(each.program, 0), each.program == DRUMS))
        medians = np.array([median_pitch(track) for track in _of(score, own)] or [60.0])
        nearest = np.abs(notes["pitch"][:, None] - medians).argmin(axis=1)
        for number, index in enumerate(own):
            _insert(whole.tracks[index], start, _select(notes, nearest == number))
        changed |= {*own}
    return whole, tuple(sorted(changed))


def _of(score: ScoreTick, indices: Sequence[int]) -> list[TrackTick]:
    return [score.tracks[index] for index in indices if index < len(score.tracks)]


def _select(columns: Columns, which: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[which] for name, values in columns.items()}


def _in_ticks(new: NewTrack, ticks_per_quarter: int, start: int, end: int) -> Columns:
    """Return the notes in ticks of a score; at one pitch each ends where the next begins."""
    if not new.notes:
        return NoteTickList().numpy()
    scale = ticks_per_quarter / new.ticks_per_quarter
    time = np.rint(new.notes["time"] * scale).astype(np.int32) + start
    stop = np.rint((new.notes["time"] + new.notes["duration"]) * scale).astype(np.int32) + start
    duration = np.maximum(np.minimum(stop, end) - time, 1)
    listed = NoteTickList.from_numpy(time, duration, new.notes["pitch"], new.notes["velocity"])
    return trim_overlapping_notes(listed).numpy()


def _insert(track: TrackTick, start: int, notes: Columns) -> None:
    own = track.notes.numpy()
    held = np.zeros(128, np.int64)  # ends of earlier notes that still sound, by pitch
    earlier = own["time"] < start
    np.maximum.at(held, own["pitch"][earlier], (own["time"] + own["duration"])[earlier])
    free = _select(notes, notes["time"] >= held[notes["pitch"]])
    both = {name: np.concatenate([values, free[name]]) for name, values in own.items()}
    order = np.argsort(both["time"], kind="stable")
    track.notes = NoteTickList.from_numpy(*_select(both, order).values())


def _clear(track: TrackTick, start: int, end: int) -> None:
    notes = track.notes.numpy()
    kept = (notes["time"] < start) | (notes["time"] >= end)
    track.notes = NoteTickList.from_numpy(*_select(notes, kept).values())
    pedal = [control.number == PEDAL for control in track.controls]
    neutral = ControlChangeTick(start, PEDAL, 0)
    controls = _neutral([*track.controls], np.array(pedal, np.bool_), neutral, start, end)
    track.controls = ControlChangeTickList(controls)
    bends = np.ones(len(track.pitch_bends), np.bool_)
    center = PitchBendTick(start, 0)
    track.pitch_bends = PitchBendTickList(_neutral([*track.pitch_bends], bends, center, start, end))
    track.pedals = _without(track.pedals, start, end)


def _neutral(
    events: Sequence[_Event], own: np.ndarray, neutral: _Event, start: int, end: int
) -> list[_Event]:
    """Return events without those of a mask in [start, end); their value is neutral there."""
    time = np.array([event.time for event in events], np.int64)
    inside = own & (time >= start) & (time < end)
    found = [events[index] for index in np.flatnonzero(~inside).tolist()]
    before = np.flatnonzero(own & (time < start))
    if len(before) and events[int(before[-1])].value != neutral.value:
        found.append(neutral)
    until = np.flatnonzero(own & (time < end))
    if len(until) and not (own & (time == end)).any():
        last = events[int(until[-1])].copy()
        if last.value != neutral.value:
            last.time = end
            found.append(last)
    return sorted(found, key=lambda event: event.time)


def _without(pedals: PedalTickList, start: int, end: int) -> PedalTickList:
    time, duration = pedals.numpy().values()
    stop = time + duration
    first = np.minimum(stop, start) - time
    second = stop - np.maximum(time, end)
    begin = np.concatenate([time[time < start], np.maximum(time, end)[second > 0]])
    length = np.concatenate([first[time < start], second[second > 0]])
    order = np.argsort(begin, kind="stable")
    return PedalTickList.from_numpy(begin[order].astype(np.int32), length[order].astype(np.int32))
