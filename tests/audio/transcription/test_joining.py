"""A recording and its continuation as one sound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from musiclstm.audio import Audio, join_recording
from musiclstm.audio.transcription import joining
from tests.audio.scores import note, piano, rms
from tests.audio.transcription.test_transcription import BEATS

RATE_HZ = 44_100
SAMPLES = (0.2 * np.sin(np.arange(8 * RATE_HZ) / 9)).astype(np.float32)


@pytest.fixture
def rendered(monkeypatch):
    """Replace rendering by a tone of two seconds; return the tempos that it is asked for."""
    tempos: list[float] = []

    def render(score, **_: object) -> Audio:
        tempos.append(score.tempos[0].qpm)
        tone = 0.05 * np.sin(np.arange(2 * RATE_HZ) / 9)
        return Audio(np.stack([tone, tone], axis=1).astype(np.float32), RATE_HZ)

    monkeypatch.setattr(joining, "render", render)
    return tempos


def test_the_continuation_begins_at_the_last_bar_line_as_loud_as_the_recording(rendered) -> None:
    score = BEATS.to_score()
    found = join_recording(SAMPLES, BEATS, score, sample_rate_hz=RATE_HZ)
    line = round(BEATS.bar_lines[-1] * RATE_HZ)
    assert found.seconds == pytest.approx(BEATS.bar_lines[-1] + 2)
    assert np.allclose(found.samples[100 : line - 100, 0], SAMPLES[100 : line - 100], atol=1e-4)
    assert rms(found.samples[line + 4_410 :]) == pytest.approx(rms(SAMPLES), rel=0.05)


def test_a_flat_recording_gets_a_flat_continuation_in_its_tempo(rendered) -> None:
    flat = replace(BEATS, tuning_cents=-50.0)
    found = join_recording(SAMPLES, flat, BEATS.to_score(), sample_rate_hz=RATE_HZ)
    ratio = 2 ** (-50 / 1200)
    assert rendered == [pytest.approx(120 / ratio, rel=1e-4)]
    assert found.seconds == pytest.approx(flat.bar_lines[-1] + 2 / ratio, abs=0.01)


@pytest.mark.fluidsynth
def test_the_continuation_is_rendered(soundfont) -> None:
    new = piano(note(0), note(1))
    found = join_recording(SAMPLES, BEATS, new, sample_rate_hz=RATE_HZ, soundfont=soundfont)
    assert found.seconds > BEATS.bar_lines[-1] + 1
    assert rms(found.samples[round((BEATS.bar_lines[-1] + 0.1) * RATE_HZ) :][:RATE_HZ]) > 0.01
