"""Notes that the sustain pedal holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from symusic.core import NoteTickList, ScoreTick, TrackTick

from musiclstm.midi.score_ops import next_onsets


def held_durations(track: TrackTick) -> NDArray[np.int32]:
    """Return the duration of each note with the sustain pedal, in ticks, (notes,).

    A note whose key is released while the pedal is down lasts until the pedal is lifted or until
    the next onset of its pitch. A pedal that is pressed when the key is released comes too late.
    Drums do not respond to the pedal, and one that is never lifted holds nothing: many files press
    it once at their beginning.
    """
    notes = track.notes.numpy()
    duration = notes["duration"]
    pedals = track.pedals.numpy()
    if track.is_drum or not len(duration) or not len(pedals["time"]):
        return duration
    time = notes["time"].astype(np.int64)
    order = np.argsort(pedals["time"], kind="stable")
    pressed = pedals["time"][order].astype(np.int64)
    lifted = np.maximum.accumulate(pressed + pedals["duration"][order])
    end = time + duration
    pedal = np.searchsorted(pressed, end, side="left") - 1  # the last one pressed before the end
    lift = np.where(pedal < 0, 0, lifted[pedal])
    held = np.maximum(end, np.minimum(lift, next_onsets(time, notes["pitch"])))
    return np.where(lift > end, held - time, duration).astype(np.int32)


def hold_notes(score: ScoreTick) -> ScoreTick:
    """Return the score with notes of `held_durations` and without pedals; itself without pedals."""
    if not any(len(track.pedals) for track in score.tracks):
        return score
    held = score.copy()
    for track in held.tracks:
        columns = track.notes.numpy()
        columns["duration"] = held_durations(track)
        track.notes = NoteTickList.from_numpy(*columns.values())
        track.pedals = type(track.pedals)()
    return held
