"""Music on paper: how long a written note is, and which notes share a voice.

Everything counts in units of a 24th of a quarter note, the finest our pieces have. Knows no score
and no file format.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

UNITS = 24  # of a quarter note

_ACROSS_BEATS = (144, 96, 72, 48, 36, 24, 12, 6)  # dotted whole to sixteenth
_STRAIGHT = (36, 24, 18, 12, 9, 6, 3)  # dotted quarter to thirty-second
_TRIPLETS = (16, 8, 4, 2, 1)  # quarter to sixty-fourth of a triplet


class Chord(NamedTuple):
    """Keys that are struck and released together."""

    start: int
    end: int
    pitches: tuple[int, ...]  # rising


def beat_of(numerator: int, denominator: int) -> int:
    """The beat of a meter in units: a dotted one in 3/8, 6/8, 9/8 and their like."""
    unit = max(1, 4 * UNITS // denominator)
    return 3 * unit if denominator >= 8 and numerator % 3 == 0 else unit


def written(start: int, end: int, *, beat: int) -> list[int]:
    """The tied values of a note or rest, so that every beat can be seen.

    Args:
        start: From the beginning of its bar.
        end: After `start`, in the same bar.
        beat: As `beat_of` gives it.

    Returns:
        Lengths that add up to `end - start`; each is one note head, dotted or of a triplet.
    """
    lengths = []
    while start < end:
        lengths.append(_value(start, end, beat))
        start += lengths[-1]
    return lengths


def _value(start: int, end: int, beat: int) -> int:
    """The longest value that may stand at `start`."""
    room = end - start
    if start % beat == 0 and room >= beat:
        whole_beats = [value for value in _ACROSS_BEATS if value <= room and value % beat == 0]
        if beat == UNITS and room == 36:
            return 36  # a dotted quarter on the beat
        if whole_beats:
            return whole_beats[0]
    if beat == UNITS == room and start % 12 == 0:
        return UNITS  # a quarter between two beats
    stop = min(end, start - start % beat + beat)
    values = _TRIPLETS if start % 3 or stop % 3 else _STRAIGHT
    return next(value for value in values if value <= stop - start)


def voices(notes: Iterable[tuple[int, int, int]]) -> list[list[Chord]]:
    """Notes as chords, and chords that do not overlap as voices.

    Args:
        notes: (start, end, pitch).

    Returns:
        Voices, each rising in time; as few as there are chords that sound at once.
    """
    struck: dict[tuple[int, int], set[int]] = defaultdict(set)
    for start, end, pitch in notes:
        struck[start, end].add(pitch)
    found: list[list[Chord]] = []
    for (start, end), pitches in sorted(struck.items(), key=lambda each: (each[0], max(each[1]))):
        chord = Chord(start, end, tuple(sorted(pitches)))
        free = next((voice for voice in found if voice[-1].end <= start), None)
        if free is None:
            found.append([chord])
        else:
            free.append(chord)
    return found
