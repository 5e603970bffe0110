"""Which token may follow which, so that whatever is chosen can be played.

A small automaton over base tokens (`Bar TimeSig Position Tempo Program Pitch Velocity Duration`),
lifted to merged tokens by their first and last base token. It keeps time from running backwards or
past the bar line, no note is struck twice at once, and bars end only where they may. Musical wishes
(`Constraints`) are further masks. Knows tokens, not the network that scores them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from musiclstm.tokenization import DRUMS, POSITIONS_PER_BEAT, MusicTokenizer, knows_meter

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
_NOWHERE = 10_000  # a position no bar reaches
MAX_NOTES_AT_ONCE = 32


@dataclass(frozen=True)
class Constraints:
    """What the music has to keep to, whatever the network would like.

    Args:
        programs: MIDI programs that may play, -1 for drums; None: any.
        meter: Numerator and denominator of every bar; None: any.
        tempo_changes: Whether the tempo may change.
        max_empty_bars: At most so many bars without a note in a row, 0 or more.

    Raises:
        ValueError: Nothing could be played, or a value the tokens cannot say.
    """

    programs: frozenset[int] | None = None
    meter: tuple[int, int] | None = None
    tempo_changes: bool = True
    max_empty_bars: int = 1

    def __post_init__(self) -> None:
        """Refuse what cannot be kept."""
        if self.programs is not None and not self.programs:
            raise ValueError("programs must name at least one instrument; None allows all.")
        if any(not -1 <= program <= 127 for program in self.programs or ()):
            wrong = sorted(self.programs or ())
            raise ValueError(f"programs must be from -1 (drums) to 127, got {wrong}.")
        if self.meter is not None and not knows_meter(*self.meter):
            raise ValueError(
                f"meter {self.meter[0]}/{self.meter[1]} is not one the tokens can say; use 1 to 12 "
                "quarters or 1 to 16 eighths."
            )
        if self.max_empty_bars < 0:
            raise ValueError(f"max_empty_bars must be 0 or more, got {self.max_empty_bars}.")


@dataclass(frozen=True)
class _Token:
    """What the automaton needs to know of one (merged) token."""

    first: str
    last: str
    first_position: int  # in the bar it begins in; _NOWHERE without one
    last_position: int  # -1 without one
    meter: tuple[int, int] | None
    programs: frozenset[int]
    program: int | None  # the last one it names
    leading_pitch: int | None  # of a note whose program came before
    notes_here: tuple[tuple[int, int], ...]  # (program, pitch) before its first position
    notes_last: tuple[tuple[int | None, int], ...]  # at its last position; None: program from before
    notes: int
    has_tempo: bool


class Grammar:
    """Masks over a vocabulary; built once for a tokenizer and a set of constraints."""

    def __init__(self, tokenizer: MusicTokenizer, constraints: Constraints | None = None):
        """Read what every token stands for."""
        self.constraints = constraints or Constraints()
        self.tokens = [_describe(parts) for parts in tokenizer.parts]
        self._lawful = np.array([self._keeps(token) for token in self.tokens])
        self._cache: dict[tuple[str, int, tuple[int, int]], np.ndarray] = {}

    def _keeps(self, token: _Token) -> bool:
        wish = self.constraints
        return (
            token.first not in ("PAD", "BOS")
            and (wish.programs is None or token.programs <= wish.programs)
            and (wish.meter is None or token.meter in (None, wish.meter))
            and (wish.tempo_changes or not token.has_tempo)
        )

    @cached_property
    def begins_bar(self) -> np.ndarray:
        """Tokens that open a bar, (vocab,) bool, as far as the constraints allow them."""
        return np.array([token.first == "Bar" for token in self.tokens]) & self._lawful

    @cached_property
    def ends_bar(self) -> np.ndarray:
        """Tokens that say the bar is over, (vocab,) bool: another one begins, or the piece ends."""
        return self.begins_bar | np.array([token.first == "EOS" for token in self.tokens])

    @cached_property
    def moves_on(self) -> np.ndarray:
        """Tokens that leave the current position, (vocab,) bool."""
        return np.array([token.first in ("Bar", "EOS", "Position") for token in self.tokens])

    @cached_property
    def struck_by(self) -> dict[tuple[int, int], list[int]]:
        """Tokens that strike (program, pitch) at the position at which they begin."""
        found = defaultdict(list)
        for index, token in enumerate(self.tokens):
            for note in token.notes_here:
                found[note].append(index)
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
            length = meter[0] * POSITIONS_PER_BEAT
            self._cache[key] = self._lawful & np.array(
                [
                    token.first in _FOLLOWS[kind]
                    and (token.first == "Bar" or token.first_position > position)
                    and (
                        token.last_position
                        < (token.meter[0] * POSITIONS_PER_BEAT if token.meter else length)
                    )
                    for token in self.tokens
                ]
            )
        return self._cache[key]


def _describe(parts: tuple[str, ...]) -> _Token:
    pairs = [_kind_and_value(name) for name in parts]
    positions = [int(value) for kind, value in pairs if kind == "Position"]
    program: int | None = None
    here: list[tuple[int, int]] = []
    last: list[tuple[int | None, int]] = []
    leading: int | None = None
    for index, (kind, value) in enumerate(pairs):
        if kind in ("Program", "Drums"):
            program = int(value)
        elif kind in ("Position", "Bar"):
            last = []
        elif kind in ("Pitch", "PitchDrum"):
            last.append((program, int(value)))
            if index == 0:
                leading = int(value)
            elif not any(k in ("Position", "Bar") for k, _ in pairs[:index]) and program is not None:
                here.append((program, int(value)))
    meters = [value for kind, value in pairs if kind == "TimeSig"]
    return _Token(
        first=pairs[0][0],
        last=pairs[-1][0],
        first_position=positions[0] if positions else _NOWHERE,
        last_position=positions[-1] if positions else -1,
        meter=_meter(meters[-1]) if meters else None,
        programs=frozenset(int(v) for kind, v in pairs if kind in ("Program", "Drums")),
        program=program,
        leading_pitch=leading,
        notes_here=tuple(here),
        notes_last=tuple(last),
        notes=sum(kind.startswith("Pitch") for kind, _ in pairs),
        has_tempo=any(kind == "Tempo" for kind, _ in pairs),
    )


def _kind_and_value(name: str) -> tuple[str, str]:
    kind, _, value = name.partition("_")
    return ("Drums" if name == f"Program_{DRUMS}" else kind), value


def _meter(text: str) -> tuple[int, int]:
    numerator, denominator = text.split("/")
    return int(numerator), int(denominator)


class Walk:
    """Where a take stands in the grammar: one per take, moved on by every token."""

    def __init__(self, grammar: Grammar):
        """Start before the first bar."""
        self._grammar = grammar
        self._kind = "TimeSig"
        self._meter: tuple[int, int] = (4, 4)
        self._position = -1
        self._program: int | None = None
        self._struck: set[tuple[int, int]] = set()
        self._notes_in_bar = 1
        self._empty_bars = 0

    def begin_bar(self) -> np.ndarray:
        """Tokens that may open the next bar, (vocab,) bool; fresh, to be changed at will."""
        return self._grammar.begins_bar.copy()

    def allowed(self) -> np.ndarray:
        """Tokens that may come next inside a bar, (vocab,) bool; fresh, to be changed at will."""
        mask = self._grammar.after(self._kind, self._position, self._meter).copy()
        for program, pitch in self._struck:
            mask[self._grammar.struck_by.get((program, pitch), [])] = False
            if program == self._program:
                mask[self._grammar.led_by.get(pitch, [])] = False
        if self._must_play():
            mask &= ~self._grammar.ends_bar
        if len(self._struck) >= MAX_NOTES_AT_ONCE and self._kind == "Duration":
            mask &= self._grammar.moves_on
        return mask

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
        before, self._program = self._program, self._latest_program(token)
        self._struck |= {
            (before if program is None else program, pitch)  # type: ignore[misc]
            for program, pitch in token.notes_last
        }
        self._meter = token.meter or self._meter
        self._notes_in_bar += token.notes
        self._kind = token.last

    def _latest_program(self, token: _Token) -> int | None:
        return self._program if token.program is None else token.program
