"""What a score holds, in numbers and in a few plain lines.

Knows scores that are already clean. It does not know files, limits or the model.
"""

from __future__ import annotations

from dataclasses import dataclass

from symusic.core import ScoreTick, TrackTick

from musiclstm.midi import analysis
from musiclstm.midi.general_midi import DRUMS, instrument_name

_PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class TrackSummary:
    """What one track holds.

    Args:
        name: As written in the file, cleaned; empty where it has none.
        instrument: The General MIDI name, or `Drums`.
        program: 0..127, or -1 for drums.
        notes: How many.
        lowest: Lowest note number, 0..127.
        highest: Highest note number, 0..127.
    """

    name: str
    instrument: str
    program: int
    notes: int
    lowest: int
    highest: int

    def __str__(self) -> str:
        own = self.name if self.name.casefold() != self.instrument.casefold() else ""
        title = f"{own} ({self.instrument})" if own else self.instrument
        return f"{title}: {pluralize(self.notes, 'note')}{self._span()}"

    def _span(self) -> str:
        if self.program == DRUMS:
            return ""
        names = dict.fromkeys((pitch_name(self.lowest), pitch_name(self.highest)))
        return f", {' to '.join(names)}"


@dataclass(frozen=True)
class MidiSummary:
    """What was read; `str(report)` is a few plain lines for the terminal.

    Args:
        name: Of the file, cleaned; empty where it has none.
        bars: To the first bar line at or after the end of the last note.
        notes: Of all tracks together.
        seconds: To the end of the last note.
        tempo_bpm: Quarter notes per minute where the first note begins.
        meter: Where the first note begins, such as `3/4`.
        key: Estimated, such as `F# minor`; None without pitched notes.
        tracks: One report for each track with notes.
        repairs: One clause for each thing that was put right.
    """

    name: str
    bars: int
    notes: int
    seconds: float
    tempo_bpm: float
    meter: str
    key: str | None
    tracks: tuple[TrackSummary, ...]
    repairs: tuple[str, ...]

    def __str__(self) -> str:
        in_key = f" in {self.key}" if self.key else ""
        lines = [
            self.name or "Untitled",
            f"  {pluralize(self.bars, 'bar')} of {self.meter} at {self.tempo_bpm:.0f} bpm{in_key}",
            f"  {pluralize(self.notes, 'note')}, {self.seconds:,.1f} seconds",
        ]
        lines += [f"  track {number}: {track}" for number, track in enumerate(self.tracks, 1)]
        lines += [f"  repaired: {repair}" for repair in self.repairs]
        return "\n".join(lines)


def summarize(score: ScoreTick, *, name: str = "", repairs: tuple[str, ...] = ()) -> MidiSummary:
    """Describe a score in which every track has notes.

    Args:
        score: In ticks, with at least one track.
        name: Of the file it came from.
        repairs: What was put right on the way.
    """
    first = min(int(track.notes.numpy()["time"].min()) for track in score.tracks)
    numerator, denominator = analysis.meter_at(score, first)
    key = analysis.estimate_key(score)
    return MidiSummary(
        name=name,
        bars=len(analysis.bar_starts(score)) - 1,
        notes=score.note_num(),
        seconds=analysis.seconds_at(score, analysis.last_note_end(score)),
        tempo_bpm=analysis.tempo_at(score, first),
        meter=f"{numerator}/{denominator}",
        key=None if key is None else str(key),
        tracks=tuple(_track_report(track) for track in score.tracks),
        repairs=repairs,
    )


def pitch_name(pitch: int) -> str:
    """The name of a note number, with C4 for 60."""
    return f"{_PITCHES[pitch % 12]}{pitch // 12 - 1}"


def pluralize(number: int, what: str) -> str:
    """A number and what it counts, such as `1 note` or `1,203 notes`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _track_report(track: TrackTick) -> TrackSummary:
    program = DRUMS if track.is_drum else track.program
    pitches = track.notes.numpy()["pitch"]
    return TrackSummary(
        name=track.name,
        instrument=instrument_name(program),
        program=program,
        notes=len(pitches),
        lowest=int(pitches.min()),
        highest=int(pitches.max()),
    )
