"""The level of a stream: nothing may be known of what is still to come, and nothing may clip.

Knows samples only: no scores, no instruments, no FluidSynth.

A limiter in two steps. First a gain rides after the peaks of the last moments, quickly down and
slowly up, so that what stays loud is made softer without being bent:

    wanted = min(1, KNEE / peak of the last 64 frames)
    gain  += (wanted - gain) · (1 - exp(-64 / (rate · time)))     time: 2 ms down, 0.5 s up

and goes from one value to the next in a straight line over 64 frames. Then what the gain was too
late for is bent round a knee, which leads smoothly to the ceiling of -1 dB and never above it:

    y = x                                                    where |x| <= KNEE, else
    y = sign(x) · (KNEE + room · tanh((|x| - KNEE) / room))  room = ceiling - KNEE

What stays below the knee of -4 dB passes unchanged, to the last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from musiclstm.audio.waveform import PEAK_CEILING

if TYPE_CHECKING:
    from numpy.typing import NDArray

KNEE = 10 ** (-4 / 20)
_CEILING = float(np.nextafter(np.float32(PEAK_CEILING), np.float32(0)))  # float32 rounds it up
_HOP = 64  # frames for which the gain goes in a straight line
_DOWN_S = 0.002
_UP_S = 0.5


class Limiter:
    """Keeps a stream at or below -1 dB, chunk by chunk, wherever it is cut into chunks.

    Args:
        sample_rate_hz: Frames per second.
    """

    def __init__(self, *, sample_rate_hz: int) -> None:
        self._down = 1 - math.exp(-_HOP / (sample_rate_hz * _DOWN_S))
        self._up = 1 - math.exp(-_HOP / (sample_rate_hz * _UP_S))
        self._gains = (1.0, 1.0)  # where this hop begins and ends
        self._peak = 0.0  # of what came of this hop
        self._frames = 0  # how many came of it

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The next chunk, limited.

        Args:
            samples: Shape (frames, 2), of any size; left unchanged.

        Returns:
            Shape (frames, 2), float32, within ±0.89.
        """
        offset, frames = self._frames, len(samples)
        gains = self._ride(self._peaks(samples))
        self._frames = (offset + frames) % _HOP
        ramps = gains[:-1, None] + np.diff(gains)[:, None] * (np.arange(_HOP) / _HOP)
        gain = ramps.ravel()[offset : offset + frames].astype(np.float32)
        return _bent(samples * gain[:, None])

    def _peaks(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """The peak of every hop that these samples touch; the last may still be open."""
        hops = (self._frames + len(samples)) // _HOP + 1
        sizes = np.zeros(hops * _HOP, np.float32)
        sizes[self._frames : self._frames + len(samples)] = np.abs(samples).max(axis=1, initial=0)
        peaks = sizes.reshape(hops, _HOP).max(axis=1)
        peaks[0] = max(peaks[0], self._peak)
        self._peak = float(peaks[-1])
        return peaks

    def _ride(self, peaks: NDArray[np.float32]) -> NDArray[np.float64]:
        """The gain at the beginning of every hop, and at the end of the last."""
        gains = list(self._gains)
        for peak in peaks[:-1].tolist():
            wanted = min(1.0, KNEE / peak) if peak else 1.0
            speed = self._down if wanted < gains[-1] else self._up
            gains.append(gains[-1] + (wanted - gains[-1]) * speed)
        self._gains = (gains[-2], gains[-1])
        return np.array(gains)


def _bent(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    sizes = np.abs(samples)
    if not (sizes > KNEE).any():
        return samples
    room = _CEILING - KNEE
    bent = KNEE + room * np.tanh((sizes - KNEE) / room)
    return np.where(sizes > KNEE, np.copysign(bent, samples), samples).astype(np.float32)
