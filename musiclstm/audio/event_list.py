"""Conversion of a score to synthesizer events, each at a sample frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from musiclstm.errors import RenderError
from musiclstm.midi.analysis import TempoMap, in_ticks
from musiclstm.midi.general_midi import DRUMS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from symusic.core import ScoreTick, TrackTick

    from musiclstm.audio.mix import Mix
    from musiclstm.midi.analysis import AnyScore

    ToFrames = Callable[[NDArray[np.int64]], NDArray[np.int64]]  # ticks -> frames

MAX_INSTRUMENTS = 256  # one MIDI channel each, so that every track keeps its own program


class EventKind(IntEnum):
    """Kind of event. Those of one frame are sent in this order, of a kind in that of the score."""

    NOTE_OFF = 0  # before NOTE_ON, so that a repeated note is released before it starts again
    CONTROL = 1
    PITCH_BEND = 2
    NOTE_ON = 3


class Event(NamedTuple):
    """One MIDI message with its time."""

    frame: int
    kind: EventKind
    channel: int  # 0..255
    number: int  # key or controller number, 0..127
    value: int  # velocity or controller value, 0..127; pitch bend, -8192..8191


class Instrument(NamedTuple):
    """Program of one channel."""

    channel: int  # 0..255
    program: int  # General MIDI program, 0..127; number of the kit for drums
    is_drum: bool
    bank: int = 0  # 0..127, of variations of the program; not for drums

    @property
    def mix_program(self) -> int:
        """Return the program as `Mix` counts it: -1 for drums of any kit."""
        return DRUMS if self.is_drum else self.program


class TrackKey(NamedTuple):
    """Identity of a track across the drafts of a growing score."""

    name: str
    program: int
    is_drum: bool
    occurrence: int  # counted among the tracks that share the three fields above


Channels: TypeAlias = dict[TrackKey, int]


class EventList(NamedTuple):
    """A score as input of the synthesizer."""

    instruments: tuple[Instrument, ...]
    events: list[Event]  # sorted by frame, then kind; empty without notes
    end_frame: int  # end of the last note


_BANK, _BANK_LOW, _SUSTAIN = 0, 32, 64
# Banks come with the program; ends of notes are read from files; modes affect several channels.
_LEFT_OUT = frozenset({_BANK, _BANK_LOW, 120, *range(122, 128)})


def build_event_list(
    score: AnyScore, *, sample_rate_hz: int, channels: Channels | None = None
) -> EventList:
    """Convert a score to events at sample frames, with one channel for each track with notes.

    Args:
        score: In any time unit; left unchanged.
        sample_rate_hz: Frames per second.
        channels: Channel of each track. Missing tracks are added, so that a track keeps its
            channel in every draft of a growing score. None: channels are counted from 0.

    Raises:
        RenderError: More than 256 tracks have notes.
    """
    score = in_ticks(score)
    tracks = _tracks_on_channels(score, {} if channels is None else channels)
    to_frames = partial(TempoMap(score).frames, sample_rate_hz=sample_rate_hz)
    notes = [e for channel, track in tracks for e in _note_events(track, channel, to_frames)]
    if not notes:
        return EventList((), [], 0)
    controls = [e for channel, track in tracks for e in _control_events(track, channel, to_frames)]
    return EventList(
        instruments=tuple(_instrument(track, channel) for channel, track in tracks),
        events=sorted(controls + notes, key=lambda event: event[:2]),  # by frame, then kind
        end_frame=max(event.frame for event in notes),
    )


def apply_mix(event_list: EventList, mix: Mix) -> EventList:
    """Exchange programs and drop the events of muted instruments; `end_frame` stays."""
    audible = [each for each in event_list.instruments if each.mix_program not in mix.muted]
    channels = {each.channel for each in audible}
    return event_list._replace(
        instruments=tuple(_with_mix_program(each, mix) for each in audible),
        events=[event for event in event_list.events if event.channel in channels],
    )


def _with_mix_program(instrument: Instrument, mix: Mix) -> Instrument:
    if instrument.is_drum:
        return instrument
    program = mix.programs.get(instrument.program)
    return instrument if program is None else instrument._replace(program=program, bank=0)


def frame_at(score: AnyScore, tick: int, *, sample_rate_hz: int) -> int:
    """Return the sample frame of a tick of the score."""
    return int(TempoMap(score).frames(np.array(tick), sample_rate_hz))


def _tracks_on_channels(score: ScoreTick, channels: Channels) -> list[tuple[int, TrackTick]]:
    """Return (channel, track) of every track with notes, in the order of the score."""
    counts = Counter[tuple[str, int, bool]]()
    tracks = []
    for track in score.tracks:
        name_and_program = (track.name, track.program, track.is_drum)
        if len(track.notes):
            key = TrackKey(*name_and_program, counts[name_and_program])
            tracks.append((channels.setdefault(key, len(channels)), track))
        counts[name_and_program] += 1
    if len(channels) > MAX_INSTRUMENTS:
        raise RenderError(
            f"The score has {len(channels)} tracks with notes, and at most {MAX_INSTRUMENTS} can "
            "sound together; merge tracks that share an instrument."
        )
    return tracks


def _instrument(track: TrackTick, channel: int) -> Instrument:
    bank = next((control.value for control in track.controls if control.number == _BANK), 0)
    return Instrument(channel, min(max(track.program, 0), 127), track.is_drum, bank)


def _note_events(track: TrackTick, channel: int, to_frames: ToFrames) -> Iterator[Event]:
    """Yield note-ons and note-offs; a key is released before its next note-on."""
    notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
    # Some drum files have only notes of length zero; they sound for one frame and their decay.
    start = to_frames(notes["time"])
    end = np.maximum(to_frames(notes["time"] + notes["duration"]), start + 1)
    pitch, velocity = notes["pitch"], notes["velocity"]

    order = np.lexsort((velocity, end, start, pitch))  # of twins the longest, then the loudest
    start, end, pitch, velocity = start[order], end[order], pitch[order], velocity[order]
    is_repeated = pitch[1:] == pitch[:-1]
    end[:-1] = np.where(is_repeated, np.minimum(end[:-1], start[1:]), end[:-1])

    audible = (end > start) & (velocity > 0) & (pitch >= 0)
    columns = (values[audible].tolist() for values in (start, end, pitch, velocity))
    for note_start, note_end, key, note_velocity in zip(*columns, strict=True):
        yield Event(note_start, EventKind.NOTE_ON, channel, key, note_velocity)
        yield Event(note_end, EventKind.NOTE_OFF, channel, key, 0)


def _control_events(track: TrackTick, channel: int, to_frames: ToFrames) -> Iterator[Event]:
    controls = _controls(track)
    frames = to_frames(np.array([time for time, _, _ in controls], np.int64)).tolist()
    for frame, (_, number, value) in zip(frames, controls, strict=True):
        yield Event(frame, EventKind.CONTROL, channel, number, min(max(value, 0), 127))

    bends = list(track.pitch_bends)
    frames = to_frames(np.array([bend.time for bend in bends], np.int64)).tolist()
    for frame, bend in zip(frames, bends, strict=True):
        yield Event(frame, EventKind.PITCH_BEND, channel, 0, min(max(bend.value, -8192), 8191))


def _controls(track: TrackTick) -> list[tuple[int, int, int]]:
    """Return (tick, controller, value) of all rendered controls, the sustain pedal included."""
    controls = [(c.time, c.number, c.value) for c in track.controls if c.number not in _LEFT_OUT]
    if not any(number == _SUSTAIN for _, number, _ in controls):
        # symusic reads a pedal in both forms; a score made in code may have `pedals` only.
        for pedal in track.pedals:
            controls.append((pedal.time, _SUSTAIN, 127))
            controls.append((pedal.time + pedal.duration, _SUSTAIN, 0))
    return controls
