"""Pedal of new music: that of a part which the prompt plays with the sustain pedal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from symusic.core import ControlChangeTick, PedalTick, ScoreTick, TrackTick

from musiclstm.midi import analysis

PEDAL = 64  # controller number
_LAST_BARS = 8
_BASS_RANGE = 4  # semitones above the bass in which a new bass note may be


def pedalled_tracks(prompt: ScoreTick, end_tick: int) -> list[int]:
    """Return the indices of tracks that are played with the pedal.

    These have a pedal in at least half of those of the prompt's last eight bars that have notes.
    """
    lines = analysis.bar_starts(prompt, end_tick=end_tick)[-_LAST_BARS - 1 :]
    found = []
    for index, track in enumerate(prompt.tracks):
        time, duration = track.pedals.numpy().values()
        onsets = track.notes.numpy()["time"]
        playing = np.histogram(onsets, lines)[0] > 0
        begins, ends = np.sort(time), np.sort(time + duration)
        before = np.searchsorted(begins, lines[1:]) - np.searchsorted(ends, lines[:-1], "right")
        held = playing & (before > 0)
        if not track.is_drum and held.any() and 2 * held.sum() >= playing.sum():
            found.append(index)
    return found


def add_pedal(score: ScoreTick, tracks: Sequence[int], lines: Sequence[int]) -> None:
    """Add the pedal of new bars to tracks of a score; changed in place.

    The pedal is lifted at every bar line and at every change of harmony, and pressed again 1/24 of
    a quarter note later, when the new notes are struck. The harmony changes where a bass note of
    another pitch class is struck at least a quarter note after the last press: a note at most four
    semitones above the bass so far. A bar without notes of these tracks has no pedal.

    Args:
        score: With the new notes.
        tracks: Indices of the tracks; all get the same pedal, because they may share a channel.
        lines: Ticks of the bar lines of the new bars, and of the end of the last one.
    """
    own = [score.tracks[index] for index in tracks]
    if not own:
        return
    columns = [track.notes.numpy() for track in own]
    time = np.concatenate([each["time"] for each in columns])
    pitch = np.concatenate([each["pitch"] for each in columns])
    order = np.lexsort((pitch, time))
    ticks, first = np.unique(time[order], return_index=True)  # with the lowest pitch of each onset
    lowest = pitch[order][first]
    for begin, end in pairwise(lines):
        inside = (ticks >= begin) & (ticks < end)
        changes = _changes(ticks[inside], lowest[inside], begin, score.ticks_per_quarter)
        for press, lift in pairwise([*changes, end]):
            _press(own, press + max(1, score.ticks_per_quarter // 24), lift)


def _changes(ticks: np.ndarray, lowest: np.ndarray, begin: int, quarter: int) -> list[int]:
    """Return the bar line and the changes of harmony in a bar; nothing for a bar without notes."""
    if not len(ticks):
        return []
    found, bass = [begin], int(lowest[0])
    for tick, pitch in zip(ticks.tolist(), lowest.tolist(), strict=True):
        if pitch > bass + _BASS_RANGE:
            continue
        if (pitch - bass) % 12 and tick - found[-1] >= quarter:
            found.append(tick)
            bass = pitch
        bass = min(bass, pitch)
    return found


def _press(tracks: Sequence[TrackTick], press: int, lift: int) -> None:
    for track in tracks if press < lift else ():
        track.controls.append(ControlChangeTick(press, PEDAL, 127))
        track.controls.append(ControlChangeTick(lift, PEDAL, 0))
        track.pedals.append(PedalTick(press, lift - press))
