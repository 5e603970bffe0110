"""One-to-one matching of the notes of two scores.

Two notes can match if their group (program or track) and pitch are equal and their onsets are
close. The closest pairs are matched first, so repeated notes keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from musiclstm.midi import DRUMS

_PITCHES = 128

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ScoreNotes:
    """Notes of a score, sorted by onset.

    Attributes:
        key: Group and pitch in one number, (notes,).
        onset_quarters: Onsets in quarter notes, (notes,).
        duration_quarters: Durations in quarter notes, (notes,).
    """

    key: Ints
    onset_quarters: Floats
    duration_quarters: Floats

    def __len__(self) -> int:
        return len(self.key)

    def select(self, mask: NDArray[np.bool_]) -> ScoreNotes:
        """Return the notes where the mask (notes,) is true."""
        return ScoreNotes(self.key[mask], self.onset_quarters[mask], self.duration_quarters[mask])


def notes_of(score: ScoreTick, groups: Sequence[int] | None = None) -> ScoreNotes:
    """Return all notes of a score.

    Args:
        score: A score with notes in any order.
        groups: Group of each track, 0 or more; only notes of one group match. None: one group per
            program, and one for drums.
    """
    columns: list[tuple[Ints, Floats, Floats]] = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
    if groups is None:
        groups = [(DRUMS if track.is_drum else track.program) + 1 for track in score.tracks]
    for track, group in zip(score.tracks, groups, strict=True):
        notes = track.notes.numpy()
        key = group * _PITCHES + notes["pitch"].astype(np.int64)
        onset, duration = (notes[name] / score.ticks_per_quarter for name in ("time", "duration"))
        columns.append((key, onset, duration))
    key, onset, duration = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((duration, key, onset))
    return ScoreNotes(key[order], onset[order], duration[order])


def match_notes(first: ScoreNotes, second: ScoreNotes, *, within_quarters: float = 0.5) -> Ints:
    """Return the index in `second` of the match of each note of `first`; -1: no match.

    Candidates have the same key and onsets at most `within_quarters` apart. Pairs are matched in
    the order of their onset difference, then of their duration difference, then of their onset.
    """
    i_first, i_second = _candidates(first, second, within_quarters)
    onset_error = np.abs(first.onset_quarters[i_first] - second.onset_quarters[i_second])
    duration_error = np.abs(first.duration_quarters[i_first] - second.duration_quarters[i_second])
    order = np.lexsort((i_first, duration_error, onset_error))
    match = np.full(len(first), -1)
    used = np.zeros(len(second), bool)
    for i, j in zip(i_first[order].tolist(), i_second[order].tolist(), strict=True):
        if match[i] < 0 and not used[j]:
            match[i], used[j] = j, True
    return match


def nearest_notes(first: ScoreNotes, second: ScoreNotes) -> tuple[Ints, Floats]:
    """Return the note of `second` with the same key and the nearest onset for each of `first`.

    Returns:
        Indices in `second`, and onset differences in quarter notes, (notes,) each. The difference
        is infinite if `second` has no note with this key.
    """
    spacing = _key_spacing(first, second)
    positions = second.key * spacing + second.onset_quarters
    order = np.argsort(positions, kind="stable")
    bounded = np.concatenate([[-np.inf], positions[order], [np.inf]])
    own = first.key * spacing + first.onset_quarters
    right = np.searchsorted(bounded, own)
    is_right = bounded[right] - own < own - bounded[right - 1]
    distance = np.where(is_right, bounded[right] - own, own - bounded[right - 1])
    rank = np.clip(right - 1 - ~is_right, 0, max(len(second) - 1, 0))
    index = order[rank] if len(second) else np.full(len(first), -1)
    return index, np.where(distance > spacing / 2, np.inf, distance)


def _candidates(first: ScoreNotes, second: ScoreNotes, within: float) -> tuple[Ints, Ints]:
    """Return all pairs that can match, as indices in both scores."""
    spacing = _key_spacing(first, second)
    positions = second.key * spacing + second.onset_quarters
    order = np.argsort(positions, kind="stable")
    own = first.key * spacing + first.onset_quarters
    start = np.searchsorted(positions[order], own - within - 1e-6)
    count = np.searchsorted(positions[order], own + within + 1e-6, side="right") - start
    i_first = np.repeat(np.arange(len(first)), count)
    offset = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return i_first, order[np.repeat(start, count) + offset]


def _key_spacing(first: ScoreNotes, second: ScoreNotes) -> float:
    """Return a distance between keys on one axis at which notes of two keys are never close."""
    ends = [notes.onset_quarters.max(initial=0.0) for notes in (first, second)]
    return float(2 * max(ends) + 64)
