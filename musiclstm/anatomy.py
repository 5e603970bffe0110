"""A token taken apart: what it does to a take, what it strikes, when that ends.

A token is one base token (`Bar TimeSig Position Tempo Program Pitch Velocity Duration`) or several
merged into one. All of it follows from the names of the base tokens; nothing here knows a whole
vocabulary, constraints, or where a take stands.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from musiclstm.tokenization import DRUMS, POSITIONS_PER_BEAT

# What may follow what. `Drums` is `Program_-1`, the only one whose notes are `PitchDrum`; `Open`
# is no token, but the bar line where a bar has ended and none has begun.
FOLLOWS: dict[str, frozenset[str]] = {
    "Open": frozenset({"Bar"}),
    "Bar": frozenset({"TimeSig"}),
    "TimeSig": frozenset({"Bar", "EOS", "Position"}),
    "Position": frozenset({"Tempo", "Program", "Drums"}),
    "Tempo": frozenset({"Bar", "EOS", "Position", "Program", "Drums"}),
    "Program": frozenset({"Pitch"}),
    "Drums": frozenset({"PitchDrum"}),
    "Pitch": frozenset({"Velocity"}),
    "PitchDrum": frozenset({"Velocity"}),
    "Velocity": frozenset({"Duration"}),
    "Duration": frozenset({"Bar", "EOS", "Position", "Program", "Drums"}),
    "EOS": frozenset({"EOS"}),  # what has ended stays so
    "PAD": frozenset(),
    "BOS": frozenset(),
}
PROGRAMS, PITCHES = ("Program", "Drums"), ("Pitch", "PitchDrum")
NOWHERE = 10_000  # a position no bar reaches
# What a walk has to do for a base token. A meter is two steps: how many positions the bar has, and
# how many units each of them lasts.
BAR, LENGTH, UNIT, POSITION, PROGRAM, PITCH, DURATION = range(7)
_STEPS = {
    "Bar": BAR,
    "Position": POSITION,
    "Program": PROGRAM,
    "Drums": PROGRAM,
    "Pitch": PITCH,
    "PitchDrum": PITCH,
    "Duration": DURATION,
}
# One sixteenth has twelve positions of a meter in sixteenths, a quarter four times as many.
UNITS_PER_WHOLE = 16 * POSITIONS_PER_BEAT


def bar_of(meter: tuple[int, int]) -> tuple[int, int]:
    """How many positions a bar has, and how many units each of them lasts."""
    return meter[0] * POSITIONS_PER_BEAT, UNITS_PER_WHOLE // (meter[1] * POSITIONS_PER_BEAT)


def note_number(program: int, pitch: int) -> int:
    """One number for what can sound only once: a pitch of an instrument."""
    return (program + 1) * 128 + pitch


@dataclass
class _Note:
    """A note that a token begins, goes on with, or both."""

    position: int | None  # None: where the token begins
    program: int | None  # None: it came before
    pitch: int | None = None  # None: it came before, or comes later
    duration: int | None = None  # in positions; None: it comes later
    begun: bool = True  # here, not by an earlier token


@dataclass
class Token:
    """One token, taken apart.

    Attributes:
        first: Kind of its first base token.
        last: Kind of its last base token.
        steps: What it does to a walk, in order: one of `BAR` to `DURATION` and a number.
        positions: Of the bar, in the order it names them.
        meter: Of the bar it opens; None: it names none.
        programs: In the order it names them.
        notes: Those it begins or goes on with.
        velocities: In the order it names them.
        has_tempo: Whether it names one.
        is_whole: Whether its base tokens may follow each other, and none but the first is a bar.
    """

    first: str
    last: str
    steps: tuple[tuple[int, int], ...] = ()
    positions: list[int] = field(default_factory=list)
    meter: tuple[int, int] | None = None
    programs: list[int] = field(default_factory=list)
    notes: list[_Note] = field(default_factory=list)
    velocities: list[int] = field(default_factory=list)
    has_tempo: bool = False
    is_whole: bool = True

    @property
    def first_position(self) -> int:
        """The first one it names; `NOWHERE` without one."""
        return self.positions[0] if self.positions else NOWHERE

    @property
    def last_position(self) -> int:
        """The last one it names; -1 without one."""
        return self.positions[-1] if self.positions else -1

    @property
    def length(self) -> int:
        """Of the bar it opens, in positions; 0: it opens none."""
        return self.meter[0] * POSITIONS_PER_BEAT if self.meter else 0

    @property
    def units(self) -> int:
        """How long the bar is that it opens, in units; 0: it opens none."""
        return 0 if self.meter is None else UNITS_PER_WHOLE * self.meter[0] // self.meter[1]

    @property
    def leading_pitch(self) -> int | None:
        """The pitch it begins with; its program came before."""
        return self.notes[0].pitch if self.first in PITCHES else None

    @property
    def first_pitched(self) -> int:
        """Pitch of the first note that is no drum; -1 without one."""
        pitched = (value for step, value in self._strikes() if step != DRUMS)
        return next(pitched, -1)

    def _strikes(self) -> list[tuple[int | None, int]]:
        """Program (DRUMS for every drum, also where it came before) and pitch of its notes."""
        found: list[tuple[int | None, int]] = []
        for note in self.notes:
            if note.pitch is not None:
                led_drum = note.program is None and self.first == "PitchDrum"
                found.append((DRUMS if led_drum else note.program, note.pitch))
        return found

    def begun_at(self) -> dict[int | None, int]:
        """How many notes it begins at each position; None: where the token begins."""
        found: dict[int | None, int] = defaultdict(int)
        for note in self.notes:
            found[note.position] += note.begun
        return found

    def most_after_moving(self) -> int:
        """Most of its notes that sound together at a position it moves to.

        A position it ends with must get a note and counts as one.
        """
        moved = [note for note in self.notes if note.position is not None]
        most = [
            sum((note.position or 0) <= place < _end(note, unknown=NOWHERE) for note in moved)
            for place in self.positions
        ]
        if self.last == "Position":
            most[-1] += 1
        return max(most, default=0)

    def end_from_here(self) -> int:
        """How long what it strikes before it moves lasts at least; 0 without a note there."""
        ends = [_end(note, unknown=1) for note in self.notes if note.position is None]
        return max(ends, default=0)

    def end_after_moving(self) -> int:
        """Where it moves to, or where what it strikes after that may have ended, if later."""
        ends = [_end(note, unknown=1) for note in self.notes if note.position is not None]
        return max([*ends, self.last_position])


def _end(note: _Note, *, unknown: int) -> int:
    return (note.position or 0) + (unknown if note.duration is None else note.duration)


def take_apart(parts: Iterable[str]) -> Token:
    """What a (merged) token of these base tokens is."""
    pairs = [_kind_and_value(name) for name in parts]
    token = Token(first=pairs[0][0], last=pairs[-1][0])
    if token.first in (*PITCHES, "Velocity", "Duration"):
        token.notes.append(_Note(None, None, begun=False))
    steps: list[tuple[int, int]] = []
    before = None
    for kind, value in pairs:
        token.is_whole &= before is None or (kind in FOLLOWS[before] and kind != "Bar")
        steps += _read(token, kind, value)
        before = kind
    token.steps = tuple(steps)
    token.is_whole &= token.positions == sorted(set(token.positions))
    token.is_whole &= not token.length or token.last_position < token.length
    return token


def _read(token: Token, kind: str, value: str) -> list[tuple[int, int]]:
    """Put one base token into what is known of the whole; the steps it means."""
    if kind == "TimeSig":
        numerator, denominator = value.split("/")
        token.meter = (int(numerator), int(denominator))
        return list(zip((LENGTH, UNIT), bar_of(token.meter), strict=True))
    if kind == "Tempo":
        token.has_tempo = True
    if kind == "Bar":
        return [(BAR, 0)]
    if kind in _STEPS or kind == "Velocity":
        number = _positions(value) if kind == "Duration" else int(value)
        _note(token, kind, number)
        return [(_STEPS[kind], number)] if kind in _STEPS else []
    return []


def _note(token: Token, kind: str, number: int) -> None:
    if kind == "Position":
        token.positions.append(number)
    elif kind in PROGRAMS:
        token.programs.append(number)
        token.notes.append(_Note(token.positions[-1] if token.positions else None, number))
    elif kind in PITCHES:
        token.notes[-1].pitch = number
    elif kind == "Velocity":
        token.velocities.append(number)
    else:
        token.notes[-1].duration = number


def _positions(duration: str) -> int:
    """MidiTok's `beats.parts.parts per beat` in positions, of which every beat has equally many."""
    beats, parts, resolution = map(int, duration.split("."))
    return (beats * resolution + parts) * POSITIONS_PER_BEAT // resolution


def _kind_and_value(name: str) -> tuple[str, str]:
    kind, _, value = name.partition("_")
    return ("Drums" if name == f"Program_{DRUMS}" else kind), value
