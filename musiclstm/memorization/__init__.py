"""Copied passages: what they are, an index of the training pieces to ship, and a filter of bars."""

from musiclstm.memorization.bar_filter import CopyFilter
from musiclstm.memorization.index import (
    EXCERPT_NOTES,
    GUARANTEED,
    SHORTEST,
    LongestCopy,
    MemorizationIndex,
)
from musiclstm.memorization.passages import (
    UNIT,
    WINDOW,
    CopiedPassage,
    Ints,
    PitchedNotes,
    TokenReader,
    longest_passage,
    steps_before,
    third_different,
    truncate_trivial,
)

__all__ = [
    "EXCERPT_NOTES",
    "GUARANTEED",
    "SHORTEST",
    "UNIT",
    "WINDOW",
    "CopiedPassage",
    "CopyFilter",
    "Ints",
    "LongestCopy",
    "MemorizationIndex",
    "PitchedNotes",
    "TokenReader",
    "longest_passage",
    "steps_before",
    "third_different",
    "truncate_trivial",
]
