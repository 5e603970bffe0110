"""Builders of small scores and measures of samples for the audio tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from symusic import Note, Score, Tempo, Track
from symusic.core import ScoreTick, TrackTick

BEAT = 480  # ticks; half a second at the default tempo
BAR = 4 * BEAT
PIANO, ORGAN, VIOLIN, FLUTE, DRUMS = 0, 19, 40, 73, -1


def note(beat: float, beats: float = 1.0, pitch: int = 69, velocity: int = 90) -> Note:
    return Note(round(beat * BEAT), round(beats * BEAT), pitch, velocity)


def track_of(notes: Sequence[Note] = (), program: int = PIANO) -> TrackTick:
    track = Track("", max(program, 0), program == DRUMS)
    track.notes.extend(notes)
    return track


def score_of(*tracks: TrackTick, tempos: Sequence[tuple[int, float]] = ()) -> ScoreTick:
    score = Score(BEAT)
    score.tracks.extend(tracks)
    score.tempos.extend(Tempo(time, qpm) for time, qpm in tempos)
    return score


def piano(*notes: Note) -> ScoreTick:
    return score_of(track_of(notes))


def rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
