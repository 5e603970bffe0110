"""What one piece is: how long, for whom, in which key, and how well the beat grid fits it.

The facts that the tokens of a piece no longer tell, taken while its score is at hand. They are
plain values, so that a cache can keep them. Knows neither files nor the tokens themselves.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick

from musiclstm import MidiSummary
from musiclstm.midi import DEFAULT_METER
from musiclstm.tokens import POSITIONS_PER_BEAT, normalize_time_signature

# A tick that falls so close to the grid was rounded when the file was written, not played.
_ROUNDED_TICKS = 1.0
_ROUNDED_SHARE = 1 / 8  # ... of a grid step, where ticks are coarse

# Of a beat, on which onsets may gather. The last holds eighths and twelfths of a beat side by side.
_DIVISIONS = (1, 2, 3, 4, 8, POSITIONS_PER_BEAT, 2 * POSITIONS_PER_BEAT)
_FEWEST_ONSETS = 32  # fewer gather anywhere by chance
_LOOSE = 0.15  # random walks of tempo stay below 0.1, the nine corpora of docs/data.md above 0.3
_CHANCE = 2.5  # over the root of the onsets: what one in four hundred random pieces reaches

SHORT_NOTES, SHORT_S = 40, 8.0  # shorter pieces teach little

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Survey:
    """Facts about one piece.

    Args:
        seconds: To the end of the last note.
        notes: In the file.
        lost: Of these, how many the tokens do not have, because one instrument strikes a key twice
            within a step of the grid.
        moved: Notes that the grid moves, by more than the rounding of the file.
        moved_ms: By how many milliseconds, all of them together.
        programs: Notes of every MIDI program, -1 for drums.
        key: Estimated, such as `F# minor`; None without pitched notes.
        meter: Where the first note begins, such as `3/4`.
        meters: How many different meters there are.
        onsets: Different times at which notes begin.
        beat_fit: How firmly they gather on beats or on equal parts of a beat, down to half a step
            of the grid: 1 always at the same place; chance gives about 1 / sqrt(onsets).
        fingerprint: The same for pieces that are equal up to transposition, tempo, loudness,
            instruments and drums.
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
    def free(self) -> bool:
        """Whether the onsets fall on the beats of the file no better than by chance."""
        if self.onsets < _FEWEST_ONSETS:
            return False
        return self.beat_fit < max(_LOOSE, _CHANCE / math.sqrt(self.onsets))

    @property
    def short(self) -> bool:
        """Whether the piece has too few notes, or lasts too short a time, to teach much."""
        return self.notes < SHORT_NOTES or self.seconds < SHORT_S

    def facts(self) -> dict[str, Any]:
        """Plain values for a cache, the same after a way through JSON."""
        return asdict(self) | {"programs": [[program, notes] for program, notes in self.programs]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Survey:
        """What `facts` gave."""
        known = {field.name: facts[field.name] for field in fields(cls)}
        return cls(**known | {"programs": tuple((p, n) for p, n in facts["programs"])})


def survey(score: ScoreTick, report: MidiSummary, *, kept_notes: int) -> Survey:
    """Look at a piece.

    Args:
        score: As `read_midi` gives it.
        report: As `read_midi` gives it.
        kept_notes: How many notes its tokens have.
    """
    onsets = np.concatenate([t.notes.numpy()["time"] for t in score.tracks]).astype(np.float64)
    starts, beats = _beats(score)
    moved = _moves(onsets, starts, beats)
    times = np.unique(onsets)
    quarters = max(1.0, float(onsets.max()) / score.ticks_per_quarter)
    programs: dict[int, int] = {}
    for track in report.tracks:
        programs[track.program] = programs.get(track.program, 0) + track.notes
    return Survey(
        seconds=round(report.seconds, 3),
        notes=report.notes,
        lost=report.notes - kept_notes,
        moved=int((moved > 0).sum()),
        moved_ms=round(_ms(moved.sum() / score.ticks_per_quarter, report.seconds, quarters), 3),
        programs=tuple(sorted(programs.items())),
        key=report.key,
        meter=report.meter,
        meters=len({(s.numerator, s.denominator) for s in score.time_signatures}) or 1,
        onsets=len(times),
        beat_fit=round(beat_fit(_phases(times, starts, beats), beats.min()), 4),
        fingerprint=fingerprint(score),
    )


def _ms(moved_quarters: float, seconds: float, quarters: float) -> float:
    """Milliseconds at the mean tempo of the piece."""
    return 1000 * moved_quarters * seconds / quarters


# The grid.


def _beats(score: ScoreTick) -> tuple[Floats, Floats]:
    """From which tick on a beat is how many ticks long; the first from 0 on."""
    rulers = {0: DEFAULT_METER[1]}
    for sign in sorted(score.time_signatures, key=lambda sign: sign.time):
        rulers[sign.time] = normalize_time_signature(sign.numerator, sign.denominator)[1]
    lengths = [4 * score.ticks_per_quarter / denominator for denominator in rulers.values()]
    return np.array(list(rulers), np.float64), np.array(lengths)


def _phases(onsets: Floats, starts: Floats, beats: Floats) -> Floats:
    """Where in their beat the onsets fall, 0 to 1."""
    ruling = np.searchsorted(starts, onsets, side="right") - 1
    return ((onsets - starts[ruling]) / beats[ruling]) % 1


def _moves(onsets: Floats, starts: Floats, beats: Floats) -> Floats:
    """How many ticks each onset is from its place on the grid; 0 where only rounding moved it."""
    step = beats[np.searchsorted(starts, onsets, side="right") - 1] / POSITIONS_PER_BEAT
    places = _phases(onsets, starts, beats) * POSITIONS_PER_BEAT
    away = np.abs(places - np.round(places)) * step
    rounded = np.minimum(_ROUNDED_TICKS, _ROUNDED_SHARE * step) + 1e-6
    return np.where(away > rounded, away, 0.0)


def beat_fit(phases: Floats, beat_ticks: float = math.inf) -> float:
    """Vector strength of the onsets (Goldberg and Brown 1969), at the division that fits best.

    A mean of arrows on a circle that is one beat, or a part of it, long. Unlike the distance to the
    nearest twelfth it also sees the beat in music that hands have played to it.

    Args:
        phases: Where in their beat the onsets fall, 0 to 1, (onsets,).
        beat_ticks: Ticks of a beat; in parts of a single tick everything would fit.
    """
    divisions = [division for division in _DIVISIONS if 2 * division <= beat_ticks]
    if not len(phases) or not divisions:
        return 1.0  # nothing speaks against the beat
    turns = np.outer(divisions, phases) * 2j * np.pi
    return float(np.abs(np.exp(turns).mean(axis=1)).max())


# Copies.


def fingerprint(score: ScoreTick) -> str:
    """Sixteen hexadecimal digits of the intervals, lengths and distances of the pitched notes.

    Times count in steps of the grid from the first note on. Of a piece for drums alone the
    drums count, with their own pitches.
    """
    pitched = [track for track in score.tracks if not track.is_drum]
    tables = [track.notes.numpy() for track in pitched or score.tracks]
    names = ("time", "pitch", "duration")
    time, pitch, duration = (np.concatenate([t[name] for t in tables]) for name in names)
    step = score.ticks_per_quarter / POSITIONS_PER_BEAT
    grid = np.stack([_steps(time - time.min(), step), pitch, _steps(duration, step)], axis=1)
    rows = np.unique(grid.astype(np.int64), axis=0)  # sorted by time, then by pitch
    if pitched:
        rows[:, 1] -= rows[0, 1]
    return hashlib.sha256(rows.tobytes()).hexdigest()[:16]


def _steps(ticks: NDArray[Any], step: float) -> Floats:
    return np.floor(ticks / step + 0.5)
