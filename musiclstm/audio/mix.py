"""Mix settings: SoundFont, effects, loudness, exchanged and muted programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musiclstm.midi.general_midi import DRUMS

DEFAULT_REVERB = 0.8  # a small concert hall
DEFAULT_CHORUS = 0.5


@dataclass(frozen=True)
class Mix:
    """How a score is rendered.

    `programs` and `muted` refer to the programs of the score, before they are exchanged; -1 means
    the drums.

    Args:
        soundfont: A name from `installed_soundfonts()`, or an .sf2 or .sf3 file. None:
            MUSICLSTM_SOUNDFONT, then the best installed SoundFont.
        reverb: Reverb level, 0 (off) to 1. True means the default, 0.8.
        chorus: Chorus level, 0 (off) to 1, for instruments that use it. True means the default,
            0.5.
        gain_db: Relative to the default loudness of -18 LUFS, -60 to 60.
        programs: Exchanged programs: program of the score, 0..127, to another one, 0..127.
        muted: Silent programs, -1..127.

    Raises:
        ValueError: An option is out of range.
    """

    soundfont: str | Path | None = None
    reverb: float = DEFAULT_REVERB
    chorus: float = DEFAULT_CHORUS
    gain_db: float = 0.0
    programs: Mapping[int, int] = field(default_factory=dict)
    muted: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        set_field = object.__setattr__
        set_field(self, "reverb", _level("reverb", self.reverb, default=DEFAULT_REVERB))
        set_field(self, "chorus", _level("chorus", self.chorus, default=DEFAULT_CHORUS))
        set_field(self, "programs", dict(self.programs))
        set_field(self, "muted", frozenset(self.muted))
        if not -60 <= self.gain_db <= 60:
            raise ValueError(
                f"gain_db must be -60 to 60, got {self.gain_db}; 0 is the default loudness."
            )
        self._check_programs()

    def _check_programs(self) -> None:
        for program in (*self.programs, *self.programs.values(), *self.muted):
            if not DRUMS <= program <= 127:
                raise ValueError(f"programs must be 0 to 127, or -1 for the drums, got {program}.")
        for program, other in self.programs.items():
            if (program == DRUMS) != (other == DRUMS):
                raise ValueError(
                    f"programs cannot exchange {program} for {other}: drums and pitched "
                    "instruments cannot replace each other."
                )


def _level(name: str, value: float, *, default: float) -> float:
    level = {True: default, False: 0.0}[value] if isinstance(value, bool) else float(value)
    if not 0 <= level <= 1:
        raise ValueError(f"{name} must be 0 (off) to 1, got {value}.")
    return level
