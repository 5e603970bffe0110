"""Notes of a piece as lines of steps, and what counts as a copied passage.

**Steps.** The pitched notes of one instrument, sorted by time (chords from low to high), are a
line. A step leads from a note to the next: the interval in semitones and the time between the
onsets. Times are in units of 1/`UNIT` quarter, in which every position of the tokens is an integer,
in every time signature. Durations and velocities are ignored, and so are drums: their pitches
select instruments, and one bar of a rock beat occurs in every other song.

**Passages.** A copied passage is a run of steps that also occurs in other music, within one line.
It has one note more than steps, and it is the same in every transposition.

**Trivial passages.** Repeated notes, trills and scales in even notes occur in every score. So a
passage needs three different steps, and it ends where a window of `WINDOW` steps has fewer than
three. The rule applies to windows, because two other notes after a tremolo must not make the whole
tremolo a copy. Every part of a valid passage satisfies this rule, so the longest one is exact. A
repeated figure of three or more steps (an Alberti bass, repeated triads) counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from musiclstm.model import TokenKind, TokenTable
from musiclstm.tokens import MusicTokenizer

Ints: TypeAlias = NDArray[np.int64]

UNIT = 48  # units per quarter
WINDOW = 8  # steps; an octave of a scale has seven
_SPAN = 2**32  # larger than any time between two notes, in units
_END = -1  # the step after the last note of a line


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

    def __getitem__(self, part: slice | NDArray[np.bool_]) -> PitchedNotes:
        return PitchedNotes(self.onset[part], self.program[part], self.pitch[part])

    @classmethod
    def from_columns(cls, onset: Ints, program: Ints, pitch: Ints) -> PitchedNotes:
        """Return notes from columns in any order, (notes,) each; equal notes become one."""
        keys = np.unique((onset.astype(np.int64) << 14) | (program << 7) | pitch)
        return cls(keys >> 14, (keys >> 7) & 127, keys & 127)

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
        """Return the pitched notes of a piece or of some bars from their token ids, (tokens,)."""
        ids: Ints = tokens.astype(np.int64)
        kinds = (TokenKind.TIME_SIGNATURE, TokenKind.POSITION, TokenKind.PROGRAM)
        meter, position, program = (self._latest(ids, kind) for kind in kinds)
        bar = np.cumsum(self._length[ids]) - self._length[meter]
        onset = bar + self._value[position] * self._unit[meter]
        is_pitch = self._kind[ids] == TokenKind.PITCH
        columns = (onset, self._value[program], self._value[ids])
        return PitchedNotes.from_columns(*(column[is_pitch] for column in columns))

    def length(self, tokens: NDArray[np.integer]) -> int:
        """Return the length of some bars in units."""
        return int(self._length[tokens].sum())

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


def longest_passage(notes: PitchedNotes, steps: Ints, length: Ints, source: Ints) -> CopiedPassage:
    """Return the longest of the passages that start at the notes of a piece.

    Args:
        notes: The piece.
        steps: Its `steps`, (notes,).
        length: Length in steps of the passage from each position, (notes,).
        source: Index of the piece that has it, (notes,).
    """
    at = int(np.argmax(length)) if len(length) else 0
    if not length[at : at + 1].any():
        return CopiedPassage()
    end, onset = at + int(length[at]), notes.by_line().onset
    quarters = float(onset[end] - onset[at]) / UNIT
    return CopiedPassage(end - at + 1, quarters, len(np.unique(steps[at:end])), int(source[at]))


def truncate_trivial(third: Ints, length: Ints) -> Ints:
    """Truncate the passage from each position where a window has fewer than three steps.

    Args:
        third: `third_different` of the steps of some lines, (steps,).
        length: Length of the passage from each position, within its line, (steps,).

    Returns:
        Truncated lengths, 0 for passages with fewer than three different steps, (steps,).
    """
    here = np.arange(len(third))
    reach = np.minimum(length, steps_before(third >= here + WINDOW, WINDOW))
    return np.where(third < here + reach, reach, 0)


def steps_before(is_start: NDArray[np.bool_], size: int) -> Ints:
    """Return the steps from each position before the end of the next window that is marked.

    Args:
        is_start: Marks the first step of each window that no passage may contain, (steps,).
        size: Steps of a window.
    """
    here = np.arange(len(is_start))
    starts = np.where(is_start, here, 2 * len(is_start))
    return np.minimum.accumulate(starts[::-1])[::-1] + size - 1 - here


def third_different(steps: Ints) -> Ints:
    """Return the position of the third different step from each position; the end: none.

    Args:
        steps: Steps of lines, each line followed by -1.
    """
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
