"""Export of a score as MusicXML, for MuseScore and other notation programs.

music21 writes the file; this package determines bars, onsets, values, voices, staves, clefs, pitch
spelling and drum notation. music21 is an extra, so it is imported at first use.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree.ElementTree import Element, SubElement

from musiclstm.errors import RendererMissingError, ScoreError
from musiclstm.export.measures import StaffWriter
from musiclstm.export.note_values import SHORTEST, UNITS, bar_units
from musiclstm.export.quantization import Bar, Grid, Timeline, WrittenNote
from musiclstm.export.voices import MAX_VOICES, Chord, split_into_hands, split_into_voices
from musiclstm.midi.analysis import bar_starts, estimate_key, has_pickup, in_ticks, meters_at
from musiclstm.midi.general_midi import DRUMS, instrument_name

if TYPE_CHECKING:
    from symusic.core import ScoreTick, TrackTick

    from musiclstm.midi.analysis import AnyScore

MAX_MEASURES = 20_000  # of all parts together; music21 takes about five minutes for these

_MAX_NAME_LENGTH = 60
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")

_BEFORE_INSTRUMENT = frozenset({"chord", "unpitched", "duration", "tie"})  # order of a <note>
_BEFORE_VOICE = _BEFORE_INSTRUMENT | {"pitch", "rest", "instrument"}
_FEET = frozenset({35, 36, 44})  # drum keys played by foot, in the lower voice

# Programs written on two staves if they play in both halves of the range: pianos to celesta,
# organs and accordions, harp.
_KEYBOARDS = frozenset({*range(9), *range(16, 24), 46})
_LEFT_HAND, _RIGHT_HAND = 55, 62  # keys below and above which a tenth of the notes lie

_MELODIC_CHANNELS = (*range(1, 10), *range(11, 17))  # channel 10 is for drums
_TEMPO_STEP = 1.1  # ratio to the last tempo shown from which a new one is shown


class _Clef(NamedTuple):
    """A clef of music21, and the middle line of its staff as a key."""

    name: str
    middle: int


_TREBLE, _BASS = _Clef("TrebleClef", 71), _Clef("BassClef", 50)
_HIGH, _LOW = _Clef("Treble8vaClef", 83), _Clef("Bass8vbClef", 38)
_GUITAR, _ALTO = _Clef("Treble8vbClef", 59), _Clef("AltoClef", 60)


def to_musicxml(score: AnyScore, *, title: str = "") -> str:
    """Convert a score to MusicXML.

    Onsets are quantized, in each quarter note, to the simplest of eighths, sixteenths, triplets and
    thirty-seconds that fits them; ends to the next onset or beat if the silence before it is no
    rest. A staff has at most four voices: further notes are joined into chords or shortened, and
    equal notes of a chord are written once. Keyboard instruments with a wide range have two staves,
    drums a percussion staff with one voice for the hands and one for the feet. Without a key
    signature the key is estimated. A first bar that is cut short is a pickup. Takes about 0.02
    seconds for a bar of four instruments, after one second to load music21.

    Args:
        score: In any time unit; left unchanged.
        title: Title of the movement. Empty: "Music".

    Raises:
        RendererMissingError: music21 is not installed.
        ScoreError: The score has more than 20,000 measures in all parts.
    """
    m21 = _music21()
    score = in_ticks(score)
    bars = _bars(score)
    tracks = [track for track in score.tracks if len(track.notes)]
    if len(bars) * len(tracks) > MAX_MEASURES:
        raise ScoreError(
            f"The score has {len(bars):,} bars in {len(tracks)} parts; notation is written for at "
            f"most {MAX_MEASURES:,} measures in all parts. Export fewer bars or fewer tracks."
        )
    sheet = m21.stream.Score()
    sheet.insert(0, m21.metadata.Metadata(title=_plain(title) or "Music", composer="musiclstm"))
    kits: dict[str, list[int]] = {}
    timeline = Timeline(bars, score.ticks_per_quarter) if bars else None
    hands = _pairs_of_hands(tracks)
    for number, track in enumerate(tracks):
        assert timeline is not None
        staves, keys = _part(m21, track, number, timeline, is_hand=number in hands)
        for staff in staves:
            sheet.insert(0, staff)
        is_left = number in hands and number - 1 in hands
        group = [sheet.parts[number - 1], staves[0]] if is_left else staves
        if len(group) > 1:
            sheet.insert(0, m21.layout.StaffGroup(group, symbol="brace", barTogether=True))
        if track.is_drum:
            kits[staves[0].id] = keys
        if number == 0:
            _write_tempos(m21, staves[0], score, timeline)
    exporter = m21.musicxml.m21ToXml.ScoreExporter(sheet)
    root = exporter.parse()
    _correct_numbers(root)
    _number_voices(root)
    _name_drums(root, kits)
    return exporter.asBytes().decode()


# -- Bars ------------------------------------------------------------------------------------------


def _bars(score: ScoreTick) -> list[Bar]:
    """Return the bars, each a multiple of a thirty-second; shorter ones are left out."""
    lines = bar_starts(score).tolist()
    meters = meters_at(score, lines[:-1])
    keys = sorted((each.time, each.key, each.tonality == 1) for each in score.key_signatures)
    default = (0, False) if keys else _estimated_signature(score)
    per_tick = Fraction(UNITS, max(1, score.ticks_per_quarter) * SHORTEST)
    bars: list[Bar] = []
    start = 0
    for tick, next_tick, meter in zip(lines[:-1], lines[1:], meters, strict=True):
        length = min(SHORTEST * round((next_tick - tick) * per_tick), bar_units(*meter))
        if next_tick == lines[-1] and not bars:
            length = max(length, SHORTEST)
        if length > 0:
            index = bisect_right(keys, tick, key=lambda key: key[0])
            fifths, is_minor = keys[index - 1][1:] if index else default
            fifths = min(max(fifths, -7), 7)
            bars.append(Bar(start, start + length, tick, meter, fifths, is_minor))
            start += length
    return _with_pickup(bars, score)


def _with_pickup(bars: list[Bar], score: ScoreTick) -> list[Bar]:
    """Give a first bar that is a pickup the meter of the second one."""
    if len(bars) < 2 or bars[0].length >= bars[1].length or not has_pickup(score):
        return bars
    return [replace(bars[0], meter=bars[1].meter, is_pickup=True), *bars[1:]]


def _estimated_signature(score: ScoreTick) -> tuple[int, bool]:
    """Return sharps, -5 to 6, and whether the estimated key is minor."""
    key = estimate_key(score)
    if key is None:
        return 0, False
    major = key.tonic + (3 if key.mode == "minor" else 0)
    return (7 * major + 5) % 12 - 5, key.mode == "minor"


# -- Parts -----------------------------------------------------------------------------------------


def _pairs_of_hands(tracks: list[TrackTick]) -> set[int]:
    """Return the numbers of two neighbours that alone play the same keyboard instrument."""
    found: set[int] = set()
    for program in _KEYBOARDS:
        numbers = [
            n for n, each in enumerate(tracks) if not each.is_drum and each.program == program
        ]
        if len(numbers) == 2 and numbers[1] - numbers[0] == 1:
            found.update(numbers)
    return found


def _part(
    m21: ModuleType, track: TrackTick, number: int, timeline: Timeline, *, is_hand: bool
) -> tuple[list[Any], list[int]]:
    """Return the staves of a part, and the key of every note head in the order of the file."""
    lines = [bar.start for bar in timeline.bars]
    part_id = f"P{number + 1}"
    if track.is_drum:
        staves = _drum_voices(track, timeline)
    else:
        hands = _staves(track, timeline, is_hand=is_hand)
        staves = [split_into_voices(notes, bar_lines=lines) for notes in hands]
    kind = m21.stream.Part if len(staves) == 1 else m21.stream.PartStaff
    parts: list[Any] = []
    keys: list[int] = []
    for staff, voices in enumerate(staves):
        part = kind(id=part_id if staff == 0 else f"{part_id}-{staff + 1}")
        part.partName = _plain(track.name) or _instrument_name(track)
        part.insert(0, _instrument(m21, track, part.id, number))
        writer = StaffWriter(m21, timeline.bars, is_drum=track.is_drum)
        writer.write(part, voices, _clef(m21, track, voices))
        parts.append(part)
        keys += writer.keys
    return parts, keys


def _staves(track: TrackTick, timeline: Timeline, *, is_hand: bool) -> list[list[WrittenNote]]:
    """Return the written notes of one staff, or of an upper and a lower staff."""
    grid = Grid(timeline, _spans(track), is_polyphonic=True)
    notes = []
    for note in track.notes:
        start = grid.start(note.time)
        end = min(grid.end(start, note.end), timeline.bars[-1].end)
        notes.append(WrittenNote(start, end, min(max(note.pitch, 0), 127)))
    pitches = sorted(note.pitch for note in notes)
    tenth = len(pitches) // 10
    is_wide = pitches[tenth] < _LEFT_HAND and pitches[-1 - tenth] > _RIGHT_HAND
    if is_hand or not is_wide or track.program not in _KEYBOARDS:
        return [notes]
    return [staff for staff in split_into_hands(notes) if staff]


def _spans(track: TrackTick) -> list[tuple[int, int]]:
    return [(note.time, note.end) for note in track.notes]


def _drum_voices(track: TrackTick, timeline: Timeline) -> list[list[list[Chord]]]:
    """Return one staff of two voices, hands and feet; a stroke lasts to the next or to the beat."""
    grid = Grid(timeline, _spans(track), is_polyphonic=False)
    voices = []
    for is_foot in (False, True):
        strokes: dict[int, set[int]] = {}
        for note in track.notes:
            if (note.pitch in _FEET) == is_foot:
                strokes.setdefault(grid.start(note.time), set()).add(min(max(note.pitch, 0), 127))
        starts = sorted(strokes)
        voice = [
            Chord(start, min(timeline.cell_at(start)[1], following), tuple(sorted(strokes[start])))
            for start, following in pairwise([*starts, timeline.bars[-1].end])
        ]
        voices.append(voice)
    return [[voice for voice in voices if voice]]


def _clef(m21: ModuleType, track: TrackTick, voices: list[list[Chord]]) -> Any:
    """Return the clef with the fewest ledger lines among those usual for the instrument."""
    if track.is_drum:
        return m21.clef.PercussionClef()
    clefs: tuple[_Clef, ...] = (_TREBLE, _BASS, _HIGH, _LOW)
    if 24 <= track.program < 32:
        clefs = (_GUITAR,)
    elif 32 <= track.program < 40 or track.program == 43:
        clefs = (_LOW, _BASS, _TREBLE)
    elif track.program == 41:
        clefs = (_ALTO, _TREBLE)
    pitches = [pitch for voice in voices for chord in voice for pitch in chord.pitches]
    # The first of two clefs in the order above unless another one saves much.
    costs = [
        sum(max(0, abs(pitch - clef.middle) - 8) for pitch in pitches) / len(pitches) + index
        for index, clef in enumerate(clefs)
    ]
    return getattr(m21.clef, clefs[costs.index(min(costs))].name)()


def _instrument(m21: ModuleType, track: TrackTick, part_id: str, number: int) -> Any:
    kind = m21.instrument.UnpitchedPercussion if track.is_drum else m21.instrument.Instrument
    instrument = kind()
    instrument.instrumentName = _instrument_name(track)
    instrument.partId, instrument.instrumentId = part_id, f"{part_id}-I1"
    instrument.midiChannel = number  # else music21 warns; `_correct_numbers` writes another
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


def _write_tempos(m21: ModuleType, part: Any, score: ScoreTick, timeline: Timeline) -> None:
    """Write the tempos of the score; of gradual changes, only larger steps are visible."""
    measures = list(part.getElementsByClass("Measure"))
    marks = {
        round(timeline.units(tempo.time)): 60_000_000 / tempo.mspq
        for tempo in sorted(score.tempos, key=lambda tempo: tempo.time)
        if tempo.mspq > 0 and tempo.time < _end_tick(score)
    }
    shown = 0.0
    for at, bpm in sorted(marks.items()):
        index = timeline.index_at(at)
        bar = timeline.bars[index]
        is_compound = bar.meter[1] >= 8 and bar.meter[0] % 3 == 0
        beat = m21.duration.Duration(1.5 if is_compound else 1)
        number = bpm / beat.quarterLength
        is_shown = not shown or not 1 / _TEMPO_STEP < bpm / shown < _TEMPO_STEP
        mark = m21.tempo.MetronomeMark(number=round(number) if is_shown else None, referent=beat)
        mark.numberSounding = number
        mark.placement = "above"
        shown = bpm if is_shown else shown
        measure = measures[index]
        stream = measure.voices[0] if measure.voices else measure
        stream.insert(Fraction(at - bar.start, UNITS), mark)  # MuseScore 3 ignores <offset>


def _correct_numbers(root: Element) -> None:
    """Write channels that exist, and tempos without the noise of floating point."""
    for number, part in enumerate(root.findall("part-list/score-part")):
        for channel in part.iter("midi-channel"):
            channel.text = str(_MELODIC_CHANNELS[number % len(_MELODIC_CHANNELS)])
    for sound in root.iter("sound"):
        sound.set("tempo", f"{float(sound.get('tempo', '120')):.6g}")


def _number_voices(root: Element) -> None:
    """Number the voices of a second staff from 5; music21 repeats numbers of the first one."""
    for measure in root.iterfind("part[measure]/measure"):
        numbers: dict[tuple[str, str], int] = {}
        count = {"1": 0, "2": MAX_VOICES}
        for note in measure.iterfind("note[staff]"):
            staff = note.findtext("staff", "1")
            voice = note.find("voice")
            if voice is None:
                voice = Element("voice")
                before = [each.tag for each in note if each.tag in _BEFORE_VOICE]
                note.insert(len(before), voice)
            key = (staff, voice.text or "")
            if key not in numbers:
                count[staff] += 1
                numbers[key] = count[staff]
            voice.text = str(numbers[key])


def _end_tick(score: ScoreTick) -> int:
    return int(bar_starts(score)[-1])


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
