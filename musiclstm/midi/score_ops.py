"""Cut scores at bar lines and join them again.

The functions return copies, except `drop_empty_tracks` and `sorted_notes`, which change their argument.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

import numpy as np
from symusic.core import (
    ControlChangeTick,
    ControlChangeTickList,
    KeySignatureTickList,
    NoteTickList,
    PedalTickList,
    PitchBendTick,
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
from musiclstm.tokens import PartName, normalize_time_signature, program_of

_MOST_TICKS = 32_767  # per quarter note: what a MIDI file can say
_PEDAL, _VOLUME, _EXPRESSION = 64, 7, 11

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


def concat_prompt(
    score: ScoreTick, at: int, new: ScoreTick, members: Sequence[Sequence[int]]
) -> tuple[ScoreTick, list[int]]:
    """Return a score with new music in its tracks from a bar line on.

    Args:
        score: Left unchanged.
        at: Tick of the bar line.
        new: From tick 0 on.
        members: For each track of `new` the tracks of `score` that play it, each note in the one
            that plays nearest. None of them: it becomes a track of its own if it has notes.

    Returns:
        The whole, and the numbers of the tracks of `new` that became tracks of their own.
    """
    whole = score.copy()
    added: list[int] = []
    scale = whole.ticks_per_quarter / new.ticks_per_quarter
    for track in whole.tracks:
        _reset_controls(track, at)
    for number, (track, own) in enumerate(zip(new.tracks, members, strict=True)):
        notes = track.notes.numpy()
        time = np.rint(notes["time"] * scale).astype(np.int32)
        end = np.rint((notes["time"] + notes["duration"]) * scale).astype(np.int32)
        notes["time"], notes["duration"] = time + at, np.maximum(end - time, 1)
        if not own and len(time):
            whole.tracks.append(TrackTick(track.name, track.program, track.is_drum))
            added.append(number)
            own = [len(whole.tracks) - 1]
        _hand_out([whole.tracks[member] for member in own], notes)
    for tempo in new.tempos:
        whole.tempos.append(TempoTick(round(tempo.time * scale) + at, mspq=tempo.mspq))
    _add_meters(whole, new, at, scale)
    return whole, added


def _reset_controls(track: TrackTick, at: int) -> None:
    """Release the pedal, center the pitch bend, and undo a fade where a prompt ends."""
    pedal = [control.value for control in track.controls if control.number == _PEDAL]
    if pedal and pedal[-1]:
        track.controls.append(ControlChangeTick(at, _PEDAL, 0))
    if len(track.pitch_bends) and track.pitch_bends[-1].value:
        track.pitch_bends.append(PitchBendTick(at, 0))
    for number in (_VOLUME, _EXPRESSION):
        levels = [control.value for control in track.controls if control.number == number]
        if levels and levels[-1] < max(levels) / 2:  # it faded out
            track.controls.append(ControlChangeTick(at, number, max(levels)))


def _add_meters(whole: ScoreTick, new: ScoreTick, at: int, scale: float) -> None:
    """Add the meters of the new music that differ from the one in force."""
    current = normalize_time_signature(*analysis.meter_at(whole, at))
    for meter in new.time_signatures:
        signature = (meter.numerator, meter.denominator)
        if signature != current:
            time = round(meter.time * scale) + at
            whole.time_signatures.append(TimeSignatureTick(time, *signature))
        current = signature


def _hand_out(own: Sequence[TrackTick], notes: dict[str, np.ndarray]) -> None:
    """Give each note to the one of some tracks that plays nearest."""
    if not own:
        return
    centres = np.array([_middle(track) for track in own])
    nearest = np.abs(notes["pitch"][:, None] - centres).argmin(axis=1)
    for index, track in enumerate(own):
        chosen = {name: values[nearest == index] for name, values in notes.items()}
        track.notes.extend(NoteTickList.from_numpy(*chosen.values()))


def _middle(track: TrackTick) -> float:
    """Return the median pitch of a track; 60 without notes."""
    return float(np.median(track.notes.numpy()["pitch"])) if len(track.notes) else 60.0


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


# New bars -----------------------------------------------------------------------------------------


class NewBar(Protocol):
    """A bar to be added: its score, the part of each of its tracks, and its length."""

    @property
    def score(self) -> ScoreTick: ...  # noqa: D102

    @property
    def parts(self) -> tuple[PartName, ...]: ...  # noqa: D102

    @property
    def length_ticks(self) -> int: ...  # noqa: D102


def append_bar_scores(
    score: ScoreTick, parts: Sequence[PartName], at: int, bars: Iterable[NewBar]
) -> tuple[ScoreTick, tuple[PartName, ...]]:
    """Copy a score and append bars, one track for each part and program that has notes.

    Args:
        score: In the ticks of the bars.
        parts: Part of each of its tracks.
        at: Tick where the first bar begins.
        bars: In order.

    Returns:
        The longer score, and the part of each of its tracks. Tracks stand in the order of their
        first notes, so that every track keeps its place while a piece grows.
    """
    longer = score.copy()
    own = zip(parts, longer.tracks, strict=True)
    places = {(part, program_of(track)): place for place, (part, track) in enumerate(own)}
    for new in bars:
        bar = new.score
        for part, track in zip(new.parts, bar.tracks, strict=True):
            if not len(track.notes):
                continue
            place = places.setdefault((part, program_of(track)), len(longer.tracks))
            if place == len(longer.tracks):
                longer.tracks.append(TrackTick(track.name, track.program, track.is_drum))
            longer.tracks[place].notes.extend(_moved(track.notes, at))
        longer.tempos.extend(_moved(bar.tempos, at))
        for meter in bar.time_signatures:
            last = longer.time_signatures[-1] if len(longer.time_signatures) else None
            signature = meter.numerator, meter.denominator
            if last is None or (last.numerator, last.denominator) != signature:
                longer.time_signatures.append(TimeSignatureTick(meter.time + at, *signature))
        at += new.length_ticks
    return longer, tuple(part for part, _ in places)


def _moved(events: _Events, by: int) -> _Events:
    table = events.numpy()
    table["time"] = table["time"] + by
    return type(events).from_numpy(*table.values())


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
