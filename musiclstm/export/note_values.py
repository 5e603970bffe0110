"""Written note values and voices.

All times are in units of a 24th of a quarter note, the finest grid of our tokens.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

UNITS = 24  # per quarter note

_ACROSS_BEATS = (144, 96, 72, 48, 36, 24, 12, 6)  # dotted whole note to sixteenth
_WITHIN_BEAT = (36, 24, 18, 12, 9, 6, 3)  # dotted quarter to thirty-second
_TRIPLETS = (16, 8, 4, 2, 1)  # quarter to sixty-fourth of a triplet


class Chord(NamedTuple):
    """Notes with the same onset and end."""

    start: int
    end: int
    pitches: tuple[int, ...]  # rising


def beat_units(numerator: int, denominator: int) -> int:
    """Return the beat of a meter in units: dotted in 3/8, 6/8, 9/8 and similar meters."""
    unit = max(1, 4 * UNITS // denominator)
    return 3 * unit if denominator >= 8 and numerator % 3 == 0 else unit


def split_into_values(start: int, end: int, *, beat: int) -> list[int]:
    """Split a note or rest into tied note values that keep the beats visible.

    Args:
        start: From the beginning of its bar.
        end: After `start`, in the same bar.
        beat: As from `beat_units`.

    Returns:
        Lengths with the sum `end - start`. Each is one note head, dotted or of a triplet.
    """
    lengths = []
    while start < end:
        lengths.append(_first_value(start, end, beat))
        start += lengths[-1]
    return lengths


def _first_value(start: int, end: int, beat: int) -> int:
    """Return the longest value that is allowed at `start`."""
    length = end - start
    if start % beat == 0 and length >= beat:
        whole_beats = [value for value in _ACROSS_BEATS if value <= length and value % beat == 0]
        if beat == UNITS and length == 36:
            return 36  # a dotted quarter on the beat
        if whole_beats:
            return whole_beats[0]
    if beat == UNITS == length and start % 12 == 0:
        return UNITS  # a syncopated quarter
    stop = min(end, start - start % beat + beat)
    values = _TRIPLETS if start % 3 or stop % 3 else _WITHIN_BEAT
    return next(value for value in values if value <= stop - start)


def split_into_voices(notes: Iterable[tuple[int, int, int]]) -> list[list[Chord]]:
    """Group notes into chords, and chords into voices without overlaps.

    Args:
        notes: (start, end, pitch).

    Returns:
        The least possible number of voices, each sorted by time.
    """
    pitches_of: dict[tuple[int, int], set[int]] = defaultdict(set)
    for start, end, pitch in notes:
        pitches_of[start, end].add(pitch)
    voices: list[list[Chord]] = []
    for (start, end), pitches in sorted(pitches_of.items(), key=lambda e: (e[0], max(e[1]))):
        chord = Chord(start, end, tuple(sorted(pitches)))
        free = next((voice for voice in voices if voice[-1].end <= start), None)
        if free is None:
            voices.append([chord])
        else:
            free.append(chord)
    return voices
