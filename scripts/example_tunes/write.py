"""Write the bundled example pieces as MIDI files: `python -m scripts.example_tunes.write`.

tunes.toml describes their notation. The output is reproducible byte for byte.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
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

from musiclstm.midi import DRUMS

FOLDER = Path(__file__).parents[2] / "musiclstm" / "examples"
TICKS_PER_QUARTER = 480

DRUM_PITCHES = {
    "K": 36,
    "S": 38,
    "H": 42,
    "O": 46,
    "T": 45,
    "C": 49,
}  # kick, snare, hats, tom, crash
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_EVENT = re.compile(r"(?P<pitches>[^/~]+)(/(?P<units>\d+))?(?P<tied>~)?")
_PITCH = re.compile(r"([A-G])([#b]?)(\d)")

# Added to the velocity: in the bars of a four-bar phrase, on the downbeat, on other beats.
_PHRASE = (0, 3, 6, 2)
_DOWNBEAT, _BEAT = 8, 4


@dataclass(frozen=True)
class Part:
    """Part of a tune; the fields are those of tunes.toml."""

    name: str
    program: int
    velocity: int
    music: str


@dataclass(frozen=True)
class Tune:
    """Example piece; the fields are those of tunes.toml."""

    title: str
    composer: str
    rights: str
    file: str
    bpm: int
    meter: tuple[int, int]
    sharps: int
    minor: bool
    unit: int
    parts: tuple[Part, ...]


class _Event(NamedTuple):
    bar: int
    start: int  # in units from the bar line
    units: int
    pitches: tuple[int, ...]
    tied: bool


def main() -> None:
    """Write all pieces to `musiclstm/examples`."""
    for tune in read_tunes():
        (FOLDER / tune.file).write_bytes(midi_bytes(tune))


def read_tunes() -> list[Tune]:
    """Return the tunes of tunes.toml."""
    with Path(__file__).with_name("tunes.toml").open("rb") as file:
        tunes = tomllib.load(file)["tunes"]
    for tune in tunes:
        tune["meter"] = tuple(tune["meter"])
        tune["parts"] = tuple(Part(**part) for part in tune["parts"])
    return [Tune(**tune) for tune in tunes]


def midi_bytes(tune: Tune) -> bytes:
    """Return a format 1 MIDI file with 480 ticks per quarter note.

    Raises:
        ValueError: The notation is invalid, or a bar is not full.
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
    tied: dict[int, NoteTick] = {}
    for event in _events(part.music, units_per_bar=bar // unit):
        velocity = part.velocity + _accent(event, beat=tune.unit // tune.meter[1])
        previous, tied = tied, {}
        for pitch in event.pitches:
            note = previous.get(pitch)
            if note is None:
                note = NoteTick(event.bar * bar + event.start * unit, 0, pitch, min(velocity, 127))
                notes.append(note)
            note.duration += event.units * unit
            if event.tied:
                tied[pitch] = note
    for note in notes:
        track.notes.append(note)
    return track


def _accent(event: _Event, *, beat: int) -> int:
    weight = _DOWNBEAT if event.start == 0 else _BEAT if event.start % beat == 0 else 0
    return weight + _PHRASE[event.bar % len(_PHRASE)]


def _events(music: str, *, units_per_bar: int) -> list[_Event]:
    events: list[_Event] = []
    units = 0
    for bar, text in enumerate(music.strip().rstrip("|").split("|")):
        start = 0
        for word in text.split():
            match = _EVENT.fullmatch(word)
            if match is None:
                raise ValueError(f"'{word}' in bar {bar + 1} is not valid notation.")
            units = int(match["units"] or units)
            pitches = _pitches(match["pitches"])
            events.append(_Event(bar, start, units, pitches, match["tied"] is not None))
            start += units
        if start != units_per_bar:
            raise ValueError(f"Bar {bar + 1} has {start} units; it must have {units_per_bar}.")
    return events


def _pitches(chord: str) -> tuple[int, ...]:
    return () if chord == "-" else tuple(_pitch(name) for name in chord.split("+"))


def _pitch(name: str) -> int:
    if name in DRUM_PITCHES:
        return DRUM_PITCHES[name]
    match = _PITCH.fullmatch(name)
    if match is None:
        raise ValueError(f"'{name}' is neither a pitch, such as F#4, nor a drum.")
    letter, accidental, octave = match.groups()
    return 12 * (int(octave) + 1) + _SEMITONES[letter] + {"#": 1, "b": -1, "": 0}[accidental]


if __name__ == "__main__":
    main()
