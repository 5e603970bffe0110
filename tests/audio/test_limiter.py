"""Peaks stay below the ceiling, without clicks, wherever the stream is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from musiclstm.audio.limiter import KNEE, Limiter
from musiclstm.audio.waveform import PEAK_CEILING

RATE = 44_100


def sine(size: float, *, seconds: float = 1.0, hz: float = 220.0) -> NDArray[np.float32]:
    wave = size * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return np.stack([wave, wave], axis=1).astype(np.float32)


def limited(samples: NDArray[np.float32], cuts: list[int] | None = None) -> NDArray[np.float32]:
    limiter = Limiter(sample_rate_hz=RATE)
    return np.concatenate([limiter(chunk) for chunk in np.split(samples, sorted(cuts or []))])


sounds = st.builds(
    lambda seed, frames, size: (
        np.random.default_rng(seed).normal(0, size, (frames, 2)).astype(np.float32)
    ),
    st.integers(0, 1_000),
    st.integers(0, 700),
    st.sampled_from([0.05, 0.5, 5.0, 1e4]),
)


@given(sound=sounds, cuts=st.lists(st.integers(0, 700), max_size=6))
def test_the_result_does_not_depend_on_the_cuts(sound, cuts):
    assert np.array_equal(limited(sound, cuts), limited(sound))


@given(sound=sounds)
def test_no_sample_exceeds_the_ceiling(sound):
    assert np.abs(limited(sound)).max(initial=0) <= PEAK_CEILING


def test_samples_below_the_knee_are_unchanged():
    sound = sine(0.99 * KNEE)
    assert np.array_equal(limited(sound), sound)


def test_the_input_is_left_unchanged():
    sound = sine(3.0)
    before = sound.copy()
    limited(sound)
    assert np.array_equal(sound, before)


def test_a_loud_passage_is_turned_down_without_distortion():
    sound = limited(sine(3.0, seconds=2.0))[RATE:, 0]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
    tone = spectrum[215:226].sum()
    assert tone / spectrum.sum() > 0.995
    assert np.abs(sound).max() == pytest.approx(KNEE, rel=0.15)


def test_the_gain_recovers_slowly_after_a_loud_passage():
    sound = limited(np.concatenate([sine(3.0, seconds=0.2), sine(0.3, seconds=3.0)]))
    soon, late = (np.abs(sound[at : at + 4_410]).max() for at in (10_000, 3 * RATE))
    assert soon < 0.7 * 0.3
    assert late == pytest.approx(0.3, rel=0.02)


def test_a_sudden_loud_passage_does_not_click():
    quiet, loud = sine(0.1, seconds=0.5), sine(4.0, seconds=0.5)
    sound = limited(np.concatenate([quiet, loud]))
    steepest = np.abs(np.diff(np.concatenate([quiet, loud]), axis=0)).max()
    assert np.abs(np.diff(sound, axis=0)).max() <= steepest


def test_both_channels_get_the_same_gain():
    sound = sine(3.0)
    sound[:, 1] *= 0.1
    left, right = limited(sound)[RATE // 2 :].T
    loud = np.abs(right) > 1e-3
    assert (right[loud] / left[loud]).mean() == pytest.approx(0.1, rel=0.1)
