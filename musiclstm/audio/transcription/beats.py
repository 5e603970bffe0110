"""Beats and bar lines of a recording, from its notes and its sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from musiclstm.audio.transcription.notes import TranscribedNote
from musiclstm.audio.transcription.recording import SAMPLE_RATE_HZ, require_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]
    Floats = NDArray[np.float64]

FPS = 50
TEMPO_RANGE_BPM = (65.0, 170.0)
METERS = (2, 3, 4)

_FFT = 1_024
_HOP = SAMPLE_RATE_HZ // FPS
_LOW_HZ = 150.0
_LOW_PITCH = 55
# Of 55 validation clips the tempo is right up to octaves in 95 %; in 87 % with the default, 100.
_TEMPO_STEADINESS = 250.0
_SMOOTHING = np.exp(-0.5 * (np.arange(-3, 4) / 1.2) ** 2)  # frames of 20 ms
_LOUD_PERCENTILE = 99.0  # of an activation, which becomes 1


class Beats(NamedTuple):
    """Beats of a recording.

    Attributes:
        times_s: In seconds, ascending, (beats,).
        numbers: Number in the bar, 1 for a downbeat, (beats,).
        meter: Beats of a bar.
        confidence: How much likelier the beats are than the frames between them, 0..1.
    """

    times_s: Floats
    numbers: NDArray[np.int64]
    meter: int
    confidence: float

    @property
    def tempo_bpm(self) -> float:
        """Beats per minute from the first to the last beat."""
        return float(60 * (len(self.times_s) - 1) / (self.times_s[-1] - self.times_s[0]))


def find_beats(
    samples: Samples, notes: Sequence[TranscribedNote], *, meter: int | None = None
) -> Beats:
    """Find beats, bar lines and meter.

    The beat activation is half note onsets, half spectral flux; the downbeat activation is
    its product with low notes, changes of harmony, long notes and low flux. Metricon decodes them.

    Args:
        samples: One channel at `SAMPLE_RATE_HZ`, (frames,).
        notes: In the time of the samples, by start.
        meter: Beats of a bar. None: 2, 3 or 4.
    """
    metricon = require_package("metricon")
    beat, downbeat = _activations(samples, notes)
    found = metricon.track_downbeats(
        metricon.Activations.from_activations(beat, downbeat, FPS),
        beats_per_bar=METERS if meter is None else (meter,),
        min_bpm=TEMPO_RANGE_BPM[0],
        max_bpm=TEMPO_RANGE_BPM[1],
        transition_lambda=_TEMPO_STEADINESS,
    )
    times, numbers = np.asarray(found.times), np.asarray(found.numbers, np.int64)
    frames = np.minimum(np.rint(times * FPS).astype(int), len(beat) - 1)
    confidence = float(beat[frames].mean()) if len(frames) else 0.0
    return Beats(times, numbers, int(numbers.max(initial=1)), confidence)


def _activations(samples: Samples, notes: Sequence[TranscribedNote]) -> tuple[Floats, Floats]:
    """Return the probabilities of a beat and of a downbeat, (frames at `FPS`,) each."""
    count = len(samples) // _HOP + 1
    flux, low_flux = _spectral_flux(samples, count)
    accents, bass, lengths, harmony = _note_accents(notes, count)
    beat = np.clip(0.5 * accents + 0.5 * flux, 0, 1) * 0.98
    share = (bass + harmony + lengths + 0.15 * low_flux) / 3.15
    return beat, beat * np.clip(share, 0.02, 0.95)


def _spectral_flux(samples: Samples, count: int) -> tuple[Floats, Floats]:
    """Return the rises of the log spectrum, of all and of low frequencies, scaled to 0..1."""
    window = np.hanning(_FFT).astype(np.float32)
    padded = np.pad(samples, (_FFT // 2, _FFT + _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][:count]
    levels = np.log1p(100 * np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32))
    rises = np.maximum(np.diff(levels, axis=0, prepend=levels[:1]), 0)
    low = round(_LOW_HZ * _FFT / SAMPLE_RATE_HZ) + 1
    return _scaled(rises.sum(axis=1)), _scaled(rises[:, :low].sum(axis=1))


def _note_accents(
    notes: Sequence[TranscribedNote], count: int
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return accents of onsets, low notes, long notes and changes of harmony, each 0..1."""
    accents, bass, lengths = np.zeros((3, count))
    chroma = np.zeros((count, 12))
    for note in notes:
        start, end = round(note.start_s * FPS), round(note.end_s * FPS)
        if start >= count:
            continue
        accents[start] += note.confidence
        bass[start] += max(0.0, (_LOW_PITCH + 12 - note.pitch) / 24)
        lengths[start] += min(2.0, note.end_s - note.start_s)
        chroma[start : max(end, start + 1), note.pitch % 12] += note.confidence
    harmony = _harmony_changes(chroma) * (np.convolve(accents, _SMOOTHING, "same") > 0)
    return _scaled(accents), _scaled(bass), _scaled(lengths), _scaled(harmony)


def _harmony_changes(chroma: Floats) -> Floats:
    """Return the distance of the pitch classes of the next half second and of the last one."""
    half = FPS // 2
    total = np.vstack([np.zeros((1, 12)), np.cumsum(chroma, axis=0)])
    frame = np.arange(len(chroma))
    after = total[np.minimum(frame + half, len(chroma))] - total[frame]
    before = total[frame] - total[np.maximum(frame - half, 0)]
    norm = np.linalg.norm(after, axis=1) * np.linalg.norm(before, axis=1)
    change: Floats = np.where(norm > 0, 1 - (after * before).sum(axis=1) / (norm + 1e-9), 0)
    return change


def _scaled(values: NDArray[np.floating[Any]]) -> Floats:
    """Return a smoothed activation without its slow part, scaled to 0..1."""
    smooth = np.convolve(values, _SMOOTHING / _SMOOTHING.sum(), "same").astype(np.float64)
    slow = np.convolve(smooth, np.full(FPS, 1 / FPS), "same")
    sharp = np.maximum(smooth - slow, 0)
    loud = np.percentile(sharp, _LOUD_PERCENTILE) if len(sharp) else 0.0
    scaled: Floats = np.clip(sharp / loud, 0, 1) if loud > 0 else np.zeros(len(sharp))
    return scaled
