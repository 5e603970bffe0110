"""Small corpora, written by code."""

from __future__ import annotations

from pathlib import Path

import pytest
from symusic import Note, Score, Tempo, TimeSignature, Track


def write_piece(
    path: Path,
    *,
    first_pitch: int = 60,
    leap: int = 1,
    bars: int = 4,
    program: int = 0,
    drums: bool = False,
) -> Path:
    """A scale in quarters over four-four bars, by leaps within an octave, with drums if wanted."""
    score = Score(480)
    score.tempos.append(Tempo(0, 120))
    score.time_signatures.append(TimeSignature(0, 4, 4))
    track = Track("Melody", program, False)
    for beat in range(4 * bars):
        track.notes.append(Note(480 * beat, 480, first_pitch + leap * beat % 12, 80))
    score.tracks.append(track)
    if drums:
        beat_track = Track("Drums", 0, True)
        for beat in range(4 * bars):
            beat_track.notes.append(Note(480 * beat, 120, 36 + 2 * (beat % 2), 100))
        score.tracks.append(beat_track)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(score.dumps_midi())
    return path


@pytest.fixture(scope="session")
def scales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve pieces, no two of them equal up to transposition.

    Their own music puts one of them into valid, one into test, and ten into train.
    """
    folder = tmp_path_factory.mktemp("scales")
    for number in range(12):
        write_piece(
            folder / f"scale-{number:02d}.mid",
            first_pitch=48 + number,
            leap=(1, 5, 9)[number // 4],
            bars=3 + number % 4,
            drums=number % 3 == 0,
        )
    return folder


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))
