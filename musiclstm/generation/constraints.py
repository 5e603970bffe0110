"""Constraints on all bars (`Constraints`) and on single bars (`BarShape`).

The grammar turns both into masks over logits, so they hold for every checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TypeAlias

from musiclstm.tokens import (
    DRUMS,
    POSITIONS_PER_BEAT,
    normalize_time_signature,
    supports_time_signature,
)

MAX_NOTES_AT_ONCE = 32  # onsets at one time; the default and the maximum
FEWEST_COPIED_NOTES = 24
KEY_OF_PROMPT = "prompt"  # value of `key` that requests the estimated key of the prompt
MIN_BPM, MAX_BPM = 20, 300

_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}
# Semitones above the tonic. `minor` includes the leading tone, as music in minor does.
_MODES: dict[str, tuple[int, ...]] = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10, 11),
    "natural minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole tone": (0, 2, 4, 6, 8, 10),
    "chromatic": tuple(range(12)),
}
SCALES = tuple(_MODES)

PitchRanges: TypeAlias = tuple[tuple[int, tuple[int, int]], ...]


@dataclass(frozen=True)
class Scale:
    """A tonic and a mode.

    Attributes:
        tonic: Pitch class of the first degree, 0 (C) to 11 (B).
        mode: One of `SCALES`.
    """

    tonic: int
    mode: str

    @classmethod
    def named(cls, name: str) -> Scale:
        """Parse a name such as `F# dorian`.

        Raises:
            ValueError: No such scale.
        """
        found = re.fullmatch(r"([A-Ga-g])([#♯b♭]?)\s+(\S.*)", str(name).strip())
        mode = " ".join(found[3].lower().split()) if found else ""
        if not found or mode not in _MODES:
            raise ValueError(
                f"key {name!r} is not known; use a tonic such as C, F# or Bb, a space and one of: "
                f"{', '.join(SCALES)}."
            )
        return cls((_LETTERS[found[1].upper()] + _ACCIDENTALS[found[2]]) % 12, mode)

    @property
    def pitch_classes(self) -> frozenset[int]:
        """Pitch classes of the scale, 0 (C) to 11 (B)."""
        return frozenset((self.tonic + step) % 12 for step in _MODES[self.mode])


@dataclass(frozen=True)
class Constraints:
    """Constraints that hold for every generated note.

    Args:
        programs: MIDI programs that may play, -1 for drums; None: any.
        meter: Numerator and denominator of every bar, or of another meter of the same length (2/2
            is written as 4/4); None: any.
        tempo_bpm: Quarter notes per minute, 20 to 300, without tempo changes; None: any.
        tempo_changes: Whether the tempo may change.
        key: Such as `D minor` or `F# dorian`, see `SCALES`; "prompt": that of the prompt; None:
            any. Drums are exempt.
        pitch_ranges: Lowest and highest MIDI pitch by program, -1 for drums; a dict or pairs. None:
            any.
        max_polyphony: Most notes sounding together, over all instruments; None: any.
        max_notes_at_once: Most notes started together, over all instruments, 1 to 32.
        notes_per_bar: Fewest and most notes that start in each bar; None: any. The last chord of an
            ending may have fewer.
        max_empty_bars: Most bars without a note in a row, 0 or more.
        ending: Whether the last bar is a tonic chord in which every note ends.
        keep_lines: Whether parts that play one note at a time in the last eight bars of the prompt
            keep doing so, as far as the other constraints permit.
        max_copied_notes: Most notes that new bars may share in a row with a training piece, in any
            transposition, 24 or more. A bar that completes a longer passage is written again, at
            most 16 times, at rising temperatures. None: any; other values need a checkpoint with
            an index of its training pieces.

    Raises:
        ValueError: Nothing could be played, two constraints contradict each other, or no token
            exists for a value.
    """

    programs: frozenset[int] | None = None
    meter: tuple[int, int] | None = None
    tempo_bpm: float | None = None
    tempo_changes: bool = True
    key: str | None = None
    pitch_ranges: Mapping[int, tuple[int, int]] | PitchRanges | None = None
    max_polyphony: int | None = None
    max_notes_at_once: int = MAX_NOTES_AT_ONCE
    notes_per_bar: tuple[int, int] | None = None
    max_empty_bars: int = 1
    ending: bool = False
    keep_lines: bool = True
    max_copied_notes: int | None = None

    def __post_init__(self) -> None:
        """Normalize values, and refuse constraints that cannot be met."""
        if self.programs is not None:
            object.__setattr__(self, "programs", frozenset(self.programs))
        if self.notes_per_bar is not None:
            object.__setattr__(self, "notes_per_bar", tuple(self.notes_per_bar))
        object.__setattr__(self, "pitch_ranges", _sorted_ranges(self.pitch_ranges))
        self._check_programs()
        self._check_time()
        self._check_numbers()
        self._check_pitches()
        self._check_density()
        if self.ending and self.programs == frozenset({DRUMS}):
            raise ValueError(
                "ending needs a pitched instrument for its chord, and programs has only drums; "
                "allow another program, or leave ending out."
            )

    @property
    def pitch_classes(self) -> frozenset[int] | None:
        """Pitch classes of the key; None: all."""
        if self.key in (None, KEY_OF_PROMPT):
            return None
        return Scale.named(str(self.key)).pitch_classes

    @property
    def allows_tempos(self) -> bool:
        """Whether tokens may state a tempo."""
        return self.tempo_changes and self.tempo_bpm is None

    @property
    def ranges(self) -> dict[int, tuple[int, int]]:
        """`pitch_ranges` by program; empty without any."""
        return dict(self.pitch_ranges or ())

    def pitches(self, program: int) -> list[int]:
        """Return the MIDI pitches that a program may play, ascending."""
        lowest, highest = self.ranges.get(program, (0, 127))
        classes = None if program == DRUMS else self.pitch_classes
        return [p for p in range(lowest, highest + 1) if classes is None or p % 12 in classes]

    def max_notes_in_bar(self, meter: tuple[int, int], different: int = 10_000) -> int:
        """Return the largest number of notes in a bar, with `different` pitches to choose from."""
        together = min(self.max_notes_at_once, self.max_polyphony or different, different)
        return meter[0] * POSITIONS_PER_BEAT * together

    def _check_programs(self) -> None:
        if self.programs is not None and not self.programs:
            raise ValueError("programs must contain at least one program; None allows all.")
        if any(not -1 <= program <= 127 for program in self.programs or ()):
            wrong = sorted(self.programs or ())
            raise ValueError(f"programs must be from -1 (drums) to 127, got {wrong}.")

    def _check_time(self) -> None:
        if self.meter is not None and not supports_time_signature(*self.meter):
            raise ValueError(
                f"meter {self.meter[0]}/{self.meter[1]} cannot be written in tokens; use 1 to 12 "
                "quarters, 1 to 16 eighths, or a meter as long as one of these."
            )
        bpm = self.tempo_bpm
        if bpm is not None and not (isinstance(bpm, Real) and MIN_BPM <= bpm <= MAX_BPM):
            raise ValueError(f"tempo_bpm must be from {MIN_BPM} to {MAX_BPM}, got {bpm}.")

    def _check_numbers(self) -> None:
        if not _is_integer(self.max_empty_bars) or self.max_empty_bars < 0:
            raise ValueError(f"max_empty_bars must be 0 or more, got {self.max_empty_bars}.")
        together = self.max_notes_at_once
        if not _is_integer(together) or not 1 <= together <= MAX_NOTES_AT_ONCE:
            raise ValueError(
                f"max_notes_at_once must be from 1 to {MAX_NOTES_AT_ONCE}, got {together}."
            )
        most = self.max_polyphony
        if most is not None and (not _is_integer(most) or most < 1):
            raise ValueError(f"max_polyphony must be 1 or more, got {most}; None is no limit.")
        copied = self.max_copied_notes
        if copied is not None and (not _is_integer(copied) or copied < FEWEST_COPIED_NOTES):
            raise ValueError(
                f"max_copied_notes must be {FEWEST_COPIED_NOTES} or more, because all music shares "
                f"shorter passages, got {copied}; None is no limit."
            )

    def _check_pitches(self) -> None:
        if self.key not in (None, KEY_OF_PROMPT):
            Scale.named(str(self.key))
        for program, (lowest, highest) in self.ranges.items():
            self._check_range(program, lowest, highest)
            if not self.pitches(program):
                raise ValueError(
                    f"pitch_ranges allows program {program} only {lowest} to {highest}, where "
                    f"{self.key} has no pitch; widen the range or leave the key out."
                )

    def _check_range(self, program: int, lowest: int, highest: int) -> None:
        if not -1 <= program <= 127:
            raise ValueError(f"programs of pitch_ranges must be from -1 to 127, got {program}.")
        if not 0 <= lowest <= highest <= 127:
            raise ValueError(
                f"pitch_ranges of program {program} must be a lowest and a highest pitch from 0 to "
                f"127, got {lowest} and {highest}."
            )
        if self.programs is not None and program not in self.programs:
            raise ValueError(
                f"pitch_ranges has program {program}, which programs does not contain; add it to "
                "programs or leave its range out."
            )

    def _check_density(self) -> None:
        if self.notes_per_bar is None:
            return
        if len(self.notes_per_bar) != 2 or not all(map(_is_integer, self.notes_per_bar)):
            raise ValueError(
                f"notes_per_bar must be two whole numbers, fewest and most, got "
                f"{self.notes_per_bar}."
            )
        fewest, most = self.notes_per_bar
        if not 0 <= fewest <= most or most < 1:
            raise ValueError(
                f"notes_per_bar must be fewest and most notes with 0 <= fewest <= most and most at "
                f"least 1, got {fewest} and {most}."
            )
        if self.meter is None:
            return
        possible = self.max_notes_in_bar(normalize_time_signature(*self.meter))
        if fewest > possible:
            raise ValueError(
                f"notes_per_bar asks for at least {fewest} notes, but a bar of {self.meter[0]}/"
                f"{self.meter[1]} can have {possible}; ask for fewer, or raise max_polyphony and "
                "max_notes_at_once."
            )


@dataclass(frozen=True)
class BarShape:
    """Additional constraints on one bar.

    Args:
        off_beat: The earliest onset of the bar is off the beat.
        off_mode: One of the notes at the bar's earliest pitched onset is outside these pitch
            classes.
        closed: Every note that starts in the bar ends by its bar line.
        chord: Pitched notes have one of these pitch classes; drums play only after such a note.
        downbeat_only: Notes start on the first position only.
        velocity_gain: Factor for the velocities of the bar, above 0 to 1; the grammar ignores it.

    `off_beat` and `off_mode` do not apply if the constraints permit no such note.

    Raises:
        ValueError: Values are out of range or contradict each other.
    """

    off_beat: bool = False
    off_mode: frozenset[int] | None = None
    closed: bool = False
    chord: frozenset[int] | None = None
    downbeat_only: bool = False
    velocity_gain: float = 1.0

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if self.off_beat and self.downbeat_only:
            raise ValueError("off_beat and downbeat_only contradict each other; choose one.")
        if not 0 < self.velocity_gain <= 1:
            raise ValueError(
                f"velocity_gain must be above 0 and at most 1, got {self.velocity_gain}."
            )
        for name in ("off_mode", "chord"):
            classes = getattr(self, name)
            if classes is None:
                continue
            object.__setattr__(self, name, frozenset(classes))
            if not set(classes) <= {*range(12)}:
                raise ValueError(f"{name} must be pitch classes from 0 to 11, got {set(classes)}.")
        if self.chord is not None and not self.chord:
            raise ValueError("chord must contain at least one pitch class; None allows all.")


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral)


def _sorted_ranges(
    ranges: Mapping[int, tuple[int, int]] | Iterable[tuple[int, tuple[int, int]]] | None,
) -> PitchRanges | None:
    """Return ranges as sorted pairs, so that equal constraints compare equal."""
    if ranges is None:
        return None
    pairs = dict(ranges).items()
    for program, ends in pairs:
        if len(ends) != 2 or not all(_is_integer(value) for value in (program, *ends)):
            raise ValueError(
                f"pitch_ranges of program {program} must be a lowest and a highest pitch, got "
                f"{ends}."
            )
    return tuple(sorted((program, (ends[0], ends[1])) for program, ends in pairs)) or None
