"""The loudness of what is read against FluidSynth."""

from __future__ import annotations

import shutil

import pytest
from symusic.core import NoteTick, ScoreTick, TrackTick

from benchmarks.quality import midi_levels
from musiclstm import example_files

RIFF = example_files()["Garage Riff (musiclstm)"]


@pytest.mark.fluidsynth
@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
def test_an_example_is_as_loud_as_in_fluidsynth(capsys, monkeypatch):
    monkeypatch.setattr(midi_levels, "sources_of_split", lambda paths, split: [Source()])
    assert midi_levels.main(["--data", "x", "--pieces", "1"]) == 0
    assert "garage_riff.mid" in capsys.readouterr().out


def test_bars_with_overlapping_notes_of_a_key_are_found():
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0, False))
    for time, duration, pitch in ((0, 480, 60), (480, 480, 60), (1920, 3000, 62), (2400, 480, 62)):
        score.tracks[0].notes.append(NoteTick(time, duration, pitch, 80))
    score.tracks[0].notes.append(NoteTick(7680, 480, 60, 80))
    assert midi_levels._has_unisons(score).tolist() == [False, True, True, False, False]


def test_without_the_program_there_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert midi_levels.main(["--data", str(RIFF)]) == 1
    assert "apt-get install fluidsynth" in capsys.readouterr().err


class Source:
    corpus, name = "examples", "garage_riff.mid"

    def read(self, limit):
        return RIFF.read_bytes()
