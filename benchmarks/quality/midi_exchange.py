"""`python -m benchmarks.quality.midi_exchange`: MIDI files as other programs read them.

Two questions, about the held-out files of corpora and other files:

- Is each file read as it is played? mido plays it event by event: programs follow the channel, and
  the first note-off of a key ends its first note. Onset, pitch, length, velocity and program of
  all notes are compared for the files that need no repair; the others are counted by repair.
- Do other libraries read the same from what `write_midi` writes? Printed is the number of files in
  which an attribute is equal, for mido, pretty_midi, partitura and (on some of the files) music21,
  or why a library has no such attribute. Times may differ by a thousandth of a quarter note, those
  in seconds by a millisecond.

Needs: pip install mido pretty_midi partitura music21
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from symusic.core import ScoreTick

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.midi_libraries import (
    ATTRIBUTES,
    LIBRARIES,
    REASONS,
    Attributes,
    read_mido,
)
from musiclstm.cli import run_command
from musiclstm.errors import ScoreError
from musiclstm.midi import (
    DRUMS,
    MidiLimits,
    TempoMap,
    read_midi,
    trim_overlapping_notes,
    write_midi,
)
from training.data.corpus import sources_of_split
from training.data.sources import round_robin

_KEYS = {
    0: ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#"),
    1: ("Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#", "G#", "D#", "A#"),
}
SEED = 7
_TOLERANCE = 1.5e-3  # quarter notes or seconds
_BANKS = (0, 32)
_ENHARMONIC = {"Cb": "B", "Gb": "F#", "C#": "Db", "Abm": "G#m", "D#m": "Ebm", "A#m": "Bbm"}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error, or if a file is not read as it is played."""
    options = parser("benchmarks.quality.midi_exchange", "MIDI files as other programs read them.")
    add = options.add_argument
    add("--pieces", type=int, default=500, help="largest number of files (500)")
    add("--music21", type=int, default=20, help="files that music21 reads, which is slow (20)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compare the files of a split."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ReportError(f"Missing: {', '.join(missing)}. Run: pip install {' '.join(missing)}")
    if options.pieces < 1 or options.music21 < 0:
        raise ReportError("--pieces must be 1 or more, and --music21 0 or more.")
    reading, writing = _Reading(), _Writing()
    files = islice(round_robin(sources_of_split(options.data, options.split), SEED), options.pieces)
    for number, source in enumerate(files):
        data = source.read(MidiLimits.training().bytes)
        try:
            score, summary = read_midi(data, name=source.name, limits=MidiLimits.training())
        except ScoreError:
            reading.refused += 1
            continue
        reading.add(data, score, summary.repairs, f"{source.corpus}/{source.name}")
        writing.add(score, with_music21=number < options.music21)
    facts = {"reading": reading.facts, "writing": writing.facts}
    return Report(f"{reading.text}\n\n{writing.text}", facts, passed=not reading.different)


class _Reading:
    """Files as read, against a sequencer."""

    def __init__(self) -> None:
        self.files = self.notes = self.refused = 0
        self.different: list[str] = []
        self.repairs: Counter[str] = Counter()

    def add(self, data: bytes, score: ScoreTick, repairs: tuple[str, ...], name: str) -> None:
        if repairs:
            self.repairs.update({_kind(repair) for repair in repairs})
            return
        wanted, found = read_mido(data), _attributes(score, _quarters(score), trimmed=False)
        self.files += 1
        self.notes += len(found["notes"])
        if any(not _are_equal(wanted[each], found[each]) for each in ("notes", "velocities")):
            self.different.append(name)

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "files": self.files,
            "notes": self.notes,
            "different": self.different,
            "repaired": dict(self.repairs),
            "refused": self.refused,
        }

    @property
    def text(self) -> str:
        repaired = ", ".join(f"{kind}: {count}" for kind, count in self.repairs.most_common())
        return (
            f"{self.files:,} files without repairs, {self.notes:,} notes: "
            f"{len(self.different)} files differ from mido played event by event"
            + "".join(f"\n  {name}" for name in self.different[:20])
            + f"\nfiles with repairs: {repaired or 'none'}; refused: {self.refused}"
        )


def _kind(repair: str) -> str:
    return " ".join(word for word in repair.split() if not word[0].isdigit())


class _Writing:
    """Files as written, read by other libraries."""

    def __init__(self) -> None:
        self.equal: dict[str, Counter[str]] = {name: Counter() for name in LIBRARIES}
        self.files: Counter[str] = Counter()

    def add(self, score: ScoreTick, *, with_music21: bool) -> None:
        data = write_midi(score)
        quarters = _attributes(score, _quarters(score), trimmed=True)
        seconds = _attributes(score, _seconds(score), trimmed=True)
        for name, read in LIBRARIES.items():
            if name == "music21" and not with_music21:
                continue
            self.files[name] += 1
            found, wanted = read(data), seconds if name == "pretty_midi" else quarters
            for attribute in found:
                equal = _are_equal(wanted[attribute], found[attribute])
                self.equal[name][attribute] += equal

    @property
    def facts(self) -> dict[str, Any]:
        return {
            name: {"files": self.files[name], **{a: self.equal[name][a] for a in ATTRIBUTES}}
            for name in LIBRARIES
        }

    @property
    def text(self) -> str:
        rows = [
            {
                "attribute": attribute,
                **{
                    f"{name} ({self.files[name]})": self._cell(name, attribute)
                    for name in LIBRARIES
                },
            }
            for attribute in ATTRIBUTES
        ]
        reasons = [
            f"{name}, {attribute}: {reason}"
            for name, own in REASONS.items()
            for attribute, reason in own.items()
            if reason
        ]
        return "\n".join([table(rows), "", *reasons])

    def _cell(self, name: str, attribute: str) -> str:
        return "-" if REASONS.get(name, {}).get(attribute) else str(self.equal[name][attribute])


# What the files should have ---------------------------------------------------------------------


def _quarters(score: ScoreTick) -> Callable[[int], float]:
    return lambda tick: tick / score.ticks_per_quarter


def _seconds(score: ScoreTick) -> Callable[[int], float]:
    import numpy as np

    tempo_map = TempoMap(score)
    return lambda tick: float(tempo_map.seconds(np.array(tick)))


def _attributes(score: ScoreTick, at: Callable[[int], float], *, trimmed: bool) -> Attributes:
    notes = [
        (at(time), at(time + duration) - at(time), pitch, velocity, program)
        for track in score.tracks
        for program in [DRUMS if track.is_drum else track.program]
        for time, duration, pitch, velocity in _notes(track, trimmed=trimmed)
    ]
    end = max((t.notes.numpy()["time"] + t.notes.numpy()["duration"]).max() for t in score.tracks)
    changes = (score.tempos, score.time_signatures, score.key_signatures)
    end = max(end, *(max((each.time for each in own), default=0) for own in changes))
    return {
        "notes": sorted((on, length, pitch, p) for on, length, pitch, _, p in notes),
        "velocities": sorted((on, pitch, velocity) for on, _, pitch, velocity, _ in notes),
        "programs": sorted({(program,) for *_, program in notes}),
        "names": [(track.name,) for track in score.tracks],
        "controllers": sorted(
            (at(c.time), c.number, c.value)
            for track in score.tracks
            for c in track.controls
            if c.number not in _BANKS
        ),
        "bends": sorted((at(b.time), b.value) for t in score.tracks for b in t.pitch_bends),
        "tempos": [(at(tempo.time), tempo.mspq) for tempo in score.tempos],
        "meters": [(at(m.time), m.numerator, m.denominator) for m in score.time_signatures],
        "keys": [(at(k.time), _key_name(k.key, k.tonality)) for k in score.key_signatures],
        "end of track": [(at(int(end)),)] * (len(score.tracks) + 1),
    }


def _key_name(fifths: int, minor: int) -> str:
    return _KEYS[minor][fifths + 7] + ("m" if minor else "")


def _notes(track: Any, *, trimmed: bool) -> Iterator[tuple[int, int, int, int]]:
    notes = trim_overlapping_notes(track.notes) if trimmed else track.notes
    longest: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    for note in notes:
        row = (note.time, note.duration, note.pitch, note.velocity)
        if not trimmed:
            yield row
        elif (note.time, note.pitch) not in longest or (
            longest[note.time, note.pitch][1] < note.duration
        ):
            longest[note.time, note.pitch] = row
    yield from longest.values()


def _are_equal(wanted: list[tuple[Any, ...]], found: list[tuple[Any, ...]]) -> bool:
    return len(wanted) == len(found) and all(
        len(a) == len(b) and all(map(_are_near, a, b)) for a, b in zip(wanted, found, strict=True)
    )


def _are_near(a: Any, b: Any) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return _ENHARMONIC.get(a, a) == _ENHARMONIC.get(b, b)
    return math.isclose(a, b, rel_tol=1e-5, abs_tol=_TOLERANCE)


if __name__ == "__main__":
    sys.exit(run_command(main))
