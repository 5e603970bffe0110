"""Longest passages of some music that also occur in other music, by an exact search.

`musiclstm.memorization` defines passages. It also has an index that is small enough to be shipped;
this one is its reference, and it finds passages of any length.

Figures that are repeated count as a passage. They are reported separately: without `figures`, a
passage also ends at the `REPEATS`th repetition in a row of a figure of up to `LONGEST_FIGURE`
steps.

**Search.** All steps are sorted by what follows them (a suffix array, by prefix doubling). The
longest match at a position is one of the two neighbours from the other music. Its length is counted
on the steps, without hashing or tolerance. Memory is about 200 bytes per note, time a few seconds
per million notes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from musiclstm.memorization import (
    UNIT,
    CopiedPassage,
    Ints,
    PitchedNotes,
    longest_passage,
    steps_before,
    third_different,
    truncate_trivial,
)
from training.evaluation.music_metrics import NoteTable

LONGEST_FIGURE = 8  # steps
REPEATS = 3  # two are common as a sequence or an echo
_END, _END_OF_MUSIC = -1, -2  # ends of lines; different, so that ends never match


def pitched_notes(music: NoteTable) -> PitchedNotes:
    """Return the pitched notes of some bars; equal notes at one onset become one."""
    onset = np.rint(UNIT * music.onset).astype(np.int64)
    columns = (onset, music.program, music.pitch)
    return PitchedNotes.from_columns(*(column[music.pitched] for column in columns))


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
        counted = truncate_trivial(third_different(self._steps), limit)
        parts = zip(self._music, self._starts[:-1], self._starts[1:], strict=True)
        return [
            longest_passage(notes, *(each[a:b] for each in (self._steps, counted, self._source)))
            for notes, a, b in parts
        ]


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


# Figures ------------------------------------------------------------------------------------------


def truncate_figures(steps: Ints, length: Ints) -> Ints:
    """Truncate the passage from each position at the third repetition of a figure."""
    for figure in range(1, LONGEST_FIGURE + 1):
        same = np.zeros(len(steps), bool)
        same[:-figure] = steps[figure:] == steps[:-figure]
        size = (REPEATS - 1) * figure
        sums = np.concatenate([[0], np.cumsum(same), np.zeros(size, np.int64)])
        repeated = sums[size : size + len(steps)] - sums[: len(steps)] == size
        length = np.minimum(length, steps_before(repeated, REPEATS * figure))
    return length
