"""Summary of a score: bars, notes, tempo, meter, key and tracks."""

from __future__ import annotations

from dataclasses import dataclass

from symusic.core import ScoreTick, TrackTick

from musiclstm.midi import analysis
from musiclstm.midi.general_midi import DRUMS, instrument_name

_PITCHES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


@dataclass(frozen=True)
class TrackSummary:
    """Summary of one track.

    Args:
        name: Cleaned track name, or empty.
        instrument: General MIDI name, or `Drums`.
        program: 0..127, or -1 for drums.
        notes: Number of notes.
        lowest: Lowest pitch, 0..127.
        highest: Highest pitch, 0..127.
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
        text = f"{title}: {pluralize(self.notes, 'note')}"
        if self.program == DRUMS:
            return text
        names = dict.fromkeys((_pitch_name(self.lowest), _pitch_name(self.highest)))
        return f"{text}, {' to '.join(names)}"


@dataclass(frozen=True)
class MidiSummary:
    """Summary of a MIDI file; `str(summary)` has a few lines for the terminal.

    Args:
        name: Cleaned file name, or empty.
        bars: Number of bars to the end of the last note, the last one counted whole.
        notes: Notes of all tracks together.
        seconds: End of the last note.
        tempo_bpm: Quarter notes per minute at the first note.
        meter: Time signature at the first note, such as `3/4`.
        key: Estimated key, such as `F# minor`; None without pitched notes.
        tracks: One summary per track with notes.
        repairs: One clause per repair.
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
    """Summarize a score in which every track has notes.

    Args:
        score: In ticks, with at least one track.
        name: Cleaned file name.
        repairs: One clause per repair.
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
        tracks=tuple(_summarize_track(track) for track in score.tracks),
        repairs=repairs,
    )


def _pitch_name(pitch: int) -> str:
    """Return the name of a pitch; 60 is C4."""
    return f"{_PITCHES[pitch % 12]}{pitch // 12 - 1}"


def pluralize(number: int, what: str) -> str:
    """Return a number with its noun, such as `1 note` or `1,203 notes`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _summarize_track(track: TrackTick) -> TrackSummary:
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
