"""Export of a score as MusicXML, for MuseScore and other notation programs.

music21 writes the file; this module determines bars, voices, tied values, pitch spelling and drum
notation. music21 is an extra, so it is imported at first use.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from musiclstm.errors import RendererMissingError
from musiclstm.export.note_values import (
    UNITS,
    Chord,
    beat_units,
    split_into_values,
    split_into_voices,
)
from musiclstm.midi.analysis import bar_starts, estimate_key, in_ticks, meters_at
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from symusic.core import ScoreTick, TrackTick

    from musiclstm.midi.analysis import AnyScore

_MAX_NAME_LENGTH = 60
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

# Staff position of each drum key; C5 for all others.
_DRUM_POSITIONS = {
    **dict.fromkeys((35, 36), "F4"),  # bass drums
    **dict.fromkeys((41, 43), "A4"),  # floor toms
    **dict.fromkeys((45, 47), "D5"),  # low toms
    **dict.fromkeys((48, 50), "E5"),  # high toms
    **dict.fromkeys((42, 46), "G5"),  # hi-hats
    44: "D4",  # hi-hat, by foot
    **dict.fromkeys((51, 53, 59), "F5"),  # rides
    **dict.fromkeys((49, 52, 55, 57), "A5"),  # crashes
}
_BEFORE_INSTRUMENT = frozenset({"chord", "unpitched", "duration", "tie"})  # order of a <note>
_CYMBALS = frozenset({42, 44, 46, 49, 51, 52, 53, 55, 57, 59})  # with x-shaped note heads


class _Bar(NamedTuple):
    """A bar of all parts, in units."""

    start: int
    end: int
    meter: tuple[int, int]
    fifths: int  # sharps of the key signature; negative for flats


class _ChordSegment(NamedTuple):
    """The part of a chord within one bar, in units from the beginning of the bar."""

    start: int
    end: int
    pitches: tuple[int, ...]
    tied_before: bool
    tied_after: bool


def to_musicxml(score: AnyScore, *, title: str = "") -> str:
    """Convert a score to MusicXML.

    Notes are quantized to 24 steps per quarter note, which leaves composed music unchanged. Without
    a key signature the key is estimated. Drums are written on a percussion staff. Takes about 0.02
    seconds for a bar of four instruments, after one second to load music21.

    Args:
        score: In any time unit; left unchanged.
        title: Title of the movement. Empty: "Music".

    Raises:
        RendererMissingError: music21 is not installed.
        ScoreError: The score has more than a million bars.
    """
    m21 = _music21()
    score = in_ticks(score)
    bars = list(_bars(score))
    sheet = m21.stream.Score()
    sheet.insert(0, m21.metadata.Metadata(title=_plain(title) or "Music", composer="musiclstm"))
    kits: dict[str, list[int]] = {}
    for number, track in enumerate(track for track in score.tracks if len(track.notes)):
        part, keys = _part(m21, track, number, bars, _units(score))
        sheet.insert(0, part)
        if track.is_drum:
            kits[part.id] = keys
        if number == 0:
            _write_tempos(m21, part, score)
    exporter = m21.musicxml.m21ToXml.ScoreExporter(sheet)
    _name_drums(exporter.parse(), kits)
    return exporter.asBytes().decode()


def _bars(score: ScoreTick) -> Iterator[_Bar]:
    lines = bar_starts(score).tolist()
    keys = sorted((each.time, each.key) for each in score.key_signatures)
    default = 0 if keys else _estimated_fifths(score)
    units = _units(score)
    meters = meters_at(score, lines[:-1])
    for start, end, meter in zip(lines[:-1], lines[1:], meters, strict=True):
        index = bisect_right(keys, start, key=lambda key: key[0])
        fifths = keys[index - 1][1] if index else default
        first, last = round(start * units), round(end * units)
        if end == lines[-1]:
            last = max(last, first + 1)
        if first < last:  # a meter change can leave a bar shorter than the grid
            yield _Bar(first, last, meter, min(max(fifths, -7), 7))


def _units(score: ScoreTick) -> Fraction:
    """Return the units per tick."""
    return Fraction(UNITS, max(1, score.ticks_per_quarter))


def _estimated_fifths(score: ScoreTick) -> int:
    """Return the signature of the estimated key, -5 to 6."""
    key = estimate_key(score)
    if key is None:
        return 0
    major = key.tonic + (3 if key.mode == "minor" else 0)
    return (7 * major + 5) % 12 - 5


# -- Parts -----------------------------------------------------------------------------------------


def _part(
    m21: ModuleType, track: TrackTick, number: int, bars: list[_Bar], units: Fraction
) -> tuple[Any, list[int]]:
    """Return the part, and the key of every note head in the order of the file."""
    end = bars[-1].end
    notes = [_quantized(note.time, note.end, note.pitch, units, end) for note in track.notes]
    voices = [_cut_at_bars(voice, bars) for voice in split_into_voices(notes)]
    part = m21.stream.Part(id=f"P{number + 1}")
    part.partName = _plain(track.name) or _instrument_name(track)
    part.insert(0, _instrument(m21, track, part.id))
    writer = _MeasureWriter(m21, is_drum=track.is_drum)
    clef = _clef(m21, track, float(np.mean([pitch for _, _, pitch in notes])))
    for index, bar in enumerate(bars):
        measure = m21.stream.Measure(number=index + 1)
        if index == 0:
            measure.insert(0, clef)
        _write_signatures(m21, measure, bar, bars[index - 1] if index else None, track.is_drum)
        writer.fill(measure, [voice.get(index, []) for voice in voices], bar)
        part.append(measure)
    return part, writer.keys


def _quantized(
    start: int, end: int, pitch: int, units: Fraction, last: int
) -> tuple[int, int, int]:
    """Return onset, end and pitch in units; the onset is before `last`."""
    onset = min(max(0, round(start * units)), last - 1)
    return onset, max(onset + 1, round(end * units)), min(max(pitch, 0), 127)


def _cut_at_bars(voice: list[Chord], bars: list[_Bar]) -> dict[int, list[_ChordSegment]]:
    """Return the segments of a voice by the index of their bar."""
    cut: dict[int, list[_ChordSegment]] = defaultdict(list)
    for chord in voice:
        index = bisect_right(bars, chord.start, key=lambda bar: bar.start) - 1
        while index < len(bars) and bars[index].start < chord.end:
            bar = bars[index]
            start, end = max(chord.start, bar.start), min(chord.end, bar.end)
            ties = (start > chord.start, end < chord.end)
            cut[index].append(
                _ChordSegment(start - bar.start, end - bar.start, chord.pitches, *ties)
            )
            index += 1
    return cut


def _write_signatures(
    m21: ModuleType, measure: Any, bar: _Bar, previous: _Bar | None, is_drum: bool
) -> None:
    if not is_drum and (previous is None or previous.fifths != bar.fifths):
        measure.insert(0, m21.key.KeySignature(bar.fifths))
    if previous is None or previous.meter != bar.meter:
        measure.insert(0, m21.meter.TimeSignature("{}/{}".format(*bar.meter)))


class _MeasureWriter:
    """Writer of the notes of measures; `keys` lists the keys of all heads written."""

    def __init__(self, m21: ModuleType, *, is_drum: bool) -> None:
        self._m21, self._is_drum = m21, is_drum
        self.keys: list[int] = []

    def fill(self, measure: Any, voices: list[list[_ChordSegment]], bar: _Bar) -> None:
        """Write the voices of a bar, or a rest."""
        used = [voice for voice in voices if voice]
        if not used:
            rest = self._m21.note.Rest(quarterLength=Fraction(bar.end - bar.start, UNITS))
            rest.fullMeasure = True
            measure.append(rest)
        elif len(used) == 1:
            self._write(measure, used[0], bar)
        else:
            for number, voice in enumerate(used):
                stream = self._m21.stream.Voice(id=str(number + 1))
                self._write(stream, voice, bar, show_rests=number == 0)
                measure.insert(0, stream)

    def _write(
        self, stream: Any, voice: list[_ChordSegment], bar: _Bar, *, show_rests: bool = True
    ) -> None:
        at, end, beat = 0, bar.end - bar.start, beat_units(*bar.meter)
        for segment in [*voice, _ChordSegment(end, end, (), False, False)]:
            for length in split_into_values(at, segment.start, beat=beat):
                rest = self._m21.note.Rest(quarterLength=Fraction(length, UNITS))
                rest.style.hideObjectOnPrint = not show_rests
                stream.append(rest)
            for note in self._notes(segment, beat, bar.fifths):
                stream.append(note)
            at = segment.end

    def _notes(self, segment: _ChordSegment, beat: int, fifths: int) -> Iterator[Any]:
        """Yield the tied notes or chords of a segment."""
        lengths = split_into_values(segment.start, segment.end, beat=beat)
        for index, length in enumerate(lengths):
            heads = [self._head(pitch, fifths) for pitch in segment.pitches]
            note = heads[0] if len(heads) == 1 else self._chord(heads)
            note.quarterLength = Fraction(length, UNITS)
            before = index > 0 or segment.tied_before
            after = index < len(lengths) - 1 or segment.tied_after
            if before or after:
                kind = "continue" if before and after else "stop" if before else "start"
                for tied in {id(each): each for each in (*heads, note)}.values():
                    tied.tie = self._m21.tie.Tie(kind)
            yield note

    def _chord(self, heads: list[Any]) -> Any:
        if self._is_drum:
            return self._m21.percussion.PercussionChord(heads)
        return self._m21.chord.Chord(heads)

    def _head(self, pitch: int, fifths: int) -> Any:
        self.keys.append(pitch)
        if not self._is_drum:
            name, octave = _pitch_name(pitch, fifths)
            return self._m21.note.Note(self._m21.pitch.Pitch(name, octave=octave))
        head = self._m21.note.Unpitched(displayName=_DRUM_POSITIONS.get(pitch, "C5"))
        if pitch in _CYMBALS:
            head.notehead = "x"
        return head


# -- Notation of one track -------------------------------------------------------------------------


def _pitch_name(pitch: int, fifths: int) -> tuple[str, int]:
    """Return name and octave of a key, spelled close to the key signature on the line of fifths.

    On that line (F is -1, C is 0, B is 5) the scale of n sharps has the tones n - 1 to n + 5. The
    two tones below and the three above are the most frequent chromatic ones.
    """
    lowest = fifths - 3
    position = lowest + (7 * pitch - lowest) % 12
    sharps, letter = divmod(position + 1, 7)
    octave = (pitch - sharps) // 12 - 1
    return "FCGDAEB"[letter] + "#" * sharps + "-" * -sharps, octave


def _clef(m21: ModuleType, track: TrackTick, mean_pitch: float) -> Any:
    if track.is_drum:
        return m21.clef.PercussionClef()
    return m21.clef.TrebleClef() if mean_pitch >= 58 else m21.clef.BassClef()


def _instrument(m21: ModuleType, track: TrackTick, part_id: str) -> Any:
    kind = m21.instrument.UnpitchedPercussion if track.is_drum else m21.instrument.Instrument
    instrument = kind()
    instrument.instrumentName = _instrument_name(track)
    instrument.partId, instrument.instrumentId = part_id, f"{part_id}-I1"
    if not track.is_drum:
        instrument.midiProgram = min(max(track.program, 0), 127)
    return instrument


def _instrument_name(track: TrackTick) -> str:
    return instrument_name(DRUMS if track.is_drum else min(max(track.program, 0), 127))


# -- Drums -----------------------------------------------------------------------------------------


def _name_drums(root: Element, kits: dict[str, list[int]]) -> None:
    """Give every head of a drum part the instrument of its key; music21 writes one per part."""
    for part_id, keys in kits.items():
        drums = {key: f"{part_id}-K{key}" for key in sorted(set(keys))}
        _list_drums(root.find(f"part-list/score-part[@id='{part_id}']"), drums)
        heads = [
            note
            for note in root.findall(f"part[@id='{part_id}']//note")
            if note.find("unpitched") is not None
        ]
        for head, key in zip(heads, keys, strict=True):
            before = [each.tag for each in head if each.tag in _BEFORE_INSTRUMENT]
            head.insert(len(before), Element("instrument", id=drums[key]))


def _list_drums(part: Element | None, drums: dict[int, str]) -> None:
    assert part is not None
    for old in [*part.findall("score-instrument"), *part.findall("midi-instrument")]:
        part.remove(old)
    for key, name in drums.items():
        SubElement(SubElement(part, "score-instrument", id=name), "instrument-name").text = str(key)
    for key, name in drums.items():
        midi = SubElement(part, "midi-instrument", id=name)
        SubElement(midi, "midi-channel").text = "10"
        SubElement(midi, "midi-unpitched").text = str(key + 1)  # MusicXML counts keys from 1


# -- Tempos and names ------------------------------------------------------------------------------


def _write_tempos(m21: ModuleType, part: Any, score: ScoreTick) -> None:
    measures = list(part.getElementsByClass("Measure"))
    offsets = [float(measure.offset) for measure in measures]
    for tempo in score.tempos:
        at = Fraction(max(0, round(tempo.time * _units(score))), UNITS)
        index = bisect_right(offsets, float(at)) - 1
        if at < measures[index].offset + measures[index].highestTime and tempo.mspq > 0:
            mark = m21.tempo.MetronomeMark(number=round(60_000_000 / tempo.mspq, 2))
            measures[index].insert(at - Fraction(measures[index].offset), mark)


def _plain(name: str) -> str:
    """Return a name on one line, cut, without characters that XML forbids."""
    return " ".join(_UNPRINTABLE.sub(" ", name).split())[:_MAX_NAME_LENGTH]


def _music21() -> ModuleType:
    try:
        import music21
        import music21.musicxml.m21ToXml
    except ImportError as error:
        raise RendererMissingError(
            "Notation needs the Python package music21, which is missing; install it with: "
            "pip install music21"
        ) from error
    return music21
