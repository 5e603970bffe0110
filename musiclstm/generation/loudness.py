"""Velocities of composed notes, taken from the prompt.

Tokens have no velocities. A composed note gets, in this order:

1. the median velocity of the same part in the same eighth of the bar,
2. the median velocity of the same part,
3. a default: 80, or 90 for drums, plus 8 on the first beat of a bar and 4 on the other beats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from symusic.core import NoteTickList, ScoreTick

from musiclstm.analysis import AnyScore, bar_starts, in_ticks, last_note_end, meters_at
from musiclstm.tokens import DRUMS, MusicTokenizer, Part

DEFAULT_VELOCITY = 80
DEFAULT_DRUM_VELOCITY = 90
DOWNBEAT_ACCENT = 8
BEAT_ACCENT = 4

# A performed note may begin a little before its eighth: half a position of the token grid.
_EARLY_QUARTERS = 1 / 24
_UNKNOWN = -1

Integers = npt.NDArray[np.int64]


class PromptLoudness:
    """Velocities of a prompt, for the notes that continue it."""

    def __init__(
        self, prompt: AnyScore | None = None, order: Sequence[Sequence[int]] | None = None
    ) -> None:
        """Read the velocities of a prompt.

        Args:
            prompt: In any time unit. None: there is no prompt, and all notes get the default.
            order: Track indices of each part of the prompt. None: the tokenizer's part order.

        Raises:
            ValueError: `order` describes no parts of the prompt.
        """
        self._known = {} if prompt is None else _prompt_velocities(in_ticks(prompt), order)

    def applied(
        self,
        score: ScoreTick,
        parts: Sequence[Part] | None = None,
        bar_gains: Sequence[float] | None = None,
    ) -> ScoreTick:
        """Copy a composed score with velocities by the rule of this module.

        Args:
            score: Decoded ids; its velocities are ignored. Left unchanged.
            parts: Part of each track of `score`. None: the k-th track of a program is its k-th
                part.
            bar_gains: Factors for the velocities in each bar of `score`, such as a fade at the
                end. Missing bars have factor 1.

        Returns:
            The score with velocities from 1 to 127.

        Raises:
            ValueError: `parts` has not one entry per track.
        """
        own = _parts_by_track(score) if parts is None else list(parts)
        if len(own) != len(score.tracks):
            raise ValueError(f"{len(own)} parts were given for {len(score.tracks)} tracks.")
        places = _Places(score)
        gains = _gains(bar_gains, places.bars)
        copy = score.copy()
        for track, part in zip(copy.tracks, own, strict=True):
            notes = track.notes.numpy()
            bar, slot, accent = places.of(notes["time"].astype(np.int64))
            louder = np.rint(self._velocities(part, slot, accent) * gains[bar]).clip(1, 127)
            track.notes = NoteTickList.from_numpy(
                notes["time"], notes["duration"], notes["pitch"], louder.astype(np.int8)
            )
        return copy

    def _velocities(self, part: Part, slot: Integers, accent: Integers) -> Integers:
        """Return the velocity of notes of a part, by eighth of the bar and accent."""
        if part in self._known:
            return self._known[part].at(slot)
        default = DEFAULT_DRUM_VELOCITY if part.program == DRUMS else DEFAULT_VELOCITY
        return default + accent


def set_velocities(
    score: ScoreTick,
    prompt: AnyScore,
    *,
    parts: Sequence[Part] | None = None,
    prompt_order: Sequence[Sequence[int]] | None = None,
    bar_gains: Sequence[float] | None = None,
) -> ScoreTick:
    """Copy a composed score with velocities from a prompt; see `PromptLoudness`."""
    return PromptLoudness(prompt, prompt_order).applied(score, parts, bar_gains)


def _parts_by_track(score: ScoreTick) -> list[Part]:
    seen: Counter[int] = Counter()
    found: list[Part] = []
    for track in score.tracks:
        program = DRUMS if track.is_drum else track.program
        found.append(Part(program, 0 if program == DRUMS else seen[program]))
        seen[program] += 1
    return found


def _gains(bar_gains: Sequence[float] | None, bars: int) -> npt.NDArray[np.float64]:
    gains = np.ones(bars)
    given = np.asarray(bar_gains or (), dtype=np.float64)[:bars]
    gains[: len(given)] = given
    return gains


class _Places:
    """Bars and metrical positions of ticks of a score."""

    def __init__(self, score: ScoreTick) -> None:
        tpq = max(1, score.ticks_per_quarter)
        self._early = int(tpq * _EARLY_QUARTERS)
        self._starts = bar_starts(score, end_tick=last_note_end(score) + self._early + 1)
        meters = meters_at(score, self._starts.tolist())
        self._beats = np.array([_beat_quarters(*meter) * tpq for meter in meters])
        self._eighth = tpq / 2

    @property
    def bars(self) -> int:
        """Return the number of bars that can be asked for."""
        return len(self._starts)

    def of(self, ticks: Integers) -> tuple[Integers, Integers, Integers]:
        """Return bar, eighth of the bar, and accent of each tick."""
        bar = np.searchsorted(self._starts, ticks + self._early, side="right") - 1
        offset = np.maximum(ticks + self._early - self._starts[bar], 0)
        within_beat = offset % self._beats[bar]
        on_beat = within_beat <= 2 * self._early
        downbeat = offset <= 2 * self._early
        accent = np.where(downbeat, DOWNBEAT_ACCENT, np.where(on_beat, BEAT_ACCENT, 0))
        return bar, (offset // self._eighth).astype(np.int64), accent


def _beat_quarters(numerator: int, denominator: int) -> float:
    """Return the length of a beat: a dotted quarter in 6/8, 9/8, 12/8, else by the denominator."""
    compound = denominator == 8 and numerator > 3 and numerator % 3 == 0
    return 1.5 if compound else 4 / max(1, denominator)


class _PartVelocities:
    """Median velocities of one part, by eighth of the bar and altogether."""

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
    """Return the groups, ascending, and the median of each, halves rounded up."""
    order = np.lexsort((values, groups))
    known, start, count = np.unique(groups[order], return_index=True, return_counts=True)
    ordered = values[order]
    low, high = ordered[start + (count - 1) // 2], ordered[start + count // 2]
    return known, (low + high + 1) // 2


def _prompt_velocities(
    prompt: ScoreTick, order: Sequence[Sequence[int]] | None
) -> dict[Part, _PartVelocities]:
    tokenizer = MusicTokenizer()
    chosen = tokenizer.part_order(prompt) if order is None else order
    places = _Places(prompt)
    found: dict[Part, _PartVelocities] = {}
    for part, members in zip(tokenizer.parts(prompt, chosen), chosen, strict=True):
        notes = [prompt.tracks[track].notes.numpy() for track in members]
        ticks, velocities = (
            np.concatenate([each[name] for each in notes]).astype(np.int64)
            for name in ("time", "velocity")
        )
        if len(ticks):
            found[part] = _PartVelocities(places.of(ticks)[1], velocities)
    return found
