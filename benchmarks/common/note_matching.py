"""Which note of one score is which note of another.

Notes belong together when instrument and pitch are the same and their onsets lie close; the closest
pairs are joined first, so that repeated notes keep their order. Knows neither tokens nor files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from musiclstm.midi import DRUMS

_KEYS = 128

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Notes:
    """Notes of a score, in order of time.

    Attributes:
        key: Group (program or track) and pitch in one number, (notes,).
        onset_quarters: In quarter notes, (notes,).
        duration_quarters: In quarter notes, (notes,).
    """

    key: Ints
    onset_quarters: Floats
    duration_quarters: Floats

    def __len__(self) -> int:
        return len(self.key)

    def chosen(self, which: NDArray[np.bool_]) -> Notes:
        """Only those notes."""
        return Notes(self.key[which], self.onset_quarters[which], self.duration_quarters[which])


def notes_of(score: ScoreTick, groups: Sequence[int] | None = None) -> Notes:
    """Return all notes of a score; quotients of ticks, so that equal times are equal numbers.

    Args:
        score: Its notes may have any order.
        groups: A number from 0 on for each track; only notes of one group match. None: tracks of
            one program are a group, and so are all drums.
    """
    columns: list[tuple[Ints, Floats, Floats]] = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))]
    if groups is None:
        groups = [(DRUMS if track.is_drum else track.program) + 1 for track in score.tracks]
    for track, group in zip(score.tracks, groups, strict=True):
        notes = track.notes.numpy()
        key = group * _KEYS + notes["pitch"].astype(np.int64)
        onset, duration = (notes[name] / score.ticks_per_quarter for name in ("time", "duration"))
        columns.append((key, onset, duration))
    key, onset, duration = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.lexsort((duration, key, onset))
    return Notes(key[order], onset[order], duration[order])


def match(ours: Notes, theirs: Notes, *, within_quarters: float = 0.5) -> Ints:
    """For each of our notes the index of its partner among theirs, -1 where it has none.

    Candidates have the same key and onsets at most `within_quarters` apart. The pair whose onsets
    are closest is joined first, among equals the one whose durations are closest, then the earlier
    one; every note has one partner at most.
    """
    mine, other = _candidates(ours, theirs, within_quarters)
    apart = np.abs(ours.onset_quarters[mine] - theirs.onset_quarters[other])
    longer = np.abs(ours.duration_quarters[mine] - theirs.duration_quarters[other])
    best_first = np.lexsort((mine, longer, apart))
    partner = np.full(len(ours), -1)
    taken = np.zeros(len(theirs), bool)
    for i, j in zip(mine[best_first].tolist(), other[best_first].tolist(), strict=True):
        if partner[i] < 0 and not taken[j]:
            partner[i], taken[j] = j, True
    return partner


def nearest(ours: Notes, theirs: Notes) -> tuple[Ints, Floats]:
    """For each of our notes the nearest of that key among theirs: its index, and how far it begins.

    The distance, in quarter notes, is infinite where they do not have the key at all.
    """
    span = _span(ours, theirs)
    line = theirs.key * span + theirs.onset_quarters
    order = np.argsort(line, kind="stable")
    ends = np.concatenate([[-np.inf], line[order], [np.inf]])
    at = ours.key * span + ours.onset_quarters
    right = np.searchsorted(ends, at)
    is_right = ends[right] - at < at - ends[right - 1]
    away = np.where(is_right, ends[right] - at, at - ends[right - 1])
    place = np.clip(right - 1 - ~is_right, 0, max(len(theirs) - 1, 0))
    index = order[place] if len(theirs) else np.full(len(ours), -1)
    return index, np.where(away > span / 2, np.inf, away)


def _candidates(ours: Notes, theirs: Notes, within: float) -> tuple[Ints, Ints]:
    """All pairs that may be joined, as two lists of indices."""
    span = _span(ours, theirs)
    line = theirs.key * span + theirs.onset_quarters
    order = np.argsort(line, kind="stable")
    at = ours.key * span + ours.onset_quarters
    first = np.searchsorted(line[order], at - within - 1e-6)
    count = np.searchsorted(line[order], at + within + 1e-6, side="right") - first
    mine = np.repeat(np.arange(len(ours)), count)
    within_run = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return mine, order[np.repeat(first, count) + within_run]


def _span(ours: Notes, theirs: Notes) -> float:
    """Room for one key on a line on which all keys stand one behind the other."""
    ends = [notes.onset_quarters.max(initial=0.0) for notes in (ours, theirs)]
    return float(2 * max(ends) + 64)
