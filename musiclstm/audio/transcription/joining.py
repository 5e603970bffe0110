"""A recording and the music that continues it as one sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from musiclstm.audio.rendering import render
from musiclstm.audio.transcription.recording import (
    STEREO,
    RecordingSource,
    read_stereo,
    require_package,
)
from musiclstm.audio.transcription.transcription import Transcription
from musiclstm.audio.transcription.tuning import tuning_ratio
from musiclstm.audio.waveform import PEAK_CEILING, Audio, loudness_lufs
from musiclstm.midi.analysis import AnyScore, in_ticks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Samples = NDArray[np.float32]

_FADE_S = 0.06  # of the recording, after the bar line
_MAX_GAIN_DB = 20.0


def join_recording(
    source: RecordingSource,
    heard: Transcription,
    continuation: AnyScore,
    *,
    sample_rate_hz: int | None = None,
    soundfont: str | Path | None = None,
) -> Audio:
    """Return a recording up to its last bar line, and then the rendered continuation.

    The continuation gets the tuning and the loudness of the recording, whose sound fades out after
    the bar line while the continuation begins.

    Args:
        source: The recording that was transcribed.
        heard: Its transcription, with the corrections under which the music was composed.
        continuation: The new bars alone, which begin at tick 0.
        sample_rate_hz: Frames per second of samples.
        soundfont: As in `render`.

    Raises:
        RecordingError: The recording cannot be read again.
        RenderError: The continuation cannot be rendered.
    """
    recording = read_stereo(source, sample_rate_hz=sample_rate_hz, start_s=heard.start_s)
    line = max(0, round(heard.bar_lines[-1] * STEREO.rate_hz))
    fade = round(_FADE_S * STEREO.rate_hz)
    first = np.zeros((line + fade, 2), np.float32)
    own = recording.samples[: line + fade]
    first[: len(own)] = own
    first[line:] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    new = _tuned(continuation, tuning_ratio(heard.tuning_cents), soundfont)
    new = new * np.float32(_gain(first[:line], new))
    joined = np.zeros((line + max(fade, len(new)), 2), np.float32)
    joined[: line + fade] = first
    joined[line : line + len(new)] += new
    peak = float(np.abs(joined).max(initial=0))
    return Audio(joined * np.float32(min(1.0, PEAK_CEILING / max(peak, 1e-9))), STEREO.rate_hz)


def _tuned(score: AnyScore, ratio: float, soundfont: str | Path | None) -> Samples:
    """Render a score in the tuning of a recording: faster by `ratio`, then resampled."""
    changed = in_ticks(score).copy()
    for tempo in changed.tempos:
        tempo.mspq = round(tempo.mspq * ratio)
    samples = render(changed, sample_rate_hz=STEREO.rate_hz, soundfont=soundfont).samples
    if ratio == 1.0:
        return samples
    resampled = require_package("soxr").resample(samples, STEREO.rate_hz * ratio, STEREO.rate_hz)
    return np.asarray(resampled, np.float32)


def _gain(first: Samples, new: Samples) -> float:
    """Return the factor that gives `new` the loudness of `first`."""
    if not len(first) or not len(new):
        return 1.0
    target, own = (loudness_lufs(each, sample_rate_hz=STEREO.rate_hz) for each in (first, new))
    if not np.isfinite(target) or not np.isfinite(own):
        return 1.0
    return float(10 ** (np.clip(target - own, -_MAX_GAIN_DB, _MAX_GAIN_DB) / 20))
