"""Summary of a score: bars, notes, tempo, meter, key and tracks."""

from __future__ import annotations

from dataclasses import dataclass

from symusic.core import ScoreTick, TrackTick

from musiclstm.midi import analysis
from musiclstm.midi.beats import is_performed
from musiclstm.midi.general_midi import DRUMS, instrument_name

NO_BEATS = (
    "the notes do not follow the bars and beats of the file, as in a free recording; its bars, "
    "meter and tempo say nothing about the music (`python -m musiclstm beats` finds the real ones)"
)

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
        meter: Time signature of most of the piece, such as `3/4`.
        key: Estimated key, such as `F# minor`; None without pitched notes.
        tracks: One summary per track with notes.
        repairs: One clause per repair.
        pickup: Whether it begins with an upbeat, which is the first of `bars`.
        performed: Whether the notes do not follow the bars of the file, see `beats.is_performed`.
        unkept: Kinds of texts that a continuation does not keep, such as `12 lyrics`.
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
    pickup: bool = False
    performed: bool = False
    unkept: tuple[str, ...] = ()

    @property
    def facts(self) -> str:
        """Bars, meter, tempo and key, such as `5 bars of 3/4 with a pickup at 90 bpm`."""
        pickup = " with a pickup" if self.pickup else ""
        in_key = f" in {self.key}" if self.key else ""
        bars = f"{pluralize(self.bars, 'bar')} of {self.meter}{pickup}"
        return f"{bars} at {self.tempo_bpm:.0f} bpm{in_key}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """Free recording, repairs, and what is not kept, one line each."""
        lines = [NO_BEATS] if self.performed else []
        lines += [f"repaired: {repair}" for repair in self.repairs]
        lines += [f"not kept in a continuation: {', '.join(self.unkept)}"] if self.unkept else []
        return tuple(lines)

    def __str__(self) -> str:
        lines = [
            self.name or "Untitled",
            f"  {self.facts}",
            f"  {pluralize(self.notes, 'note')}, {self.seconds:,.1f} seconds",
        ]
        lines += [f"  track {number}: {track}" for number, track in enumerate(self.tracks, 1)]
        return "\n".join([*lines, *(f"  {remark}" for remark in self.remarks)])


def summarize(score: ScoreTick, *, name: str = "", repairs: tuple[str, ...] = ()) -> MidiSummary:
    """Summarize a score in which every track has notes.

    Args:
        score: In ticks, with at least one track.
        name: Cleaned file name.
        repairs: One clause per repair.
    """
    first = min(int(track.notes.numpy()["time"].min()) for track in score.tracks)
    numerator, denominator = analysis.piece_meter(score)
    key = analysis.estimate_key(score)
    performed = is_performed(score)
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
        pickup=not performed and analysis.has_pickup(score),
        performed=performed,
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
