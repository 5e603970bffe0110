"""Whether the notes of a score follow its beats, and the beats of those that do not."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from symusic.core import ScoreTick, TempoTick, TimeSignatureTick

from musiclstm.errors import ScoreError
from musiclstm.midi.analysis import AnyScore, TempoMap, in_ticks, last_note_end

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

# Sixteenths and eighth triplets, in quarter notes, and how far an onset may be from one: then half
# of all onsets that have no relation to the beats are on the grid.
_GRID = np.array([0, 1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1])
_TOLERANCE = 1 / 24
_CHANCE = 0.5

MIN_ONSETS = 24
# Of 459 files of the corpora, all on a beat grid, two have no more than this. Of the same files
# with a drifting tempo and onsets moved by 0.03 quarters (standard deviation) 458 have, and with
# onsets moved but a steady tempo six.
MAX_EXCESS = 0.25
# Resolution from which on 32nds and sixteenth triplets are rarely met by chance (48 of 192 ticks).
_EXACT_TICKS = 192


def grid_excess(score: AnyScore) -> float:
    """Return how much more often than by chance onsets are on the sixteenth and triplet grid.

    Returns:
        (share - chance) / (1 - chance) over the different onsets of the score: 1 if all are on the
        grid, about 0 if they have no relation to it. 1 without notes.
    """
    onsets = _onsets(score)
    if not len(onsets):
        return 1.0
    beats = onsets / in_ticks(score).ticks_per_quarter % 1
    distance = np.abs(beats[:, None] - _GRID).min(axis=1)
    share = float((distance < _TOLERANCE).mean())
    return (share - _CHANCE) / (1 - _CHANCE)


def is_performed(score: AnyScore) -> bool:
    """Return whether the notes do not follow the beats of the file, as in a free recording.

    It is so if `grid_excess` is at most `MAX_EXCESS`, unless most onsets are exact 32nds or
    sixteenth triplets. With fewer than `MIN_ONSETS` different onsets chance decides too much; then
    it is False.
    """
    onsets, tpq = _onsets(score), in_ticks(score).ticks_per_quarter
    if len(onsets) < MIN_ONSETS or grid_excess(score) > MAX_EXCESS:
        return False
    exact = [np.abs(onsets * steps / tpq - np.rint(onsets * steps / tpq)) for steps in (24, 32)]
    is_exact = np.minimum(exact[0] / 24, exact[1] / 32) <= 0.5 / tpq  # half a tick
    return tpq < _EXACT_TICKS or float(is_exact.mean()) < 0.5


def _onsets(score: AnyScore) -> NDArray[np.int64]:
    """Return the different onsets of all tracks in ticks, ascending."""
    tracks = in_ticks(score).tracks
    return np.unique(
        np.concatenate([np.zeros(0, np.int64), *(track.notes.numpy()["time"] for track in tracks)])
    ).astype(np.int64)


# Beat tracking ------------------------------------------------------------------------------------

_FRAMES = 100  # per second
_PERIODS = (0.3, 1.2)  # of beats, in seconds
_USUAL_PERIOD = 0.55
_TIGHTNESS = 6.0  # weight of an even tempo against onsets
_SNAP_SECONDS = 0.07
_METERS = (4, 3)
_TICKS_PER_BEAT = 480


def find_beats(score: AnyScore) -> ScoreTick:
    """Return a performance with beats and bar lines that are found; notes keep their times.

    The beats are those of D. Ellis, "Beat tracking by dynamic programming", Journal of New Music
    Research 36 (2007), on the onsets of the notes instead of an audio signal. The tempo changes at
    every beat. The meter is 4/4 or 3/4, by the accents of the beats; a first bar may be shorter.

    Args:
        score: In any time unit; left unchanged.

    Returns:
        A score in ticks that begins with the beat before the first note.

    Raises:
        ScoreError: Fewer than `MIN_ONSETS` different onsets.
    """
    score = in_ticks(score)
    onsets = _onsets(score)
    if len(onsets) < MIN_ONSETS:
        raise ScoreError(
            f"Beats are found from at least {MIN_ONSETS} onsets, and the music has {len(onsets)}."
        )
    tempo_map = TempoMap(score)
    seconds, weights = _accents(score, onsets, tempo_map)
    beats = _beat_seconds(
        seconds, weights, float(tempo_map.seconds(np.array(last_note_end(score))))
    )
    found = _on_beats(score, tempo_map, beats)
    meter, first = _meter_of(beats, seconds, weights)
    if first:
        found.time_signatures.append(TimeSignatureTick(0, first, 4))
    found.time_signatures.append(TimeSignatureTick(first * found.ticks_per_quarter, meter, 4))
    return found


def _accents(score: ScoreTick, onsets: Integers, tempo_map: TempoMap) -> tuple[Floats, Floats]:
    """Return time and weight of each onset: its notes by velocity, low ones more, (onsets,)."""
    weights = np.zeros(len(onsets))
    for track in score.tracks:
        notes = track.notes.numpy()
        low = 1 + np.clip((60 - notes["pitch"].astype(float)) / 24, 0, 1)
        at = np.searchsorted(onsets, notes["time"])
        np.add.at(weights, at, notes["velocity"] / 127 * (1 if track.is_drum else low))
    return tempo_map.seconds(onsets), np.sqrt(weights)


def _beat_seconds(seconds: Floats, weights: Floats, end: float) -> Floats:
    """Return the times of beats from the last one before the first onset to the end, ascending."""
    strength = np.zeros(int(seconds[-1] * _FRAMES) + 2 * _FRAMES)
    np.add.at(strength, np.rint(seconds * _FRAMES).astype(int), weights)
    window = np.exp(-0.5 * (np.arange(-8, 9) / 3) ** 2)
    strength = np.convolve(strength, window, "same")
    strength /= strength.std() or 1.0
    period = _period(strength)
    beats = _best_path(strength, period) / _FRAMES
    beats = beats[(beats >= seconds[0] - 0.5 * period / _FRAMES) & (beats <= seconds[-1])]
    nearest = seconds[np.abs(beats[:, None] - seconds).argmin(axis=1)]
    beats = np.unique(np.where(np.abs(nearest - beats) <= _SNAP_SECONDS, nearest, beats))
    step = period / _FRAMES
    before = beats[0] - step * np.arange(np.ceil(max(0.0, beats[0] - seconds[0]) / step), 0, -1)
    after = beats[-1] + step * np.arange(1, np.ceil(max(0.0, end - beats[-1]) / step) + 2)
    return np.concatenate([before, beats, after])


def _period(strength: Floats) -> float:
    """Return the most probable distance of beats in frames."""
    lags = np.arange(int(_PERIODS[0] * _FRAMES), int(_PERIODS[1] * _FRAMES) + 1)
    similar = np.array([strength[lag:] @ strength[:-lag] / len(strength) for lag in lags])
    usual = np.exp(-0.5 * np.log2(lags / (_USUAL_PERIOD * _FRAMES)) ** 2)
    return float(lags[np.argmax(similar * usual)])


def _best_path(strength: Floats, period: float) -> Integers:
    """Return the frames of beats with a large sum of strengths and even distances."""
    steps = np.arange(int(period / 2), int(2 * period) + 1)
    cost = _TIGHTNESS * np.log(steps / period) ** 2
    total, before = strength.copy(), np.full(len(strength), -1)
    for frame in range(steps[0], len(strength)):
        count = min(len(steps), frame - steps[0] + 1)
        values = total[frame - steps[:count]] - cost[:count]
        best = int(values.argmax())
        if values[best] > 0:
            total[frame] += values[best]
            before[frame] = frame - steps[best]
    tail = len(strength) - int(2 * period)
    path = [tail + int(total[tail:].argmax())]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return np.array(path[::-1])


def _meter_of(beats: Floats, seconds: Floats, weights: Floats) -> tuple[int, int]:
    """Return beats of a bar, and beats before its first bar line, by the accents of the beats."""
    distance = np.abs(beats[:, None] - seconds)
    accents = np.where(distance <= _SNAP_SECONDS, weights, 0).max(axis=1)
    choices = {
        (meter, first): accents[first::meter].mean() - accents.mean()
        for meter in _METERS
        for first in range(meter)
    }
    return max(choices, key=lambda choice: choices[choice])


def _on_beats(score: ScoreTick, tempo_map: TempoMap, beats: Floats) -> ScoreTick:
    """Return the score in ticks of 480 per quarter; each of the beats begins a quarter note."""
    found, numbers = score.copy(), np.arange(len(beats)) * float(_TICKS_PER_BEAT)
    found.ticks_per_quarter = _TICKS_PER_BEAT

    def moved(ticks: NDArray[Any]) -> NDArray[np.int32]:
        placed = np.interp(tempo_map.seconds(ticks.astype(np.int64)), beats, numbers)
        return np.rint(placed).astype(np.int32)

    found.time_signatures = type(found.time_signatures)()
    found.tempos = type(found.tempos)(
        TempoTick(_TICKS_PER_BEAT * number, mspq=max(1, round(1e6 * length)))
        for number, length in enumerate(np.diff(beats).tolist())
    )
    lists: list[tuple[Any, str]] = [(found, "key_signatures")]
    lists += [(t, n) for t in found.tracks for n in ("notes", "controls", "pitch_bends", "pedals")]
    for owner, name in lists:
        events = getattr(owner, name)
        columns = events.numpy()
        time = moved(columns["time"])
        if "duration" in columns:
            end = moved(columns["time"] + columns["duration"])
            columns["duration"] = np.maximum(end - time, 1)
        columns["time"] = time
        setattr(owner, name, type(events).from_numpy(*columns.values()))
    return found
