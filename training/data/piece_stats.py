"""Statistics of one piece: length, instruments, key, and how well the beat grid fits its notes.

They are computed from the score, because the tokens no longer contain them, and are plain values
that a cache can store.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from musiclstm import MidiSummary
from musiclstm.midi import DEFAULT_METER
from musiclstm.tokens import POSITIONS_PER_BEAT, normalize_time_signature

# A note this close to the grid was rounded to ticks when the file was written.
_ROUNDING_TICKS = 1.0
_ROUNDING_SHARE = 1 / 8  # of a grid step, for files with few ticks per beat

# Divisions of a beat at which onsets may gather. The last one contains eighths and twelfths.
_DIVISIONS = (1, 2, 3, 4, 8, POSITIONS_PER_BEAT, 2 * POSITIONS_PER_BEAT)
_MIN_ONSETS = 32  # fewer gather anywhere by chance
_MIN_BEAT_FIT = 0.15  # random tempo walks stay below 0.1, the corpora of docs/data.md above 0.3
_CHANCE = 2.5  # over the root of the onsets: one in four hundred random pieces reaches it

SHORT_NOTES, SHORT_S = 40, 8.0  # pieces below either limit count as short

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PieceStats:
    """Statistics of one piece.

    Args:
        seconds: Time of the end of the last note.
        notes: Notes in the file.
        lost: Notes that the tokens lack, because an instrument repeats a pitch within a grid step.
        moved: Notes that the grid moves by more than the rounding of the file.
        moved_ms: Sum of these moves in milliseconds.
        programs: Pairs of MIDI program and number of notes, -1 for drums.
        key: Estimated key, such as `F# minor`; None without pitched notes.
        meter: Time signature at the first note, such as `3/4`.
        meters: Number of different time signatures.
        onsets: Number of different times at which notes begin.
        beat_fit: Vector strength of the onsets, 0 to 1: 1 if all have the same phase in the beat or
            in an equal part of it. By chance it is about 1 / sqrt(onsets).
        fingerprint: Hash that is equal for pieces that differ in transposition, tempo, loudness,
            instruments or drums alone.
    """

    seconds: float
    notes: int
    lost: int
    moved: int
    moved_ms: float
    programs: tuple[tuple[int, int], ...]
    key: str | None
    meter: str
    meters: int
    onsets: int
    beat_fit: float
    fingerprint: str

    @property
    def is_off_grid(self) -> bool:
        """Whether the onsets fit the beats of the file no better than by chance."""
        if self.onsets < _MIN_ONSETS:
            return False
        return self.beat_fit < max(_MIN_BEAT_FIT, _CHANCE / math.sqrt(self.onsets))

    @property
    def is_short(self) -> bool:
        """Whether the piece has too few notes, or is too short, to be useful for training."""
        return self.notes < SHORT_NOTES or self.seconds < SHORT_S

    def to_dict(self) -> dict[str, Any]:
        """Return the values in the types that JSON has."""
        return asdict(self) | {"programs": [[program, notes] for program, notes in self.programs]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PieceStats:
        """Build the statistics from the result of `to_dict`."""
        known = {field.name: values[field.name] for field in fields(cls)}
        return cls(**known | {"programs": tuple((p, n) for p, n in values["programs"])})


class LazyStats(Mapping[str, Any]):
    """The `PieceStats` of a piece as a mapping that is read on access."""

    __slots__ = ("_load", "_where")

    def __init__(self, load: Callable[..., Mapping[str, Any]], *where: Hashable) -> None:
        """Store a function that returns the values, and its arguments."""
        self._load, self._where = load, where

    def __getitem__(self, name: str) -> Any:
        return self._load(*self._where)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load(*self._where))

    def __len__(self) -> int:
        return len(self._load(*self._where))


def piece_stats(score: ScoreTick, summary: MidiSummary, *, token_notes: int) -> PieceStats:
    """Return the statistics of a piece.

    Args:
        score: Score that `read_midi` returned.
        summary: Summary that `read_midi` returned.
        token_notes: Number of notes in the tokens of the piece.
    """
    onsets = np.concatenate([t.notes.numpy()["time"] for t in score.tracks]).astype(np.float64)
    starts, beats = _beat_lengths(score)
    moves = _grid_distances(onsets, starts, beats)
    times = np.unique(onsets)
    quarters = max(1.0, float(onsets.max()) / score.ticks_per_quarter)
    moved_quarters = moves.sum() / score.ticks_per_quarter
    programs = Counter[int]()
    for track in summary.tracks:
        programs[track.program] += track.notes
    return PieceStats(
        seconds=round(summary.seconds, 3),
        notes=summary.notes,
        lost=summary.notes - token_notes,
        moved=int((moves > 0).sum()),
        moved_ms=round(1000 * moved_quarters * summary.seconds / quarters, 3),  # at the mean tempo
        programs=tuple(sorted(programs.items())),
        key=summary.key,
        meter=summary.meter,
        meters=len({(s.numerator, s.denominator) for s in score.time_signatures}) or 1,
        onsets=len(times),
        beat_fit=round(beat_fit(_phases(times, starts, beats), beats.min()), 4),
        fingerprint=fingerprint(score),
    )


# Beat grid.


def _beat_lengths(score: ScoreTick) -> tuple[Floats, Floats]:
    """Return the ticks at which the length of a beat changes, and the lengths in ticks."""
    denominators = {0: DEFAULT_METER[1]}
    for sign in sorted(score.time_signatures, key=lambda sign: sign.time):
        denominators[sign.time] = normalize_time_signature(sign.numerator, sign.denominator)[1]
    lengths = [4 * score.ticks_per_quarter / denominator for denominator in denominators.values()]
    return np.array(list(denominators), np.float64), np.array(lengths)


def _phases(onsets: Floats, starts: Floats, beats: Floats) -> Floats:
    """Return the positions of the onsets within their beats, 0 to 1."""
    index = np.searchsorted(starts, onsets, side="right") - 1
    return ((onsets - starts[index]) / beats[index]) % 1


def _grid_distances(onsets: Floats, starts: Floats, beats: Floats) -> Floats:
    """Return the distance of each onset from the grid in ticks; 0 where it is only rounding."""
    step = beats[np.searchsorted(starts, onsets, side="right") - 1] / POSITIONS_PER_BEAT
    positions = _phases(onsets, starts, beats) * POSITIONS_PER_BEAT
    distance = np.abs(positions - np.round(positions)) * step
    rounding = np.minimum(_ROUNDING_TICKS, _ROUNDING_SHARE * step) + 1e-6
    return np.where(distance > rounding, distance, 0.0)


def beat_fit(phases: Floats, beat_ticks: float = math.inf) -> float:
    """Return the vector strength of the onsets (Goldberg and Brown 1969), 0 to 1.

    It is the length of the mean of unit vectors on a circle that is one beat, or a part of a beat,
    long, at the division that fits best. Unlike the distance to the nearest twelfth of a beat, it
    also detects the beat in music that was played by hand.

    Args:
        phases: Positions of the onsets within their beats, 0 to 1, (onsets,).
        beat_ticks: Ticks of a beat. Divisions of fewer than two ticks are not tested.
    """
    divisions = [division for division in _DIVISIONS if 2 * division <= beat_ticks]
    if not len(phases) or not divisions:
        return 1.0
    angles = np.outer(divisions, phases) * 2j * np.pi
    return float(np.abs(np.exp(angles).mean(axis=1)).max())


# Copies.


def fingerprint(score: ScoreTick) -> str:
    """Return a hash of the intervals, durations and distances of the pitched notes, 16 hex digits.

    Times are steps of the grid after the first note. In a piece of drums alone, the drum notes
    with their pitches are hashed.
    """
    pitched = [track for track in score.tracks if not track.is_drum]
    tables = [track.notes.numpy() for track in pitched or score.tracks]
    names = ("time", "pitch", "duration")
    time, pitch, duration = (np.concatenate([t[name] for t in tables]) for name in names)
    step = score.ticks_per_quarter / POSITIONS_PER_BEAT
    grid = np.stack([_to_steps(time - time.min(), step), pitch, _to_steps(duration, step)], axis=1)
    notes = np.unique(grid.astype(np.int64), axis=0)  # sorted by time, then by pitch
    if pitched:
        notes[:, 1] -= notes[0, 1]
    return hashlib.sha256(notes.tobytes()).hexdigest()[:16]


def _to_steps(ticks: NDArray[Any], step: float) -> Floats:
    return np.floor(ticks / step + 0.5)
