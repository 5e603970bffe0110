"""Small corpora that are written by code, and a small vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from symusic import Note, Score, Tempo, TimeSignature, Track

from musiclstm.model import TokenTable


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


DURATIONS = [f"Duration_{beats}.{part}.12" for beats in range(4) for part in range(12)][1:]
NAMES = [
    *("PAD_None", "BOS_None", "EOS_None", "Bar_None"),
    *(f"Pitch_{pitch}" for pitch in range(128)),
    *(f"PitchDrum_{pitch}" for pitch in range(27, 89)),
    *DURATIONS,
    *("TimeSig_4/4", "TimeSig_3/4", "TimeSig_6/8"),
    *(f"Position_{position}" for position in range(72)),
    *("Tempo_120.0", "Tempo_60.0"),
    *(f"Program_{program}" for program in range(-1, 128)),
]


class Vocabulary:
    """Token names to ids, and texts such as `bar 4/4 | flute 0:72` to streams."""

    names = NAMES
    table = TokenTable(NAMES)
    id_of: ClassVar = {name: index for index, name in enumerate(NAMES)}

    def ids(self, *names: str) -> list[int]:
        return [self.id_of[name] for name in names]

    def block(self, program: int, *notes: tuple[int, int]) -> list[int]:
        """A block of notes given as position and pitch, each a quarter long."""
        kind = "PitchDrum" if program == -1 else "Pitch"
        out, last = [f"Program_{program}"], -1
        for position, pitch in notes:
            if position != last:
                out.append(f"Position_{position}")
                last = position
            out += [f"{kind}_{pitch}", "Duration_1.0.12"]
        return self.ids(*out)

    def bar(self, *blocks: list[int], meter: str = "4/4") -> list[int]:
        return [*self.ids("Bar_None", f"TimeSig_{meter}"), *(t for b in blocks for t in b)]


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary()
