"""A score as MusicXML, for MuseScore and other programs that print music.

music21 writes the file; here stands what it is told: bars, voices, tied values, the spelling of
keys and how drums are drawn. It is imported only when it is asked for, because it is an extra.
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
from musiclstm.export.note_values import UNITS, Chord, beat_of, voices, written
from musiclstm.midi.analysis import bar_starts, estimate_key, in_ticks, meters_at
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from symusic.core import ScoreTick, TrackTick

    from musiclstm.midi.analysis import AnyScore

_LONGEST_NAME = 60
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

# Where a drum stands on its staff, after the usual drum keys; what is not named stands on C5.
_DRUM_PLACES = {
    **dict.fromkeys((35, 36), "F4"),  # bass drums
    **dict.fromkeys((41, 43), "A4"),  # floor toms
    **dict.fromkeys((45, 47), "D5"),  # low toms
    **dict.fromkeys((48, 50), "E5"),  # high toms
    **dict.fromkeys((42, 46), "G5"),  # hi-hats
    44: "D4",  # hi-hat, by foot
    **dict.fromkeys((51, 53, 59), "F5"),  # rides
    **dict.fromkeys((49, 52, 55, 57), "A5"),  # crashes
}
_BEFORE_INSTRUMENT = frozenset({"chord", "unpitched", "duration", "tie"})  # within a MusicXML note
_CYMBALS = frozenset({42, 44, 46, 49, 51, 52, 53, 55, 57, 59})  # with a cross for a head


class _Bar(NamedTuple):
    """A bar as all parts have it, in units."""

    start: int
    end: int
    meter: tuple[int, int]
    fifths: int  # sharps of the key signature; flats count down


class _Piece(NamedTuple):
    """What a bar has of a chord, in units from its beginning."""

    start: int
    end: int
    pitches: tuple[int, ...]
    tied_before: bool
    tied_after: bool


def to_musicxml(score: AnyScore, *, title: str = "") -> str:
    """The score as MusicXML.

    Notes lie on a grid of 24 to a quarter note; what our composer writes lies there already, and
    anything else goes to the nearest line. Bars, tempos and key signatures are those of the score;
    without a key signature the key is estimated. Drums are written on a percussion staff. Takes
    about 0.02 seconds for a bar of four instruments, and once a second to load music21.

    Args:
        score: In any time unit; left unchanged.
        title: What stands above it.

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
    usual = 0 if keys else _estimated_fifths(score)
    units = _units(score)
    meters = meters_at(score, lines[:-1])
    for start, end, meter in zip(lines[:-1], lines[1:], meters, strict=True):
        place = bisect_right(keys, start, key=lambda key: key[0])
        fifths = keys[place - 1][1] if place else usual
        first, last = round(start * units), round(end * units)
        if end == lines[-1]:
            last = max(last, first + 1)
        if first < last:  # a change of meter may cut a bar off that is shorter than the grid
            yield _Bar(first, last, meter, min(max(fifths, -7), 7))


def _units(score: ScoreTick) -> Fraction:
    """How many units a tick has."""
    return Fraction(UNITS, max(1, score.ticks_per_quarter))


def _estimated_fifths(score: ScoreTick) -> int:
    """The signature of the estimated key, -5 to 6."""
    key = estimate_key(score)
    if key is None:
        return 0
    major = key.tonic + (3 if key.mode == "minor" else 0)
    return (7 * major + 5) % 12 - 5


# -- A track becomes a part ------------------------------------------------------------------------


def _part(
    m21: ModuleType, track: TrackTick, number: int, bars: list[_Bar], units: Fraction
) -> tuple[Any, list[int]]:
    """The part, and the key of every head in the order in which they are written."""
    end = bars[-1].end
    notes = [_on_grid(note.time, note.end, note.pitch, units, end) for note in track.notes]
    lines = [_cut_at_bars(line, bars) for line in voices(notes)]
    part = m21.stream.Part(id=f"P{number + 1}")
    part.partName = _plain(track.name) or _instrument_name(track)
    part.insert(0, _instrument(m21, track, part.id))
    pen = _Pen(m21, is_drum=track.is_drum)
    clef = _clef(m21, track, float(np.mean([pitch for _, _, pitch in notes])))
    for index, bar in enumerate(bars):
        measure = m21.stream.Measure(number=index + 1)
        if index == 0:
            measure.insert(0, clef)
        _write_signatures(m21, measure, bar, bars[index - 1] if index else None, track.is_drum)
        pen.fill(measure, [line.get(index, []) for line in lines], bar)
        part.append(measure)
    return part, pen.keys


def _on_grid(start: int, end: int, pitch: int, units: Fraction, last: int) -> tuple[int, int, int]:
    """Beginning, end and pitch of a note that begins before `last`."""
    begin = min(max(0, round(start * units)), last - 1)
    return begin, max(begin + 1, round(end * units)), min(max(pitch, 0), 127)


def _cut_at_bars(line: list[Chord], bars: list[_Bar]) -> dict[int, list[_Piece]]:
    """What each bar has of a voice, by the bar's index."""
    cut: dict[int, list[_Piece]] = defaultdict(list)
    for chord in line:
        index = bisect_right(bars, chord.start, key=lambda bar: bar.start) - 1
        while index < len(bars) and bars[index].start < chord.end:
            bar = bars[index]
            start, end = max(chord.start, bar.start), min(chord.end, bar.end)
            ties = (start > chord.start, end < chord.end)
            cut[index].append(_Piece(start - bar.start, end - bar.start, chord.pitches, *ties))
            index += 1
    return cut


def _write_signatures(
    m21: ModuleType, measure: Any, bar: _Bar, before: _Bar | None, is_drum: bool
) -> None:
    if not is_drum and (before is None or before.fifths != bar.fifths):
        measure.insert(0, m21.key.KeySignature(bar.fifths))
    if before is None or before.meter != bar.meter:
        measure.insert(0, m21.meter.TimeSignature("{}/{}".format(*bar.meter)))


class _Pen:
    """Writes bars, and remembers which keys it wrote."""

    def __init__(self, m21: ModuleType, *, is_drum: bool) -> None:
        self._m21, self._is_drum = m21, is_drum
        self.keys: list[int] = []

    def fill(self, measure: Any, lines: list[list[_Piece]], bar: _Bar) -> None:
        """Write the voices of a bar; a bar without any has a rest."""
        used = [line for line in lines if line]
        if not used:
            rest = self._m21.note.Rest(quarterLength=Fraction(bar.end - bar.start, UNITS))
            rest.fullMeasure = True
            measure.append(rest)
        elif len(used) == 1:
            self._write(measure, used[0], bar)
        else:
            for number, line in enumerate(used):
                voice = self._m21.stream.Voice(id=str(number + 1))
                self._write(voice, line, bar, show_rests=number == 0)
                measure.insert(0, voice)

    def _write(
        self, stream: Any, line: list[_Piece], bar: _Bar, *, show_rests: bool = True
    ) -> None:
        at, end, beat = 0, bar.end - bar.start, beat_of(*bar.meter)
        for piece in [*line, _Piece(end, end, (), False, False)]:
            for length in written(at, piece.start, beat=beat):
                rest = self._m21.note.Rest(quarterLength=Fraction(length, UNITS))
                rest.style.hideObjectOnPrint = not show_rests
                stream.append(rest)
            for sound in self._sounds(piece, beat, bar.fifths):
                stream.append(sound)
            at = piece.end

    def _sounds(self, piece: _Piece, beat: int, fifths: int) -> Iterator[Any]:
        """The tied notes or chords that a piece is written as."""
        lengths = written(piece.start, piece.end, beat=beat)
        for index, length in enumerate(lengths):
            heads = [self._head(pitch, fifths) for pitch in piece.pitches]
            sound = heads[0] if len(heads) == 1 else self._chord(heads)
            sound.quarterLength = Fraction(length, UNITS)
            before = index > 0 or piece.tied_before
            after = index < len(lengths) - 1 or piece.tied_after
            if before or after:
                kind = "continue" if before and after else "stop" if before else "start"
                for tied in {id(each): each for each in (*heads, sound)}.values():
                    tied.tie = self._m21.tie.Tie(kind)
            yield sound

    def _chord(self, heads: list[Any]) -> Any:
        if self._is_drum:
            return self._m21.percussion.PercussionChord(heads)
        return self._m21.chord.Chord(heads)

    def _head(self, pitch: int, fifths: int) -> Any:
        self.keys.append(pitch)
        if not self._is_drum:
            name, octave = _spelled(pitch, fifths)
            return self._m21.note.Note(self._m21.pitch.Pitch(name, octave=octave))
        head = self._m21.note.Unpitched(displayName=_DRUM_PLACES.get(pitch, "C5"))
        if pitch in _CYMBALS:
            head.notehead = "x"
        return head


# -- One head --------------------------------------------------------------------------------------


def _spelled(pitch: int, fifths: int) -> tuple[str, int]:
    """Name and octave of a key, from the twelve names that lie next to the key signature.

    On the line of fifths (F is -1, C is 0, B is 5) a signature of n sharps has its own tones from
    n - 1 to n + 5; two below and three above them are met most beside them.
    """
    lowest = fifths - 3
    place = lowest + (7 * pitch - lowest) % 12
    sharps, letter = divmod(place + 1, 7)
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
    """Give every head of a drum part an instrument of its key: music21 knows one for a part."""
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
        SubElement(midi, "midi-unpitched").text = str(key + 1)  # counted from 1


# -- Above the first part --------------------------------------------------------------------------


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
    """A name on one line, without what XML cannot hold."""
    return " ".join(_UNPRINTABLE.sub(" ", name).split())[:_LONGEST_NAME]


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
