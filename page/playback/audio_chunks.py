"""Render a growing score to FLAC chunks, from a start tick onwards and, later, what precedes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from musiclstm import Audio
from musiclstm.audio import PEAK_CEILING, Mix, StreamingRenderer, frame_at
from musiclstm.midi import AnyScore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]  # (frames, 2)

SAMPLE_RATE_HZ = 44_100  # of every chunk and of the browser's AudioContext, so that chunks join

_LEAD_IN_CHUNK_FRAMES = 5 * SAMPLE_RATE_HZ
_MAX_GAIN = 4.0  # between the lead-in and the rest; a larger ratio comes from a rest in the music


@dataclass(frozen=True)
class Chunk:
    """An encoded stretch of audio.

    Args:
        start_frame: First frame, counted from the start of the piece.
        frames: Number of frames, 1 or more.
        data: FLAC or WAV file, 44,100 Hz stereo, with exactly `frames` frames.
    """

    start_frame: int
    frames: int
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.start_frame < 0 or self.frames < 1:
            raise ValueError(
                "start_frame must be 0 or more and frames 1 or more, "
                f"got {self.start_frame} and {self.frames}."
            )


def encode_chunk(samples: Samples, *, start_frame: int) -> Chunk:
    """Encode samples of shape (frames, 2), in -1..1 at 44,100 Hz, as 16-bit FLAC.

    Raises:
        RenderError: There are no frames.
        ValueError: The shape is wrong, or `start_frame` is negative.
    """
    data = Audio(samples, SAMPLE_RATE_HZ).to_bytes("flac")
    return Chunk(start_frame, len(samples), data)


def frame_of(score: AnyScore, tick: int) -> int:
    """Return the audio frame of a tick."""
    return frame_at(score, tick, sample_rate_hz=SAMPLE_RATE_HZ)


class ChunkRenderer:
    """Renders a growing score from one tick onwards. Close it to free the synthesizer.

    Args:
        score: A draft that reaches at least to the tick.
        tick: Where rendering starts.
        mix: Instruments and levels. None: as the score says.

    Raises:
        RenderError: No SoundFont was found, or it lacks an instrument.
    """

    def __init__(self, score: AnyScore, tick: int, mix: Mix | None) -> None:
        self._renderer = StreamingRenderer(mix, sample_rate_hz=SAMPLE_RATE_HZ)
        self._tick, self._mix = tick, mix
        self._start = self._frame = frame_of(score, tick)
        self._first: tuple[AnyScore, int, Samples] | None = None
        try:
            if tick:
                self._renderer.start_at(score, tick)
        except BaseException:
            self.close()
            raise

    @property
    def seconds(self) -> float:
        """Seconds rendered so far."""
        return (self._frame - self._start) / SAMPLE_RATE_HZ

    def render_to(self, score: AnyScore, tick: int) -> list[Chunk]:
        """Render the newest draft up to a tick: one chunk, or none if nothing is new.

        Raises:
            RenderError: The draft has more than 256 instruments, or the SoundFont lacks one.
        """
        samples = self._renderer.play(score, tick)
        if self._first is None:
            self._first = score, tick, samples
        return self._encode(samples)

    def flush(self) -> list[Chunk]:
        """Render the rest of the newest draft and the release of its last notes."""
        return self._encode(self._renderer.flush())

    def _encode(self, samples: Samples) -> list[Chunk]:
        start, self._frame = self._frame, self._frame + len(samples)
        return [encode_chunk(samples, start_frame=start)] if len(samples) else []

    def render_lead_in(self, from_tick: int = 0) -> list[Chunk]:
        """Render what precedes the start tick, at the level of what follows it.

        It is rendered past the start tick, and the overlap gives the gain between the two.

        Args:
            from_tick: Where it begins, a bar line.

        Raises:
            RenderError: As in `render_to`.
        """
        if from_tick >= self._tick or self._first is None:
            return []
        score, tick, following = self._first
        with StreamingRenderer(self._mix, sample_rate_hz=SAMPLE_RATE_HZ) as renderer:
            if from_tick:
                renderer.start_at(score, from_tick)
            samples = renderer.play(score, self._tick)
            overlap = renderer.play(score, tick)
        samples *= _gain(overlap, following, peak=float(np.abs(samples).max(initial=0)))
        first = frame_of(score, from_tick)
        starts = range(0, len(samples), _LEAD_IN_CHUNK_FRAMES)
        return [
            encode_chunk(samples[at : at + _LEAD_IN_CHUNK_FRAMES], start_frame=first + at)
            for at in starts
        ]

    def close(self) -> None:
        """Free the synthesizer; closing twice does no harm."""
        self._renderer.close()


def _gain(samples: Samples, target: Samples, *, peak: float) -> float:
    """Gain from the energy of `samples` to that of `target`, within limits and below clipping."""
    energies = [float(np.square(each).sum()) for each in (samples, target)]
    if not all(energies):
        return 1.0
    gain = float(np.sqrt(energies[1] / energies[0]))
    return min(max(gain, 1 / _MAX_GAIN), _MAX_GAIN, PEAK_CEILING / max(peak, 1e-6))
