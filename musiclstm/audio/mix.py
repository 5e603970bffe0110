"""How a score is to sound: SoundFont, room, loudness, exchanged and silent instruments.

A frozen record, checked when it is built. Plays nothing and looks for no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musiclstm.midi.general_midi import DRUMS

USUAL_REVERB = 0.8  # a small concert hall
USUAL_CHORUS = 0.5


@dataclass(frozen=True)
class Mix:
    """How a score is to sound.

    Programs are those of the score, whatever they are exchanged for; -1 means the drums.

    Args:
        soundfont: A name that `soundfonts()` lists, or an .sf2 or .sf3 file. None:
            MUSICLSTM_SOUNDFONT, then the best that is installed.
        reverb: How much of the room is heard, 0 (off) to 1. True means 0.8, the usual.
        chorus: How much instruments that use it shimmer, 0 (off) to 1. True means 0.5, the usual.
        gain_db: Louder or softer than the usual -18 LUFS, -60 to 60.
        programs: Instruments to exchange: a program of the score, 0..127, for another, 0..127.
            Drums stay drums.
        muted: Programs that are silent, -1..127.

    Raises:
        ValueError: An option outside its range.
    """

    soundfont: str | Path | None = None
    reverb: float = USUAL_REVERB
    chorus: float = USUAL_CHORUS
    gain_db: float = 0.0
    programs: Mapping[int, int] = field(default_factory=dict)
    muted: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        set_once = object.__setattr__
        set_once(self, "reverb", _level("reverb", self.reverb, usual=USUAL_REVERB))
        set_once(self, "chorus", _level("chorus", self.chorus, usual=USUAL_CHORUS))
        set_once(self, "programs", dict(self.programs))
        set_once(self, "muted", frozenset(self.muted))
        if not -60 <= self.gain_db <= 60:
            raise ValueError(
                f"gain_db must be -60 to 60, got {self.gain_db}; 0 is the usual loudness."
            )
        self._check_programs()

    def _check_programs(self) -> None:
        for program in (*self.programs, *self.programs.values(), *self.muted):
            if not DRUMS <= program <= 127:
                raise ValueError(f"programs must be 0 to 127, or -1 for the drums, got {program}.")
        for program, other in self.programs.items():
            if (program == DRUMS) != (other == DRUMS):
                raise ValueError(
                    f"programs cannot exchange {program} for {other}: drums stay drums, and "
                    "nothing else becomes drums."
                )


def _level(name: str, value: float, *, usual: float) -> float:
    level = {True: usual, False: 0.0}[value] if isinstance(value, bool) else float(value)
    if not 0 <= level <= 1:
        raise ValueError(f"{name} must be 0 (off) to 1, got {value}.")
    return level
