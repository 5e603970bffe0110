"""The packages of the extra `transcribe`, and short recordings that need no SoundFont."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray

for package in ("onnxruntime", "swift_f0", "metricon", "soxr", "soundfile"):
    pytest.importorskip(package, reason="pip install 'musiclstm[transcribe]'")

RATE_HZ = 22_050
BEAT_S = 0.5
MELODY = (60, 64, 67, 72, 71, 67, 65, 62) * 2


def plucked(pitches: list[int], *, start_s: float, seconds: float, total_s: float) -> NDArray:
    """Return notes with eight harmonics that decay, as of a plucked string."""
    samples = np.zeros(round(total_s * RATE_HZ))
    time = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    envelope = (
        np.minimum(1, time / 0.005) * np.exp(-2 * time) * np.minimum(1, (seconds - time) / 0.02)
    )
    first = round(start_s * RATE_HZ)
    for pitch in pitches:
        hz = 440 * 2 ** ((pitch - 69) / 12)
        note = sum(np.sin(2 * np.pi * hz * k * time) / k**1.5 for k in range(1, 9)) * envelope
        samples[first : first + len(note)] += note[: len(samples) - first]
    return samples


def melody(*, bass: bool, cents: float = 0.0) -> NDArray[np.float32]:
    """Return 16 quarter notes at 120 bpm, with a bass at the beginning of each 4/4 bar."""
    total_s = (len(MELODY) + 1) * BEAT_S
    samples = np.zeros(round(total_s * RATE_HZ))
    for number, pitch in enumerate(MELODY):
        notes = [([pitch + cents / 100], BEAT_S * 0.95)]
        if bass and number % 4 == 0:
            notes.append(([48 + cents / 100, 43 + cents / 100], 4 * BEAT_S))
        for pitches, seconds in notes:
            start_s = number * BEAT_S
            samples += plucked(pitches, start_s=start_s, seconds=seconds, total_s=total_s)
    return (samples / np.abs(samples).max() * 0.5).astype(np.float32)


def sound_file(
    samples: NDArray, *, rate_hz: int = RATE_HZ, kind: str = "WAV", subtype=None
) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()
