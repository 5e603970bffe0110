"""Writes the bundled seeds as MIDI files: `python -m scripts.example_tunes.write`.

The same text always gives the same bytes. This file knows the notation of `tunes` and symusic; it
is not needed to read the seeds.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from symusic.core import (
    KeySignatureTick,
    NoteTick,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from scripts.example_tunes.tunes import DRUM_KEYS, DRUMS, TUNES, Part, Tune

FOLDER = Path(__file__).parents[2] / "musiclstm" / "examples"
TICKS_PER_QUARTER = 480

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_WORD = re.compile(r"(?P<keys>[^/~]+)(/(?P<units>\d+))?(?P<tied>~)?")
_PITCH = re.compile(r"([A-G])([#b]?)(\d)")

# A phrase of four bars grows towards its third and falls back.
_SWELL = (0, 3, 6, 2)
_DOWNBEAT, _BEAT = 8, 4


class _Word(NamedTuple):
    bar: int
    start: int  # units from the beginning of the bar
    units: int
    keys: tuple[int, ...]
    tied: bool


def main() -> None:
    """Write all seeds into this package."""
    for tune in TUNES:
        (FOLDER / tune.file).write_bytes(midi_bytes(tune))


def midi_bytes(tune: Tune) -> bytes:
    """The MIDI file of a tune, format 1 with 480 ticks in a quarter note.

    Raises:
        ValueError: A word cannot be read, or a bar is not full.
    """
    score = ScoreTick(TICKS_PER_QUARTER)
    score.tempos.append(TempoTick(0, tune.bpm))
    score.time_signatures.append(TimeSignatureTick(0, *tune.meter))
    score.key_signatures.append(KeySignatureTick(0, tune.sharps, int(tune.minor)))
    for part in tune.parts:
        score.tracks.append(_track(tune, part))
    return score.dumps_midi()


def _track(tune: Tune, part: Part) -> TrackTick:
    track = TrackTick(part.name, max(part.program, 0), part.program == DRUMS)
    unit = 4 * TICKS_PER_QUARTER // tune.unit
    bar = 4 * TICKS_PER_QUARTER * tune.meter[0] // tune.meter[1]
    notes: list[NoteTick] = []
    held: dict[int, NoteTick] = {}
    for word in _words(part.music, units_per_bar=bar // unit):
        velocity = part.velocity + _accent(word, beat=tune.unit // tune.meter[1])
        sounding, held = held, {}
        for key in word.keys:
            note = sounding.get(key)
            if note is None:
                note = NoteTick(word.bar * bar + word.start * unit, 0, key, min(velocity, 127))
                notes.append(note)
            note.duration += word.units * unit
            if word.tied:
                held[key] = note
    for note in notes:
        track.notes.append(note)
    return track


def _accent(word: _Word, *, beat: int) -> int:
    weight = _DOWNBEAT if word.start == 0 else _BEAT if word.start % beat == 0 else 0
    return weight + _SWELL[word.bar % len(_SWELL)]


def _words(music: str, *, units_per_bar: int) -> list[_Word]:
    words: list[_Word] = []
    units = 0
    for bar, text in enumerate(music.strip().rstrip("|").split("|")):
        start = 0
        for token in text.split():
            match = _WORD.fullmatch(token)
            if match is None:
                raise ValueError(f"'{token}' in bar {bar + 1} is not a word of this notation.")
            units = int(match["units"] or units)
            words.append(_Word(bar, start, units, _keys(match["keys"]), match["tied"] is not None))
            start += units
        if start != units_per_bar:
            raise ValueError(f"Bar {bar + 1} has {start} units; it must have {units_per_bar}.")
    return words


def _keys(names: str) -> tuple[int, ...]:
    return () if names == "-" else tuple(_key(name) for name in names.split("+"))


def _key(name: str) -> int:
    if name in DRUM_KEYS:
        return DRUM_KEYS[name]
    match = _PITCH.fullmatch(name)
    if match is None:
        raise ValueError(f"'{name}' is neither a pitch, such as F#4, nor a drum.")
    letter, sign, octave = match.groups()
    return 12 * (int(octave) + 1) + _SEMITONES[letter] + {"#": 1, "b": -1, "": 0}[sign]


if __name__ == "__main__":
    main()
