"""`CopyFilter`: passages of training pieces that end in the next bar of a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral

import numpy as np

from musiclstm.memorization.index import GUARANTEED, MemorizationIndex
from musiclstm.memorization.passages import PitchedNotes, TokenReader


@dataclass(frozen=True)
class CopyFilter:
    """Tells bars that complete a copied passage of too many notes from other bars.

    A filter is the state at a bar line: it does not change, and `after` returns that of the next
    bar line. So all candidates of a bar ask the same filter. It keeps at most `max_copied_notes`
    notes of each program.

    Attributes:
        index: The training pieces.
        reader: Reads the tokens of bars.
        max_copied_notes: Most notes of a copied passage, at least 24.
        before: The last notes; their onsets are negative, 0 is the bar line.

    Raises:
        ValueError: max_copied_notes is out of range.
    """

    index: MemorizationIndex
    reader: TokenReader
    max_copied_notes: int
    before: PitchedNotes = field(default_factory=lambda: PitchedNotes(*np.zeros((3, 0), np.int64)))

    def __post_init__(self) -> None:
        """Refuse a limit below which passages are not always found."""
        limit = self.max_copied_notes
        if not isinstance(limit, Integral) or limit < GUARANTEED:
            raise ValueError(
                f"max_copied_notes must be a whole number from {GUARANTEED} on, because shorter "
                f"passages are common to all music, got {limit!r}; None is no limit."
            )

    def longest(self, bar: Sequence[int]) -> int:
        """Return the notes of the longest copied passage that ends in a bar.

        Args:
            bar: Token ids of the bar that would be next.

        Returns:
            At least 24, with at most `max_copied_notes` notes before the bar; 0: no such passage.
        """
        notes = self._with(bar)
        length, _ = self.index.passages(notes.steps(), shortest=GUARANTEED)
        starts = np.flatnonzero(length)
        ends = starts + length[starts]
        in_bar = notes.by_line().onset[ends] >= 0
        return int((length[starts][in_bar] + 1).max(initial=0))

    def after(self, bar: Sequence[int]) -> CopyFilter:
        """Return the filter at the bar line after a bar."""
        lines = self._with(bar).by_line()
        ends = np.searchsorted(lines.program, lines.program, side="right")
        kept = lines[ends - np.arange(len(lines)) <= self.max_copied_notes]
        onset = kept.onset - self.reader.length(np.array(bar, np.int64))
        return replace(self, before=PitchedNotes.from_columns(onset, kept.program, kept.pitch))

    def _with(self, bar: Sequence[int]) -> PitchedNotes:
        new, old = self.reader.read(np.array(bar, np.int64)), self.before
        return PitchedNotes.from_columns(
            np.append(old.onset, new.onset),
            np.append(old.program, new.program),
            np.append(old.pitch, new.pitch),
        )
