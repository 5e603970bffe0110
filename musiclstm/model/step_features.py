"""Step features: inputs of the network computed from all tokens read so far.

Reference implementation in Python and numpy, one token at a time; property tests compare the C code
with it. The file is copied to the Hub beside configuration and modeling. The stream is MidiTok's
REMI in bar-part order:

    Bar TimeSig (Position Tempo)* (Program (Position (Pitch Duration)+)+)*

Other orders are accepted: a token that has no meaning in its context changes nothing.

A part is a track: the k-th block of a program in a bar is its k-th track. A slot is the index of a
part in order of first appearance. Times are in 1/48 of a quarter note in every meter. Memory is
constant: tokens more than `HORIZON` back are dropped. Transposing the stream transposes the
features.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, TypeVar, cast

import numpy as np

FORMAT_VERSION = 2  # stored in a checkpoint: the features it was trained with
HORIZON = 16_384  # tokens
POSITIONS_PER_BEAT = 12
MAX_TRACKS = 8  # per program; further blocks belong to the last track
# Values of the columns of `parts`: none, drums or 128 programs; tracks; programs; 0 to 9 bars.
PART_SIZES = (130, MAX_TRACKS, 130, 10)
MAX_PARTS = 64  # further parts share the last slot
MAX_HELD = 1_024  # notes checked for whether they sound; further ones are ignored
REFERENCE_PITCHES = 5
PITCH_CLASSES = 12
RHYTHM_STEPS = 192  # bins of the rhythm histograms, in positions; the last also holds larger values
PITCH_REACH = 36  # semitones on either side of a reference pitch that the network's heads cover
POSITION_REACH = 144  # the same for positions: one bar of 12/8
# Outputs of the network's context head: relative pitches, positions from the last onset, positions
# from the last end, pitch weights (three histograms, notes in the onset), circular filters, rhythm
# weights (two histograms, onsets in the bar).
CONTEXT_SIZES = (
    *(REFERENCE_PITCHES * (2 * PITCH_REACH + 1), POSITION_REACH + 1, 2 * POSITION_REACH + 1),
    *(4, 3 * PITCH_CLASSES, 3),
)
NONE = -1
OUT_OF_RANGE = -2  # a candidate without a token: a pitch below 0 or above 127
DRUMS = -1


class TokenKind(IntEnum):
    """Kind of a token."""

    OTHER = 0
    BAR = 1
    TIME_SIGNATURE = 2
    TEMPO = 3
    PROGRAM = 4
    POSITION = 5
    PITCH = 6
    DRUM = 7
    DURATION = 8


_KINDS = {
    "Bar": TokenKind.BAR,
    "TimeSig": TokenKind.TIME_SIGNATURE,
    "Tempo": TokenKind.TEMPO,
    "Program": TokenKind.PROGRAM,
    "Position": TokenKind.POSITION,
    "Pitch": TokenKind.PITCH,
    "PitchDrum": TokenKind.DRUM,
    "Duration": TokenKind.DURATION,
}


class TokenTable:
    """Kind and value of each token id, parsed from MidiTok's token names.

    Attributes:
        kind: Kind of each id, (vocab,).
        value: By kind: pitch, position, program (-1 for drums), duration in positions, or length
            of the bar in 1/48 quarters; otherwise 0, (vocab,).
        unit: For a time signature, 1/48 quarters per position; otherwise 0, (vocab,).
        id_of: Id by (kind, value), for the kinds that can be candidates.
        bar: Id of the Bar token; `NONE` without one.
        eos: Id of the token at the end of a piece; `NONE` without one.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Parse names such as `Pitch_60`, in order of their ids."""
        split = [name.partition("_") for name in names]
        self.kind = [_KINDS.get(kind, TokenKind.OTHER) for kind, _, _ in split]
        self.value = [_value(kind, text) for kind, (_, _, text) in zip(self.kind, split)]  # noqa: B905
        self.unit = [
            16 // int(text.split("/")[1]) if kind == TokenKind.TIME_SIGNATURE else 0
            for kind, (_, _, text) in zip(self.kind, split)  # noqa: B905
        ]
        self.id_of = {
            (kind, value): index
            for index, (kind, value) in enumerate(zip(self.kind, self.value))  # noqa: B905
            if kind in (TokenKind.PROGRAM, TokenKind.POSITION, TokenKind.PITCH, TokenKind.DRUM)
        }
        self.bar = self.kind.index(TokenKind.BAR) if TokenKind.BAR in self.kind else NONE
        self.eos = list(names).index("EOS_None") if "EOS_None" in names else NONE

    def __len__(self) -> int:
        return len(self.kind)

    def pitch(self, pitch: int, drums: bool) -> int:
        """Return the id of a pitch, `OUT_OF_RANGE` without one."""
        return self.id_of.get((TokenKind.DRUM if drums else TokenKind.PITCH, pitch), OUT_OF_RANGE)

    def position(self, offset: int, unit: int) -> int:
        """Return the id of the position `offset` / 48 quarters into a bar; `NONE` off the grid."""
        return NONE if offset % unit else self.id_of.get((TokenKind.POSITION, offset // unit), NONE)

    def program(self, program: int) -> int:
        """Return the id of a program, `NONE` without one."""
        return self.id_of.get((TokenKind.PROGRAM, program), NONE)


def _value(kind: TokenKind, text: str) -> int:
    if kind == TokenKind.DURATION:  # MidiTok writes beats.samples.resolution
        beats, samples, resolution = map(int, text.split("."))
        return max(1, (beats * resolution + samples) * POSITIONS_PER_BEAT // resolution)
    if kind == TokenKind.TIME_SIGNATURE:
        numerator, denominator = map(int, text.split("/"))
        return numerator * POSITIONS_PER_BEAT * 16 // denominator
    if kind in (TokenKind.PROGRAM, TokenKind.POSITION, TokenKind.PITCH, TokenKind.DRUM):
        return int(text)
    return 0


# Position in the stream ---------------------------------------------------------------------------


class Cursor:
    """Current bar, part and time of the stream.

    Attributes:
        index: Index of the last token, from 0.
        kind: Kind of the last token.
        bar: Bars started so far.
        start: Start of the bar, in 1/48 quarters.
        length: Length of the bar, in 1/48 quarters.
        unit: 1/48 quarters per position.
        time_signature: Id of the last TimeSig token; `NONE` before the first.
        slot: Slot of the current part; `NONE` before the first part of a bar.
        program: Program of the current part, -1 for drums.
        number: Index of the part among the tracks of its program.
        position: Last position of this block; `NONE` before the first.
        pitch: Last pitch, until its duration follows; otherwise `NONE`.
        programs: Program of each slot.
    """

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self.index, self.kind = -1, TokenKind.OTHER
        self.bar, self.start, self.length, self.unit = 0, 0, 48 * 4, 4
        self.time_signature = NONE
        self.slot, self.program, self.number = NONE, NONE, 0
        self.position = self.pitch = NONE
        self._blocks: dict[int, int] = {}  # blocks of each program in this bar
        self._slots: dict[tuple[int, int], int] = {}  # slot by program and number
        self.programs: list[int] = []

    @property
    def is_drums(self) -> bool:
        """Whether the current part is drums."""
        return self.slot != NONE and self.program == DRUMS

    @property
    def now(self) -> int:
        """Time of the last Position token of the block; without one, of the bar line."""
        return self.start + max(self.position, 0) * self.unit

    @property
    def end(self) -> int:
        """Time of the next bar line."""
        return self.start + self.length

    def push(self, token: int) -> None:
        """Read one token."""
        kind, value = self._table.kind[token], self._table.value[token]
        self.index += 1
        self.kind = kind
        if kind == TokenKind.BAR:
            self.start += self.length if self.bar else 0
            self.bar += 1
            self.slot = self.position = self.pitch = NONE
            self._blocks = {}
        elif kind == TokenKind.TIME_SIGNATURE:
            self.time_signature, self.length = token, value
            self.unit = self._table.unit[token]
        elif kind == TokenKind.PROGRAM:
            self._open_block(value)
        elif kind == TokenKind.POSITION:
            self.position, self.pitch = value, NONE
        elif kind in (TokenKind.PITCH, TokenKind.DRUM):
            fits = self.slot != NONE and self.is_drums == (kind == TokenKind.DRUM)
            self.pitch = value if fits and self.position != NONE else NONE

    def _open_block(self, program: int) -> None:
        self.program = program
        self.number = min(self._blocks.get(program, 0), MAX_TRACKS - 1)
        self._blocks[program] = self._blocks.get(program, 0) + 1
        part = program, self.number
        if part not in self._slots:
            self._slots[part] = min(len(self._slots), MAX_PARTS - 1)
            if len(self.programs) < MAX_PARTS:
                self.programs.append(program)
        self.slot = self._slots[part]
        self.position = self.pitch = NONE

    def finish_note(self) -> None:
        """Clear the pitch, whose duration was read."""
        self.pitch = NONE


class PartOrder:
    """Order of the parts within a bar, and the last bar of each.

    Attributes:
        order: Slots in the order of their blocks in a bar.
        last_bar: By slot, the last bar with a note.
        following: Slot of the next part among those with a note in the last `INPUT_BARS` bars;
            `NONE` without one.
        age: Bars since that note; 0 without one.
    """

    CANDIDATE_BARS, INPUT_BARS = 2, 8

    def __init__(self, table: TokenTable, cursor: Cursor) -> None:
        self._table, self._cursor = table, cursor
        self.order: list[int] = []
        self.last_bar: dict[int, int] = {}
        self._current = NONE
        self.following, self.age = NONE, 0

    def push(self) -> None:
        """Update after the cursor has read a token."""
        cursor = self._cursor
        if cursor.kind == TokenKind.PROGRAM:
            if cursor.slot not in self.order:
                after = self.order.index(self._current) + 1 if self._current != NONE else 0
                self.order.insert(after, cursor.slot)
        elif cursor.kind == TokenKind.DURATION and cursor.pitch != NONE:
            self.last_bar[cursor.slot] = cursor.bar
        if cursor.kind in (TokenKind.BAR, TokenKind.PROGRAM):
            self._current = cursor.slot
            self.following = self._next(self.INPUT_BARS)
            played = self.last_bar.get(self.following, cursor.bar)
            self.age = cursor.bar - played

    def later_parts(self) -> Iterator[int]:
        """Return the slots after the current one, in order."""
        after = self.order.index(self._current) + 1 if self._current != NONE else 0
        return iter(self.order[after:])

    def _next(self, bars: int) -> int:
        for slot in self.later_parts():
            if 0 < self._cursor.bar - self.last_bar.get(slot, self._cursor.bar) <= bars:
                return slot
        return NONE

    def propose(self) -> int:
        """Return the next part that has a note in the last two bars; after a note, else Bar.

        Only after a note and after the TimeSig and Tempo tokens of a bar; otherwise `NONE`.
        """
        kind = self._cursor.kind
        if kind not in (TokenKind.DURATION, TokenKind.TIME_SIGNATURE, TokenKind.TEMPO):
            return NONE
        slot = self._next(self.CANDIDATE_BARS)
        if slot != NONE:
            return self._table.program(self._cursor.programs[slot])
        return self._table.bar if kind == TokenKind.DURATION else NONE


# Copy candidates ----------------------------------------------------------------------------------

_Entry = TypeVar("_Entry")


class RecentTable(OrderedDict[Hashable, tuple[int, _Entry]]):
    """Latest entry of each context, with its token index; entries beyond `HORIZON` are dropped."""

    def exchange(self, context: Hashable, index: int, entry: _Entry) -> _Entry | None:
        """Insert an entry and return the one that it replaces."""
        self.drop_before(index - HORIZON)
        before = self.get(context)
        self[context] = index, entry
        self.move_to_end(context)
        return None if before is None else before[1]

    def drop_before(self, index: int) -> None:
        """Drop the entries of tokens before an index."""
        while self and next(iter(self.values()))[0] < index:
            self.popitem(last=False)


class TokenMatcher:
    """Copy candidate: the token that followed the latest occurrence of the last n tokens.

    Args:
        lengths: Values of n, the longest first; the longest match counts.
        transposed: Compare pitches by the interval to the previous pitch, and transpose the
            candidate.
    """

    _NO_PITCH = 1_000

    def __init__(self, table: TokenTable, lengths: tuple[int, ...], *, transposed: bool) -> None:
        self._table, self._transposed = table, transposed
        self._tables = {length: RecentTable[int]() for length in lengths}
        self._ids: OrderedDict[int, tuple[int, int]] = OrderedDict()  # index: token, last pitch
        self._symbols: list[int] = []  # the last tokens in the form in which they are compared
        self._index, self._last_pitch = -1, NONE

    def push(self, token: int) -> int:
        """Read a token; return the candidate for the next one, `NONE` or `OUT_OF_RANGE`."""
        symbol = token
        self._index += 1
        if self._table.kind[token] == TokenKind.PITCH:
            pitch, last = self._table.value[token], self._last_pitch
            if self._transposed:
                step = pitch - last if last != NONE else self._NO_PITCH
                symbol = len(self._table) + self._NO_PITCH + step
            self._last_pitch = pitch
        self._symbols = [*self._symbols, symbol][-max(self._tables) :]
        self._ids[self._index] = token, self._last_pitch
        if len(self._ids) > HORIZON + 1:
            self._ids.popitem(last=False)
        match = self._look_up()
        return NONE if match is None else self._moved(match)

    def _look_up(self) -> int | None:
        found = None
        for length, table in self._tables.items():
            if self._index + 1 >= length:
                before = table.exchange(tuple(self._symbols[-length:]), self._index, self._index)
                found = before if found is None else found
        return found

    def _moved(self, match: int) -> int:
        token, _ = self._ids[match + 1]
        _, then = self._ids[match]
        if not self._transposed or self._table.kind[token] != TokenKind.PITCH:
            return token
        shift = self._last_pitch - then if then != NONE else 0
        return self._table.pitch(self._table.value[token] + shift, drums=False)


class PartNote(NamedTuple):
    """A note of a part.

    Attributes:
        token_index: Index of its last token.
        onset: In 1/48 quarters.
        pitch: 0 to 127.
        duration: Token id.
        distance: Time since the onset of the part's previous note; `NONE` for the first.
        step: Interval from the pitch of the part's previous note; for drums the pitch itself.
    """

    token_index: int
    onset: int
    pitch: int
    duration: int
    distance: int
    step: int


class PredictedNote(NamedTuple):
    """The next note of a part according to its matched passage."""

    onset: int
    pitch: int
    duration: int


class NoteHistory:
    """Notes of every part, as far back as `HORIZON`, by slot and number."""

    def __init__(self) -> None:
        self._notes: OrderedDict[tuple[int, int], PartNote] = OrderedDict()
        self._counts: dict[int, int] = {}
        self._now = 0

    def move_to(self, index: int) -> None:
        """Drop notes more than `HORIZON` tokens before a token index."""
        self._now = index
        while self._notes and next(iter(self._notes.values())).token_index < index - HORIZON:
            self._notes.popitem(last=False)

    def add(self, cursor: Cursor, duration: int) -> None:
        """Add the note whose duration token was read."""
        before = self.last(cursor.slot)
        distance, step = NONE, cursor.pitch if cursor.is_drums else 0
        if before is not None:
            distance = cursor.now - before.onset
            step = step if cursor.is_drums else cursor.pitch - before.pitch
        number = self._counts.get(cursor.slot, 0)
        self._counts[cursor.slot] = number + 1
        self._notes[cursor.slot, number] = PartNote(
            cursor.index, cursor.now, cursor.pitch, duration, distance, step
        )

    def get(self, slot: int, number: int) -> PartNote | None:
        """Return a note, None if it does not exist or was dropped."""
        return self._notes.get((slot, number))

    def count(self, slot: int) -> int:
        """Return the number of notes of a part so far."""
        return self._counts.get(slot, 0)

    def last(self, slot: int) -> PartNote | None:
        """Return the last note of a part."""
        return self._notes.get((slot, self.count(slot) - 1))

    def since(self, slot: int, time: int) -> list[PartNote]:
        """Return the notes of a part from a time on, in order."""
        found: list[PartNote] = []
        number = self.count(slot) - 1
        while (note := self.get(slot, number)) is not None and note.onset >= time:
            found.append(note)
            number -= 1
        return found[::-1]


class NoteMatcher:
    """Copy candidate: the next token if each part continues the passage that its last notes match.

    A context is the last n notes of a part as (distance, step, duration), with the time of the last
    one since its bar line. For n = 1 the pitch replaces distance and step.

    Args:
        lengths: Values of n, the longest first; the longest match counts.
        imitation: Whether pitched parts match the passages of all pitched parts.
    """

    def __init__(
        self,
        table: TokenTable,
        cursor: Cursor,
        part_order: PartOrder,
        notes: NoteHistory,
        lengths: tuple[int, ...],
        *,
        imitation: bool,
    ) -> None:
        self._table, self._cursor, self._part_order, self._notes = table, cursor, part_order, notes
        self._lengths, self._imitation = lengths, imitation
        self._tables = [RecentTable[tuple[int, int]]() for _ in lengths]
        self._matches: dict[int, tuple[int, int]] = {}  # of each slot: slot and number of a note

    def add_note(self) -> None:
        """Match the note that was added last, and insert it."""
        cursor, notes = self._cursor, self._notes
        slot, now = cursor.slot, notes.count(cursor.slot) - 1
        found = None
        for length, table in zip(self._lengths, self._tables, strict=True):
            context = self._context(slot, now, length)
            if context is not None:
                before = table.exchange(context, cursor.index, (slot, now))
                found = before if found is None else found
        if found is None and (old := self._matches.get(slot)) is not None:
            source, number = old
            if source == slot and number + 1 < now and notes.get(slot, number + 1) is not None:
                found = slot, number + 1  # no match: continue the old one
        if found is None:
            self._matches.pop(slot, None)
        else:
            self._matches[slot] = found

    def _context(self, slot: int, now: int, length: int) -> Hashable | None:
        notes = [self._notes.get(slot, now - back) for back in range(length)]
        drums = self._cursor.is_drums
        owner = slot if drums or not self._imitation else NONE
        last = notes[0]
        assert last is not None
        place = last.onset - self._cursor.start
        if length == 1:
            return owner, place, last.pitch, last.duration
        if any(note is None for note in notes):
            return None
        return owner, place, *((n.distance, n.step, n.duration) for n in notes if n is not None)

    def next_note(self, slot: int, not_before: int) -> PredictedNote | None:
        """Return the first predicted note of a part at or after a time."""
        match, last = self._matches.get(slot), self._notes.last(slot)
        model = None if match is None else self._notes.get(*match)
        if match is None or model is None or last is None:
            return None
        source, number = match
        drums = self._cursor.programs[slot] == DRUMS
        later, shift = last.onset - model.onset, 0 if drums else last.pitch - model.pitch
        while (note := self._notes.get(source, number + 1)) is not None:
            if note.onset + later >= not_before:
                return PredictedNote(note.onset + later, note.pitch + shift, note.duration)
            number += 1
        return None

    def propose(self) -> int:
        """Return the candidate for the next token, `NONE` or `OUT_OF_RANGE`."""
        cursor = self._cursor
        if cursor.kind == TokenKind.BAR:
            return cursor.time_signature
        if cursor.kind in (TokenKind.PITCH, TokenKind.DRUM):
            return self._duration() if cursor.pitch != NONE else NONE
        if cursor.kind == TokenKind.PROGRAM:
            return self._first_position()
        if cursor.kind == TokenKind.POSITION:
            return self._pitch_now() if cursor.slot != NONE else NONE
        if cursor.kind == TokenKind.DURATION:
            return self._after_note() if cursor.slot != NONE else NONE
        if cursor.kind in (TokenKind.TIME_SIGNATURE, TokenKind.TEMPO):
            return self._next_part()
        return NONE

    def _duration(self) -> int:
        cursor = self._cursor
        note, last = self.next_note(cursor.slot, cursor.now), self._notes.last(cursor.slot)
        if note is not None and note.onset == cursor.now:
            return note.duration
        return NONE if last is None else last.duration

    def _first_position(self) -> int:
        cursor = self._cursor
        note = self.next_note(cursor.slot, cursor.start)
        if note is not None and note.onset < cursor.end:
            return self._table.position(note.onset - cursor.start, cursor.unit)
        for slot in self._part_order.later_parts():
            if cursor.programs[slot] == cursor.program and self._plays(slot):
                return self._table.program(cursor.program)
        return NONE

    def _pitch_now(self) -> int:
        cursor = self._cursor
        note = self.next_note(cursor.slot, cursor.now)
        if note is None or note.onset != cursor.now:
            return NONE
        return self._table.pitch(note.pitch, cursor.is_drums)

    def _after_note(self) -> int:
        cursor = self._cursor
        note = self.next_note(cursor.slot, cursor.now)
        if note is None or note.onset >= cursor.end:
            return self._next_part()
        if note.onset == cursor.now:
            return self._table.pitch(note.pitch, cursor.is_drums)
        return self._table.position(note.onset - cursor.start, cursor.unit)

    def _next_part(self) -> int:
        for slot in self._part_order.later_parts():
            if self._plays(slot):
                return self._table.program(self._cursor.programs[slot])
        return self._table.bar

    def _plays(self, slot: int) -> bool:
        note = self.next_note(slot, self._cursor.start)
        return note is not None and note.onset < self._cursor.end


class Homorhythm:
    """Copy candidate: the rhythm of an earlier part of this bar, in parallel motion with it.

    The model is the part with the most similar onsets in the last bar in which both parts have
    notes: common onsets divided by all onsets of the two. The candidates are its next onset, the
    duration of its note, and the pitch that keeps the interval.
    """

    def __init__(self, table: TokenTable, cursor: Cursor, notes: NoteHistory) -> None:
        self._table, self._cursor, self._notes = table, cursor, notes
        self._written: list[int] = []  # slots with notes in this bar, in order of the first note
        self._now: dict[int, int] = {}  # onsets of this bar as bits, by slot
        self._before: dict[int, tuple[int, int]] = {}  # bar and onsets of the last bar, by slot
        self._model = NONE

    def push(self) -> None:
        """Update after the cursor has read a token."""
        cursor = self._cursor
        if cursor.kind == TokenKind.BAR:
            for slot, onsets in self._now.items():
                self._before[slot] = cursor.bar - 1, onsets
            self._now, self._written, self._model = {}, [], NONE
        elif cursor.kind == TokenKind.PROGRAM:
            self._model = self._best_model()
        elif cursor.kind == TokenKind.DURATION and cursor.pitch != NONE:
            self._now[cursor.slot] = self._now.get(cursor.slot, 0) | 1 << cursor.position
            if cursor.slot not in self._written:
                self._written.append(cursor.slot)

    def _best_model(self) -> int:
        bar, own = self._before.get(self._cursor.slot, (NONE, 0))
        best, best_common, best_all = NONE, 0, 1
        for slot in self._written:
            other_bar, other = self._before.get(slot, (NONE, 0))
            common, union = (own & other).bit_count(), (own | other).bit_count()
            if other_bar != bar or bar == NONE:
                common, union = 0, 1
            if slot != self._cursor.slot and common * best_all >= best_common * union:
                best, best_common, best_all = slot, common, union
        return best

    def propose(self) -> int:
        """Return the candidate for the next token, `NONE` or `OUT_OF_RANGE`."""
        cursor = self._cursor
        if self._model == NONE or cursor.slot == NONE:
            return NONE
        notes = self._notes.since(self._model, cursor.start)
        together = [note for note in notes if note.onset == cursor.now]
        if cursor.kind == TokenKind.PROGRAM:
            later = notes
        elif cursor.kind == TokenKind.DURATION:
            later = [note for note in notes if note.onset > cursor.now]
        elif cursor.kind == TokenKind.POSITION and not cursor.is_drums:
            return self._parallel(together)
        elif cursor.kind in (TokenKind.PITCH, TokenKind.DRUM) and cursor.pitch != NONE:
            return together[0].duration if together else NONE
        else:
            return NONE
        return self._table.position(later[0].onset - cursor.start, cursor.unit) if later else NONE

    def _parallel(self, together: list[PartNote]) -> int:
        own = self._notes.last(self._cursor.slot)
        if not together or own is None or self._cursor.programs[self._model] == DRUMS:
            return NONE
        return self._table.pitch(own.pitch + together[0].step, drums=False)


# References and histograms ------------------------------------------------------------------------


class HeldNote(NamedTuple):
    """A pitched note that sounds in or after this bar."""

    onset: int
    end: int
    pitch: int
    slot: int


class Context:
    """Reference pitches and positions, histograms, and sounding pitch classes.

    A histogram h with half-life n counts an entry e by h = h * 0.5^(1/n) + (1 - 0.5^(1/n)) * e.

    Attributes:
        recent: Histogram of the pitch classes of all parts, half-life 64 notes, (12,).
        piece: The same with half-life 512 notes, (12,).
        sounding: Pitch classes that sound at the last onset of the part, as bits.
    """

    PART_DECAY = np.float32(0.5 ** (1 / 24))
    RECENT_DECAY = np.float32(0.5 ** (1 / 64))
    PIECE_DECAY = np.float32(0.5 ** (1 / 512))
    START = np.float32(0.02)
    FARTHEST_END = 255  # positions

    def __init__(self, table: TokenTable, cursor: Cursor) -> None:
        self._table, self._cursor = table, cursor
        self._held: list[HeldNote] = []
        self._chord: list[int] = []  # pitches of the current onset
        self._chord_slot = NONE
        self._last_chord: dict[int, tuple[int, int]] = {}  # lowest and highest pitch, by slot
        self._ends: dict[int, int] = {}  # end of the last note by slot, in 1/48 quarters
        self._pitches: dict[int, np.ndarray] = {}  # histograms by slot
        self._onsets: dict[int, np.ndarray] = {}
        self._durations: dict[int, np.ndarray] = {}
        self._empty = np.zeros(128, np.float32)
        self._no_rhythm = np.zeros(RHYTHM_STEPS, np.float32)
        self.recent = np.full(12, self.START, np.float32)
        self.piece = np.full(12, self.START, np.float32)
        self.sounding = 0

    def push(self, token: int) -> None:
        """Update after the cursor has read a token."""
        cursor = self._cursor
        if cursor.kind in (TokenKind.BAR, TokenKind.PROGRAM, TokenKind.POSITION):
            self._finish_chord()
        if cursor.kind == TokenKind.BAR:
            self._held = [note for note in self._held if note.end > cursor.start]
        elif cursor.kind == TokenKind.POSITION and cursor.slot != NONE:
            self._count_rhythm(self._onsets, cursor.position)
            if not cursor.is_drums:
                self.sounding = self._classes_at(cursor.now)
        elif cursor.kind == TokenKind.PITCH and cursor.pitch != NONE:
            self._read_pitch(cursor.slot, cursor.pitch)
        elif cursor.kind == TokenKind.DURATION and cursor.pitch != NONE:
            self._finish_note(self._table.value[token])

    def _finish_chord(self) -> None:
        if self._chord:
            self._last_chord[self._chord_slot] = min(self._chord), max(self._chord)
        self._chord, self.sounding = [], 0

    def _classes_at(self, time: int) -> int:
        classes = 0
        for note in self._held:
            if note.onset <= time < note.end:
                classes |= 1 << note.pitch % 12
        return classes

    def _read_pitch(self, slot: int, pitch: int) -> None:
        self._chord.append(pitch)
        self._chord_slot = slot
        self.sounding |= 1 << pitch % 12
        part = self._pitches.get(slot, self._empty)
        self._pitches[slot] = _decayed(part, self.PART_DECAY, pitch)
        self.recent = _decayed(self.recent, self.RECENT_DECAY, pitch % 12)
        self.piece = _decayed(self.piece, self.PIECE_DECAY, pitch % 12)

    def _count_rhythm(self, histograms: dict[int, np.ndarray], value: int) -> None:
        slot = self._cursor.slot
        histogram = histograms.get(slot, self._no_rhythm)
        histograms[slot] = _decayed(histogram, self.PART_DECAY, min(value, RHYTHM_STEPS - 1))

    def _finish_note(self, duration: int) -> None:
        cursor = self._cursor
        self._count_rhythm(self._durations, duration)
        end = cursor.now + duration * cursor.unit
        self._ends[cursor.slot] = end
        if not cursor.is_drums and len(self._held) < MAX_HELD:
            self._held.append(HeldNote(cursor.now, end, cursor.pitch, cursor.slot))

    @property
    def part(self) -> np.ndarray:
        """Histogram of the part's pitches, half-life 24 notes, (128,)."""
        return self._pitches.get(self._cursor.slot, self._empty)

    @property
    def onsets(self) -> np.ndarray:
        """Histogram of the positions of the part's onsets, half-life 24 onsets, (192,)."""
        return self._onsets.get(self._cursor.slot, self._no_rhythm)

    @property
    def durations(self) -> np.ndarray:
        """Histogram of the part's durations, half-life 24 notes, (192,)."""
        return self._durations.get(self._cursor.slot, self._no_rhythm)

    @property
    def may_be_pitch(self) -> bool:
        """Whether a Pitch token may follow."""
        cursor = self._cursor
        begun = cursor.kind in (TokenKind.POSITION, TokenKind.DURATION) and cursor.position != NONE
        return begun and cursor.slot != NONE and not cursor.is_drums

    @property
    def may_be_position(self) -> bool:
        """Whether a Position token may follow."""
        kinds = TokenKind.PROGRAM, TokenKind.DURATION, TokenKind.TIME_SIGNATURE, TokenKind.TEMPO
        return self._cursor.kind in kinds

    @property
    def needs_duration(self) -> bool:
        """Whether a Duration token must follow."""
        return self._cursor.pitch != NONE and self._cursor.kind in (TokenKind.PITCH, TokenKind.DRUM)

    def reference_pitches(self) -> tuple[int, ...]:
        """Return five reference pitches, `NONE` where there is none.

        Lowest and highest note of the part's previous onset, last note of the current onset,
        highest and lowest sounding note of the other parts.
        """
        if not self.may_be_pitch:
            return (NONE,) * REFERENCE_PITCHES
        slot, now = self._cursor.slot, self._cursor.now
        around = [n.pitch for n in self._held if n.slot != slot and n.onset <= now < n.end]
        lowest, highest = self._last_chord.get(slot, (NONE, NONE))
        last = self._chord[-1] if self._chord else NONE
        return lowest, highest, last, max(around, default=NONE), min(around, default=NONE)

    def reference_positions(self) -> tuple[int, int]:
        """Return the last position of the block and the end of the part's last note.

        In positions of this bar; `NONE` where there is none. The end is clipped to 0 to 255.
        """
        cursor = self._cursor
        if not self.may_be_position or cursor.slot == NONE:
            return NONE, NONE
        end = (self._ends.get(cursor.slot, cursor.start) - cursor.start) // cursor.unit
        return cursor.position, min(max(end, 0), self.FARTHEST_END)


def _decayed(histogram: np.ndarray, decay: np.float32, index: int) -> np.ndarray:
    """Return a histogram with one more entry; the sum stays at most 1."""
    result = histogram * decay
    result[index] += np.float32(1) - decay
    return result


class SizeCounts(NamedTuple):
    """Decayed counts of cases above a number and of cases equal to it.

    Each case multiplies both by 15/16 and adds 1 to one of them. Integers, in 1/256, so that C and
    Python agree.
    """

    more: int = 0
    equal: int = 0

    def counted(self, more: bool) -> SizeCounts:
        """Return the counts after one more case."""
        return SizeCounts(
            self.more - (self.more >> 4) + 256 * more,
            self.equal - (self.equal >> 4) + 256 * (not more),
        )


class Sizes:
    """Counts of the notes per onset and the onsets per bar of each part."""

    MOST_NOTES, MOST_ONSETS = 16, 64  # larger numbers are clipped to one less

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        self._slot = NONE
        self._notes = self._onsets = 0  # notes in this onset, onsets in this bar
        self._of_onsets: dict[tuple[int, int], SizeCounts] = {}  # by slot and notes
        self._of_bars: dict[tuple[int, int], SizeCounts] = {}  # by slot and onsets

    def push(self) -> None:
        """Update after the cursor has read a token."""
        cursor = self._cursor
        if cursor.kind in (TokenKind.BAR, TokenKind.PROGRAM):
            if self._slot != NONE:
                self._end_onset()
                self._count_onsets(more=False)
            self._slot, self._notes, self._onsets = cursor.slot, 0, 0
        elif cursor.kind == TokenKind.POSITION and cursor.slot != NONE:
            self._end_onset()
            self._count_onsets(more=True)
            self._notes, self._onsets = 0, self._onsets + 1
        elif cursor.kind == TokenKind.DURATION and cursor.pitch != NONE:
            if self._notes:
                self._count_notes(more=True)
            self._notes += 1

    def _end_onset(self) -> None:
        if self._notes:
            self._count_notes(more=False)

    def _count_notes(self, *, more: bool) -> None:
        self._of_onsets[self._onset_key] = self.of_onset.counted(more)

    def _count_onsets(self, *, more: bool) -> None:
        self._of_bars[self._bar_key] = self.of_bar.counted(more)

    @property
    def _onset_key(self) -> tuple[int, int]:
        return self._slot, min(self._notes, self.MOST_NOTES - 1)

    @property
    def _bar_key(self) -> tuple[int, int]:
        return self._slot, min(self._onsets, self.MOST_ONSETS - 1)

    @property
    def of_onset(self) -> SizeCounts:
        """Counts of the part's onsets with more notes than this one so far, and with as many."""
        return self._of_onsets.get(self._onset_key, SizeCounts())

    @property
    def of_bar(self) -> SizeCounts:
        """Counts of the part's bars with more onsets than this one so far, and with as many."""
        return self._of_bars.get(self._bar_key, SizeCounts())


# All features -------------------------------------------------------------------------------------

CANDIDATES = ("exact", "transposed", "follower", "imitation", "roster", "homorhythm")


@dataclass(frozen=True)
class FeatureArrays:
    """Features for predicting the token after each step; -1 is `NONE`.

    Attributes:
        candidates: Copy candidates, token ids, (steps, 6) int16.
        runs: Consecutive correct predictions of each candidate, at most 255, (steps, 6) uint8.
        accuracy: Decayed accuracy of each candidate for this kind of token, in 1/255; 0 without a
            candidate, (steps, 6) uint8.
        parts: Program of the current part (0 none, 1 drums, else program + 2), its number, program
            of the following part, bars since that part's last note (at most 9), (steps, 4) uint8.
        pitches: Reference pitches, (steps, 5) int8.
        positions: Reference positions, (steps, 2) int16.
        follows: Bit 0: a Pitch may follow; bit 1: a Position may follow; bit 2: a Duration must
            follow, (steps,) uint8.
        sounding: Sounding pitch classes as bits, (steps,) int16.
        part: Histogram of the part's pitches, (steps, 128) float32.
        recent, piece: Histograms of pitch classes, (steps, 12) float32 each.
        onsets: Histogram of the part's onsets in the bar, in positions, (steps, 192) float32.
        durations: Histogram of the part's durations, in positions, (steps, 192) float32.
        sizes: `SizeCounts` of the notes per onset and of the onsets per bar, (steps, 4) int16.
    """

    candidates: np.ndarray
    runs: np.ndarray
    accuracy: np.ndarray
    parts: np.ndarray
    pitches: np.ndarray
    positions: np.ndarray
    follows: np.ndarray
    sounding: np.ndarray
    part: np.ndarray
    recent: np.ndarray
    piece: np.ndarray
    onsets: np.ndarray
    durations: np.ndarray
    sizes: np.ndarray

    @classmethod
    def empty(cls, *shape: int) -> FeatureArrays:
        """Return arrays without features; `shape`: the dimensions before the last one."""
        count = len(CANDIDATES)
        return cls(
            candidates=np.full((*shape, count), NONE, np.int16),
            runs=np.zeros((*shape, count), np.uint8),
            accuracy=np.zeros((*shape, count), np.uint8),
            parts=np.zeros((*shape, 4), np.uint8),
            pitches=np.full((*shape, REFERENCE_PITCHES), NONE, np.int8),
            positions=np.full((*shape, 2), NONE, np.int16),
            follows=np.zeros(shape, np.uint8),
            sounding=np.zeros(shape, np.int16),
            part=np.zeros((*shape, 128), np.float32),
            recent=np.zeros((*shape, 12), np.float32),
            piece=np.zeros((*shape, 12), np.float32),
            onsets=np.zeros((*shape, RHYTHM_STEPS), np.float32),
            durations=np.zeros((*shape, RHYTHM_STEPS), np.float32),
            sizes=np.zeros((*shape, 4), np.int16),
        )


class CandidateAccuracy:
    """Run length and decayed accuracy of one candidate.

    accuracy = accuracy + (correct - accuracy) / 8, by kind of token, in integers of 1/65535 so that
    C and Python agree. A step without a candidate changes nothing.
    """

    _ONE, _START, _SHIFT = 65_535, 32_768, 3
    MOST_RUNS = 255

    def __init__(self, table: TokenTable) -> None:
        self._kind = table.kind
        self.proposal, self.run = NONE, 0
        self._shares = [self._START] * len(TokenKind)

    def count_result(self, token: int) -> None:
        """Compare the last candidate with the token that followed."""
        if self.proposal == NONE:
            return
        right = self.proposal == token
        self.run = min(self.run + 1, self.MOST_RUNS) if right else 0
        kind = self._proposed_kind()
        target = self._ONE if right else 0
        self._shares[kind] += (target - self._shares[kind]) >> self._SHIFT

    def _proposed_kind(self) -> TokenKind:
        return TokenKind.PITCH if self.proposal == OUT_OF_RANGE else self._kind[self.proposal]

    @property
    def accuracy(self) -> int:
        """Accuracy for the kind of the current candidate, in 1/255; 0 without one."""
        return 0 if self.proposal < 0 else self._shares[self._proposed_kind()] >> 8


class StepFeatures:
    """All features of one stream."""

    def __init__(self, table: TokenTable) -> None:
        """Start before the first token."""
        self._table = table
        self._cursor = Cursor(table)
        self._part_order = PartOrder(table, self._cursor)
        self._notes = NoteHistory()
        self._exact = TokenMatcher(table, (8, 3), transposed=False)
        self._transposed = TokenMatcher(table, (8, 5), transposed=True)
        shared = table, self._cursor, self._part_order, self._notes
        self._follower = NoteMatcher(*shared, (10, 6, 3, 1), imitation=False)
        self._imitation = NoteMatcher(*shared, (4, 2, 1), imitation=True)
        self._homorhythm = Homorhythm(table, self._cursor, self._notes)
        self._context = Context(table, self._cursor)
        self._sizes = Sizes(self._cursor)
        self._accuracies = [CandidateAccuracy(table) for _ in CANDIDATES]

    def read(self, ids: Sequence[int] | np.ndarray) -> FeatureArrays:
        """Read tokens; return the features after each, (steps, ...).

        Raises:
            IndexError: A token outside the vocabulary.
        """
        tokens = self._checked(ids)
        arrays = FeatureArrays.empty(len(tokens))
        for step, token in enumerate(tokens):
            self._push(token)
            self._write(arrays, step)
        return arrays

    def advance(self, ids: Sequence[int] | np.ndarray) -> None:
        """Read tokens without returning features; errors as in `read`."""
        for token in self._checked(ids):
            self._push(token)

    def _checked(self, ids: Sequence[int] | np.ndarray) -> list[int]:
        tokens = [int(token) for token in ids]
        if tokens and not 0 <= min(tokens) <= max(tokens) < len(self._table):
            least, most = min(tokens), max(tokens)
            raise IndexError(
                f"Tokens must be from 0 to {len(self._table) - 1}, got {least} to {most}."
            )
        return tokens

    def copy(self) -> StepFeatures:
        """Return an independent copy; entries of tables are shared."""
        kinds = self._table.kind
        return _copied(self, {id(kinds): kinds})

    def _push(self, token: int) -> None:
        for each in self._accuracies:
            each.count_result(token)
        cursor = self._cursor
        cursor.push(token)
        self._notes.move_to(cursor.index)
        self._part_order.push()
        if cursor.kind == TokenKind.DURATION and cursor.pitch != NONE:
            self._notes.add(cursor, token)
            self._follower.add_note()
            self._imitation.add_note()
        self._homorhythm.push()
        self._context.push(token)
        self._sizes.push()
        if cursor.kind == TokenKind.DURATION:
            cursor.finish_note()
        proposals = (
            self._exact.push(token),
            self._transposed.push(token),
            self._follower.propose(),
            self._imitation.propose(),
            self._part_order.propose(),
            self._homorhythm.propose(),
        )
        for each, proposal in zip(self._accuracies, proposals, strict=True):
            each.proposal = proposal

    def _write(self, arrays: FeatureArrays, step: int) -> None:
        cursor, context, part_order = self._cursor, self._context, self._part_order
        arrays.candidates[step] = [max(each.proposal, NONE) for each in self._accuracies]
        arrays.runs[step] = [each.run for each in self._accuracies]
        arrays.accuracy[step] = [each.accuracy for each in self._accuracies]
        following = 0 if part_order.following == NONE else cursor.programs[part_order.following] + 2
        playing = 0 if cursor.slot == NONE else cursor.program + 2
        number = 0 if cursor.slot == NONE else cursor.number
        arrays.parts[step] = playing, number, following, min(part_order.age, 9)
        arrays.pitches[step] = context.reference_pitches()
        arrays.positions[step] = context.reference_positions()
        arrays.follows[step] = (
            context.may_be_pitch + 2 * context.may_be_position + 4 * context.needs_duration
        )
        arrays.sounding[step] = context.sounding
        arrays.part[step] = context.part
        arrays.recent[step], arrays.piece[step] = context.recent, context.piece
        arrays.onsets[step], arrays.durations[step] = context.onsets, context.durations
        arrays.sizes[step] = *self._sizes.of_onset, *self._sizes.of_bar


_Part = TypeVar("_Part")


def _copied(value: _Part, done: dict[int, object]) -> _Part:
    """Copy a component with its containers; `done` maps ids of objects to their copies.

    Notes, arrays and the token table are immutable, so the copy shares them.
    """
    if id(value) in done:
        return cast(_Part, done[id(value)])
    result: object = value
    if isinstance(value, OrderedDict):  # a long table, entries of which are tuples
        result = value.copy()
    elif isinstance(value, dict):
        result = {key: _copied(entry, done) for key, entry in value.items()}
    elif isinstance(value, list):
        result = [_copied(entry, done) for entry in value]
    elif isinstance(value, _COMPONENTS):
        result = done[id(value)] = copy.copy(value)
        for name, attribute in vars(value).items():
            setattr(result, name, _copied(attribute, done))
    return cast(_Part, result)


_COMPONENTS = (
    *(StepFeatures, Cursor, PartOrder, TokenMatcher, NoteHistory, NoteMatcher, Homorhythm, Context),
    Sizes,
    CandidateAccuracy,
)
