"""What is heard in a recording, its corrections, and the score of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from symusic.core import NoteTick, NoteTickList, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from musiclstm.audio.transcription.beats import find_beats
from musiclstm.audio.transcription.notes import (
    ONSET_THRESHOLD,
    TranscribedNote,
    Voices,
    find_notes,
)
from musiclstm.audio.transcription.recording import (
    RecordingSource,
    label_of_recording,
    read_recording,
)
from musiclstm.audio.transcription.tuning import find_tuning_cents, retune, tuning_ratio
from musiclstm.errors import RecordingError
from musiclstm.midi.score_ops import trim_overlapping_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# A recording with fewer notes of such a confidence, or with unsure ones and without any beat, is
# noise: 20 s of white noise have four notes and a beat confidence of .08, music .28 and more.
MIN_NOTES, SURE, MIN_BEAT_CONFIDENCE = 4, 0.6, 0.15
# Mean confidence of the notes of many voices. Of 26 validation clips the nine of bands, strings and
# the worst song are below it, and the others, with a note F1 of .77 and more, are above.
UNSURE = 0.77
_SLACK_S = 0.1  # by which the last bar line may lie behind the end of what was read
TICKS_PER_BEAT = 480
PIANO, FLUTE = 0, 73  # program of the score, of many voices and of one
TEMPO_FACTORS = (0.5, 1.0, 2.0)
MAX_METER = 12


@dataclass(frozen=True)
class Transcription:
    """Notes, tuning, beats and bar lines of a recording. Times are in seconds of what was read.

    Args:
        name: Cleaned file name, or empty.
        seconds: Duration of what was read.
        notes: By start.
        voices: `one` or `many`.
        tuning_cents: Deviation from A = 440 Hz, -50 to 50.
        beats: Times of the beats, ascending.
        first_downbeat: Index of the first beat that begins a bar.
        meter: Beats of a bar.
        beat_confidence: Mean probability of a beat at the beats, 0..1.
        start_s: Where in the file it begins.
        is_cut: Whether the file goes on.
    """

    name: str
    seconds: float
    notes: tuple[TranscribedNote, ...]
    voices: Voices
    tuning_cents: float
    beats: tuple[float, ...]
    first_downbeat: int
    meter: int
    beat_confidence: float
    start_s: float = 0.0
    is_cut: bool = False

    @property
    def downbeats(self) -> tuple[float, ...]:
        """Times of the beats that begin a bar."""
        return self.beats[self.first_downbeat :: self.meter]

    @property
    def tempo_bpm(self) -> float:
        """Beats per minute from the first to the last beat."""
        return 60 * (len(self.beats) - 1) / (self.beats[-1] - self.beats[0])

    @property
    def confidence(self) -> float:
        """Mean confidence of the notes, 0..1."""
        return float(np.mean([note.confidence for note in self.notes]))

    @property
    def is_unsure(self) -> bool:
        """Whether many notes may be wrong, as those of bands, strings and noise are."""
        return self.voices == "many" and self.confidence < UNSURE

    @cached_property
    def bar_lines(self) -> tuple[float, ...]:
        """Times of the bar lines of `to_score`; new music follows at the last one.

        The first bar begins at or before the first note, perhaps before the recording. A last bar
        that is less than half full, or that the end of what was read cuts off, is left out.
        """
        onset, _ = _quantized(self._beats_at([note.start_s for note in self.notes]))
        first = (onset.min() - self.first_downbeat) // self.meter * self.meter
        first += self.first_downbeat
        end = max(note.end_s for note in self.notes)
        bars = max(1, int(np.ceil((self._beats_at([end])[0] - first) / self.meter)))
        lines = self._seconds_at(first + self.meter * np.arange(bars + 1))
        while bars > 1:
            is_full = end >= (lines[bars - 1] + lines[bars]) / 2
            if is_full and (not self.is_cut or lines[bars] <= self.seconds + _SLACK_S):
                break
            bars -= 1
        return tuple(lines[: bars + 1].tolist())

    def _beats_at(self, seconds: Sequence[float] | Floats) -> Floats:
        """Return times as numbers of beats, 0 at the first one, also outside of the beats."""
        beats, at = np.array(self.beats), np.array(seconds)
        number = np.interp(at, beats, np.arange(len(beats)))
        first, last = self._end_periods
        number += np.minimum(0, at - beats[0]) / first + np.maximum(0, at - beats[-1]) / last
        return number

    def _seconds_at(self, numbers: Floats) -> Floats:
        """Return the inverse of `_beats_at`."""
        beats = np.array(self.beats)
        first, last = self._end_periods
        seconds: Floats = np.interp(numbers, np.arange(len(beats)), beats)
        seconds += np.minimum(0, numbers) * first
        return seconds + np.maximum(0, numbers - (len(beats) - 1)) * last

    @property
    def _end_periods(self) -> tuple[float, float]:
        """Seconds between the first few and between the last few beats."""
        periods = np.diff(self.beats)
        return float(np.median(periods[:4])), float(np.median(periods[-4:]))

    def corrected(
        self, *, tempo_factor: float = 1.0, meter: int | None = None, downbeat_shift: int = 0
    ) -> Transcription:
        """Return it with other beats or bar lines.

        Args:
            tempo_factor: 2 for twice as many beats, 0.5 for half as many.
            meter: Beats of a bar, 1 to 12. None: as it is.
            downbeat_shift: Beats by which all bar lines move, negative to earlier ones.

        Raises:
            ValueError: Out of range, or too few beats are left.
        """
        if tempo_factor not in TEMPO_FACTORS:
            raise ValueError(f"tempo_factor must be 0.5, 1 or 2, got {tempo_factor}.")
        meter = self.meter if meter is None else meter
        if not isinstance(meter, int) or not 1 <= meter <= MAX_METER:
            raise ValueError(f"meter must be 1 to {MAX_METER} beats, got {meter}.")
        beats, first = np.array(self.beats), self.first_downbeat
        if tempo_factor == 2:
            middles = (beats[1:] + beats[:-1]) / 2
            beats, first = np.sort(np.concatenate([beats, middles])), 2 * first
        elif tempo_factor == 0.5:
            beats, first = beats[first % 2 :: 2], first // 2
        if len(beats) < 2:
            raise ValueError("The recording has too few beats for half its tempo.")
        first = (first + downbeat_shift) % meter
        return replace(self, beats=tuple(beats.tolist()), first_downbeat=first, meter=meter)

    def to_score(self, *, program: int | None = None) -> ScoreTick:
        """Return the notes on the grid of the beats, as one track at one tempo.

        Each beat is divided in four, or in three where the onsets fit that clearly better.

        Args:
            program: General MIDI program. None: piano, or flute for one voice.

        Raises:
            ValueError: program out of range.
        """
        lines = np.array(self.bar_lines)
        first = round(float(self._beats_at(lines[:1])[0]))
        position = self._beats_at([note.start_s for note in self.notes])
        onset, steps = _quantized(position)
        end = np.rint(self._beats_at([note.end_s for note in self.notes]) * steps) / steps
        onset, end = onset - first, np.maximum(end, onset + 1 / steps) - first
        last = (len(lines) - 1) * self.meter
        kept = onset < last
        length = np.minimum(end, last) - onset
        track = TrackTick("", self._program(program), False)
        track.notes = trim_overlapping_notes(self._notes_at(onset, length, kept))
        score = ScoreTick(TICKS_PER_BEAT)
        score.tracks.append(track)
        score.tempos.append(TempoTick(0, mspq=round(60e6 / self.tempo_bpm)))
        score.time_signatures.append(TimeSignatureTick(0, self.meter, 4))
        return score

    def _program(self, program: int | None) -> int:
        if program is None:
            return FLUTE if self.voices == "one" else PIANO
        if not 0 <= program <= 127:
            raise ValueError(f"program must be 0 to 127, got {program}.")
        return program

    def _notes_at(
        self, onset: NDArray[Any], length: NDArray[Any], kept: NDArray[np.bool_]
    ) -> NoteTickList:
        """Return the notes that are kept, of those with one onset and pitch the longest."""
        longest: dict[tuple[int, int], NoteTick] = {}
        for index in np.flatnonzero(kept).tolist():
            note = self.notes[index]
            tick = round(onset[index] * TICKS_PER_BEAT)
            ticks = max(1, round(length[index] * TICKS_PER_BEAT))
            key = (tick, note.pitch)
            if key not in longest or longest[key].duration < ticks:
                longest[key] = NoteTick(tick, ticks, note.pitch, note.velocity)
        return NoteTickList(longest[key] for key in sorted(longest))

    def __str__(self) -> str:
        cents = round(self.tuning_cents)
        tuning = f"{abs(cents)} cents {'above' if cents > 0 else 'below'} " if cents else "at "
        voices = "one voice" if self.voices == "one" else "many voices"
        lines = [
            f"heard {len(self.notes)} notes of {voices} in {self.seconds:.1f} seconds, on average "
            f"{100 * self.confidence:.0f} % sure",
            f"{self.tempo_bpm:.0f} beats a minute, {self.meter} in a bar, beats "
            f"{100 * self.beat_confidence:.0f} % sure; tuned {tuning}A = 440 Hz",
        ]
        if self.is_cut:
            lines.append("only the first minute was read")
        if self.is_unsure:
            lines.append("many notes may be wrong: bands, strings and noise are heard badly")
        return "\n".join(lines)


def _quantized(position: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return onsets on the grid, in beats, and the steps of a beat there: 4 or 3."""
    steps = np.full(len(position), 4)
    beat = np.floor(position + 1e-9)
    errors = {n: np.abs(np.rint(position * n) / n - position) for n in (3, 4)}
    for number in np.unique(beat):
        own = beat == number
        four, three = errors[4][own].mean(), errors[3][own].mean()
        inner = np.abs(position[own] - np.rint(position[own])) > 0.2
        if inner.sum() >= 2 and three < 0.5 * four:
            steps[own] = 3
    return np.rint(position * steps) / steps, steps


def transcribe(
    source: RecordingSource,
    *,
    name: str | None = None,
    sample_rate_hz: int | None = None,
    start_s: float = 0.0,
    voices: Voices | None = None,
    meter: int | None = None,
    onset_threshold: float = ONSET_THRESHOLD,
) -> Transcription:
    """Write down the notes, tuning, beats and bar lines of a recording.

    Args:
        source: A sound file, its bytes, `Audio`, or samples of shape (frames,) or (frames,
            channels). At most a minute is read. m4a and video need the system's ffmpeg.
        name: Name in messages. None: the name of the file.
        sample_rate_hz: Frames per second of samples.
        start_s: Where to begin in the recording.
        voices: `one` for a melody without accompaniment, `many`, or None: decided by ear.
        meter: Beats of a bar. None: 2, 3 or 4.
        onset_threshold: Least probability of an onset, 0.05 to 0.95; lower finds more notes.

    Raises:
        RecordingError: It cannot be read, is silent, or has no music.
        MissingPackageError: A package of the extra `transcribe` is missing.
        ValueError: An argument is out of range.
    """
    if voices not in (None, "one", "many"):
        raise ValueError(f"voices must be 'one', 'many' or None, got {voices!r}.")
    if not 0.05 <= onset_threshold <= 0.95:
        raise ValueError(f"onset_threshold must be 0.05 to 0.95, got {onset_threshold}.")
    if meter is not None and not 1 <= meter <= MAX_METER:
        raise ValueError(f"meter must be 1 to {MAX_METER} beats, got {meter}.")
    recording = read_recording(source, name=name, sample_rate_hz=sample_rate_hz, start_s=start_s)
    cents = find_tuning_cents(recording.samples)
    ratio = tuning_ratio(cents)
    found, kind = find_notes(
        retune(recording.samples, ratio), voices=voices, onset_threshold=onset_threshold
    )
    notes = [
        note._replace(start_s=note.start_s / ratio, end_s=note.end_s / ratio) for note in found
    ]
    label = label_of_recording(recording.name)
    if sum(note.confidence >= SURE for note in notes) < MIN_NOTES:
        raise _no_music(label)
    beats = find_beats(recording.samples, notes, meter=meter)
    if len(beats.times_s) < 2:
        raise RecordingError(f"{label} is too short to find its beats; pass some bars of music.")
    downbeats = np.flatnonzero(beats.numbers == 1)
    heard = Transcription(
        name=recording.name,
        seconds=recording.seconds,
        notes=tuple(notes),
        voices=kind,
        tuning_cents=cents,
        beats=tuple(beats.times_s.tolist()),
        first_downbeat=int(downbeats[0]) if len(downbeats) else 0,
        meter=beats.meter,
        beat_confidence=beats.confidence,
        start_s=start_s,
        is_cut=recording.is_cut,
    )
    if heard.is_unsure and heard.beat_confidence < MIN_BEAT_CONFIDENCE:
        raise _no_music(label)
    return heard


def _no_music(label: str) -> RecordingError:
    return RecordingError(
        f"{label} has no music that can be heard, only noise or fewer than {MIN_NOTES} clear "
        "notes; record closer, or use instruments with a pitch."
    )
