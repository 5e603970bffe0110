"""A piece that is still being composed becomes sound, bar by bar and without a seam.

One synthesizer plays on from draft to draft, so that whatever rings goes on ringing. Knows scores
and samples; nothing of models, nor of how sound reaches a listener.
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
    build_event_list,
    frame_at,
    with_mix,
)
from musiclstm.audio.limiter import Limiter
from musiclstm.audio.mix import Mix
from musiclstm.audio.rendering import MAX_SECONDS, check_tail, joined
from musiclstm.audio.synthesizer import STEP_FRAMES, Synth, check_sample_rate
from musiclstm.audio.waveform import (
    FADE_S,
    LOUDNESS_LUFS,
    SILENCE_PEAK,
    fade_out,
    level_factor,
    loudness_lufs,
)
from musiclstm.errors import RenderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from musiclstm.midi.analysis import AnyScore

# How loud music is before it is levelled: one instrument so much at velocity 80.
_ONE_INSTRUMENT_LUFS = -36.0
_FURTHEST_DB = 30.0  # softer than expected by more: that is nearly a rest
_EXPECTATION_S = 2.0  # so much sound weighs as much as that expectation
_LEAD_IN_S = 4.0  # what is played unheard when music is passed over
_FADE_IN_S = 0.01


class StreamingRenderer:
    """The sound of a growing piece, in chunks that join without a gap or a click.

    >>> with LiveSound(mix) as live:
    ...     for draft in composer.stream(bars=16):
    ...         chunk = live.play(draft.score, bar_line_after(draft))
    ...     last = live.finish()

    Whatever the cuts, the chunks together are the sound of the finished piece. Each draft must
    hold what the earlier ones hold before the point reached; after it anything may be new: notes,
    instruments, the ends of notes that ring across. A track is known by its name and instrument;
    of tracks that share both, new ones come last.

    A stream cannot be levelled when it is over. One factor is chosen with the first notes and kept:

        factor = 10 ^ ((-18 LUFS + gain_db - loudness) / 20)
        loudness = (2 s · expected + t · measured) / (2 s + t)
        expected = -36 LUFS + 10 · log10(instruments) + 40 · log10(velocity / 80)

    where t is the length of the first chunk, `measured` its loudness and `velocity` the mean of its
    notes, and the instruments are those of the draft that are not muted. `level_from` and `skip_to`
    go by what has been heard before instead. What then is too loud, the limiter softens; no sample
    exceeds -1 dB (limiter.py has the formula).

    Used with `with`, which frees the synthesizer; one that is abandoned is freed as well. Not to be
    used by two threads at once.

    Args:
        mix: How it is to sound. None: as it is written, in a small hall.
        sample_rate_hz: Frames per second, 8 000 to 96 000.

    Raises:
        SoundfontNotFoundError: No SoundFont where asked, or none anywhere.
        RendererMissingError: FluidSynth is not installed.
        RenderError: The SoundFont cannot be read.
        ValueError: A rate outside its range.
    """

    def __init__(self, mix: Mix | None = None, *, sample_rate_hz: int = 44_100) -> None:
        check_sample_rate(sample_rate_hz)
        self.mix = mix or Mix()
        self.sample_rate_hz = sample_rate_hz
        self._synth = Synth.for_mix(self.mix, sample_rate_hz=sample_rate_hz)
        self._limiter = Limiter(sample_rate_hz=sample_rate_hz)
        self._factor: float | None = None  # None: no note has been heard yet
        self._channels: Channels = {}
        self._chosen: dict[int, Instrument] = {}  # by channel
        self._instruments = 0  # of the newest draft, without the muted ones
        self._velocities: list[int] = []  # of the notes struck so far
        self._sounding: set[tuple[int, int]] = set()  # channel and key
        self._due: list[Event] = []  # of the newest draft, from here on
        self._end_frame = 0  # where its last note ends
        self._fade_in = False

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
        """Free the synthesizer; no more can be played. Closing twice does no harm."""
        self._synth.close()

    @property
    def seconds(self) -> float:
        """How far it has come, from the beginning of the piece."""
        return self._synth.frame / self.sample_rate_hz

    def play(self, score: AnyScore, until_tick: int) -> NDArray[np.float32]:
        """Go on to a tick, by the newest draft.

        Args:
            score: The newest draft; left unchanged.
            until_tick: Where to stop, in ticks of `score`; notes there are left to the next call.

        Returns:
            Shape (frames, 2), float32 within ±0.89. No frames where it has come that far already.

        Raises:
            RenderError: The draft has more than 256 instruments, the SoundFont lacks what is
                needed, or more than an hour is asked for at once.
            ValueError: It is closed.
        """
        return self._levelled(self._raw(score, until_tick))

    def skip_to(self, score: AnyScore, tick: int) -> None:
        """Begin at a tick, as if all before it had been heard.

        The last seconds before it are played unheard: from them the level is taken, and what rings
        there rings on, faded in over 10 ms.

        Args:
            score: A draft that holds what comes before; left unchanged.
            tick: Where to begin, in ticks of `score`.

        Raises:
            RenderError: As in `play`.
            ValueError: Something has been played already, or it is closed.
        """
        self._refuse_when_begun("skip_to")
        frame = frame_at(score, tick, sample_rate_hz=self.sample_rate_hz)
        lead_in = max(0, frame - round(_LEAD_IN_S * self.sample_rate_hz))
        self._synth.frame = lead_in - lead_in % STEP_FRAMES
        self._factor = self._factor_for(self._raw(score, tick)) or self._factor
        self._fade_in = frame > 0

    def level_from(self, samples: NDArray[np.float32]) -> None:
        """Take the level from sound that was heard before: its factor to the usual loudness.

        Args:
            samples: Shape (frames, 2), as a synthesizer gives them, before any level.

        Raises:
            ValueError: Something has been played already; another level would be a jump.
        """
        self._refuse_when_begun("level_from")
        self._factor = self._factor_for(samples)

    def finish(self, tail_s: float = 2.0) -> NDArray[np.float32]:
        """The rest of the newest draft, and what rings on after it, faded out; then it is closed.

        Args:
            tail_s: How long it may ring, 0 to 60 seconds.

        Returns:
            Shape (frames, 2), float32 within ±0.89.

        Raises:
            ValueError: A tail outside its range, or it is closed.
        """
        check_tail(tail_s)
        end = max(self._synth.frame, self._end_frame) + round(tail_s * self.sample_rate_hz)
        samples = self._levelled(self._advance(end))
        fade_out(samples, frames=round(min(tail_s, FADE_S) * self.sample_rate_hz))
        self.close()
        return samples

    def _raw(self, score: AnyScore, until_tick: int) -> NDArray[np.float32]:
        """Up to a tick, before any level."""
        part = build_event_list(score, sample_rate_hz=self.sample_rate_hz, channels=self._channels)
        until = frame_at(score, until_tick, sample_rate_hz=self.sample_rate_hz)
        self._take_over(with_mix(part, self.mix))
        return self._advance(until)

    def _take_over(self, draft: EventList) -> None:
        """Go by this draft from here on."""
        here = bisect_left(draft.events, self._synth.frame, key=lambda event: event.frame)
        self._introduce(draft.instruments, draft.events[:here])
        self._due = [*self._forgotten(draft.events[here:]), *draft.events[here:]]
        self._end_frame = draft.end_frame
        self._instruments = len(draft.instruments)

    def _introduce(self, instruments: Iterable[Instrument], past: Iterable[Event]) -> None:
        """Put new instruments on their channels, with volume, pan and pedal as they are."""
        new = {each.channel: each for each in instruments if each.channel not in self._chosen}
        self._synth.choose(new.values())
        self._chosen |= new
        for event in past:
            if event.channel in new and event.kind in (EventKind.CONTROL, EventKind.PITCH_BEND):
                self._synth.send(event)

    def _forgotten(self, due: Iterable[Event]) -> list[Event]:
        """Ends for keys that sound and that the draft, against the agreement, never ends."""
        coming: dict[tuple[int, int], EventKind] = {}
        for event in due:
            if event.kind in (EventKind.NOTE_OFF, EventKind.NOTE_ON):
                coming.setdefault((event.channel, event.number), event.kind)
        lost = [key for key in self._sounding if coming.get(key) is not EventKind.NOTE_OFF]
        return [Event(self._synth.frame, EventKind.NOTE_OFF, *key, 0) for key in sorted(lost)]

    def _advance(self, until: int) -> NDArray[np.float32]:
        frames = max(0, until - self._synth.frame)
        if frames > MAX_SECONDS * self.sample_rate_hz:
            raise RenderError(
                f"{math.ceil(frames / self.sample_rate_hz / 60):,} minutes were asked for at once, "
                f"and at most {MAX_SECONDS // 60} can be played; play shorter chunks."
            )
        now = bisect_left(self._due, until, key=lambda event: event.frame)
        events, self._due = self._due[:now], self._due[now:]
        samples = joined(self._synth.play(events, until=until), frames)
        self._remember(events)
        return samples

    def _remember(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind is EventKind.NOTE_ON:
                self._velocities.append(event.value)
                self._sounding.add((event.channel, event.number))
            elif event.kind is EventKind.NOTE_OFF:
                self._sounding.discard((event.channel, event.number))

    def _refuse_when_begun(self, name: str) -> None:
        if self._synth.frame:
            raise ValueError(f"{name} comes before everything else; begin a new LiveSound.")

    def _factor_for(self, heard: NDArray[np.float32]) -> float | None:
        """What brings this to the usual loudness; None where nothing is heard."""
        if np.abs(heard).max(initial=0) < SILENCE_PEAK:
            return None
        return level_factor(heard, sample_rate_hz=self.sample_rate_hz, gain_db=self.mix.gain_db)

    def _factor_at_first(self, samples: NDArray[np.float32]) -> float:
        """The factor for the first notes, see the class."""
        expected = (
            _ONE_INSTRUMENT_LUFS
            + 10 * math.log10(self._instruments)
            + 40 * math.log10(float(np.mean(self._velocities)) / 80)
        )
        seconds = len(samples) / self.sample_rate_hz
        measured = loudness_lufs(samples, sample_rate_hz=self.sample_rate_hz)
        measured = max(measured, expected - _FURTHEST_DB)
        loudness = (_EXPECTATION_S * expected + seconds * measured) / (_EXPECTATION_S + seconds)
        return 10 ** ((LOUDNESS_LUFS + self.mix.gain_db - loudness) / 20)

    def _levelled(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._factor is None and self._velocities:
            self._factor = self._factor_at_first(samples)
        limited = self._limiter(samples * np.float32(self._factor or 1.0))
        if self._fade_in and len(limited):
            frames = min(len(limited), round(_FADE_IN_S * self.sample_rate_hz))
            limited[:frames] *= np.linspace(0, 1, frames, dtype=np.float32)[:, None]
            self._fade_in = False
        return limited
