"""Slice, resample and split scores.

The functions return copies, except `drop_empty_tracks` and `sorted_notes`, which change their
argument.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

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
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_TICKS_PER_QUARTER = 32_767  # of a MIDI file

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
    """Return the score with a multiple of `grid_ticks` ticks per quarter note.

    No note is moved. Returns the score unchanged if a MIDI file cannot state that resolution.
    """
    wanted = math.lcm(score.ticks_per_quarter, grid_ticks)
    return score if wanted > _MAX_TICKS_PER_QUARTER else score.resample(wanted, min_dur=1)


def first_bars(score: ScoreTick, end: int, bars: int) -> ScoreTick:
    """Return the part before tick `end`, the bar line after `bars` bars, without empty tracks.

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
    """Return ticks [start, end) of a sorted score, moved to 0; None: no end.

    Keeps the tempo, meter, key, controllers and pitch bend in effect at the start. Notes that begin
    earlier are left out. Notes and pedals are shortened to the end.
    """
    cut = score.copy()
    cut.tempos = _between(cut.tempos, start, end)
    cut.time_signatures = _between(cut.time_signatures, start, end)
    cut.key_signatures = _between(cut.key_signatures, start, end)
    for track in cut.tracks:
        track.notes = _notes_within(track, start, end)
        track.controls = _between(track.controls, start, end)
        track.pitch_bends = _between(track.pitch_bends, start, end)
        track.pedals = _pedals_between(track.pedals, start, end)
    return cut


def _between(events: _Events, start: int, end: int | None) -> _Events:
    """Return the events in [start, end), and the last earlier one of each kind, moved to 0."""
    table = events.numpy()
    time, kinds = table["time"], table.get("number", np.zeros(len(table["time"])))
    keep = time >= start if end is None else (time >= start) & (time < end)
    for kind in set(kinds[time < start].tolist()):
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
    """Return the notes of [start, end) moved to 0, with tempos, meters and keys; None: no end."""
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
    part.key_signatures = _between(score.key_signatures, start, end)
    for track in score.tracks:
        copy = TrackTick(track.name, track.program, track.is_drum)
        copy.notes = _notes_within(track, start, end)
        part.tracks.append(copy)
    return part


def _notes_within(track: TrackTick, start: int, end: int | None) -> NoteTickList:
    """Return notes that begin in [start, end), shortened to the end and moved to 0."""
    notes = track.notes.numpy()
    time = notes["time"]
    selected = (time >= start) & (True if end is None else time < end)
    kept = {name: values[selected] for name, values in notes.items()}
    if end is not None:
        kept["duration"] = np.minimum(kept["duration"], end - kept["time"])
    kept["time"] = kept["time"] - start
    return NoteTickList.from_numpy(*kept.values())


def trim_overlapping_notes(notes: NoteTickList) -> NoteTickList:
    """End notes at the next later onset of their pitch; return them by time, then by pitch.

    Of notes with one onset and pitch, the loudest comes first.
    """
    table = notes.numpy()
    longest = next_onsets(table["time"], table["pitch"]) - table["time"]
    table["duration"] = np.minimum(table["duration"], longest).astype(np.int32)
    loudness = table["velocity"].astype(np.int64)
    by_time = np.lexsort((-loudness, table["pitch"], table["time"]))
    return NoteTickList.from_numpy(*(values[by_time] for values in table.values()))


def next_onsets(time: NDArray[Any], pitch: NDArray[Any]) -> NDArray[np.int64]:
    """Return the next later onset of each note's pitch, (notes,); the largest int64 for the last.

    Args:
        time: Onsets in ticks, (notes,), in any order.
        pitch: Pitches, (notes,).
    """
    last = np.iinfo(np.int64).max
    following = np.full(len(time), last)
    order = np.lexsort((time, pitch))
    onsets, pitches = time[order].astype(np.int64), pitch[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (onsets[1:] != onsets[:-1]) | (pitches[1:] != pitches[:-1])
    heads = np.flatnonzero(first)
    same = pitches[heads[1:]] == pitches[heads[:-1]]
    later = np.append(np.where(same, onsets[heads[1:]], last), last)
    following[order] = later[np.cumsum(first) - 1]
    return following


def first_ticks(score: ScoreTick, end: int) -> ScoreTick:
    """Return the notes, tempos and meters that begin before tick `end`; notes may end later."""
    first = ScoreTick(score.ticks_per_quarter)
    first.tempos = _between(score.tempos, 0, end)
    first.time_signatures = _between(score.time_signatures, 0, end)
    for track in score.tracks:
        copy = TrackTick(track.name, track.program, track.is_drum)
        notes = track.notes.numpy()
        before = notes["time"] < end
        copy.notes = NoteTickList.from_numpy(*(values[before] for values in notes.values()))
        first.tracks.append(copy)
    return first


def to_last_note(score: ScoreTick) -> ScoreTick:
    """Return the score without tempos, meters and keys after its last note.

    `read_midi` keeps those of the last bar line for a continuation; as tokens they add a bar.
    """
    end, copy = analysis.last_note_end(score), score.copy()
    copy.tempos = _between(score.tempos, 0, end)
    copy.time_signatures = _between(score.time_signatures, 0, end)
    copy.key_signatures = _between(score.key_signatures, 0, end)
    return copy


def trim_to_end(score: ScoreTick, end: int) -> ScoreTick:
    """Return a copy in which no note reaches beyond tick `end` or overlaps one of its pitch."""
    trimmed = score.copy()
    for track in trimmed.tracks:
        track.notes = trim_overlapping_notes(_notes_within(track, 0, end))
    return trimmed


def sorted_notes(score: ScoreTick) -> ScoreTick:
    """Sort the notes of each track by time, then by pitch; changed in place."""
    for track in score.tracks:
        table = track.notes.numpy()
        order = np.lexsort((table["pitch"], table["time"]))
        track.notes = NoteTickList.from_numpy(*(values[order] for values in table.values()))
    return score


def split_parts(score: analysis.AnyScore) -> dict[str, ScoreTick]:
    """Return each track with notes as a score in ticks, with all tempos, meters and keys.

    Returns:
        Scores by name of the track, else of its instrument, in track order. Names have only
        letters, digits, spaces, hyphens and parentheses, so they can be file names. The second
        violin without a name is `Violin (2)`.
    """
    score = analysis.in_ticks(score)
    parts: dict[str, ScoreTick] = {}
    count = Counter[str]()
    for track in score.tracks:
        if not len(track.notes):
            continue
        program = DRUMS if track.is_drum else min(max(track.program, 0), 127)
        name = _file_name(track.name) or instrument_name(program)
        count[name.casefold()] += 1
        number = count[name.casefold()]
        part = ScoreTick(score.ticks_per_quarter)
        part.tempos = score.tempos.copy()
        part.time_signatures = score.time_signatures.copy()
        part.key_signatures = score.key_signatures.copy()
        part.tracks.append(track.copy())
        parts[name if number == 1 else f"{name} ({number})"] = part
    return parts


def _file_name(name: str) -> str:
    """Return at most 40 letters, digits, spaces, hyphens and parentheses of a name."""
    kept = re.sub(r"[^\w() -]|_", " ", name)
    return " ".join(kept.split())[:40].strip()
