"""A score becomes a list of events at sample frames: what is struck, released and turned, and when.

Knows no FluidSynth, no SoundFont and no effects: only which track sounds on which channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from musiclstm.errors import RenderError
from musiclstm.midi.analysis import in_ticks
from musiclstm.midi.general_midi import DRUMS

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from symusic.core import ScoreTick, TrackTick

    from musiclstm.audio.mix import Mix
    from musiclstm.midi.analysis import AnyScore

    Clock = Callable[[NDArray[np.int64]], NDArray[np.int64]]  # ticks -> frames

MAX_INSTRUMENTS = 256  # one channel for each, so that no two ever share a program


class EventKind(IntEnum):
    """What can happen at a frame, in the order in which it happens there."""

    NOTE_OFF = 0  # before the note-ons: a repeated note ends before it sounds again
    CONTROL = 1
    PITCH_BEND = 2
    NOTE_ON = 3


class Event(NamedTuple):
    """One thing FluidSynth is told, and when."""

    frame: int
    kind: EventKind
    channel: int  # 0..255
    number: int  # the key or the controller, 0..127
    value: int  # velocity or controller value, 0..127; pitch bend, -8192..8191


class Instrument(NamedTuple):
    """What sounds on one channel."""

    channel: int  # 0..255
    program: int  # General MIDI, 0..127; the kit for drums
    is_drum: bool

    @property
    def number(self) -> int:
        """The program, or -1 for drums of any kit."""
        return DRUMS if self.is_drum else self.program


class TrackKey(NamedTuple):
    """What a track is known by in all drafts of a growing score."""

    name: str
    program: int
    is_drum: bool
    number: int  # counted among the tracks that are alike in all of the above


Channels: TypeAlias = dict[TrackKey, int]


class EventList(NamedTuple):
    """All that FluidSynth needs to know of a score."""

    instruments: tuple[Instrument, ...]
    events: list[Event]  # rising in time; empty without notes
    end_frame: int  # where the last note ends


# Bank, mode and "all sound off" messages stay out: they would reach beyond their own channel.
_CONTROLS = frozenset({1, 7, 10, 11, 64, 66, 67, 91, 93})
_SUSTAIN = 64


def build_event_list(
    score: AnyScore, *, sample_rate_hz: int, channels: Channels | None = None
) -> EventList:
    """Turn a score into events at sample frames, each track with notes on a channel of its own.

    Args:
        score: In any time unit; left unchanged.
        sample_rate_hz: Frames per second.
        channels: Which track sounds on which channel. Tracks that are not yet there are added, so
            that every draft of a growing score finds its channels again. None: counted from 0.

    Raises:
        RenderError: More than 256 tracks have notes.
    """
    score = in_ticks(score)
    tracks = _tracks_on_channels(score, {} if channels is None else channels)
    clock = _clock(score, sample_rate_hz)
    notes = [e for channel, track in tracks for e in _note_events(track, channel, clock)]
    if not notes:
        return EventList((), [], 0)
    controls = [e for channel, track in tracks for e in _control_events(track, channel, clock)]
    return EventList(
        instruments=tuple(_instrument(track, channel) for channel, track in tracks),
        events=sorted(controls + notes, key=lambda event: event[:2]),  # by frame, then kind
        end_frame=max(event.frame for event in notes),
    )


def with_mix(part: EventList, mix: Mix) -> EventList:
    """The part with its instruments exchanged and without the muted ones, as long as before."""
    heard = [each for each in part.instruments if each.number not in mix.muted]
    channels = {each.channel for each in heard}
    return part._replace(
        instruments=tuple(_exchanged(each, mix) for each in heard),
        events=[event for event in part.events if event.channel in channels],
    )


def _exchanged(instrument: Instrument, mix: Mix) -> Instrument:
    if instrument.is_drum:
        return instrument
    return instrument._replace(program=mix.programs.get(instrument.program, instrument.program))


def frame_at(score: AnyScore, tick: int, *, sample_rate_hz: int) -> int:
    """The sample frame of a tick, by the score's tempos."""
    return int(_clock(in_ticks(score), sample_rate_hz)(np.array([tick], np.int64))[0])


def _tracks_on_channels(score: ScoreTick, channels: Channels) -> list[tuple[int, TrackTick]]:
    """The tracks with notes, in their order, each with its channel."""
    alike = Counter[tuple[str, int, bool]]()
    tracks = []
    for track in score.tracks:
        likeness = (track.name, track.program, track.is_drum)
        if len(track.notes):
            key = TrackKey(*likeness, alike[likeness])
            tracks.append((channels.setdefault(key, len(channels)), track))
        alike[likeness] += 1
    if len(channels) > MAX_INSTRUMENTS:
        raise RenderError(
            f"The score has {len(channels)} tracks with notes, and at most {MAX_INSTRUMENTS} can "
            "sound together; merge tracks that share an instrument."
        )
    return tracks


def _instrument(track: TrackTick, channel: int) -> Instrument:
    return Instrument(channel, min(max(track.program, 0), 127), track.is_drum)


def _clock(score: ScoreTick, sample_rate_hz: int) -> Clock:
    """The tempo map, in float64.

    symusic's own seconds are float32: ten minutes into a piece they are frames apart, and the end
    of a note could fall behind the beginning of the next one and silence it.
    """
    tempos = [(0, 500_000)] + [(max(0, t.time), t.mspq) for t in score.tempos if t.mspq > 0]
    ticks, mspq = np.array(sorted(tempos, key=lambda tempo: tempo[0]), np.float64).T
    frames_per_tick = mspq * sample_rate_hz / 1e6 / max(1, score.ticks_per_quarter)
    frames = np.concatenate(([0.0], np.cumsum(np.diff(ticks) * frames_per_tick[:-1])))

    def to_frames(at: NDArray[np.int64]) -> NDArray[np.int64]:
        at = np.maximum(at, 0)
        tempo = np.searchsorted(ticks, at, side="right") - 1
        exact = frames[tempo] + (at - ticks[tempo]) * frames_per_tick[tempo]
        return np.rint(exact).astype(np.int64)

    return to_frames


def _note_events(track: TrackTick, channel: int, clock: Clock) -> Iterator[Event]:
    """Note-ons and note-offs in which no key is struck twice without a release between."""
    notes = {name: values.astype(np.int64) for name, values in track.notes.numpy().items()}
    # Notes without length (some drum files have no others) still sound.
    start = clock(notes["time"])
    end = np.maximum(clock(notes["time"] + notes["duration"]), start + 1)
    pitch, velocity = notes["pitch"], notes["velocity"]

    order = np.lexsort((end, start, pitch))
    start, end, pitch, velocity = start[order], end[order], pitch[order], velocity[order]
    again = pitch[1:] == pitch[:-1]
    end[:-1] = np.where(again, np.minimum(end[:-1], start[1:]), end[:-1])

    heard = (end > start) & (velocity > 0) & (pitch >= 0)
    for on, off, key, strength in zip(
        *(values[heard].tolist() for values in (start, end, pitch, velocity)), strict=True
    ):
        yield Event(on, EventKind.NOTE_ON, channel, key, strength)
        yield Event(off, EventKind.NOTE_OFF, channel, key, 0)


def _control_events(track: TrackTick, channel: int, clock: Clock) -> Iterator[Event]:
    controls = _controls(track)
    frames = clock(np.array([time for time, _, _ in controls], np.int64)).tolist()
    for frame, (_, number, value) in zip(frames, controls, strict=True):
        yield Event(frame, EventKind.CONTROL, channel, number, min(max(value, 0), 127))

    bends = list(track.pitch_bends)
    frames = clock(np.array([bend.time for bend in bends], np.int64)).tolist()
    for frame, bend in zip(frames, bends, strict=True):
        yield Event(frame, EventKind.PITCH_BEND, channel, 0, min(max(bend.value, -8192), 8191))


def _controls(track: TrackTick) -> list[tuple[int, int, int]]:
    """(tick, controller, value) of everything that is followed, the pedal included."""
    controls = [(c.time, c.number, c.value) for c in track.controls if c.number in _CONTROLS]
    if not any(number == _SUSTAIN for _, number, _ in controls):
        # symusic gives a file's pedal in both forms; a score made in code may have only this one.
        for pedal in track.pedals:
            controls.append((pedal.time, _SUSTAIN, 127))
            controls.append((pedal.time + pedal.duration, _SUSTAIN, 0))
    return controls
