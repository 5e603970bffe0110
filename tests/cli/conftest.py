"""A prompt, a model, and commands that fail."""

from __future__ import annotations

import pytest
from symusic import Note, Score, TimeSignature, Track

from musiclstm.cli import main


@pytest.fixture
def prompt(tmp_path):
    """Four bars of 3/4 for a violin."""
    score = Score(480)
    score.time_signatures.append(TimeSignature(0, 3, 4))
    track = Track("Melody", 40, False)
    for beat in range(12):
        track.notes.append(Note(480 * beat, 480, 60 + 2 * (beat % 5), 90))
    score.tracks.append(track)
    path = tmp_path / "prompt.mid"
    path.write_bytes(score.dumps_midi())
    return path


@pytest.fixture
def model(tiny_checkpoint):
    return ["--model", str(tiny_checkpoint)]


@pytest.fixture
def error_of(capsys):
    """Return a function that runs a command which fails, and returns its one line of error."""

    def run(*command) -> str:
        assert main([str(word) for word in command]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error

    return run
