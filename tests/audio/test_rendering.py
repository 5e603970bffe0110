"""Rendered samples of a score: pitch, time, loudness, mix, and errors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from symusic import ControlChange, Pedal, PitchBend
from symusic.core import ScoreTick

from musiclstm.audio.mix import Mix
from musiclstm.audio.rendering import render
from musiclstm.audio.waveform import PEAK_CEILING, loudness_lufs
from musiclstm.errors import RendererMissingError, RenderError
from tests.audio.scores import (
    BEAT,
    DRUMS,
    FLUTE,
    ORGAN,
    PIANO,
    note,
    piano,
    rms,
    score_of,
    track_of,
)

RATE = 44_100


def dry(score: ScoreTick, soundfont: Path, **options: float) -> NDArray[np.float32]:
    return render(score, soundfont=soundfont, reverb=False, chorus=False, **options).samples


def loudest_pitch_hz(samples: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(samples.mean(axis=1) * np.hanning(len(samples)), n=4 * RATE))
    return float(np.argmax(spectrum)) / 4


# -- Errors --------------------------------------------------------------------------------------


def test_a_score_without_notes_gives_no_frames_and_needs_no_soundfont():
    audio = render(score_of(track_of()), soundfont="nowhere.sf2", sample_rate_hz=22_050)
    assert audio.samples.shape == (0, 2)
    assert audio.samples.dtype == np.float32
    assert audio.sample_rate_hz == 22_050


def test_more_than_an_hour_is_refused():
    with pytest.raises(RenderError, match=r"61 minutes, and at most 60"):
        render(piano(note(2 * 3_599)), soundfont="nowhere.sf2")


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("sample_rate_hz", 7_999, "8_000 to 96_000"),
        ("sample_rate_hz", 96_001, "8_000 to 96_000"),
        ("gain_db", np.nan, "-60 to 60"),
        ("tail_s", -1.0, "0 to 60 seconds"),
        ("tail_s", np.inf, "0 to 60 seconds"),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: float, allowed: str):
    with pytest.raises(ValueError, match=f"{option} must be {allowed}, got {value}"):
        render(piano(note(0)), **{option: value})


def test_a_missing_python_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    (tmp_path / "a.sf2").touch()
    with pytest.raises(RendererMissingError, match="pip install pyfluidsynth"):
        render(piano(note(0)), soundfont=tmp_path / "a.sf2")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    module = tmp_path / "fluidsynth.py"
    module.write_text('raise ImportError("Couldn\'t find the FluidSynth library.")')
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a.sf2").touch()
    with pytest.raises(RendererMissingError, match="needs the FluidSynth library, which is miss"):
        render(piano(note(0)), soundfont=tmp_path / "a.sf2")


@pytest.mark.fluidsynth
@pytest.mark.parametrize("content", [b"", b"just text", b"RIFFsizesfbk" + bytes(100)])
def test_a_file_that_is_no_soundfont_is_named(soundfont: Path, tmp_path: Path, content: bytes):
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(content)
    with pytest.raises(RenderError, match=r"'broken\.sf2' is not a SoundFont"):
        render(piano(note(0)), soundfont=broken)


# -- Samples -------------------------------------------------------------------------------------


@pytest.mark.fluidsynth
@pytest.mark.parametrize(("bend", "semitones"), [(0, 0), (8_191, 2)])
def test_key_69_sounds_at_440_hz_and_a_full_bend_adds_a_whole_tone(
    soundfont: Path, bend: int, semitones: int
):
    track = track_of([note(0, 2, pitch=69)], FLUTE)
    track.pitch_bends.append(PitchBend(0, bend))
    samples = dry(score_of(track), soundfont, tail_s=0)
    assert loudest_pitch_hz(samples) == pytest.approx(440 * 2 ** (semitones / 12), abs=3)


@pytest.mark.fluidsynth
def test_a_note_sounds_from_its_onset_and_not_before(soundfont: Path):
    samples = dry(piano(note(2)), soundfont)
    assert np.abs(samples[:RATE]).max() < 1e-4
    assert np.abs(samples[RATE : RATE + RATE // 20]).max() > 0.05


@pytest.mark.fluidsynth
def test_silence_renders_to_silence(soundfont: Path):
    track = track_of([note(0), note(1)])
    track.controls.append(ControlChange(0, 7, 0))
    audio = render(score_of(track), soundfont=soundfont, gain_db=60)
    assert audio.seconds == 3.0
    assert audio.peak < 1e-5


@pytest.mark.fluidsynth
def test_the_same_score_gives_the_same_samples(soundfont: Path):
    score = score_of(
        track_of([note(n / 2, 2, pitch=48 + n) for n in range(16)]),
        track_of([note(n / 2, 0.1, pitch=36) for n in range(16)], DRUMS),
    )
    one, other = (render(score, soundfont=soundfont) for _ in range(2))
    assert np.array_equal(one.samples, other.samples)


@pytest.mark.fluidsynth
def test_no_gain_makes_it_clip(soundfont: Path):
    chords = [note(beat, 2, pitch, 127) for beat in range(4) for pitch in range(36, 96, 3)]
    score = score_of(track_of(chords, ORGAN), track_of(chords, 61))
    audio = render(score, soundfont=soundfont, gain_db=24)
    assert audio.peak == pytest.approx(PEAK_CEILING, rel=1e-5)
    assert np.isfinite(audio.samples).all()


@pytest.mark.fluidsynth
def test_a_soft_solo_and_a_loud_ensemble_are_equally_loud(soundfont: Path):
    solo = score_of(track_of([note(n, 1, velocity=25) for n in range(8)], FLUTE))
    chords = [note(n, 1, pitch, 120) for n in range(8) for pitch in range(40, 90, 5)]
    ensemble = score_of(track_of(chords, ORGAN), track_of(chords, 48))
    for score in (solo, ensemble):
        samples = render(score, soundfont=soundfont).samples
        assert loudness_lufs(samples, sample_rate_hz=RATE) == pytest.approx(-18, abs=0.5)


@pytest.mark.fluidsynth
@pytest.mark.parametrize("tail_s", [0.0, 0.25, 3.0])
def test_the_sound_decays_during_the_tail_and_is_faded_out(soundfont: Path, tail_s: float):
    audio = render(piano(note(0), note(1)), soundfont=soundfont, tail_s=tail_s)
    assert audio.seconds == pytest.approx(1.0 + tail_s)
    if tail_s:
        assert rms(audio.samples[RATE : RATE + 2_000]) > 1e-3
        assert np.abs(audio.samples[-20:]).max() < 1e-3


@pytest.mark.fluidsynth
def test_the_pedal_holds_a_note(soundfont: Path):
    free, held = track_of([note(0), note(7)]), track_of([note(0), note(7)])
    held.pedals.append(Pedal(0, 6 * BEAT))
    quiet, ringing = (dry(score_of(track), soundfont)[RATE : 2 * RATE] for track in (free, held))
    assert rms(ringing) > 10 * rms(quiet)


@pytest.mark.fluidsynth
def test_expression_and_velocity_change_the_level(soundfont: Path):
    track = track_of([note(0, 2), note(2, 2)])
    track.controls.append(ControlChange(2 * BEAT, 11, 40))
    samples = dry(score_of(track), soundfont)
    assert rms(samples[RATE : 2 * RATE]) < 0.5 * rms(samples[:RATE])
    samples = dry(piano(note(0, velocity=120), note(4, velocity=30)), soundfont)
    assert rms(samples[2 * RATE : 3 * RATE]) < 0.3 * rms(samples[:RATE])


@pytest.mark.fluidsynth
def test_programs_and_drums_sound_different(soundfont: Path):
    tracks = [track_of([note(0)], program) for program in (PIANO, FLUTE, DRUMS)]
    one, two, three = (dry(score_of(track), soundfont).ravel() for track in tracks)
    assert np.abs(np.corrcoef([one, two, three]) - np.eye(3)).max() < 0.9


# -- Mix -----------------------------------------------------------------------------------------


@pytest.mark.fluidsynth
def test_arguments_override_the_mix(soundfont: Path):
    score = piano(note(0), note(1, pitch=60))
    mixed = render(score, mix=Mix(soundfont=soundfont, reverb=0.2, chorus=0, gain_db=-9))
    overridden = render(
        score, mix=Mix(reverb=1, chorus=0), soundfont=soundfont, reverb=0.2, gain_db=-9
    )
    assert np.array_equal(mixed.samples, overridden.samples)


@pytest.mark.fluidsynth
def test_true_and_none_are_the_defaults(soundfont: Path):
    score = piano(note(0))
    default = render(score, soundfont=soundfont).samples
    assert np.array_equal(render(score, soundfont=soundfont, reverb=True).samples, default)
    assert np.array_equal(render(score, mix=Mix(soundfont=soundfont.stem)).samples, default)


@pytest.mark.fluidsynth
def test_chorus_changes_the_samples(soundfont: Path):
    score = score_of(track_of([note(0)]))
    score.tracks[0].controls.append(ControlChange(0, 93, 127))
    with_chorus, without = (
        render(score, soundfont=soundfont, chorus=chorus).samples for chorus in (True, False)
    )
    assert rms(with_chorus - without) > 1e-3


@pytest.mark.fluidsynth
def test_an_exchanged_program_sounds_like_the_other(soundfont: Path):
    notes = [note(0), note(1, pitch=60)]
    mixed = render(score_of(track_of(notes)), mix=Mix(programs={PIANO: FLUTE}))
    flute = render(score_of(track_of(notes, FLUTE)))
    assert np.array_equal(mixed.samples, flute.samples)


@pytest.mark.fluidsynth
def test_muted_instruments_are_silent_and_count_for_the_length(soundfont: Path):
    one, other = track_of([note(0)]), track_of([note(0, 4)], FLUTE)
    muted = render(score_of(one, other), mix=Mix(muted=frozenset({FLUTE})), tail_s=0)
    alone = render(score_of(one), tail_s=1.5)
    assert muted.seconds == 2.0
    assert np.corrcoef(muted.samples[:RATE, 0], alone.samples[:RATE, 0])[0, 1] > 0.999
    silent = render(piano(note(0)), mix=Mix(muted=frozenset({PIANO})))
    assert silent.seconds == 2.5
    assert silent.peak < 1e-5
