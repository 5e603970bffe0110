"""Cut scores at bar lines and join them again.

The functions return copies, except `drop_empty_tracks` and `sorted_notes`, which change their
argument.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TypeVar

import numpy as np
from symusic.core import (
    ControlChangeTickList,
    KeySignatureTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTickList,
    ScoreTick,
    TempoTick,
    TempoTickList,
    TimeSignatureTick,
    TimeSignatureTickList,
    TrackTick,
)

from musiclstm.errors import ScoreError
from musiclstm.midi import analysis

_MOST_TICKS = 32_767  # per quarter note: what a MIDI file can say

_Events = TypeVar(
    "_Events",
    TempoTickList,
    TimeSignatureTickList,
    KeySignatureTickList,
    ControlChangeTickList,
    PitchBendTickList,
    NoteTickList,
)


def max_simultaneous_onsets(score: ScoreTick) -> int:
    """Return the largest number of notes with one onset, over all tracks; 0 without notes."""
    onsets = Counter[int]()
    for track in score.tracks:
        onsets.update(track.notes.numpy()["time"].tolist())
    return max(onsets.values(), default=0)


def resample_to_grid(score: ScoreTick, grid_ticks: int) -> ScoreTick:
    """Return the score in ticks that the grid divides.

    Exact, unless the common multiple is more than a MIDI file can state; then it stays as it is.
    """
    wanted = math.lcm(score.ticks_per_quarter, grid_ticks)
    return score if wanted > _MOST_TICKS else score.resample(wanted, min_dur=1)


def first_bars(score: ScoreTick, end: int, bars: int) -> ScoreTick:
    """Return everything before a bar line, that after so many bars.

    Raises:
        ScoreError: No note begins there.
    """
    first = drop_empty_tracks(slice_score(score, 0, end))
    if not len(first.tracks):
        raise ScoreError(
            f"The prompt has notes, but none in its first {bars} bars; pass a larger prompt_bars "
            "or trim the silence."
        )
    return first


def drop_empty_tracks(score: ScoreTick) -> ScoreTick:
    """Remove the tracks without notes from the score; changed in place."""
    score.tracks = type(score.tracks)(track for track in score.tracks if len(track.notes))
    return score


def slice_score(score: ScoreTick, start: int, end: int | None) -> ScoreTick:
    """Return [start, end) of a sorted score, moved to 0, with what is in force at the start.

    Notes that begin earlier are left out, and what reaches beyond the end is cut off there; None:
    no end.
    """
    cut = score.copy()
    cut.tempos = _between(cut.tempos, start, end)
    cut.time_signatures = _between(cut.time_signatures, start, end)
    cut.key_signatures = _between(cut.key_signatures, start, end)
    for track in cut.tracks:
        track.notes = notes_within(track, start, end)
        track.controls = _between(track.controls, start, end)
        track.pitch_bends = _between(track.pitch_bends, start, end)
        track.pedals = _pedals_between(track.pedals, start, end)
    return cut


def _between(events: _Events, start: int, end: int | None) -> _Events:
    """Return the events of [start, end), and at the start the last earlier one of each kind."""
    table = events.numpy()
    time, kinds = table["time"], table.get("number", np.zeros(len(table["time"])))
    keep = time >= start if end is None else (time >= start) & (time < end)
    for kind in np.unique(kinds[time < start]):
        own = kinds == kind
        if not (own & (time == start)).any():
            keep[np.flatnonzero(own & (time < start))[-1]] = True
    table["time"] = np.maximum(time - start, 0)
    return type(events).from_numpy(*(values[keep] for values in table.values()))


def _pedals_between(pedals: PedalTickList, start: int, end: int | None) -> PedalTickList:
    time, duration = pedals.numpy().values()
    stop = time + duration if end is None else np.minimum(time + duration, end)
    begin = np.maximum(time, start)
    keep = (begin < stop) | ((time >= start) & (time == stop))
    return PedalTickList.from_numpy(begin[keep] - start, (stop - begin)[keep])


def slice_notes(score: ScoreTick, start: int, end: int | None = None) -> ScoreTick:
    """Return notes that begin in [start, end), cut off at the end and moved to 0, with meters."""
    part = ScoreTick(score.ticks_per_quarter)
    part.tempos.append(TempoTick(0, analysis.tempo_at(score, start)))
    for tempo in score.tempos:
        if start < tempo.time and (end is None or tempo.time < end):
            part.tempos.append(TempoTick(tempo.time - start, mspq=tempo.mspq))
    part.time_signatures.append(TimeSignatureTick(0, *analysis.meter_at(score, start)))
    for meter in score.time_signatures:
        if start < meter.time and (end is None or meter.time < end):
            moved = TimeSignatureTick(meter.time - start, meter.numerator, meter.denominator)
            part.time_signatures.append(moved)
    for track in score.tracks:
        copy = TrackTick(track.name, track.program, track.is_drum)
        copy.notes = notes_within(track, start, end)
        part.tracks.append(copy)
    return part


def notes_within(track: TrackTick, start: int, end: int | None) -> NoteTickList:
    """Notes that begin in [start, end), cut off at the end and moved to 0; None: no end."""
    notes = track.notes.numpy()
    time = notes["time"]
    chosen = (time >= start) & (True if end is None else time < end)
    picked = {name: values[chosen] for name, values in notes.items()}
    if end is not None:
        picked["duration"] = np.minimum(picked["duration"], end - picked["time"])
    picked["time"] = picked["time"] - start
    return NoteTickList.from_numpy(*picked.values())


def trim_overlapping_notes(notes: NoteTickList) -> NoteTickList:
    """End notes where the same pitch starts again; return them by time, then by pitch."""
    table = notes.numpy()
    order = np.lexsort((table["time"], table["pitch"]))
    time, pitch, duration = (table[name][order] for name in ("time", "pitch", "duration"))
    again = (pitch[1:] == pitch[:-1]) & (time[1:] > time[:-1])
    room = np.where(again, time[1:] - time[:-1], duration[:-1])
    duration[:-1] = np.minimum(duration[:-1], room)
    table["duration"][order] = duration
    by_time = np.lexsort((table["pitch"], table["time"]))
    return NoteTickList.from_numpy(*(values[by_time] for values in table.values()))


def first_ticks(score: ScoreTick, end: int) -> ScoreTick:
    """Return what begins before a tick; notes may end later."""
    first = ScoreTick(score.ticks_per_quarter)
    first.tempos = _between(score.tempos, 0, end)
    first.time_signatures = _between(score.time_signatures, 0, end)
    for track in score.tracks:
        copy = TrackTick(track.name, track.program, track.is_drum)
        notes = track.notes.numpy()
        early = notes["time"] < end
        copy.notes = NoteTickList.from_numpy(*(values[early] for values in notes.values()))
        first.tracks.append(copy)
    return first


def trim_to_end(score: ScoreTick, end: int) -> ScoreTick:
    """Return a copy in which no note sounds beyond the end, or overlaps one of its pitch."""
    whole = score.copy()
    for track in whole.tracks:
        track.notes = trim_overlapping_notes(notes_within(track, 0, end))
    return whole


def sorted_notes(score: ScoreTick) -> ScoreTick:
    """Sort the notes of each track by time, then by pitch; changed in place."""
    for track in score.tracks:
        table = track.notes.numpy()
        order = np.lexsort((table["pitch"], table["time"]))
        track.notes = NoteTickList.from_numpy(*(values[order] for values in table.values()))
    return score
