"""Loudness, peak and audio files, on sounds whose numbers are known."""

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
    encode_chunk,
    level_factor,
    loudness_lufs,
)
from musiclstm.errors import RendererMissingError, RenderError

RATE = 44_100


def sine(
    frequency_hz: float = 997.0,
    *,
    seconds: float = 2.0,
    size: float = 1.0,
    rate: int = RATE,
    sides: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.float32]:
    wave = size * np.sin(2 * np.pi * frequency_hz * np.arange(round(seconds * rate)) / rate)
    return np.outer(wave, sides).astype(np.float32)


def read(data: bytes) -> tuple[NDArray[np.float32], int]:
    return soundfile.read(io.BytesIO(data), dtype="float32")


# -- What an Audio knows of itself ---------------------------------------------------------------


def test_length_and_peak_are_those_of_the_samples():
    samples = np.zeros((RATE // 2, 2), np.float32)
    samples[7] = (0.25, -0.5)
    audio = Audio(samples, RATE)
    assert (audio.seconds, audio.peak) == (0.5, 0.5)


def test_no_frames_have_no_peak_and_no_length():
    audio = Audio(np.zeros((0, 2), np.float32), RATE)
    assert (audio.seconds, audio.peak) == (0.0, 0.0)


def test_mono_samples_are_refused():
    with pytest.raises(ValueError, match=r"^samples must have shape \(frames, 2\), got \(10,\)\.$"):
        Audio(np.zeros(10, np.float32), RATE)


# -- Loudness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000])
def test_a_full_sine_on_one_side_has_the_loudness_the_standard_gives_it(rate: int):
    one_side = sine(rate=rate, sides=(1.0, 0.0))
    assert loudness_lufs(one_side, sample_rate_hz=rate) == pytest.approx(-3.01, abs=0.02)


def test_both_sides_are_three_decibels_louder_than_one():
    assert loudness_lufs(sine(), sample_rate_hz=RATE) == pytest.approx(0.0, abs=0.02)


def test_half_the_size_is_six_decibels_softer():
    assert loudness_lufs(sine(size=0.5), sample_rate_hz=RATE) == pytest.approx(-6.02, abs=0.02)


def test_the_ear_hears_less_of_the_bass_and_more_of_the_treble():
    bass, middle, treble = (
        loudness_lufs(sine(hz), sample_rate_hz=RATE) for hz in (30.0, 997.0, 8_000.0)
    )
    assert bass < middle - 5
    assert treble == pytest.approx(middle + 3.3, abs=0.2)


def test_rests_do_not_make_a_piece_softer():
    sound = sine(seconds=2.0)
    with_rest = np.concatenate((sound, np.zeros_like(sound), sound))
    assert loudness_lufs(with_rest, sample_rate_hz=RATE) == pytest.approx(
        loudness_lufs(sound, sample_rate_hz=RATE), abs=0.01
    )


def test_a_sound_shorter_than_a_block_has_a_loudness():
    click = sine(seconds=0.1)
    assert -10 < loudness_lufs(click, sample_rate_hz=RATE) < -3


def test_silence_has_no_loudness():
    silence = np.zeros((RATE, 2), np.float32)
    assert loudness_lufs(silence, sample_rate_hz=RATE) == -np.inf


@pytest.mark.parametrize("size", [0.001, 0.1, 1.0, 30.0])
def test_soft_and_loud_sounds_are_brought_to_the_same_loudness(size: float):
    sound = sine(size=size)
    sound *= level_factor(sound, sample_rate_hz=RATE)
    assert loudness_lufs(sound, sample_rate_hz=RATE) == pytest.approx(LOUDNESS_LUFS, abs=0.01)


def test_gain_is_counted_from_the_usual_loudness():
    softer, usual = (level_factor(sine(), sample_rate_hz=RATE, gain_db=db) for db in (-6.0, 0.0))
    assert 20 * np.log10(softer / usual) == pytest.approx(-6.0)


def test_the_peak_decides_where_the_loudness_would_exceed_it():
    click = np.zeros((2 * RATE, 2), np.float32)
    click[100] = 0.3
    factor = level_factor(click, sample_rate_hz=RATE, gain_db=20.0)
    assert 0.3 * factor == pytest.approx(PEAK_CEILING)


def test_silence_is_not_made_louder():
    hiss = np.full((RATE, 2), 1e-7, np.float32)
    assert level_factor(hiss, sample_rate_hz=RATE) == 1.0
    assert level_factor(hiss[:0], sample_rate_hz=RATE) == 1.0


# -- Files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("format", "error"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05)])
def test_a_file_gives_back_what_was_written(format: str, error: float):
    sound = sine(440.0, size=0.5)
    samples, rate = read(Audio(sound, RATE).to_bytes(format))
    assert rate == RATE
    assert samples.shape == sound.shape
    assert np.abs(samples - sound).max() < error


def test_mp3_gives_back_the_same_sound():
    sound = sine(440.0, size=0.5)
    data = Audio(sound, RATE).to_bytes("mp3")
    samples, rate = read(data)
    assert rate == RATE
    assert len(samples) == pytest.approx(len(sound), abs=3_000)  # whole mp3 frames
    assert loudness_lufs(samples, sample_rate_hz=RATE) == pytest.approx(
        loudness_lufs(sound, sample_rate_hz=RATE), abs=0.5
    )
    assert len(data) < 0.3 * sound.size * 2  # well below 16 bits a sample


def test_a_long_ogg_is_written_whole():
    sound = np.tile(sine(440.0, size=0.5, seconds=1.0, rate=8_000), (300, 1))
    samples, _ = read(Audio(sound, 8_000).to_bytes("ogg"))
    assert len(samples) == len(sound)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.wav", "WAV"), ("a.MP3", "MP3"), ("a.b.ogg", "OGG"), ("a.flac", "FLAC")],
)
def test_the_ending_of_a_file_says_its_format(tmp_path: Path, name: str, kind: str):
    path = Audio(sine(seconds=0.1), RATE).save(tmp_path / name)
    assert path == tmp_path / name
    assert soundfile.info(path).format == kind


@pytest.mark.parametrize(("name", "ending"), [("a.aiff", "aiff"), ("a", ""), ("a.wav.zip", "zip")])
def test_an_unknown_ending_is_refused_with_those_there_are(tmp_path: Path, name: str, ending: str):
    with pytest.raises(RenderError) as refusal:
        Audio(sine(seconds=0.1), RATE).save(tmp_path / name)
    assert str(refusal.value) == (
        f"Sound cannot be written as '{ending}'; choose wav, mp3, ogg or flac."
    )
    assert list(tmp_path.iterdir()) == []


def test_mp3_refuses_a_rate_it_does_not_have():
    with pytest.raises(RenderError) as refusal:
        Audio(sine(seconds=0.1, rate=96_000), 96_000).to_bytes("mp3")
    assert str(refusal.value) == (
        "mp3 cannot hold 96000 frames per second; render at 44100 or 48000, or write wav, ogg "
        "or flac."
    )


@pytest.mark.parametrize("format", ["wav", "mp3", "ogg", "flac"])
def test_no_frames_make_no_file(format: str):
    with pytest.raises(RenderError, match=r"^There is no sound to write; does the score have any"):
        Audio(np.zeros((0, 2), np.float32), RATE).to_bytes(format)


def test_without_soundfile_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(RendererMissingError) as refusal:
        Audio(sine(seconds=0.1), RATE).to_bytes()
    assert str(refusal.value) == (
        "Sound files need the Python package soundfile, which is missing; install it with: "
        "pip install soundfile"
    )


# -- Chunks of a stream --------------------------------------------------------------------------


def test_chunks_join_to_the_same_samples_as_the_whole():
    sound = sine(440.0, seconds=0.3, size=0.8)
    chunks = [sound[:1], sound[1:5_000], sound[5_000:5_017], sound[5_017:]]
    joined = np.concatenate([read(encode_chunk(chunk))[0] for chunk in chunks])
    assert np.array_equal(joined, read(encode_chunk(sound))[0])
    assert np.abs(joined - sound).max() < 2 / 32_768


def test_a_chunk_is_flac_of_sixteen_bits_at_its_rate():
    info = soundfile.info(io.BytesIO(encode_chunk(sine(seconds=0.1), sample_rate_hz=22_050)))
    assert (info.format, info.subtype, info.samplerate, info.channels) == (
        "FLAC",
        "PCM_16",
        22_050,
        2,
    )


def test_what_is_too_loud_is_cut_off_and_does_not_wrap():
    loud = np.array([[1.5, -1.5]] * 32, np.float32)
    samples, _ = read(encode_chunk(loud))
    assert samples[:, 0].min() > 0.99
    assert samples[:, 1].max() < -0.99


def test_no_frames_are_no_bytes():
    assert encode_chunk(np.zeros((0, 2), np.float32)) == b""
