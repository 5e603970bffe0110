"""Round the notes and tempos of a score to the grid of the tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from symusic.core import ScoreTick

from musiclstm.errors import ScoreError
from musiclstm.midi.analysis import DEFAULT_TEMPO_BPM, MAX_BAR_LINES
from musiclstm.midi.pedal import held_durations
from musiclstm.tokens.meters import Grid, Integers, make_grid
from musiclstm.tokens.vocabulary import (
    DRUM_PITCHES,
    DURATION_STEPS,
    TEMPOS_BPM,
    nearest_index,
)

_DEFAULT_TEMPO = int(np.argmin(np.abs(TEMPOS_BPM - DEFAULT_TEMPO_BPM)))


@dataclass(frozen=True)
class QuantizedNotes:
    """Columns of notes, each of shape (notes,).

    Attributes:
        track: Index of the track in the score.
        source_tick: Onset before rounding, in ticks of the score.
        tick: Onset after rounding, in ticks of the grid.
        pitch: 0 to 127.
        duration: Index into `DURATION_STEPS`.
    """

    track: Integers
    source_tick: Integers
    tick: Integers
    pitch: Integers
    duration: Integers

    def __len__(self) -> int:
        """Return the number of notes."""
        return len(self.track)

    def select(self, which: npt.NDArray[np.bool_] | Integers) -> QuantizedNotes:
        """Select notes by mask or index."""
        columns = (self.track, self.source_tick, self.tick, self.pitch, self.duration)
        return QuantizedNotes(*(column[which] for column in columns))


@dataclass(frozen=True)
class QuantizedScore:
    """Notes and tempos of a score, rounded to the grid.

    Attributes:
        grid: Bar lines and positions.
        notes: All notes with a token, by track, including duplicates.
        tempo_ticks: Tick of each tempo on the grid, (tempos,), ascending.
        tempos: Index into `TEMPOS_BPM`, (tempos,).
    """

    grid: Grid
    notes: QuantizedNotes
    tempo_ticks: Integers
    tempos: Integers


def quantize(score: ScoreTick) -> QuantizedScore:
    """Round the notes and tempos of a score in ticks to the grid, exactly as MidiTok does.

    Notes last as long as the sustain pedal holds them.

    Raises:
        ScoreError: An event is before tick 0, or after bar 1,000,000.
    """
    grid = make_grid(score)
    notes = _notes(score, grid)
    tempo_ticks, tempos = _tempos(score, grid)
    _refuse_unbounded(grid, notes, tempo_ticks)
    return QuantizedScore(grid, notes, tempo_ticks, tempos)


def _refuse_unbounded(grid: Grid, notes: QuantizedNotes, tempo_ticks: Integers) -> None:
    ticks = np.concatenate([notes.tick, tempo_ticks])
    if len(ticks) and int(ticks.min()) < 0:
        raise ScoreError(
            "The score has an event before tick 0; move all events to tick 0 or later."
        )
    last = max(int(ticks.max(initial=0)), int(grid.starts[-1]))
    if grid.bar_and_position(np.array([last]))[0][0] >= MAX_BAR_LINES:
        raise ScoreError(f"The score has more than {MAX_BAR_LINES:,} bars; are its times in ticks?")


def _resampled(ticks: Integers, score: ScoreTick, grid: Grid) -> Integers:
    """Convert ticks of the score to ticks of the grid, rounding halves up as symusic does."""
    source = max(1, score.ticks_per_quarter)
    if source == grid.ticks_per_quarter:
        return ticks
    return (2 * ticks * grid.ticks_per_quarter + source) // (2 * source)


def _notes(score: ScoreTick, grid: Grid) -> QuantizedNotes:
    columns: list[list[npt.NDArray[np.int64]]] = [[], [], [], []]
    for index, track in enumerate(score.tracks):
        own = {**track.notes.numpy(), "duration": held_durations(track)}
        fits = _with_token(own["pitch"], is_drum=track.is_drum)
        columns[0].append(np.full(int(fits.sum()), index, dtype=np.int64))
        for column, name in zip(columns[1:], ("time", "pitch", "duration"), strict=True):
            column.append(own[name][fits].astype(np.int64))
    nothing = np.empty(0, dtype=np.int64)
    track_of, source, pitch, source_duration = (np.concatenate([nothing, *c]) for c in columns)
    ticks = grid.rounded(_resampled(source, score, grid))
    steps = _resampled(source_duration, score, grid) / grid.step_ticks[grid.section(ticks)]
    return QuantizedNotes(track_of, source, ticks, pitch, nearest_index(DURATION_STEPS, steps))


def _with_token(pitch: npt.NDArray[np.int8], *, is_drum: bool) -> npt.NDArray[np.bool_]:
    if is_drum:
        return (pitch >= DRUM_PITCHES[0]) & (pitch <= DRUM_PITCHES[-1])
    return pitch >= 0


def _tempos(score: ScoreTick, grid: Grid) -> tuple[Integers, Integers]:
    """Return tick and index of each tempo change; the last one at each tick counts."""
    source = score.tempos.numpy()
    if not len(source["time"]):
        return np.zeros(1, dtype=np.int64), np.full(1, _DEFAULT_TEMPO, dtype=np.int64)
    order = np.argsort(source["time"], kind="stable")
    ticks = grid.rounded(_resampled(source["time"][order].astype(np.int64), score, grid))
    slower_first = 60_000_000 / TEMPOS_BPM[::-1]
    found = nearest_index(slower_first, source["mspq"][order].astype(np.float64))
    tempos = len(TEMPOS_BPM) - 1 - found
    last = np.append(ticks[1:] != ticks[:-1], True)
    ticks, tempos = ticks[last], tempos[last]
    changed = np.insert(tempos[1:] != tempos[:-1], 0, True)
    ticks, tempos = ticks[changed], tempos[changed]
    if tempos[0] == _DEFAULT_TEMPO:  # MidiTok intends this, but compares a rounded number
        ticks[0] = 0
    if ticks[0] > 0:
        return np.insert(ticks, 0, 0), np.insert(tempos, 0, _DEFAULT_TEMPO)
    return ticks, tempos
