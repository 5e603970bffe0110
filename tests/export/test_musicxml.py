"""MusicXML read back by music21: notes, bars, meters, tempos, and names as text."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from symusic import KeySignature, Note, Score, Tempo, TimeSignature, Track
from symusic.core import ScoreTick, TrackTick

from musiclstm.errors import RendererMissingError, ScoreError
from musiclstm.examples import example_files
from musiclstm.export.musicxml import to_musicxml
from musiclstm.midi import analysis

BEAT = 480

Heads = list[tuple[float, float, int]]  # onset and length in quarters, pitch


@pytest.fixture(scope="module")
def read_back() -> Callable[[str], Any]:
    converter = pytest.importorskip("music21.converter")
    return lambda text: converter.parseData(text, format="musicxml")


def score_of(*tracks: TrackTick, meters: tuple[tuple[int, int, int], ...] = ()) -> ScoreTick:
    score = Score(BEAT)
    score.tracks.extend(tracks)
    score.time_signatures.extend(TimeSignature(*meter) for meter in meters)
    return score


def track_of(*notes: tuple[float, float, int], name: str = "", program: int = 0) -> TrackTick:
    track = Track(name, max(program, 0), program == -1)
    for start, length, pitch in notes:
        track.notes.append(Note(round(start * BEAT), round(length * BEAT), pitch, 80))
    return track


def heads_of(track: TrackTick) -> Heads:
    return sorted((n.time / BEAT, n.duration / BEAT, n.pitch) for n in track.notes)


def read_heads(part: Any) -> Heads:
    """Return every note of a part, with tied heads as one note."""
    heads: list[list[Any]] = []
    for sound in sorted(part.flatten().notes, key=lambda sound: sound.offset):
        for head in getattr(sound, "notes", [sound]):
            at, length, pitch = float(sound.offset), float(sound.quarterLength), head.pitch.midi
            if head.tie and head.tie.type in ("stop", "continue"):
                open_ends = (h for h in heads if h[2] == pitch and abs(h[0] + h[1] - at) < 1e-6)
                next(open_ends)[1] += length
            else:
                heads.append([at, length, pitch])
    return sorted((at, length, pitch) for at, length, pitch in heads)


def read_parts(sheet: Any) -> list[Heads]:
    """Return the notes of each part, with both staves of a keyboard instrument as one."""
    staves: dict[str, Heads] = {}
    for part in sheet.parts:
        staves.setdefault(part.id.split("-")[0], []).extend(read_heads(part))
    return [sorted(heads) for heads in staves.values()]


def drum_heads(text: str) -> list[int]:
    """Return the keys of all drum heads that do not continue a tie."""
    root = ElementTree.fromstring(text)
    keys = {
        each.get("id"): int(each.findtext("midi-unpitched", "0")) - 1
        for each in root.iter("midi-instrument")
    }
    return sorted(
        keys[note.find("instrument").get("id")]
        for note in root.iter("note")
        if note.find("unpitched") is not None and note.find("tie[@type='stop']") is None
    )


def are_close(found: Heads, wanted: Heads) -> bool:
    return len(found) == len(wanted) and all(
        a == pytest.approx(b, abs=1e-3) for a, b in zip(found, wanted, strict=True)
    )


# -- Notes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("meter", [(4, 4), (3, 4), (6, 8), (7, 8), (5, 4), (2, 2), (3, 8)])
def test_onsets_and_pitches_are_preserved_and_lengths_to_a_triplet(invented, read_back, meter):
    score = invented(meter=meter, bars=4, programs=(0, 40), seed=meter[0])
    parts = read_parts(read_back(to_musicxml(score)))
    assert len(parts) == 2
    for heads, track in zip(parts, score.tracks, strict=True):
        wanted = heads_of(track)
        assert [(round(at, 3), pitch) for at, _, pitch in heads] == [
            (round(at, 3), pitch) for at, _, pitch in wanted
        ]
        assert max(abs(a[1] - b[1]) for a, b in zip(heads, wanted, strict=True)) <= 0.34


@pytest.mark.parametrize("title", sorted(example_files()))
def test_the_example_files_are_preserved(read_back, title: str):
    score = Score(example_files()[title]).resample(BEAT)
    for number in reversed([n for n, track in enumerate(score.tracks) if track.is_drum]):
        score.tracks.pop(number)
    parts = read_parts(read_back(to_musicxml(score)))
    for heads, track in zip(parts, score.tracks, strict=True):
        assert are_close(heads, heads_of(track))


def test_notes_across_bar_lines_are_preserved(read_back):
    track = track_of((1, 9, 72), (0, 0.5, 60), (3.5, 1, 60), (5 / 3, 1 / 3, 55), (11, 1, 58))
    (part,) = read_back(to_musicxml(score_of(track))).parts
    assert are_close(read_heads(part), heads_of(track))
    assert len(part.getElementsByClass("Measure")) == 3


def test_drums_keep_their_keys_and_times(invented, read_back):
    score = invented(programs=(-1,), bars=3)
    text = to_musicxml(score)
    (part,) = read_back(text).parts
    starts = sorted(
        float(sound.offset)
        for sound in part.stripTies().flatten().notes
        for _ in getattr(sound, "notes", [sound])
    )
    assert np.allclose(starts, sorted(head[0] for head in heads_of(score.tracks[0])))
    assert drum_heads(text) == sorted(note.pitch for note in score.tracks[0].notes)
    assert "<sign>percussion</sign>" in text
    assert {each.text for each in ElementTree.fromstring(text).iter("midi-channel")} == {"10"}


def test_notes_off_the_grid_are_quantized(read_back):
    score = score_of(track_of((0, 1, 60)))
    score.tracks[0].notes.append(Note(BEAT + 7, 233, 64, 80))
    score.tracks[0].notes.append(Note(2 * BEAT, 0, 67, 80))
    (part,) = read_back(to_musicxml(score)).parts
    assert are_close(read_heads(part), [(0, 1, 60), (1, 0.5, 64), (2, 0.25, 67)])


def test_a_bar_shorter_than_the_grid_takes_no_time(read_back):
    score = score_of(track_of((0, 1, 60), (2, 1, 64)))
    score.time_signatures.extend([TimeSignature(0, 4, 4), TimeSignature(1, 3, 4)])
    (part,) = read_back(to_musicxml(score)).parts
    assert are_close(read_heads(part), [(0, 1, 60), (2, 1, 64)])


def test_a_piece_of_one_tick_is_written(read_back):
    score = score_of(track_of(), meters=((0, 4, 4), (1, 3, 4)))
    score.tracks[0].notes.append(Note(0, 1, 60, 80))
    score.tempos.append(Tempo(0, 90))
    assert [pitch for _, _, pitch in read_heads(read_back(to_musicxml(score)).parts[0])] == [60]


def test_a_note_just_before_the_last_bar_line_is_written(read_back):
    score = score_of(track_of((0, 1, 60)))
    score.tracks[0].notes.append(Note(4 * BEAT - 5, 4, 64, 80))
    (part,) = read_back(to_musicxml(score)).parts
    assert are_close(read_heads(part), [(0, 1, 60), (4 - 1 / 8, 1 / 8, 64)])


def test_meter_changes_are_not_collected_for_each_bar(monkeypatch):
    calls = []
    look = analysis.meter_changes
    monkeypatch.setattr(analysis, "meter_changes", lambda score: calls.append(1) or look(score))
    meters = tuple((n * 4 * BEAT, 4 - n % 2, 4) for n in range(30))
    to_musicxml(score_of(track_of((0, 120, 60)), meters=meters))
    assert len(calls) < 10


def test_every_bar_of_every_part_is_full(invented):
    root = ElementTree.fromstring(to_musicxml(invented(programs=(0, 73, -1), bars=3)))
    for measure in root.iter("measure"):
        at = longest = 0
        for each in measure:
            length = int(each.findtext("duration", "0"))
            if each.tag == "backup":
                at -= length
            elif each.find("chord") is None:
                at += length
            longest = max(longest, at)
        assert longest == 4 * 10_080


# -- Notation ------------------------------------------------------------------------------------


def staves_of(text: str) -> list[int]:
    """Return the number of staves of each part."""
    root = ElementTree.fromstring(text)
    return [int(part.findtext(".//staves", "1")) for part in root.findall("part")]


def most_voices(text: str) -> int:
    measures = ElementTree.fromstring(text).iter("measure")
    per_staff = [
        {
            (note.findtext("staff", "1"), note.findtext("voice", "1"))
            for note in measure.iter("note")
        }
        for measure in measures
    ]
    return max(sum(staff == "1" for staff, _ in voices) for voices in per_staff)


@pytest.mark.parametrize("share", [0.6, 0.9, 0.95, 1.0])
def test_straight_eighths_stay_eighths(share: float):
    tracks = [
        track_of(*((n / 2, share / 2, 60 + (n * 5 + part) % 9) for n in range(96)), program=40)
        for part in range(5)
    ]
    root = ElementTree.fromstring(to_musicxml(score_of(*tracks)))
    assert {each.text for each in root.iter("type")} == {"eighth"}
    assert len(list(root.iter("type"))) == 5 * 96
    assert root.find(".//tuplet") is None
    assert root.find(".//tie") is None


def test_triplets_have_one_bracket_for_each_beat():
    track = track_of(*((n / 3, 1 / 3, 60 + n) for n in range(12)))
    root = ElementTree.fromstring(to_musicxml(score_of(track)))
    assert len(root.findall(".//tuplet[@type='start']")) == 4
    assert len(root.findall(".//tuplet[@type='stop']")) == 4
    assert {each.text for each in root.iter("type")} == {"eighth"}


def test_nine_notes_that_overlap_are_in_four_voices_and_none_is_lost(read_back):
    track = track_of(*((n / 4, 5 - n / 4, 64 + 2 * n) for n in range(9)), program=48)
    text = to_musicxml(score_of(track))
    assert most_voices(text) == 4
    (heads,) = read_parts(read_back(text))
    assert [(at, pitch) for at, _, pitch in heads] == [(n / 4, 64 + 2 * n) for n in range(9)]


def test_a_wide_piano_part_has_two_staves_and_a_violin_one():
    notes = [(n, 1, pitch) for n in range(8) for pitch in (43, 72)]
    text = to_musicxml(score_of(track_of(*notes), track_of(*notes, program=40)))
    assert staves_of(text) == [2, 1]
    signs = [each.findtext("sign") for each in ElementTree.fromstring(text).iter("clef")]
    assert signs[:2] == ["G", "F"]


def test_two_piano_tracks_are_the_hands_of_one_player():
    notes = [(n, 1, pitch) for n in range(8) for pitch in (43, 72)]
    text = to_musicxml(score_of(track_of(*notes), track_of(*notes)))
    assert staves_of(text) == [1, 1]
    group = ElementTree.fromstring(text).find("part-list/part-group[@type='start']")
    assert group is not None
    assert group.findtext("group-symbol") == "brace"


@pytest.mark.parametrize(
    ("program", "pitch", "clef"),
    [
        (40, 76, ("G", "2", None)),
        (42, 45, ("F", "4", None)),
        (41, 60, ("C", "3", None)),
        (25, 52, ("G", "2", "-1")),
        (33, 35, ("F", "4", "-1")),
        (72, 96, ("G", "2", "1")),
    ],
)
def test_the_clef_fits_instrument_and_range(program: int, pitch: int, clef: tuple[Any, ...]):
    text = to_musicxml(score_of(track_of((0, 4, pitch), program=program)))
    found = ElementTree.fromstring(text).find(".//clef")
    assert found is not None
    names = ("sign", "line", "clef-octave-change")
    assert tuple(found.findtext(name) for name in names) == clef


def test_hands_and_feet_of_a_drummer_are_two_voices():
    beats = [(n / 2, 0.1, 42) for n in range(8)] + [(n, 0.1, 36) for n in range(4)]
    root = ElementTree.fromstring(to_musicxml(score_of(track_of(*beats, program=-1))))
    found = {
        (note.findtext("voice"), note.findtext("type"), note.findtext("unpitched/display-step"))
        for note in root.iter("note")
    }
    assert found == {("1", "eighth", "G"), ("2", "quarter", "F")}


def test_strokes_of_a_drummer_are_not_tied():
    track = track_of((1 / 8, 1 / 8, 38), (1, 1, 38), program=-1)
    root = ElementTree.fromstring(to_musicxml(score_of(track)))
    assert root.find(".//tie") is None
    heads = [note.findtext("type") for note in root.iter("note") if note.find("rest") is None]
    assert heads == ["16th", "quarter"]


def test_a_first_bar_that_is_cut_is_a_pickup():
    track = track_of((0, 1, 67), *((n, 1, 60) for n in range(1, 10)), program=40)
    text = to_musicxml(score_of(track, meters=((0, 1, 4), (BEAT, 3, 4))))
    root = ElementTree.fromstring(text)
    numbers = [(each.get("number"), each.get("implicit")) for each in root.iter("measure")]
    assert numbers == [("0", "yes"), ("1", "no"), ("2", "no"), ("3", "no")]
    assert [each.findtext("beats") for each in root.iter("time")] == ["3"]


def test_voices_of_the_second_staff_are_numbered_from_five():
    lower = [(0, 4, 36), *((n, 1, 43) for n in range(4))]
    track = track_of(*lower, *((n, 1, 76) for n in range(4)))
    root = ElementTree.fromstring(to_musicxml(score_of(track)))
    found = {(note.findtext("staff"), note.findtext("voice")) for note in root.iter("note")}
    assert found == {("1", "1"), ("2", "5"), ("2", "6")}


def test_in_six_eight_the_tempo_is_that_of_the_dotted_beat():
    score = score_of(track_of((0, 3, 60)), meters=((0, 6, 8),))
    score.tempos.append(Tempo(0, 120))
    metronome = ElementTree.fromstring(to_musicxml(score)).find(".//metronome")
    assert metronome is not None
    assert metronome.find("beat-unit-dot") is not None
    assert metronome.findtext("per-minute") == "80"


def test_a_tempo_within_a_bar_of_several_voices_stands_before_its_note():
    score = score_of(track_of((0, 4, 60), *((n, 1, 72) for n in range(4)), program=40))
    score.tempos.extend([Tempo(0, 120), Tempo(2 * BEAT, 90)])
    root = ElementTree.fromstring(to_musicxml(score))
    (measure,) = root.iter("measure")
    tags = [each.tag for each in measure if each.tag in ("direction", "note", "backup")]
    assert tags[:6] == ["direction", "note", "note", "direction", "note", "note"]
    assert root.find(".//offset") is None


def test_gradual_tempos_are_kept_but_only_large_steps_are_shown():
    score = score_of(track_of((0, 8, 60)))
    score.tempos.extend(Tempo(n * BEAT, 120 - 3 * n) for n in range(8))
    root = ElementTree.fromstring(to_musicxml(score))
    sounding = [float(each.get("tempo", "0")) for each in root.iter("sound")]
    assert sounding == pytest.approx([120 - 3 * n for n in range(8)], rel=1e-4)
    assert [each.text for each in root.iter("per-minute")] == ["120", "108"]


# -- Signatures ----------------------------------------------------------------------------------


def test_time_signatures_are_at_their_bars(read_back):
    track = track_of(*((n, 1, 60) for n in range(13)))
    score = score_of(track, meters=((0, 3, 4), (6 * BEAT, 6, 8), (9 * BEAT, 4, 4)))
    (part,) = read_back(to_musicxml(score)).parts
    found = {
        (measure.offset, sign.ratioString)
        for measure in part.getElementsByClass("Measure")
        for sign in measure.getElementsByClass("TimeSignature")
    }
    assert found == {(0.0, "3/4"), (6.0, "6/8"), (9.0, "4/4")}
    assert are_close(read_heads(part), heads_of(track))


def test_tempos_are_in_the_first_part(read_back):
    score = score_of(track_of((0, 8, 60)), track_of((0, 8, 48)))
    score.tempos.extend([Tempo(0, 90), Tempo(5 * BEAT, 120), Tempo(99 * BEAT, 60)])
    first, second = read_back(to_musicxml(score)).parts
    marks = first.flatten().getElementsByClass("MetronomeMark")
    assert [(mark.offset, mark.number) for mark in marks] == [(0.0, 90), (5.0, 120)]
    assert not second.flatten().getElementsByClass("MetronomeMark")


def fifths(text: str) -> list[int]:
    return [int(each.text or 0) for each in ElementTree.fromstring(text).iter("fifths")]


def test_the_key_signature_of_the_score_is_written():
    score = score_of(track_of((0, 4, 60), (4, 4, 61)))
    score.key_signatures.extend([KeySignature(0, -3, 1), KeySignature(4 * BEAT, 2, 0)])
    assert fifths(to_musicxml(score)) == [-3, 2]


@pytest.mark.parametrize(("tonic", "sharps"), [(60, 0), (62, 2), (65, -1), (63, -3), (66, 6)])
def test_a_missing_key_signature_is_estimated(tonic: int, sharps: int):
    scale = [(n, 1, tonic + step) for n, step in enumerate((0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0, 0))]
    assert fifths(to_musicxml(score_of(track_of(*scale)))) == [sharps]


def test_pitches_are_spelled_close_to_the_key_signature(read_back):
    def spelled(sharps: int) -> list[str]:
        score = score_of(track_of(*((n, 1, 60 + n) for n in range(12))))
        score.key_signatures.append(KeySignature(0, sharps, 0))
        (part,) = read_back(to_musicxml(score)).parts
        return [note.pitch.name for note in part.flatten().notes]

    assert spelled(0) == ["C", "C#", "D", "E-", "E", "F", "F#", "G", "G#", "A", "B-", "B"]
    assert spelled(-4)[1::2] == ["D-", "E-", "F", "G", "A", "C-"]
    assert spelled(5)[1] == "C#"


def test_in_minor_the_raised_degrees_are_sharps(read_back):
    score = score_of(track_of((0, 1, 57), (1, 1, 63), (2, 1, 68), (3, 1, 66), program=40))
    score.key_signatures.append(KeySignature(0, 0, 1))
    text = to_musicxml(score)
    (part,) = read_back(text).parts
    assert [note.pitch.name for note in part.flatten().notes] == ["A", "D#", "G#", "F#"]
    assert "<mode>minor</mode>" in text


def test_extreme_keys_and_pitches_are_preserved(read_back):
    for sharps in (-7, 7):
        track = track_of(*((n, 1, pitch) for n, pitch in enumerate((0, 11, 12, 59, 60, 126, 127))))
        score = score_of(track)
        score.key_signatures.append(KeySignature(0, sharps, 0))
        (heads,) = read_parts(read_back(to_musicxml(score)))
        assert are_close(heads, heads_of(track))


# -- Names ---------------------------------------------------------------------------------------

HOSTILE = (
    '</part-name><script>alert("1")</script> & ]]> &lol; <!ENTITY x SYSTEM "file:///etc/passwd">'
)


def names(text: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(text).iter("part-name")]


def test_a_hostile_name_is_escaped():
    text = to_musicxml(score_of(track_of((0, 1, 60), name=HOSTILE)), title=HOSTILE)
    assert names(text) == [HOSTILE[:60].strip()]
    root = ElementTree.fromstring(text)
    assert root.find(".//script") is None
    assert "<!ENTITY" not in text


def test_characters_that_xml_forbids_are_removed():
    name = "Vio\0lin\x1b[31m\ufffe\u0085 I\nII"
    assert names(to_musicxml(score_of(track_of((0, 1, 60), name=name)))) == ["Vio lin [31m I II"]


def test_a_track_without_a_name_has_the_name_of_its_instrument():
    score = score_of(track_of((0, 1, 60), program=73), track_of((0, 1, 38), program=-1))
    assert names(to_musicxml(score)) == ["Flute", "Drums"]


def test_the_title_is_written():
    text = to_musicxml(score_of(track_of((0, 1, 60))), title="Evening & Morning")
    assert ElementTree.fromstring(text).findtext("movement-title") == "Evening & Morning"


# -- Edges ---------------------------------------------------------------------------------------


def test_the_same_score_gives_the_same_text(invented):
    score = invented(programs=(0, -1), bars=2)
    before = score.copy()
    assert to_musicxml(score) == to_musicxml(score)
    assert score == before


def test_other_time_units_give_the_same_text(invented):
    score = invented(bars=2)
    assert to_musicxml(score.to("quarter")) == to_musicxml(score)


def test_a_score_without_notes_is_an_empty_sheet():
    text = to_musicxml(score_of(Track("silent", 0, False)))
    assert ElementTree.fromstring(text).tag == "score-partwise"


def test_twenty_parts_are_written(invented, read_back):
    score = invented(programs=range(20), bars=1)
    root = ElementTree.fromstring(to_musicxml(score))
    assert len(root.findall("part")) == len(read_parts(read_back(to_musicxml(score)))) == 20
    channels = [int(each.text or 0) for each in root.iter("midi-channel")]
    assert set(channels) == set(range(1, 17)) - {10}


def test_a_piece_of_too_many_measures_is_refused():
    track = track_of((0, 1, 60), (4 * 20_000, 1, 60))
    with pytest.raises(ScoreError, match=r"20,001 bars in 1 parts.*20,000 measures"):
        to_musicxml(score_of(track))


def test_a_missing_music21_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "music21", None)
    with pytest.raises(RendererMissingError, match="pip install music21"):
        to_musicxml(score_of(track_of((0, 1, 60))))


def test_music21_is_not_loaded_before_it_is_needed():
    import subprocess

    code = "import sys, musiclstm.export.musicxml; sys.exit('music21' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
