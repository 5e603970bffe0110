"""Velocities of generated notes.

Tokens have no velocities. A generated note gets the first of these that exists:

1. the median velocity of the same part in the same eighth of the bar,
2. the median velocity of the same part,
3. a default: 80, or 90 for drums, plus 8 on the first beat of a bar and 4 on the other beats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from symusic.core import NoteTickList, ScoreTick

from musiclstm.midi.analysis import bar_starts, last_note_end, meters_at
from musiclstm.tokens import DRUMS, PartName

DEFAULT_VELOCITY = 80
DEFAULT_DRUM_VELOCITY = 90
DOWNBEAT_ACCENT = 8
BEAT_ACCENT = 4

# A performed note may start slightly before its eighth: half a position of the token grid.
_EARLY_QUARTERS = 1 / 24
_UNKNOWN = -1

Integers = npt.NDArray[np.int64]


class PromptLoudness:
    """Median velocities of a prompt by part, applied to the notes that continue it."""

    def __init__(
        self,
        prompt: ScoreTick | None = None,
        part_tracks: Mapping[PartName, Sequence[int]] | None = None,
    ) -> None:
        """Read the velocities of a prompt.

        Args:
            prompt: None: there is no prompt, and all notes get the default.
            part_tracks: Indices of the prompt's tracks by part.
        """
        self._known = {} if prompt is None else _prompt_velocities(prompt, part_tracks or {})

    def with_velocities(
        self, score: ScoreTick, parts: Sequence[PartName], gain: float = 1.0
    ) -> ScoreTick:
        """Return a copy of a score with new velocities.

        Args:
            score: Decoded tokens; its velocities are ignored. Left unchanged.
            parts: Part of each track of `score`.
            gain: Factor for all velocities, below 1 for a fade-out.

        Returns:
            The score with velocities from 1 to 127.

        Raises:
            ValueError: `parts` has not one entry per track.
        """
        if len(parts) != len(score.tracks):
            raise ValueError(f"{len(parts)} parts were given for {len(score.tracks)} tracks.")
        grid, copy = _MetricalGrid(score), score.copy()
        for track, part in zip(copy.tracks, parts, strict=True):
            notes = track.notes.numpy()
            velocities = self._velocities(
                part, *grid.slots_and_accents(notes["time"].astype(np.int64))
            )
            scaled = np.rint(velocities * gain).clip(1, 127)
            track.notes = NoteTickList.from_numpy(
                notes["time"], notes["duration"], notes["pitch"], scaled.astype(np.int8)
            )
        return copy

    def _velocities(self, part: PartName, slot: Integers, accent: Integers) -> Integers:
        """Return the velocity of notes of a part, by eighth of the bar and accent."""
        if part in self._known:
            return self._known[part].at(slot)
        default = DEFAULT_DRUM_VELOCITY if part.program == DRUMS else DEFAULT_VELOCITY
        return default + accent


class _MetricalGrid:
    """Metrical positions of ticks of a score.

    Notes up to `early` ticks before an eighth count as on it. Generated notes are never early.
    """

    def __init__(self, score: ScoreTick, *, early: int = 0) -> None:
        tpq = max(1, score.ticks_per_quarter)
        self._early = early
        self._starts = bar_starts(score, end_tick=last_note_end(score) + early + 1)
        meters = meters_at(score, self._starts.tolist())
        self._beats = np.array([_beat_quarters(*meter) * tpq for meter in meters])
        self._eighth = tpq / 2

    def slots_and_accents(self, ticks: Integers) -> tuple[Integers, Integers]:
        """Return the eighth of the bar and the accent of each tick."""
        ticks = ticks + self._early
        bar = np.searchsorted(self._starts, ticks, side="right") - 1
        offset = ticks - self._starts[bar]
        on_beat = offset % self._beats[bar] == 0
        accent = np.where(offset == 0, DOWNBEAT_ACCENT, np.where(on_beat, BEAT_ACCENT, 0))
        return (offset // self._eighth).astype(np.int64), accent


def _beat_quarters(numerator: int, denominator: int) -> float:
    """Return the length of a beat in quarters; 1.5 in 6/8, 9/8 and 12/8."""
    compound = denominator == 8 and numerator > 3 and numerator % 3 == 0
    return 1.5 if compound else 4 / max(1, denominator)


class _PartVelocities:
    """Median velocities of one part: by eighth of the bar, and overall."""

    def __init__(self, slots: Integers, velocities: Integers) -> None:
        self._by_slot = np.full(int(slots.max()) + 1, _UNKNOWN, dtype=np.int64)
        known, medians = _medians(slots, velocities)
        self._by_slot[known] = medians
        self._overall = int(_medians(np.zeros_like(slots), velocities)[1][0])

    def at(self, slots: Integers) -> Integers:
        """Return the velocity for notes in each eighth of the bar."""
        inside = slots < len(self._by_slot)
        found = np.where(inside, self._by_slot[np.where(inside, slots, 0)], _UNKNOWN)
        return np.where(found == _UNKNOWN, self._overall, found)


def _medians(groups: Integers, values: Integers) -> tuple[Integers, Integers]:
    """Return the sorted groups and the median of each; halves are rounded up."""
    order = np.lexsort((values, groups))
    known, start, count = np.unique(groups[order], return_index=True, return_counts=True)
    ordered = values[order]
    low, high = ordered[start + (count - 1) // 2], ordered[start + count // 2]
    return known, (low + high + 1) // 2


def _prompt_velocities(
    prompt: ScoreTick, part_tracks: Mapping[PartName, Sequence[int]]
) -> dict[PartName, _PartVelocities]:
    grid = _MetricalGrid(prompt, early=int(prompt.ticks_per_quarter * _EARLY_QUARTERS))
    found: dict[PartName, _PartVelocities] = {}
    for part, members in part_tracks.items():
        notes = [prompt.tracks[track].notes.numpy() for track in members]
        ticks, velocities = (
            np.concatenate([each[name] for each in notes]).astype(np.int64)
            for name in ("time", "velocity")
        )
        if len(ticks):
            found[part] = _PartVelocities(grid.slots_and_accents(ticks)[0], velocities)
    return found
