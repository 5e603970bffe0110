"""Which token may follow which, so that whatever is chosen can be played.

A small automaton over base tokens (`Bar TimeSig Position Tempo Program Pitch Velocity Duration`),
lifted to merged tokens by their first and last base token. It keeps time from running backwards or
past the bar line, no note is struck twice at once, and bars end only where they may. Musical wishes
(`Constraints`) are further masks. Knows tokens, not the network that scores them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

import numpy as np

from musiclstm.tokenization import (
    DRUMS,
    POSITIONS_PER_BEAT,
    MusicTokenizer,
    knows_meter,
    plain_meter,
)

# What may follow what. `Drums` is `Program_-1`, the only one whose notes are `PitchDrum`.
_FOLLOWS: dict[str, set[str]] = {
    "Bar": {"TimeSig"},
    "TimeSig": {"Bar", "EOS", "Position"},
    "Position": {"Tempo", "Program", "Drums"},
    "Tempo": {"Bar", "EOS", "Position", "Program", "Drums"},
    "Program": {"Pitch"},
    "Drums": {"PitchDrum"},
    "Pitch": {"Velocity"},
    "PitchDrum": {"Velocity"},
    "Velocity": {"Duration"},
    "Duration": {"Bar", "EOS", "Position", "Program", "Drums"},
}
_MOVES, _PROGRAMS, _PITCHES = ("Bar", "Position"), ("Program", "Drums"), ("Pitch", "PitchDrum")
_NOWHERE = 10_000  # a position no bar reaches
# From so many on no more are asked for; an instrument has more pitches, so one is always free.
MAX_NOTES_AT_ONCE = 32  # struck together, unless the constraints say less


@dataclass(frozen=True)
class Constraints:
    """What the music has to keep to, whatever the network would like.

    Args:
        programs: MIDI programs that may play, -1 for drums; None: any.
        meter: Numerator and denominator of every bar, or of another meter as long (2/2 is written
            as 4/4); None: any.
        tempo_changes: Whether the tempo may change.
        max_empty_bars: At most so many bars without a note in a row, 0 or more.
        max_notes_at_once: At most so many notes struck together, 1 to 32.

    Raises:
        ValueError: Nothing could be played, or a value the tokens cannot say.
    """

    programs: frozenset[int] | None = None
    meter: tuple[int, int] | None = None
    tempo_changes: bool = True
    max_empty_bars: int = 1
    max_notes_at_once: int = MAX_NOTES_AT_ONCE

    def __post_init__(self) -> None:
        """Refuse what cannot be kept."""
        if self.programs is not None:
            object.__setattr__(self, "programs", frozenset(self.programs))  # a plain set will do
        if self.programs is not None and not self.programs:
            raise ValueError("programs must name at least one instrument; None allows all.")
        if any(not -1 <= program <= 127 for program in self.programs or ()):
            wrong = sorted(self.programs or ())
            raise ValueError(f"programs must be from -1 (drums) to 127, got {wrong}.")
        if self.meter is not None and not knows_meter(*self.meter):
            raise ValueError(
                f"meter {self.meter[0]}/{self.meter[1]} is not one the tokens can say; use 1 to 12 "
                "quarters, 1 to 16 eighths, or a meter as long as one of these."
            )
        if self.max_empty_bars < 0:
            raise ValueError(f"max_empty_bars must be 0 or more, got {self.max_empty_bars}.")
        if not 1 <= self.max_notes_at_once <= MAX_NOTES_AT_ONCE:
            raise ValueError(
                f"max_notes_at_once must be from 1 to {MAX_NOTES_AT_ONCE}, got "
                f"{self.max_notes_at_once}."
            )


@dataclass(frozen=True)
class _Token:
    """What the automaton needs to know of one (merged) token."""

    first: str  # kind of its first base token
    last: str
    first_position: int  # in the bar it begins in; _NOWHERE without one
    last_position: int  # -1 without one
    meter: tuple[int, int] | None
    length: int  # of the bar it names, in positions; 0: it names none
    programs: tuple[int, ...]  # in the order it names them
    leading_pitch: int | None  # of a note whose program came before
    notes_here: tuple[tuple[int, int], ...]  # (program, pitch) before it moves on
    notes_last: tuple[tuple[int | None, int], ...]  # where it ends; None: the program came before
    notes: int
    begun_here: int  # notes it begins before it moves on
    crowd: int  # most notes it strikes together
    has_tempo: bool


class Grammar:
    """Masks over a vocabulary; built once for a tokenizer and a set of constraints."""

    def __init__(self, tokenizer: MusicTokenizer, constraints: Constraints | None = None) -> None:
        """Read what every token stands for."""
        self.constraints = constraints or Constraints()
        meter = self.constraints.meter
        self._meter = None if meter is None else plain_meter(*meter)
        self.tokens = [_describe(parts) for parts in tokenizer.parts]
        self._lawful = np.array([self._keeps(token) for token in self.tokens])
        self._first = np.array([token.first for token in self.tokens])
        self._first_position = np.array([token.first_position for token in self.tokens])
        self._last_position = np.array([token.last_position for token in self.tokens])
        self._own_length = np.array([token.length for token in self.tokens])
        self._cache: dict[tuple[str, int, tuple[int, int]], np.ndarray] = {}

    def _keeps(self, token: _Token) -> bool:
        wish = self.constraints
        return (
            token.first not in ("PAD", "BOS")
            and (wish.programs is None or wish.programs.issuperset(token.programs))
            and (self._meter is None or token.meter in (None, self._meter))
            and (wish.tempo_changes or not token.has_tempo)
            and token.crowd <= wish.max_notes_at_once
        )

    @cached_property
    def begins_bar(self) -> np.ndarray:
        """Tokens that open a bar, (vocab,) bool, as far as the constraints allow them."""
        return (self._first == "Bar") & self._lawful

    @cached_property
    def ends_bar(self) -> np.ndarray:
        """Tokens that say the bar is over, (vocab,) bool: another one begins, or the piece ends."""
        return self.begins_bar | (self._first == "EOS")

    @cached_property
    def begun_here(self) -> np.ndarray:
        """How many notes each token begins at the current position, (vocab,) int."""
        return np.array([token.begun_here for token in self.tokens])

    @cached_property
    def struck_by(self) -> dict[tuple[int, int], list[int]]:
        """Tokens that strike (program, pitch) at the position at which they begin."""
        found = defaultdict(list)
        for index, token in enumerate(self.tokens):
            for note in token.notes_here:
                found[note].append(index)
        return found

    @cached_property
    def doubling(self) -> dict[int, list[int]]:
        """Tokens that begin with a pitch and name it again, for the program that would come twice.

        They were learned where another program came before.
        """
        found = defaultdict(list)
        for index, token in enumerate(self.tokens):
            for program, pitch in token.notes_here:
                if pitch == token.leading_pitch:
                    found[program].append(index)
        return found

    @cached_property
    def led_by(self) -> dict[int, list[int]]:
        """Tokens that begin with a pitch, whose program came before."""
        found = defaultdict(list)
        for index, token in enumerate(self.tokens):
            if token.leading_pitch is not None:
                found[token.leading_pitch].append(index)
        return found

    def after(self, kind: str, position: int, meter: tuple[int, int]) -> np.ndarray:
        """Tokens that may follow a base token of a kind at a position of a bar, (vocab,) bool."""
        key = (kind, position, meter)
        if key not in self._cache:
            length = np.where(self._own_length, self._own_length, meter[0] * POSITIONS_PER_BEAT)
            follows = np.isin(self._first, [*_FOLLOWS[kind]])
            later = (self._first == "Bar") | (self._first_position > position)
            self._cache[key] = self._lawful & follows & later & (self._last_position < length)
        return self._cache[key]


def _describe(parts: tuple[str, ...]) -> _Token:
    pairs = [_kind_and_value(name) for name in parts]
    positions = [int(value) for kind, value in pairs if kind == "Position"]
    meters = [_meter(value) for kind, value in pairs if kind == "TimeSig"]
    notes = _notes(pairs)
    moves = sum(kind in _MOVES for kind, _ in pairs)
    led = pairs[0][0] in _PITCHES
    return _Token(
        first=pairs[0][0],
        last=pairs[-1][0],
        first_position=positions[0] if positions else _NOWHERE,
        last_position=positions[-1] if positions else -1,
        meter=meters[-1] if meters else None,
        length=meters[-1][0] * POSITIONS_PER_BEAT if meters else 0,
        programs=tuple(int(value) for kind, value in pairs if kind in _PROGRAMS),
        leading_pitch=next((pitch for _, program, pitch in notes if program is None), None),
        notes_here=tuple((p, pitch) for moved, p, pitch in notes if not moved and p is not None),
        notes_last=tuple((p, pitch) for moved, p, pitch in notes if moved == moves),
        notes=len(notes),
        begun_here=sum(kind in _PROGRAMS for kind, _ in takewhile(_stays, pairs)) + led,
        crowd=max(Counter(moved for moved, _, _ in notes).values(), default=0),
        has_tempo=any(kind == "Tempo" for kind, _ in pairs),
    )


def _notes(pairs: list[tuple[str, str]]) -> list[tuple[int, int | None, int]]:
    """Of every note how many moves come before it, its program if named here, and its pitch."""
    notes: list[tuple[int, int | None, int]] = []
    moves, program = 0, None
    for kind, value in pairs:
        if kind in _MOVES:
            moves += 1
        elif kind in _PROGRAMS:
            program = int(value)
        elif kind in _PITCHES:
            notes.append((moves, program, int(value)))
    return notes


def _stays(pair: tuple[str, str]) -> bool:
    return pair[0] not in _MOVES


def _kind_and_value(name: str) -> tuple[str, str]:
    kind, _, value = name.partition("_")
    return ("Drums" if name == f"Program_{DRUMS}" else kind), value


def _meter(text: str) -> tuple[int, int]:
    numerator, denominator = text.split("/")
    return int(numerator), int(denominator)


class Walk:
    """Where a take stands in the grammar: one per take, moved on by every token."""

    def __init__(self, grammar: Grammar, bars: Sequence[Sequence[int]] = ()) -> None:
        """Start before the first bar, or behind the bars that are there already."""
        self._grammar = grammar
        self._kind = "TimeSig"
        self._meter: tuple[int, int] = (4, 4)
        self._position = -1
        self._program: int | None = None
        self._struck: set[tuple[int | None, int]] = set()
        self._notes_in_bar = 1
        self._empty_bars = 0
        # Among so many bars one has notes, and what was before it does not matter.
        for bar in bars[-1 - grammar.constraints.max_empty_bars :]:
            for token in bar:
                self.advance(token)

    def begin_bar(self) -> np.ndarray:
        """Tokens that may open the next bar, (vocab,) bool; fresh, to be changed at will."""
        return self._grammar.begins_bar.copy()

    def allowed(self) -> np.ndarray:
        """Tokens that may come next inside a bar, (vocab,) bool; fresh, to be changed at will."""
        mask = self._grammar.after(self._kind, self._position, self._meter).copy()
        for program, pitch in self._struck:
            if program is not None:
                mask[self._grammar.struck_by.get((program, pitch), [])] = False
            if program == self._program:
                mask[self._grammar.led_by.get(pitch, [])] = False
        if self._program is not None:
            mask[self._grammar.doubling.get(self._program, [])] = False
        if self._must_play():
            mask &= ~self._grammar.ends_bar
        room = self._grammar.constraints.max_notes_at_once - len(self._struck)
        return mask & (self._grammar.begun_here <= room)

    def _must_play(self) -> bool:
        empty_before = self._empty_bars >= self._grammar.constraints.max_empty_bars
        return self._notes_in_bar == 0 and empty_before

    def advance(self, token_id: int) -> None:
        """Take a token; it must be one that was allowed."""
        token = self._grammar.tokens[token_id]
        if token.first == "Bar":
            self._empty_bars = 0 if self._notes_in_bar else self._empty_bars + 1
            self._notes_in_bar, self._position, self._struck = 0, -1, set()
        if token.last_position >= 0:
            self._position, self._struck = token.last_position, set()
        for program, pitch in token.notes_last:
            self._struck.add((self._program if program is None else program, pitch))
        self._program = token.programs[-1] if token.programs else self._program
        self._meter = token.meter or self._meter
        self._notes_in_bar += token.notes
        self._kind = token.last
