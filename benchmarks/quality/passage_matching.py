"""Longest passages of some music that also occur in other music, in any transposition.

**Steps.** The pitched notes of one instrument, sorted by time (chords from low to high), are a
line. A step leads from a note to the next: the interval in semitones and the time between the
onsets. Times are in units of 1/`UNIT` quarter, in which every position of the tokens is an integer,
in every time signature. Durations and velocities are ignored, and so are drums: their pitches
select instruments, and one bar of a rock beat occurs in every other song.

**Passages.** A copied passage is a run of steps that also occurs in the other music, within one
line. It has one note more than steps.

**Trivial passages.** Repeated notes, trills and scales in even notes occur in every score. So a
passage needs three different steps, and it ends where a window of `WINDOW` steps has fewer than
three. The rule applies to windows, because two other notes after a tremolo must not make the whole
tremolo a copy. Every part of a valid passage satisfies this rule, so the longest one is exact.

A repeated figure of three or more steps (an Alberti bass, repeated triads) counts. It is reported
separately: without `figures`, a passage also ends at the `REPEATS`th repetition in a row of a
figure of up to `LONGEST_FIGURE` steps.

**Search.** All steps are sorted by what follows them (a suffix array, by prefix doubling). The
longest match at a position is one of the two neighbours from the other music. Its length is counted
on the steps, without hashing or tolerance. Memory is about 200 bytes per note, time a few seconds
per million notes.
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

UNIT = 48  # units per quarter
WINDOW = 8  # steps; an octave of a scale has seven
LONGEST_FIGURE = 8  # steps
REPEATS = 3  # two are common as a sequence or an echo
_SPAN = 2**32  # larger than any time between two notes, in units
_END, _END_OF_MUSIC = -1, -2  # ends of lines; different, so that ends never match


@dataclass(frozen=True)
class PitchedNotes:
    """Pitched notes, sorted by onset, program and pitch.

    Attributes:
        onset: Onsets in units, (notes,).
        program: 0 to 127, (notes,).
        pitch: 0 to 127, (notes,).
    """

    onset: Ints
    program: Ints
    pitch: Ints

    def __len__(self) -> int:
        return len(self.onset)

    @classmethod
    def of(cls, music: NoteTable) -> PitchedNotes:
        """Return the notes of some bars; equal notes at one onset become one."""
        onset = np.rint(UNIT * music.onset).astype(np.int64)
        columns = (onset, music.program, music.pitch)
        return cls.from_columns(*(column[music.pitched] for column in columns))

    @classmethod
    def from_columns(cls, onset: Ints, program: Ints, pitch: Ints) -> PitchedNotes:
        """Return notes from columns in any order, (notes,) each."""
        keys = np.unique((onset.astype(np.int64) << 14) | (program << 7) | pitch)
        return cls(keys >> 14, (keys >> 7) & 127, keys & 127)

    def first(self, count: int) -> PitchedNotes:
        """Return the first notes."""
        return PitchedNotes(self.onset[:count], self.program[:count], self.pitch[:count])

    def by_line(self) -> PitchedNotes:
        """Return the notes sorted by program, then by onset."""
        order = np.argsort(self.program, kind="stable")
        return PitchedNotes(self.onset[order], self.program[order], self.pitch[order])

    def steps(self) -> Ints:
        """Return the step from each note of `by_line` to the next, (notes,); -1: end of a line."""
        lines = self.by_line()
        found = np.full(len(self), _END)
        same = lines.program[1:] == lines.program[:-1]
        steps = (np.diff(lines.pitch) + 128) * _SPAN + np.diff(lines.onset)
        found[:-1][same] = steps[same]
        return found


class TokenReader:
    """Reads notes from token ids, about a hundred times as fast as from a decoded score."""

    def __init__(self, tokenizer: MusicTokenizer) -> None:
        table = TokenTable(tokenizer.token_names)
        self._kind, self._value = np.array(table.kind), np.array(table.value)
        self._unit = np.array(table.unit)
        self._length = np.where(
            self._kind == TokenKind.TIME_SIGNATURE, self._value, 0
        )  # bar length

    def read(self, tokens: NDArray[np.integer]) -> PitchedNotes:
        """Return the pitched notes of a piece from its token ids, (tokens,)."""
        ids: Ints = tokens.astype(np.int64)
        kinds = (TokenKind.TIME_SIGNATURE, TokenKind.POSITION, TokenKind.PROGRAM)
        meter, position, program = (self._latest(ids, kind) for kind in kinds)
        bar = np.cumsum(self._length[ids]) - self._length[meter]
        onset = bar + self._value[position] * self._unit[meter]
        is_pitch = self._kind[ids] == TokenKind.PITCH
        columns = (onset, self._value[program], self._value[ids])
        return PitchedNotes.from_columns(*(column[is_pitch] for column in columns))

    def _latest(self, ids: Ints, kind: TokenKind) -> Ints:
        """Return the last id of a kind at each position; any id before the first one."""
        indices = np.where(self._kind[ids] == kind, np.arange(len(ids)), 0)
        return ids[np.maximum.accumulate(indices)]


@dataclass(frozen=True)
class CopiedPassage:
    """The longest copied passage of a piece.

    Attributes:
        notes: Number of notes; 0: no passage.
        quarters: Time from the first onset to the last.
        different: Number of different steps.
        source: Index of a piece of the other music that has it; None: no passage.
    """

    notes: int = 0
    quarters: float = 0.0
    different: int = 0
    source: int | None = None


class PassageIndex:
    """Copied passages that start at each note of some pieces."""

    def __init__(self, music: Sequence[PitchedNotes], others: Sequence[Ints]) -> None:
        """Find all matches.

        Args:
            music: Pieces that may contain copies.
            others: `PitchedNotes.steps` of each piece that may have been copied.
        """
        ours = [notes.steps() for notes in music]
        self._steps, other = (
            np.concatenate([np.zeros(0, np.int64), *each]) for each in (ours, others)
        )
        self._length, position = longest_matches(self._steps, other)
        starts = np.cumsum([0, *map(len, others)])
        self._source = np.searchsorted(starts, position, side="right") - 1
        self._music, self._starts = music, np.cumsum([0, *map(len, ours)])

    def longest(self, *, figures: bool = True) -> list[CopiedPassage]:
        """Return the longest copied passage of each piece.

        Args:
            figures: Whether repeated figures count.
        """
        limit = self._length if figures else truncate_figures(self._steps, self._length)
        counted = truncate_trivial(self._steps, limit)
        parts = zip(self._music, self._starts[:-1], self._starts[1:], strict=True)
        return [
            _longest(notes, *(each[a:b] for each in (self._steps, counted, self._source)))
            for notes, a, b in parts
        ]


def _longest(notes: PitchedNotes, steps: Ints, length: Ints, source: Ints) -> CopiedPassage:
    at = int(np.argmax(length)) if len(length) else 0
    if not length[at : at + 1].any():
        return CopiedPassage()
    end, onset = at + int(length[at]), notes.by_line().onset
    quarters = float(onset[end] - onset[at]) / UNIT
    return CopiedPassage(end - at + 1, quarters, len(np.unique(steps[at:end])), int(source[at]))


# Searching ----------------------------------------------------------------------------------------


def longest_matches(music: Ints, other: Ints) -> tuple[Ints, Ints]:
    """Return the longest match from each position of the music in the other music.

    Args:
        music: Steps of lines, each line followed by -1.
        other: Steps of the other music.

    Returns:
        Lengths in steps, and positions in `other`; (steps of music,) each.
    """
    music = np.where(music == _END, _END_OF_MUSIC, music)
    above, below = _neighbours(music, other)
    up, down = _common_length(music, other, above), _common_length(music, other, below)
    return np.maximum(up, down), np.where(up >= down, above, below)


def _neighbours(music: Ints, other: Ints) -> tuple[Ints, Ints]:
    """Return the neighbours of each position from the other music in the suffix array; -1: none."""
    order = np.argsort(_ranks(np.concatenate([other, music]), _longest_line(music)), kind="stable")
    is_other = order < len(other)
    above = np.maximum.accumulate(np.where(is_other, np.arange(len(order)), -1))
    below = np.minimum.accumulate(np.where(is_other, np.arange(len(order)), len(order))[::-1])[::-1]
    own = order[~is_other] - len(other)
    positions = np.append(order, -1)  # -1 before the first and after the last
    found = np.empty((2, len(music)), np.int64)
    found[:, own] = positions[above[~is_other]], positions[below[~is_other]]
    return found[0], found[1]


def _longest_line(steps: Ints) -> int:
    ends = np.flatnonzero(steps < 0)
    return int(np.diff(ends, prepend=-1).max(initial=1))


def _ranks(steps: Ints, depth: int) -> Ints:
    """Return the rank of each position by at least `depth` steps from there, (steps,)."""
    rank = np.unique(steps, return_inverse=True)[1]
    known = 1
    while known < depth and rank.max() + 1 < len(rank):
        key = rank * (len(rank) + 1)
        key[:-known] += rank[known:] + 1
        rank = np.unique(key, return_inverse=True)[1]
        known *= 2
    return rank


def _common_length(music: Ints, other: Ints, position: Ints) -> Ints:
    """Return the number of equal steps from each position of both."""
    length = np.zeros(len(music), np.int64)
    active = np.flatnonzero(position >= 0)
    while len(active):
        equal = music[active + length[active]] == other[position[active] + length[active]]
        active = active[equal]
        length[active] += 1
    return length


# Trivial passages ---------------------------------------------------------------------------------


def truncate_trivial(steps: Ints, length: Ints) -> Ints:
    """Truncate the passage from each position where a window has fewer than three steps.

    Args:
        steps: Steps of lines, each line followed by -1.
        length: Length of the passage from each position, within its line, (steps,).

    Returns:
        Truncated lengths, 0 for passages with fewer than three different steps, (steps,).
    """
    third, here = _third_different(steps), np.arange(len(steps))
    reach = np.minimum(length, _steps_before(third >= here + WINDOW, WINDOW))
    return np.where(third < here + reach, reach, 0)


def truncate_figures(steps: Ints, length: Ints) -> Ints:
    """Truncate the passage from each position at the third repetition of a figure."""
    for figure in range(1, LONGEST_FIGURE + 1):
        same = np.zeros(len(steps), bool)
        same[:-figure] = steps[figure:] == steps[:-figure]
        size = (REPEATS - 1) * figure
        sums = np.concatenate([[0], np.cumsum(same), np.zeros(size, np.int64)])
        repeated = sums[size : size + len(steps)] - sums[: len(steps)] == size
        length = np.minimum(length, _steps_before(repeated, REPEATS * figure))
    return length


def _steps_before(is_start: NDArray[np.bool_], size: int) -> Ints:
    """Return the steps from each position before the end of the next window that is marked."""
    here = np.arange(len(is_start))
    starts = np.where(is_start, here, 2 * len(is_start))
    return np.minimum.accumulate(starts[::-1])[::-1] + size - 1 - here


def _third_different(steps: Ints) -> Ints:
    """Return the position of the third different step from each position; the end: none."""
    numbers, end = steps.tolist(), len(steps)
    second, third = [end] * (end + 1), [end] * (end + 1)
    for here in range(end - 2, -1, -1):
        after = here + 1
        if numbers[here] == numbers[after]:
            second[here], third[here] = second[after], third[after]
            continue
        other = second[after]
        is_same = other < end and numbers[other] == numbers[here]
        second[here], third[here] = after, third[after] if is_same else other
    return np.array(third[:end], np.int64)
