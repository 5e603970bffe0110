"""Measures of one staff as music21 objects: signatures, chords, rests, ties and triplets.

Times are in units, as in `note_values`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any, NamedTuple

from musiclstm.export.note_values import UNITS, Group, Value, divide_bar, split_into_values
from musiclstm.export.quantization import Bar
from musiclstm.export.voices import Chord

# Staff position of each drum key of a drum set.
_DRUM_POSITIONS = {
    35: "E4",  # bass drums
    36: "F4",
    **dict.fromkeys((37, 38, 40), "C5"),  # snare drums and side stick
    **dict.fromkeys((41, 43), "A4"),  # floor toms
    **dict.fromkeys((45, 47), "D5"),  # low toms
    **dict.fromkeys((48, 50), "E5"),  # high toms
    **dict.fromkeys((42, 46), "G5"),  # hi-hats
    44: "D4",  # hi-hat, by foot
    **dict.fromkeys((51, 53, 59), "F5"),  # rides
    **dict.fromkeys((49, 52, 55, 57), "A5"),  # crashes
}
_CROSSES = frozenset({37, 42, 44, 46, 49, 51, 52, 53, 55, 57, 59})  # side stick and cymbals
_OTHER_DRUMS = ("B4", "D5", "G4", "E5", "F5")  # by key, with triangles as heads
_TRIPLET_TYPES = {4: "16th", 8: "eighth", 16: "quarter", 32: "half"}  # by a third of the span


class _Segment(NamedTuple):
    """The part of a chord within one bar, in units from the beginning of a full bar."""

    start: int
    end: int
    pitches: tuple[int, ...]
    tied_before: bool
    tied_after: bool


class StaffWriter:
    """Writer of the measures of one staff; `keys` lists the keys of all heads written.

    Args:
        m21: The package music21.
        bars: Bars of the piece.
        is_drum: Whether heads are drums.
    """

    def __init__(self, m21: ModuleType, bars: Sequence[Bar], *, is_drum: bool) -> None:
        self._m21, self._bars, self._is_drum = m21, bars, is_drum
        self.keys: list[int] = []

    def write(self, staff: Any, voices: Sequence[list[Chord]], clef: Any) -> None:
        """Append a measure for every bar to a part."""
        segments = [_cut_at_bars(voice, self._bars) for voice in voices]
        first = 0 if self._bars[0].is_pickup else 1
        for index, bar in enumerate(self._bars):
            measure = self._m21.stream.Measure(number=index + first)
            if index == 0:
                measure.insert(0, clef)
            if bar.is_pickup:
                measure.showNumber = self._m21.stream.enums.ShowNumber.NEVER
                measure.paddingLeft = Fraction(bar.missing, UNITS)
            self._write_signatures(measure, bar, self._bars[index - 1] if index else None)
            self._fill(measure, [each[index] for each in segments if index in each], bar)
            staff.append(measure)
        staff.streamStatus.tuplets = True

    def _write_signatures(self, measure: Any, bar: Bar, previous: Bar | None) -> None:
        key = (bar.fifths, bar.is_minor)
        if not self._is_drum and (previous is None or (previous.fifths, previous.is_minor) != key):
            signature = self._m21.key.KeySignature(bar.fifths)
            measure.insert(0, signature.asKey("minor" if bar.is_minor else "major"))
        if previous is None or previous.meter != bar.meter:
            measure.insert(0, self._m21.meter.TimeSignature("{}/{}".format(*bar.meter)))

    def _fill(self, measure: Any, voices: list[list[_Segment]], bar: Bar) -> None:
        if not voices:
            rest = self._m21.note.Rest(quarterLength=Fraction(bar.length, UNITS))
            rest.fullMeasure = True
            measure.append(rest)
        elif len(voices) == 1:
            self._write_voice(measure, voices[0], bar)
        else:
            others = [each for voice in voices[1:] for each in voice]
            for number, voice in enumerate(voices):
                stream = self._m21.stream.Voice(id=str(number + 1))
                self._write_voice(stream, voice, bar, others if number == 0 else None)
                measure.insert(0, stream)

    def _write_voice(
        self, stream: Any, voice: list[_Segment], bar: Bar, others: Sequence[_Segment] | None = ()
    ) -> None:
        """Write a voice. Rests are hidden while one of `others` sounds; None: always."""
        at, end = bar.missing, bar.missing + bar.length
        points = {at, end, *(at for each in voice for at in (each.start, each.end))}
        group = divide_bar(bar.meter, points)
        tuplets = _TripletMarks(self._m21)
        for segment in [*voice, _Segment(end, end, (), False, False)]:
            if at < segment.start:
                for value in split_into_values(group, at, segment.start, is_rest=True):
                    rest = self._m21.note.Rest()
                    rest.style.hideObjectOnPrint = others is None or any(
                        each.start <= at < each.end for each in others
                    )
                    stream.append(tuplets.with_duration(rest, value))
                    at += value.length
            if segment.pitches:
                for note in self._notes(segment, group, bar, tuplets, others is None):
                    stream.append(note)
            at = segment.end
        tuplets.close()

    def _notes(
        self,
        segment: _Segment,
        group: Group,
        bar: Bar,
        tuplets: _TripletMarks,
        hide_rests: bool,
    ) -> Iterator[Any]:
        """Yield the tied notes or chords of a segment; for drums, a stroke and rests."""
        values = split_into_values(group, segment.start, segment.end, is_rest=False)
        for index, value in enumerate(values):
            if index and self._is_drum:  # a stroke is not held
                rest = self._m21.note.Rest()
                rest.style.hideObjectOnPrint = hide_rests
                yield tuplets.with_duration(rest, value)
                continue
            heads = [self._head(pitch, bar) for pitch in segment.pitches]
            note = heads[0] if len(heads) == 1 else self._chord(heads)
            tuplets.with_duration(note, value)
            before = index > 0 or segment.tied_before
            after = (index < len(values) - 1 and not self._is_drum) or segment.tied_after
            if before or after:
                kind = "continue" if before and after else "stop" if before else "start"
                for tied in {id(each): each for each in (*heads, note)}.values():
                    tied.tie = self._m21.tie.Tie(kind)
            yield note

    def _chord(self, heads: list[Any]) -> Any:
        if self._is_drum:
            return self._m21.percussion.PercussionChord(heads)
        return self._m21.chord.Chord(heads)

    def _head(self, pitch: int, bar: Bar) -> Any:
        self.keys.append(pitch)
        if not self._is_drum:
            name, octave = pitch_name(pitch, bar.fifths, is_minor=bar.is_minor)
            return self._m21.note.Note(self._m21.pitch.Pitch(name, octave=octave))
        other = _OTHER_DRUMS[pitch % len(_OTHER_DRUMS)]
        head = self._m21.note.Unpitched(displayName=_DRUM_POSITIONS.get(pitch, other))
        if pitch in _CROSSES:
            head.notehead = "x"
        elif pitch not in _DRUM_POSITIONS:
            head.notehead = "triangle"
        return head


class _TripletMarks:
    """Durations of the notes of one voice, with the ends of the brackets of triplets."""

    def __init__(self, m21: ModuleType) -> None:
        self._m21 = m21
        self._open: Group | None = None
        self._last: Any = None

    def with_duration(self, note: Any, value: Value) -> Any:
        """Set the duration of a note or rest and return it."""
        if value.triplet is not self._open:
            self.close()
        if value.triplet is None:
            note.duration = self._m21.duration.Duration(Fraction(value.length, UNITS))
            return note
        duration = self._m21.duration.Duration(Fraction(3 * value.length, 2 * UNITS))
        third = _TRIPLET_TYPES[value.triplet.length // 3]
        tuplet = self._m21.duration.Tuplet(3, 2, third)
        if self._open is None:
            tuplet.type = "start"
        duration.appendTuplet(tuplet)
        note.duration = duration
        self._open, self._last = value.triplet, tuplet
        return note

    def close(self) -> None:
        """End the triplet that is open."""
        if self._last is not None:
            self._last.type = "stop"
        self._open = self._last = None


def _cut_at_bars(voice: list[Chord], bars: Sequence[Bar]) -> dict[int, list[_Segment]]:
    """Return the segments of a voice by the index of their bar."""
    cut: dict[int, list[_Segment]] = defaultdict(list)
    for chord in voice:
        index = bisect_right(bars, chord.start, key=lambda bar: bar.start) - 1
        while index < len(bars) and bars[index].start < chord.end:
            bar = bars[index]
            start, end = max(chord.start, bar.start), min(chord.end, bar.end)
            offset = bar.missing - bar.start
            ties = (start > chord.start, end < chord.end)
            cut[index].append(_Segment(start + offset, end + offset, chord.pitches, *ties))
            index += 1
    return cut


def pitch_name(pitch: int, fifths: int, *, is_minor: bool) -> tuple[str, int]:
    """Return name and octave of a key, spelled close to the key signature on the line of fifths.

    On that line (F is -1, C is 0, B is 5) the scale of n sharps has the tones n - 1 to n + 5. In
    major the two tones below and the three above are the most frequent chromatic ones (Bb and Eb,
    F#, C# and G# in C major), in minor the tone below and the four above (Bb; F# to D# in A minor).
    """
    lowest = fifths - (2 if is_minor else 3)
    position = lowest + (7 * pitch - lowest) % 12
    sharps, letter = divmod(position + 1, 7)
    octave = (pitch - sharps) // 12 - 1
    return "FCGDAEB"[letter] + "#" * sharps + "-" * -sharps, octave
