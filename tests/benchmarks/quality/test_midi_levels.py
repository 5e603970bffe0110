"""The loudness of what is read against FluidSynth."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.quality import midi_levels
from musiclstm import example_files

RIFF = example_files()["Garage Riff (musiclstm)"]


@pytest.mark.fluidsynth
@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")
def test_an_example_is_as_loud_as_in_fluidsynth(capsys, monkeypatch):
    monkeypatch.setattr(midi_levels, "sources_of_split", lambda paths, split: [Source()])
    assert midi_levels.main(["--data", "x", "--pieces", "1"]) == 0
    assert "garage_riff.mid" in capsys.readouterr().out


def test_without_the_program_there_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert midi_levels.main(["--data", str(RIFF)]) == 1
    assert "apt-get install fluidsynth" in capsys.readouterr().err


class Source:
    corpus, name = "examples", "garage_riff.mid"

    def read(self, limit):
        return RIFF.read_bytes()
