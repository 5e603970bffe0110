"""The sound of a take in chunks: from the place where listening begins, and what lies before it.

Knows scores, ticks and samples; nothing of composing, nor of what is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from musiclstm.audio import PEAK_CEILING, Mix, StreamingRenderer, frame_at
from musiclstm.midi import AnyScore
from page.playback.player import RATE_HZ, Chunk, encode_chunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

_CHUNK_FRAMES = 5 * RATE_HZ  # of what lies before, which nobody waits for
_MOST_CHANGE = 4.0  # a factor between two levels; more would come from a rest


def frame_of(score: AnyScore, tick: int) -> int:
    """Where a tick stands in the sound."""
    return frame_at(score, tick, sample_rate_hz=RATE_HZ)


class ChunkRenderer:
    """The sound of a growing piece from one tick on.

    To be closed; closing twice does no harm.

    Args:
        score: A draft that reaches at least to the tick.
        tick: Where it begins.
        mix: How it sounds. None: as it is written.

    Raises:
        RenderError: There is no SoundFont, or it lacks what is needed.
    """

    def __init__(self, score: AnyScore, tick: int, mix: Mix | None) -> None:
        self._live = StreamingRenderer(mix, sample_rate_hz=RATE_HZ)
        self._tick, self._mix = tick, mix
        self._start = self._frame = frame_of(score, tick)
        self._first: tuple[AnyScore, int, Samples] | None = None
        try:
            if tick:
                self._live.start_at(score, tick)
        except BaseException:
            self.close()
            raise

    @property
    def seconds(self) -> float:
        """How much there is, from where it began."""
        return (self._frame - self._start) / RATE_HZ

    def until(self, score: AnyScore, tick: int) -> list[Chunk]:
        """Go on to a tick, by the newest draft: one chunk, or none where nothing is new.

        Raises:
            RenderError: The draft has more than 256 instruments, or the SoundFont lacks one.
        """
        samples = self._live.play(score, tick)
        if self._first is None:
            self._first = score, tick, samples
        return self._chunks(samples)

    def end(self) -> list[Chunk]:
        """The rest of the newest draft, and what rings on after it."""
        return self._chunks(self._live.flush())

    def _chunks(self, samples: Samples) -> list[Chunk]:
        start, self._frame = self._frame, self._frame + len(samples)
        return [encode_chunk(samples, start_frame=start)] if len(samples) else []

    def before(self) -> list[Chunk]:
        """All that lies before, as loud as what comes after it.

        It is played a little too far, and the two are compared where they overlap.

        Raises:
            RenderError: As in `until`.
        """
        if not self._start or self._first is None:
            return []
        score, tick, after = self._first
        with StreamingRenderer(self._mix, sample_rate_hz=RATE_HZ) as live:
            samples = live.play(score, self._tick)
            samples *= _factor(live.play(score, tick), after, peak=_peak(samples))
        starts = range(0, len(samples), _CHUNK_FRAMES)
        return [encode_chunk(samples[at : at + _CHUNK_FRAMES], start_frame=at) for at in starts]

    def close(self) -> None:
        """Free the synthesizer."""
        self._live.close()


def _factor(own: Samples, wanted: Samples, *, peak: float) -> float:
    """What makes one as loud as the other, between limits, and leaves the peak in bounds."""
    powers = [float(np.square(each).sum()) for each in (own, wanted)]
    if not all(powers):
        return 1.0
    factor = float(np.sqrt(powers[1] / powers[0]))
    return min(max(factor, 1 / _MOST_CHANGE), _MOST_CHANGE, PEAK_CEILING / max(peak, 1e-6))


def _peak(samples: Samples) -> float:
    return float(np.abs(samples).max(initial=0))
