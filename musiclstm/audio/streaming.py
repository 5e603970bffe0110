"""Streaming synthesis of a score that is still being composed.

One synthesizer continues from draft to draft, so that notes and reverb ring across chunks.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from musiclstm.audio.event_list import (
    Channels,
    Event,
    EventKind,
    EventList,
    Instrument,
    apply_mix,
    build_event_list,
    frame_at,
)
from musiclstm.audio.limiter import Limiter
from musiclstm.audio.mix import Mix
from musiclstm.audio.rendering import MAX_SECONDS, check_tail, concatenate
from musiclstm.audio.synthesizer import STEP_FRAMES, Synth, check_sample_rate
from musiclstm.audio.waveform import (
    FADE_S,
    LOUDNESS_LUFS,
    SILENCE_PEAK,
    fade_out,
    loudness_gain,
    loudness_lufs,
)
from musiclstm.errors import RenderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from musiclstm.midi.analysis import AnyScore

_INSTRUMENT_LUFS = -36.0  # expected loudness of one instrument at velocity 80, before any gain
_MAX_BELOW_EXPECTED_DB = 30.0  # a softer first chunk is nearly a rest and tells little
_EXPECTATION_S = 2.0  # the expectation has the weight of this much measured sound
_LEAD_IN_S = 4.0  # rendered and discarded before the start frame of `start_at`
_FADE_IN_S = 0.01


class StreamingRenderer:
    """Renderer of a growing score, in chunks that join without a gap or a click.

    >>> with StreamingRenderer(mix) as renderer:
    ...     for draft in composer.stream(bars=16):
    ...         chunk = renderer.play(draft.score, bar_line_after(draft))
    ...     last = renderer.flush()

    The chunks together are the rendered final score, wherever the cuts are. Each draft must contain
    what earlier drafts contain before the frame reached. After it anything may change: notes,
    instruments, the ends of sounding notes. A track is identified by its name and program; of
    tracks that share both, new ones come last.

    The loudness of the whole is not known in advance. The gain is chosen with the first notes and
    kept:

        gain = 10 ^ ((-18 LUFS + gain_db - loudness) / 20)
        loudness = (2 s · expected + t · measured) / (2 s + t)
        expected = -36 LUFS + 10 · log10(instruments) + 40 · log10(velocity / 80)

    where t is the length of the first chunk, `measured` its loudness, `velocity` the mean of its
    notes, and `instruments` the number of unmuted ones in the draft. `start_at` measures the music
    before the start instead. `Limiter` reduces what is too loud; no sample exceeds -1 dB.

    A context manager: `close` frees the synthesizer, as does garbage collection. Not thread-safe.

    Args:
        mix: Mix settings. None: the defaults of `Mix`.
        sample_rate_hz: Frames per second, 8 000 to 96 000.

    Raises:
        SoundfontNotFoundError: There is no SoundFont at the given path, or none on this machine.
        RendererMissingError: libfluidsynth is not installed.
        RenderError: The SoundFont cannot be read.
        ValueError: The sample rate is out of range.
    """

    def __init__(self, mix: Mix | None = None, *, sample_rate_hz: int = 44_100) -> None:
        check_sample_rate(sample_rate_hz)
        self.mix = mix or Mix()
        self.sample_rate_hz = sample_rate_hz
        self._synth = Synth.for_mix(self.mix, sample_rate_hz=sample_rate_hz)
        self._limiter = Limiter(sample_rate_hz=sample_rate_hz)
        self._gain: float | None = None  # None before the first note
        self._channels: Channels = {}
        self._selected: dict[int, Instrument] = {}  # by channel
        self._num_instruments = 0  # of the newest draft, without muted ones
        self._velocities: list[int] = []  # of the notes started so far
        self._sounding: set[tuple[int, int]] = set()  # (channel, key)
        self._pending: list[Event] = []  # of the newest draft, from the current frame on
        self._end_frame = 0  # end of its last note
        self._needs_fade_in = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the synthesizer. May be called twice."""
        self._synth.close()

    @property
    def seconds(self) -> float:
        """Current time, from the beginning of the score."""
        return self._synth.frame / self.sample_rate_hz

    def play(self, score: AnyScore, until_tick: int) -> NDArray[np.float32]:
        """Render the newest draft up to a tick.

        Args:
            score: The newest draft; left unchanged.
            until_tick: In ticks of `score`. Notes that start there belong to the next call.

        Returns:
            Shape (frames, 2), float32 within ±0.89. No frames if that tick was reached before.

        Raises:
            RenderError: The draft has more than 256 tracks with notes, the SoundFont has no
                suitable instrument, or the chunk is longer than an hour.
            ValueError: The renderer is closed.
        """
        return self._apply_gain(self._render_until(score, until_tick))

    def start_at(self, score: AnyScore, tick: int) -> None:
        """Start at a tick instead of the beginning.

        The last seconds before it are rendered and discarded: they determine the gain, and their
        notes and reverb ring on, faded in over 10 ms.

        Args:
            score: A draft that contains the music before the tick; left unchanged.
            tick: Start, in ticks of `score`.

        Raises:
            RenderError: As in `play`.
            ValueError: Rendering has begun already, or the renderer is closed.
        """
        if self._synth.frame:
            raise ValueError("start_at must be called before play; create a new StreamingRenderer.")
        frame = frame_at(score, tick, sample_rate_hz=self.sample_rate_hz)
        lead_in = max(0, frame - round(_LEAD_IN_S * self.sample_rate_hz))
        self._synth.frame = lead_in - lead_in % STEP_FRAMES
        discarded = self._render_until(score, tick)
        if np.abs(discarded).max(initial=0) >= SILENCE_PEAK:
            self._gain = loudness_gain(
                discarded, sample_rate_hz=self.sample_rate_hz, gain_db=self.mix.gain_db
            )
        self._needs_fade_in = frame > 0

    def flush(self, tail_s: float = 2.0) -> NDArray[np.float32]:
        """Return the rest of the newest draft and its decay, faded out, and close the renderer.

        Args:
            tail_s: Length of the decay after the last note, 0 to 60 seconds.

        Returns:
            Shape (frames, 2), float32 within ±0.89.

        Raises:
            ValueError: The tail is out of range, or the renderer is closed.
        """
        check_tail(tail_s)
        end = max(self._synth.frame, self._end_frame) + round(tail_s * self.sample_rate_hz)
        samples = self._apply_gain(self._advance(end))
        fade_out(samples, frames=round(min(tail_s, FADE_S) * self.sample_rate_hz))
        self.close()
        return samples

    def _render_until(self, score: AnyScore, until_tick: int) -> NDArray[np.float32]:
        """Return the samples up to a tick, before any gain."""
        events = build_event_list(
            score, sample_rate_hz=self.sample_rate_hz, channels=self._channels
        )
        self._switch_to(apply_mix(events, self.mix))
        return self._advance(frame_at(score, until_tick, sample_rate_hz=self.sample_rate_hz))

    def _switch_to(self, draft: EventList) -> None:
        """Take the events from the current frame on from a new draft."""
        current = bisect_left(draft.events, self._synth.frame, key=lambda event: event.frame)
        self._select_new_instruments(draft.instruments, draft.events[:current])
        pending = draft.events[current:]
        self._pending = [*self._missing_note_offs(pending), *pending]
        self._end_frame = draft.end_frame
        self._num_instruments = len(draft.instruments)

    def _select_new_instruments(
        self, instruments: Iterable[Instrument], past: Iterable[Event]
    ) -> None:
        """Select programs on new channels, with their past controls such as volume and pedal."""
        new = {each.channel: each for each in instruments if each.channel not in self._selected}
        self._synth.select_instruments(new.values())
        self._selected |= new
        for event in past:
            if event.channel in new and event.kind in (EventKind.CONTROL, EventKind.PITCH_BEND):
                self._synth.send(event)

    def _missing_note_offs(self, pending: Iterable[Event]) -> list[Event]:
        """Return note-offs for sounding keys that the draft, against the contract, never ends."""
        next_kind: dict[tuple[int, int], EventKind] = {}
        for event in pending:
            if event.kind in (EventKind.NOTE_OFF, EventKind.NOTE_ON):
                next_kind.setdefault((event.channel, event.number), event.kind)
        lost = [key for key in self._sounding if next_kind.get(key) is not EventKind.NOTE_OFF]
        return [Event(self._synth.frame, EventKind.NOTE_OFF, *key, 0) for key in sorted(lost)]

    def _advance(self, until: int) -> NDArray[np.float32]:
        frames = max(0, until - self._synth.frame)
        if frames > MAX_SECONDS * self.sample_rate_hz:
            raise RenderError(
                f"A chunk of {math.ceil(frames / self.sample_rate_hz / 60):,} minutes was "
                f"requested, and at most {MAX_SECONDS // 60} are allowed; request shorter chunks."
            )
        stop = bisect_left(self._pending, until, key=lambda event: event.frame)
        events, self._pending = self._pending[:stop], self._pending[stop:]
        samples = concatenate(self._synth.play(events, until=until), frames)
        for event in events:
            if event.kind is EventKind.NOTE_ON:
                self._velocities.append(event.value)
                self._sounding.add((event.channel, event.number))
            elif event.kind is EventKind.NOTE_OFF:
                self._sounding.discard((event.channel, event.number))
        return samples

    def _first_gain(self, samples: NDArray[np.float32]) -> float:
        """Return the gain for the first chunk with notes; the class has the formula."""
        expected = (
            _INSTRUMENT_LUFS
            + 10 * math.log10(self._num_instruments)
            + 40 * math.log10(float(np.mean(self._velocities)) / 80)
        )
        seconds = len(samples) / self.sample_rate_hz
        measured = loudness_lufs(samples, sample_rate_hz=self.sample_rate_hz)
        measured = max(measured, expected - _MAX_BELOW_EXPECTED_DB)
        loudness = (_EXPECTATION_S * expected + seconds * measured) / (_EXPECTATION_S + seconds)
        return 10 ** ((LOUDNESS_LUFS + self.mix.gain_db - loudness) / 20)

    def _apply_gain(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._gain is None and self._velocities:
            self._gain = self._first_gain(samples)
        limited = self._limiter(samples * np.float32(self._gain or 1.0))
        if self._needs_fade_in and len(limited):
            frames = min(len(limited), round(_FADE_IN_S * self.sample_rate_hz))
            limited[:frames] *= np.linspace(0, 1, frames, dtype=np.float32)[:, None]
            self._needs_fade_in = False
        return limited
