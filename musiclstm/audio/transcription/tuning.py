"""Tuning of a recording: its distance from A = 440 Hz, and its correction by resampling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from musiclstm.audio.transcription.recording import SAMPLE_RATE_HZ, require_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

MIN_CENTS = 8.0  # less detuning costs no notes
_FFT, _HOP = 8_192, 4_096
_RANGE_HZ = (100.0, 2_000.0)
_PEAK = 0.05  # least magnitude of a spectral peak, relative to the largest of its frame


def find_tuning_cents(samples: Samples) -> float:
    """Return the deviation from equal temperament at A = 440 Hz, -50 to 50 cents.

    It is the circular mean of the deviations of the spectral peaks, by their magnitudes.

    Args:
        samples: One channel at `SAMPLE_RATE_HZ`, (frames,).
    """
    window = np.hanning(_FFT).astype(np.float32)
    mean = 0j
    for start in range(0, max(1, len(samples) - _FFT + 1), _HOP):
        frame = samples[start : start + _FFT]
        spectrum = np.abs(np.fft.rfft(frame * window[: len(frame)], n=_FFT))
        mean += _deviation(spectrum)
    return float(np.angle(mean) / (2 * np.pi) * 100)


def _deviation(spectrum: NDArray[np.floating]) -> complex:
    """Return the sum of the peaks of a frame as vectors whose angle is the deviation."""
    first, last = (round(hz * _FFT / SAMPLE_RATE_HZ) for hz in _RANGE_HZ)
    at = np.arange(first, last)
    middle = spectrum[at]
    is_peak = (middle > spectrum[at - 1]) & (middle >= spectrum[at + 1])
    at = at[is_peak & (middle > _PEAK * spectrum.max())]
    if not len(at):
        return 0j
    left, middle, right = (np.log(spectrum[at + step] + 1e-12) for step in (-1, 0, 1))
    bins = at + 0.5 * (left - right) / (left - 2 * middle + right - 1e-12)
    semitones = 12 * np.log2(bins * SAMPLE_RATE_HZ / _FFT / 440)
    return complex((spectrum[at] * np.exp(2j * np.pi * semitones)).sum())


def tuning_ratio(cents: float) -> float:
    """Return by how much a recording is made longer, and so lower, to be in tune."""
    return float(2 ** (cents / 1200)) if abs(cents) > MIN_CENTS else 1.0


def retune(samples: Samples, ratio: float) -> Samples:
    """Return samples that are `ratio` times as long and as much lower."""
    if ratio == 1.0:
        return samples
    resampled = require_package("soxr").resample(
        samples, SAMPLE_RATE_HZ, SAMPLE_RATE_HZ * ratio, quality="HQ"
    )
    return np.asarray(resampled, np.float32)
