"""Which passages of some music stand in other music as well, in whatever transposition.

**Steps.** The pitched notes of one instrument, in order of time (chords from the bottom up), are a
line. A step is what leads from a note to the next: the interval in semitones, so that transposition
does not count, and the time between the onsets, so that rhythm does. Times are in `UNIT`s of a
quarter, in which every position that the tokens can say is a whole number (a twelfth of a beat is
four of them where the beat is a quarter): unlike positions, they mean the same in 6/8 and in 3/4,
and across a change of meter. Durations and loudness do not count: who plays a tune staccato has
copied it all the same. Drums are left out: their pitches name instruments, which no transposition
leaves alike, and one bar of rock beat is found in every other song.

**Passages.** A copied passage is a run of steps that stands in the other music, too, within one
line; it has one note more than steps.

**What does not count.** A repeated note, a trill or a scale in even notes is in every score: it is
found again at any length, and is nobody's. So a passage needs three different steps, and it ends
where a stretch of `STRETCH` steps has fewer than three: a copied tune that runs into a tremolo
counts as far as the tremolo begins to say nothing. The rule looks at stretches and not at the whole
because otherwise two odd notes at the end of a tremolo would make all of it a copy. Every part of a
passage that counts keeps the rule of stretches, so the longest one is exact and needs no choice.

A figure of three steps and more that goes on and on (an Alberti bass, repeated triads) does count,
though it is hardly anybody's either. So it can be told apart: without `figures`, a passage also
ends where a figure of up to `LONGEST_FIGURE` steps has been heard `HEARINGS` times in a row.

**Search.** All steps are sorted by what follows them (a suffix array, by doubling), the music's
and the other's in one order. The longest match of a place begins at its next neighbour from the
other music above or below; its length is then counted on the steps themselves. So there is nothing
that could be mistaken: no hashing, no tolerance. Some 200 bytes a note, seconds a million notes.

Knows neither models nor files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from musiclstm.model import TokenKind, TokenTable
from musiclstm.tokens import MusicTokenizer
from training.evaluation.music_metrics import NoteTable

Ints: TypeAlias = NDArray[np.int64]

UNIT = 48  # to a quarter: every position that the tokens can say is a whole number of them
STRETCH = 8  # steps; an octave of a scale has seven
LEAST_DIFFERENT = 3  # steps
LONGEST_FIGURE = 8  # steps
HEARINGS = 3  # twice is a sequence or an echo, and music; with the third time it goes on by itself
_SPAN = 2**32  # no two notes lie so many units apart
_END, _END_OF_MUSIC = -1, -2  # where a line ends: two numbers, so that ends match nothing


@dataclass(frozen=True)
class Notes:
    """The pitched notes of some music in order of time, at one time by program and pitch.

    Attributes:
        onset: In units, (notes,).
        program: 0 to 127, (notes,).
        pitch: 0 to 127, (notes,).
    """

    onset: Ints
    program: Ints
    pitch: Ints

    def __len__(self) -> int:
        return len(self.onset)

    @classmethod
    def of(cls, music: NoteTable) -> Notes:
        """Those of some bars; what an instrument strikes twice at once is one note."""
        onset = np.rint(UNIT * music.onset).astype(np.int64)
        columns = (onset, music.program, music.pitch)
        return cls.from_columns(*(column[music.pitched] for column in columns))

    @classmethod
    def from_columns(cls, onset: Ints, program: Ints, pitch: Ints) -> Notes:
        """From notes in any order, (notes,) each."""
        keys = np.unique((onset.astype(np.int64) << 14) | (program << 7) | pitch)
        return cls(keys >> 14, (keys >> 7) & 127, keys & 127)

    def first(self, count: int) -> Notes:
        """Only so many."""
        return Notes(self.onset[:count], self.program[:count], self.pitch[:count])

    def by_line(self) -> Notes:
        """The same, one instrument after the other, each in order of time."""
        order = np.argsort(self.program, kind="stable")
        return Notes(self.onset[order], self.program[order], self.pitch[order])

    def steps(self) -> Ints:
        """What leads from each note of `by_line` to the next, (notes,); -1 where a line ends."""
        lines = self.by_line()
        found = np.full(len(self), _END)
        same = lines.program[1:] == lines.program[:-1]
        steps = (np.diff(lines.pitch) + 128) * _SPAN + np.diff(lines.onset)
        found[:-1][same] = steps[same]
        return found


class TokenReader:
    """Reads notes from token ids, some hundred times as fast as by way of a score."""

    def __init__(self, tokenizer: MusicTokenizer) -> None:
        """Make a table of what each id says."""
        table = TokenTable(tokenizer.token_names)
        self._kind, self._value = np.array(table.kind), np.array(table.value)
        self._unit = np.array(table.unit)
        self._length = np.where(self._kind == TokenKind.TIME_SIGNATURE, self._value, 0)  # of a bar

    def read(self, tokens: NDArray[np.integer]) -> Notes:
        """Return the pitched notes of a whole piece from its ids, (tokens,)."""
        ids: Ints = tokens.astype(np.int64)
        kinds = (TokenKind.TIME_SIGNATURE, TokenKind.POSITION, TokenKind.PROGRAM)
        meter, position, program = (self._latest(ids, kind) for kind in kinds)
        bar = np.cumsum(self._length[ids]) - self._length[meter]
        onset = bar + self._value[position] * self._unit[meter]
        struck = self._kind[ids] == TokenKind.PITCH
        columns = (onset, self._value[program], self._value[ids])
        return Notes.from_columns(*(column[struck] for column in columns))

    def _latest(self, ids: Ints, kind: TokenKind) -> Ints:
        """At every place the last id of a kind; before the first one any."""
        places = np.where(self._kind[ids] == kind, np.arange(len(ids)), 0)
        return ids[np.maximum.accumulate(places)]


@dataclass(frozen=True)
class Copied:
    """The longest passage of some music that stands in the other music, too.

    Attributes:
        notes: How many; 0 where there is none that counts.
        quarters: From its first onset to its last.
        different: Different steps in it.
        source: Which piece of the other music has it; None where there is none.
    """

    notes: int = 0
    quarters: float = 0.0
    different: int = 0
    source: int | None = None


class Copies:
    """What of some music stands in other music, looked up once for all."""

    def __init__(self, music: Sequence[Notes], others: Sequence[Ints]) -> None:
        """Look everything up.

        Args:
            music: What may have been copied.
            others: What it may have been copied from, `Notes.steps` of every piece.
        """
        ours = [notes.steps() for notes in music]
        self._steps, other = (
            np.concatenate([np.zeros(0, np.int64), *each]) for each in (ours, others)
        )
        self._length, place = matches(self._steps, other)
        starts = np.cumsum([0, *map(len, others)])
        self._source = np.searchsorted(starts, place, side="right") - 1
        self._music, self._starts = music, np.cumsum([0, *map(len, ours)])

    def longest(self, *, figures: bool = True) -> list[Copied]:
        """The longest copied passage of every piece of music.

        Args:
            figures: Whether a figure that goes on and on counts (see above).
        """
        most = self._length if figures else until_third_hearing(self._steps, self._length)
        counted = counting(self._steps, most)
        parts = zip(self._music, self._starts[:-1], self._starts[1:], strict=True)
        return [
            _longest(notes, *(each[a:b] for each in (self._steps, counted, self._source)))
            for notes, a, b in parts
        ]


def _longest(notes: Notes, steps: Ints, length: Ints, source: Ints) -> Copied:
    at = int(np.argmax(length)) if len(length) else 0
    if not length[at : at + 1].any():
        return Copied()
    end, onset = at + int(length[at]), notes.by_line().onset
    quarters = float(onset[end] - onset[at]) / UNIT
    return Copied(end - at + 1, quarters, len(np.unique(steps[at:end])), int(source[at]))


# Searching ----------------------------------------------------------------------------------------


def matches(music: Ints, other: Ints) -> tuple[Ints, Ints]:
    """How many steps from each place of the music on stand in the other music, and where there.

    Args:
        music: Steps of lines, each line with -1 behind it.
        other: The same.

    Returns:
        Lengths, 0 where not even one step is found, and places in `other`; (steps of music,) each.
    """
    music = np.where(music == _END, _END_OF_MUSIC, music)
    above, below = _neighbours(music, other)
    up, down = _common(music, other, above), _common(music, other, below)
    return np.maximum(up, down), np.where(up >= down, above, below)


def _neighbours(music: Ints, other: Ints) -> tuple[Ints, Ints]:
    """For each place of the music the next places of the other in the order of all; -1: none."""
    order = np.argsort(_ranks(np.concatenate([other, music]), _longest_line(music)), kind="stable")
    theirs = order < len(other)
    above = np.maximum.accumulate(np.where(theirs, np.arange(len(order)), -1))
    below = np.minimum.accumulate(np.where(theirs, np.arange(len(order)), len(order))[::-1])[::-1]
    ours = order[~theirs] - len(other)
    places = np.append(order, -1)  # for those beyond the first and the last
    found = np.empty((2, len(music)), np.int64)
    found[:, ours] = places[above[~theirs]], places[below[~theirs]]
    return found[0], found[1]


def _longest_line(steps: Ints) -> int:
    ends = np.flatnonzero(steps < 0)
    return int(np.diff(ends, prepend=-1).max(initial=1))


def _ranks(steps: Ints, depth: int) -> Ints:
    """Every place's rank by the `depth` steps or more that begin there, (steps,)."""
    rank = np.unique(steps, return_inverse=True)[1]
    known = 1
    while known < depth and rank.max() + 1 < len(rank):
        key = rank * (len(rank) + 1)
        key[:-known] += rank[known:] + 1
        rank = np.unique(key, return_inverse=True)[1]
        known *= 2
    return rank


def _common(music: Ints, other: Ints, place: Ints) -> Ints:
    """How many steps from each place of the music on equal those from `place` on."""
    length = np.zeros(len(music), np.int64)
    active = np.flatnonzero(place >= 0)
    while len(active):
        equal = music[active + length[active]] == other[place[active] + length[active]]
        active = active[equal]
        length[active] += 1
    return length


# What counts --------------------------------------------------------------------------------------


def counting(steps: Ints, length: Ints) -> Ints:
    """How many steps of the passage that begins at each place count; 0: none (see above).

    Args:
        steps: Of lines, each with -1 behind it.
        length: Of the passage that begins at each place, none beyond its line, (steps,).
    """
    third, here = _third_different(steps), np.arange(len(steps))
    reach = np.minimum(length, _room(third >= here + STRETCH, STRETCH))
    return np.where(third < here + reach, reach, 0)


def until_third_hearing(steps: Ints, length: Ints) -> Ints:
    """The lengths of passages that end where a figure has been heard too often (see above)."""
    for figure in range(1, LONGEST_FIGURE + 1):
        again = np.zeros(len(steps), bool)
        again[:-figure] = steps[figure:] == steps[:-figure]
        size = (HEARINGS - 1) * figure
        sums = np.concatenate([[0], np.cumsum(again), np.zeros(size, np.int64)])
        heard = sums[size : size + len(steps)] - sums[: len(steps)] == size
        length = np.minimum(length, _room(heard, HEARINGS * figure))
    return length


def _room(stuck: NDArray[np.bool_], size: int) -> Ints:
    """How many steps from each place on hold no whole stretch of a size that begins `stuck`."""
    here = np.arange(len(stuck))
    starts = np.where(stuck, here, 2 * len(stuck))
    return np.minimum.accumulate(starts[::-1])[::-1] + size - 1 - here


def _third_different(steps: Ints) -> Ints:
    """Where, from each place on, the third different step stands; beyond the end: nowhere."""
    numbers, end = steps.tolist(), len(steps)
    second, third = [end] * (end + 1), [end] * (end + 1)
    for here in range(end - 2, -1, -1):
        after = here + 1
        if numbers[here] == numbers[after]:
            second[here], third[here] = second[after], third[after]
            continue
        other = second[after]
        alike = other < end and numbers[other] == numbers[here]
        second[here], third[here] = after, third[after] if alike else other
    return np.array(third[:end], np.int64)
