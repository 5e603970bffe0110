"""Loudness, peak and audio files, on signals with known values."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from musiclstm.audio.waveform import (
    LOUDNESS_LUFS,
    PEAK_CEILING,
    Audio,
    loudness_gain,
    loudness_lufs,
)
from musiclstm.errors import RendererMissingError, RenderError

RATE = 44_100


def sine(
    frequency_hz: float = 997.0,
    *,
    seconds: float = 2.0,
    amplitude: float = 1.0,
    rate: int = RATE,
    channels: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.float32]:
    wave = amplitude * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)
    return np.outer(wave, channels).astype(np.float32)


def read(data: bytes) -> tuple[NDArray[np.float32], int]:
    return soundfile.read(io.BytesIO(data), dtype="float32")


# -- Audio ---------------------------------------------------------------------------------------


def test_duration_and_peak_are_those_of_the_samples():
    samples = np.zeros((RATE // 2, 2), np.float32)
    samples[7] = (0.25, -0.5)
    audio = Audio(samples, RATE)
    assert (audio.seconds, audio.peak) == (0.5, 0.5)


def test_without_frames_peak_and_duration_are_zero():
    audio = Audio(np.zeros((0, 2), np.float32), RATE)
    assert (audio.seconds, audio.peak) == (0.0, 0.0)


def test_mono_samples_are_refused():
    with pytest.raises(ValueError, match=r"\(frames, 2\), got \(10,\)"):
        Audio(np.zeros(10, np.float32), RATE)


# -- Loudness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_a_full_scale_sine_in_one_channel_has_the_loudness_of_the_standard(rate: int):
    one_channel = sine(rate=rate, channels=(1.0, 0.0))
    assert loudness_lufs(one_channel, sample_rate_hz=rate) == pytest.approx(-3.01, abs=0.02)


def test_two_channels_are_three_decibels_louder_than_one():
    assert loudness_lufs(sine(), sample_rate_hz=RATE) == pytest.approx(0.0, abs=0.02)


def test_half_the_amplitude_is_six_decibels_softer():
    assert loudness_lufs(sine(amplitude=0.5), sample_rate_hz=RATE) == pytest.approx(-6.02, abs=0.02)


def test_bass_weighs_less_and_treble_more():
    bass, middle, treble = (
        loudness_lufs(sine(hz), sample_rate_hz=RATE) for hz in (30.0, 997.0, 8_000.0)
    )
    assert bass < middle - 5
    assert treble == pytest.approx(middle + 3.3, abs=0.2)


def test_rests_do_not_lower_the_loudness():
    sound = sine(seconds=2.0)
    with_rest = np.concatenate((sound, np.zeros_like(sound), sound))
    assert loudness_lufs(with_rest, sample_rate_hz=RATE) == pytest.approx(
        loudness_lufs(sound, sample_rate_hz=RATE), abs=0.01
    )


def test_a_signal_shorter_than_a_block_has_a_loudness():
    click = sine(seconds=0.1)
    assert -10 < loudness_lufs(click, sample_rate_hz=RATE) < -3


def test_silence_has_a_loudness_of_minus_infinity():
    silence = np.zeros((RATE, 2), np.float32)
    assert loudness_lufs(silence, sample_rate_hz=RATE) == -np.inf


@pytest.mark.parametrize("amplitude", [0.001, 0.1, 1.0, 30.0])
def test_soft_and_loud_signals_get_the_same_loudness(amplitude: float):
    sound = sine(amplitude=amplitude)
    sound *= loudness_gain(sound, sample_rate_hz=RATE)
    assert loudness_lufs(sound, sample_rate_hz=RATE) == pytest.approx(LOUDNESS_LUFS, abs=0.01)


def test_gain_db_is_relative_to_the_default_loudness():
    softer, default = (loudness_gain(sine(), sample_rate_hz=RATE, gain_db=db) for db in (-6.0, 0.0))
    assert 20 * np.log10(softer / default) == pytest.approx(-6.0)


def test_the_peak_limits_the_gain():
    click = np.zeros((2 * RATE, 2), np.float32)
    click[100] = 0.3
    factor = loudness_gain(click, sample_rate_hz=RATE, gain_db=20.0)
    assert 0.3 * factor == pytest.approx(PEAK_CEILING)


def test_silence_gets_no_gain():
    hiss = np.full((RATE, 2), 1e-7, np.float32)
    assert loudness_gain(hiss, sample_rate_hz=RATE) == 1.0
    assert loudness_gain(hiss[:0], sample_rate_hz=RATE) == 1.0


# -- Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "error"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05)])
def test_a_file_contains_what_was_written(format: str, error: float):
    sound = sine(440.0, amplitude=0.5)
    samples, rate = read(Audio(sound, RATE).to_bytes(format))
    assert rate == RATE
    assert samples.shape == sound.shape
    assert np.abs(samples - sound).max() < error


def test_an_mp3_contains_the_same_sound():
    sound = sine(440.0, amplitude=0.5)
    data = Audio(sound, RATE).to_bytes("mp3")
    samples, rate = read(data)
    assert rate == RATE
    assert len(samples) == pytest.approx(len(sound), abs=3_000)  # whole mp3 frames
    assert loudness_lufs(samples, sample_rate_hz=RATE) == pytest.approx(
        loudness_lufs(sound, sample_rate_hz=RATE), abs=0.5
    )
    assert len(data) < 0.3 * sound.size * 2  # well below 16 bits a sample


def test_a_long_ogg_is_complete():
    sound = np.tile(sine(440.0, amplitude=0.5, seconds=1.0, rate=8_000), (300, 1))
    samples, _ = read(Audio(sound, 8_000).to_bytes("ogg"))
    assert len(samples) == len(sound)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.wav", "WAV"), ("a.MP3", "MP3"), ("a.b.ogg", "OGG"), ("a.flac", "FLAC")],
)
def test_the_ending_of_a_file_sets_its_format(tmp_path: Path, name: str, kind: str):
    path = Audio(sine(seconds=0.1), RATE).save(tmp_path / name)
    assert path == tmp_path / name
    assert soundfile.info(path).format == kind


@pytest.mark.parametrize(("name", "ending"), [("a.aiff", "aiff"), ("a", ""), ("a.wav.zip", "zip")])
def test_an_unknown_ending_is_refused_with_the_known_ones(tmp_path: Path, name: str, ending: str):
    with pytest.raises(RenderError, match=f"'{ending}'; choose wav, mp3, ogg or flac"):
        Audio(sine(seconds=0.1), RATE).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_rate_that_mp3_lacks_is_refused():
    with pytest.raises(RenderError, match="mp3 cannot hold 96000"):
        Audio(sine(seconds=0.1, rate=96_000), 96_000).to_bytes("mp3")


@pytest.mark.parametrize("format", ["wav", "mp3", "ogg", "flac"])
def test_no_frames_give_no_file(format: str):
    with pytest.raises(RenderError, match="no sound to write"):
        Audio(np.zeros((0, 2), np.float32), RATE).to_bytes(format)


def test_a_missing_soundfile_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(RendererMissingError, match="pip install soundfile"):
        Audio(sine(seconds=0.1), RATE).to_bytes()
