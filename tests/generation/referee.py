"""A strict parser of token streams, and checks of constraints on the parsed notes.

It shares no code with the grammar that it tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from musiclstm.generation.constraints import Constraints
from musiclstm.tokens import DRUMS, normalize_time_signature
from musiclstm.tokens.vocabulary import TOKEN_NAMES

NAMES = list(TOKEN_NAMES)
IDS = {name: index for index, name in enumerate(NAMES)}

FOLLOWS = {
    "Bar": "TimeSig",
    "TimeSig": "Bar Position Program",
    "Tempo": "Bar Position Program",
    "Program": "Position Program",
    "Position": "Tempo Pitch PitchDrum",
    "Pitch": "Duration",
    "PitchDrum": "Duration",
    "Duration": "Bar Position Program Pitch PitchDrum",
}


@dataclass
class Note:
    """A note; times in 1/48 quarters from the first bar line."""

    bar: int
    program: int
    track: int
    pitch: int
    start: int
    end: int
    position: int


@dataclass
class BarLine:
    """A bar: where it starts and ends, in 1/48 quarters, and its meter."""

    start: int
    meter: tuple[int, int]
    tempos: int = 0
    notes: list[Note] = field(default_factory=list)

    @property
    def unit(self) -> int:
        return 16 // self.meter[1]

    @property
    def end(self) -> int:
        return self.start + self.meter[0] * 12 * self.unit


class Referee:
    """Strict parser: a sequence against the grammar is an assertion error."""

    def __init__(self, ids: Sequence[int], tracks: dict[int, int] | None = None) -> None:
        """Read ids; `tracks` limits the blocks of a program in a bar."""
        self.bars: list[BarLine] = []
        self._tracks = tracks
        before = None
        for index, token in enumerate(ids):
            kind, value = NAMES[token].split("_", 1)
            assert before is not None or kind == "Bar", "a piece begins with a bar"
            assert before is None or kind in FOLLOWS[before].split(), (index, before, kind)
            getattr(self, f"on_{kind.lower()}")(value)
            before = kind
        self._close_bar()
        assert before in ("TimeSig", "Tempo", "Duration"), f"the last bar ends with {before}"

    @property
    def notes(self) -> list[Note]:
        return [note for bar in self.bars for note in bar.notes]

    def on_bar(self, _: str) -> None:
        self._close_bar()
        self.blocks: list[tuple[int, int]] = []  # program, notes
        self.program: int | None = None
        self.position = self.pitch = -1

    def _close_bar(self) -> None:
        if not self.bars:
            return
        for index, (program, notes) in enumerate(self.blocks):
            later = [count for other, count in self.blocks[index + 1 :] if other == program]
            assert notes or any(later), "an empty block without a later one that plays"
        counts = Counter(program for program, _ in self.blocks)
        for program, count in counts.items():
            most = 1 if program == DRUMS else (self._tracks or {}).get(program, 8)
            assert count <= most, f"{count} blocks of program {program}"
        assert DRUMS not in [program for program, _ in self.blocks[:-1]], "drums are not last"

    def on_timesig(self, value: str) -> None:
        numerator, denominator = map(int, value.split("/"))
        start = self.bars[-1].end if self.bars else 0
        self.bars.append(BarLine(start, (numerator, denominator)))

    def on_tempo(self, _: str) -> None:
        assert self.program is None, "a tempo within a part"
        self.bars[-1].tempos += 1

    def on_program(self, value: str) -> None:
        self.program = int(value)
        self.blocks.append((self.program, 0))
        self.position = self.pitch = -1

    def on_position(self, value: str) -> None:
        assert self.position < int(value), "time runs backwards"
        assert int(value) < self.bars[-1].meter[0] * 12, "beyond the bar line"
        self.position, self.pitch = int(value), -1

    def on_pitch(self, value: str) -> None:
        assert self.program not in (None, DRUMS), "a pitch without an instrument"
        self._start(int(value))

    def on_pitchdrum(self, value: str) -> None:
        assert self.program == DRUMS, "a drum on an instrument"
        self._start(int(value))

    def _start(self, pitch: int) -> None:
        assert pitch > self.pitch, "pitches of an onset do not ascend"
        self.pitch = pitch

    def on_duration(self, value: str) -> None:
        beats, parts, resolution = map(int, value.split("."))
        duration = (beats * resolution + parts) * 12 // resolution
        bar, program = self.bars[-1], self.program
        start = bar.start + self.position * bar.unit
        track = sum(other == program for other, _ in self.blocks) - 1
        end = start + duration * bar.unit
        note = Note(len(self.bars) - 1, program, track, self.pitch, start, end, self.position)
        bar.notes.append(note)
        self.blocks[-1] = program, self.blocks[-1][1] + 1


def complaints(referee: Referee, constraints: Constraints) -> list[str]:
    """Return a message for each violated constraint."""
    return [
        *_about_bars(referee, constraints),
        *_about_pitches(referee, constraints),
        *_about_crowds(referee, constraints),
    ]


def _about_bars(referee: Referee, constraints: Constraints) -> Iterator[str]:
    empty = 0
    for number, bar in enumerate(referee.bars):
        empty = 0 if bar.notes else empty + 1
        if empty > constraints.max_empty_bars:
            yield f"bar {number} is empty bar {empty} in a row"
        if constraints.meter is not None and bar.meter != normalize_time_signature(
            *constraints.meter
        ):
            yield f"bar {number} is a {bar.meter}"
        if bar.tempos and not constraints.allows_tempos:
            yield f"bar {number} has a tempo"
        if constraints.notes_per_bar is not None:
            fewest, most = constraints.notes_per_bar
            if constraints.ending and number == len(referee.bars) - 1:
                fewest = min(fewest, 1)
            if not fewest <= len(bar.notes) <= most:
                yield f"bar {number} has {len(bar.notes)} notes, not {fewest} to {most}"


def _about_pitches(referee: Referee, constraints: Constraints) -> Iterator[str]:
    allowed = {program: set(constraints.pitches(program)) for program in range(-1, 128)}
    for note in referee.notes:
        if constraints.programs is not None and note.program not in constraints.programs:
            yield f"{note} is of another program"
        if note.pitch not in allowed[note.program]:
            yield f"{note} is out of key or range"


def _about_crowds(referee: Referee, constraints: Constraints) -> Iterator[str]:
    for start, count in Counter(note.start for note in referee.notes).items():
        if count > constraints.max_notes_at_once:
            yield f"{count} notes start at {start}"
    if constraints.max_polyphony is None:
        return
    changes: Counter[int] = Counter()
    for note in shortened(referee.notes):
        changes[note.start] += 1
        changes[note.end] -= 1
    sounding = 0
    for time in sorted(changes):
        sounding += changes[time]
        if sounding > constraints.max_polyphony:
            yield f"{sounding} notes sound at {time}"


def shortened(notes: Sequence[Note]) -> list[Note]:
    """Return notes, each cut where its part starts the same pitch again."""
    last: dict[tuple[int, int, int], Note] = {}
    for note in sorted(notes, key=lambda note: note.start):
        before = last.get((note.program, note.track, note.pitch))
        if before is not None:
            before.end = min(before.end, note.start)
        last[note.program, note.track, note.pitch] = note
    return list(notes)
