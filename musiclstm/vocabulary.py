"""What the automaton knows of a whole vocabulary, as tables.

Everything here follows from the tokenizer alone; it knows no constraints and no state of a take.
`Group` compares what tokens ask for with the room that is left (capacity.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np

from musiclstm.anatomy import (
    FOLLOWS,
    NOWHERE,
    PITCHES,
    PROGRAMS,
    Token,
    note_number,
    take_apart,
)
from musiclstm.capacity import NO_LIMIT, Outlook
from musiclstm.tokenization import MusicTokenizer


@dataclass(frozen=True, eq=False)
class Group:
    """Tokens that may come in one situation, and what they ask of the room that is left.

    All arrays have shape (tokens of the group,).

    Attributes:
        ids: Which tokens.
        first_position: The first one they name; `NOWHERE` without one.
        carried: Notes they begin before they move on, and the one they go on with.
        carried_before: The positions up to which what is carried does not reach the first one
            they name.
        most_moved: See `Token.most_after_moving`.
        end_here: See `Token.end_from_here`.
        end_moved: See `Token.end_after_moving`.
        free_from: The first position they leave untouched; -1: the one after the present one.
        asked: Notes they begin.
    """

    ids: np.ndarray
    first_position: np.ndarray
    carried: np.ndarray
    carried_before: np.ndarray
    most_moved: np.ndarray
    end_here: np.ndarray
    end_moved: np.ndarray
    free_from: np.ndarray
    asked: np.ndarray

    @classmethod
    def of(cls, tokens: Sequence[Token], ids: Sequence[int]) -> Group:
        """Those of all tokens that the ids name."""
        rows = [_group_row(tokens[index]) for index in ids]
        columns = np.array(rows, dtype=np.int64).reshape(len(rows), 8).T.copy()
        return cls(np.array(ids, dtype=np.int64), *columns)

    def among(self, wanted: np.ndarray) -> Group:
        """Those for which (vocab,) bool says yes."""
        chosen = wanted[self.ids]
        return Group(*(getattr(self, each.name)[chosen] for each in fields(self)))

    @cached_property
    def most_sounding(self) -> int:
        """The most room that one of them asks for where it moves to."""
        return int((self.carried + self.most_moved).max(initial=0))

    @cached_property
    def is_silent(self) -> bool:
        """Whether none of them moves or begins a note."""
        return bool(self.first_position.min(initial=NOWHERE) == NOWHERE)

    def asks_too_much(
        self, view: Outlook, position: int, *, missing: int, latest: int, counts_voices: bool
    ) -> np.ndarray | None:
        """Which of them would leave too little room, (tokens of the group,) bool; None: none.

        Args:
            view: What there is room for.
            position: Where they would come.
            missing: How many notes the bar must still get.
            latest: The position at which all notes must have ended.
            counts_voices: Whether it matters how many notes sound.
        """
        bad = None
        if counts_voices and view.least_room < self.most_sounding:
            carried = self.carried * (self.carried_before < position)
            bad = carried + self.most_moved > view.room[self._slots(view.length)]
        if missing <= 0 and latest == NO_LIMIT:
            return bad
        end = np.maximum(self.end_moved, self.end_here + position)
        if latest < NO_LIMIT:
            late = end > latest
            bad = late if bad is None else bad | late
        if missing > 0:
            few = missing - self.asked > self._strikes_left(view, position, end)
            bad = few if bad is None else bad | few
        return bad

    def _strikes_left(self, view: Outlook, position: int, end: np.ndarray) -> np.ndarray:
        """At least so many notes can still be struck after each of them."""
        free = np.where(self.free_from < 0, position + 1, self.free_from)
        return np.maximum(
            view.strikes_from[np.minimum(np.maximum(end, 0), view.length)],
            view.spare_from[np.minimum(free, view.length)],
        )

    @cached_property
    def _slots_by_length(self) -> dict[int, np.ndarray]:
        return {}

    def _slots(self, length: int) -> np.ndarray:
        """`first_position`, where `NOWHERE` is the place after two bars of a length."""
        if length not in self._slots_by_length:
            self._slots_by_length[length] = np.minimum(self.first_position, 2 * length)
        return self._slots_by_length[length]


def _group_row(token: Token) -> tuple[int, ...]:
    begun = token.begun_at()
    touched = bool(token.positions) and begun.get(token.last_position, 0) > 0
    return (
        token.first_position,
        begun.get(None, 0) + any(not note.begun for note in token.notes),
        token.first_position - token.end_from_here(),
        token.most_after_moving(),
        token.end_from_here(),
        token.end_after_moving(),
        token.last_position + touched if token.positions else -1,
        len(token.programs),
    )


# As base tokens they take no room: a note takes its place when its instrument is named, and a bare
# duration is judged by itself.
_HARMLESS = (*PROGRAMS, *PITCHES, "Velocity", "Tempo", "Duration", "EOS")


class Vocabulary:
    """All tokens of a tokenizer as tables; arrays have shape (vocab,) unless they say otherwise."""

    def __init__(self, tokenizer: MusicTokenizer) -> None:
        """Take every token apart; `vocabulary_of` does it once per tokenizer."""
        tokens = self.tokens = [take_apart(parts) for parts in tokenizer.parts]
        self.base = len(tokenizer.base_tokens)
        self.steps = [token.steps for token in tokens]
        self.last = [token.last for token in tokens]
        self.first = np.array([token.first for token in tokens])
        self.is_whole = np.array([token.is_whole for token in tokens])
        self.has_tempo = np.array([token.has_tempo for token in tokens])
        self.first_position = np.array([token.first_position for token in tokens])
        self.last_position = np.array([token.last_position for token in tokens])
        self.length = np.array([token.length for token in tokens])
        self.begun = np.array([len(token.programs) for token in tokens])
        self.holds_note = np.array(
            [any(note.pitch is not None for note in token.notes) for token in tokens]
        )
        self.begun_here = np.array([token.begun_at().get(None, 0) for token in tokens])
        self.crowd = np.array([max(token.begun_at().values(), default=0) for token in tokens])
        self.ends_at_position = self._last_is("Position")
        self.ends_with_program = np.array(
            [token.programs[-1] if token.last in PROGRAMS else -2 for token in tokens]
        )
        self.first_program = np.array([(*token.programs, -2)[0] for token in tokens])
        self.first_pitched = np.array([token.first_pitched for token in tokens])
        self.leading_pitch = np.array(
            [-1 if token.leading_pitch is None else token.leading_pitch for token in tokens]
        )
        self.loudness = np.array([max(token.velocities, default=0) for token in tokens]) / 127
        self.meters = sorted({token.meter for token in tokens if token.meter})
        self.follows = {
            kind: np.isin(self.first, [*firsts]) for kind, firsts in FOLLOWS.items() if firsts
        }
        self._index_notes()
        self._index_durations()
        self._make_groups()

    def _last_is(self, kind: str) -> np.ndarray:
        return np.array([token.last == kind for token in self.tokens])

    def _index_notes(self) -> None:
        """Which tokens strike what: at once, or as a pitch whose program came before."""
        struck, led, doubling = defaultdict(list), defaultdict(list), defaultdict(list)
        every: list[tuple[int, int, int]] = []
        for index, token in enumerate(self.tokens):
            for note in token.notes:
                if note.pitch is None or note.program is None:
                    continue
                every.append((index, note.program + 1, note.pitch))
                if note.position is None:
                    struck[note_number(note.program, note.pitch)].append(index)
                    if note.pitch == token.leading_pitch:
                        doubling[note.program].append(index)
            if token.leading_pitch is not None:
                led[token.leading_pitch].append(index)
        self.struck_by = _as_arrays(struck)
        self.led_by = _as_arrays(led)
        # Those begin with a pitch and name it again, for the program that would come twice: they
        # were learned where another program came before.
        self.doubling = _as_arrays(doubling)
        table = np.array(every, dtype=np.int64).reshape(len(every), 3)
        self.note_token, self.note_row, self.note_pitch = table.T
        self.named_programs = [
            (index, program) for index, t in enumerate(self.tokens) for program in t.programs
        ]

    def _index_durations(self) -> None:
        """The bare durations, shortest first."""
        bare = [
            (_bare_duration(token), index) for index, token in enumerate(self.tokens[: self.base])
        ]
        found = sorted(pair for pair in bare if pair[0])
        self.durations = np.array([duration for duration, _ in found])
        self.duration_ids = np.array([index for _, index in found])
        self.program_ids = {
            token.programs[0]: index
            for index, token in enumerate(self.tokens[: self.base])
            if token.programs
        }

    def _make_groups(self) -> None:
        """What may come after each kind inside a bar, and what may open a bar of each meter."""
        inside: dict[str, list[int]] = {kind: [] for kind in FOLLOWS}
        opening: dict[tuple[str, tuple[int, int]], list[int]] = defaultdict(list)
        for index, token in enumerate(self.tokens):
            if token.first in ("Bar", "TimeSig"):
                if token.meter is not None:
                    opening[token.first, token.meter].append(index)
            elif index >= self.base or token.first not in _HARMLESS:
                for kind, firsts in FOLLOWS.items():
                    inside[kind] += [index] * (token.first in firsts)
        self.groups = {kind: Group.of(self.tokens, ids) for kind, ids in inside.items()}
        self.openers = {kind: Group.of(self.tokens, ids) for kind, ids in opening.items()}


def _bare_duration(token: Token) -> int:
    return (token.notes[0].duration or 0) if token.first == "Duration" else 0


def _as_arrays(lists: dict[int, list[int]]) -> dict[int, np.ndarray]:
    return {key: np.array(sorted(set(ids)), dtype=np.int64) for key, ids in lists.items()}


_KNOWN: WeakKeyDictionary[MusicTokenizer, tuple[object, Vocabulary]] = WeakKeyDictionary()


def vocabulary_of(tokenizer: MusicTokenizer) -> Vocabulary:
    """The tables of a tokenizer, made once; anew where it has learned since."""
    parts, vocabulary = _KNOWN.get(tokenizer, (None, None))
    if vocabulary is None or parts is not tokenizer.parts:
        vocabulary = Vocabulary(tokenizer)
        _KNOWN[tokenizer] = (tokenizer.parts, vocabulary)
    return vocabulary
