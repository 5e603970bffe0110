"""Peak limiter for a stream of samples.

Two stages. First, a gain follows the peaks, with a fast attack and a slow release, so that a
passage that stays loud is turned down without distortion:

    target = min(1, KNEE / peak of the last 64 frames)
    gain  += (target - gain) · (1 - exp(-64 / (rate · time)))     time: attack 2 ms, release 0.5 s

The gain is interpolated linearly over 64 frames. Second, a soft clipper limits the peaks that the
gain was too slow for. It never exceeds the ceiling of -1 dB:

    y = x                                                              where |x| <= KNEE, else
    y = sign(x) · (KNEE + headroom · tanh((|x| - KNEE) / headroom))    headroom = ceiling - KNEE

Samples below the knee of -4 dB are unchanged while the gain is 1.
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
_HOP = 64  # frames between two values of the gain
_ATTACK_S = 0.002
_RELEASE_S = 0.5


class Limiter:
    """Limit a stream to -1 dB; the result does not depend on how the stream is cut into chunks.

    Args:
        sample_rate_hz: Frames per second.
    """

    def __init__(self, *, sample_rate_hz: int) -> None:
        self._attack = 1 - math.exp(-_HOP / (sample_rate_hz * _ATTACK_S))
        self._release = 1 - math.exp(-_HOP / (sample_rate_hz * _RELEASE_S))
        self._gains = (1.0, 1.0)  # at the start and the end of the current hop
        self._peak = 0.0  # of the current hop so far
        self._frames = 0  # of the current hop so far

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next chunk, limited.

        Args:
            samples: Shape (frames, 2), unbounded; left unchanged.

        Returns:
            Shape (frames, 2), float32, within ±0.89.
        """
        offset, frames = self._frames, len(samples)
        gains = self._update_gains(self._hop_peaks(samples))
        self._frames = (offset + frames) % _HOP
        ramps = gains[:-1, None] + np.diff(gains)[:, None] * (np.arange(_HOP) / _HOP)
        gain = ramps.ravel()[offset : offset + frames].astype(np.float32)
        return _soft_clip(samples * gain[:, None])

    def _hop_peaks(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the peak of every hop that these samples are part of; the last may be partial."""
        hops = (self._frames + len(samples)) // _HOP + 1
        magnitudes = np.zeros(hops * _HOP, np.float32)
        magnitudes[self._frames : self._frames + len(samples)] = np.abs(samples).max(
            axis=1, initial=0
        )
        peaks = magnitudes.reshape(hops, _HOP).max(axis=1)
        peaks[0] = max(peaks[0], self._peak)
        self._peak = float(peaks[-1])
        return peaks

    def _update_gains(self, peaks: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the gain at the start of every hop and at the end of the last."""
        gains = list(self._gains)
        for peak in peaks[:-1].tolist():
            target = min(1.0, KNEE / peak) if peak else 1.0
            speed = self._attack if target < gains[-1] else self._release
            gains.append(gains[-1] + (target - gains[-1]) * speed)
        self._gains = (gains[-2], gains[-1])
        return np.array(gains)


def _soft_clip(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    magnitudes = np.abs(samples)
    if not (magnitudes > KNEE).any():
        return samples
    headroom = _CEILING - KNEE
    clipped = KNEE + headroom * np.tanh((magnitudes - KNEE) / headroom)
    return np.where(magnitudes > KNEE, np.copysign(clipped, samples), samples).astype(np.float32)
