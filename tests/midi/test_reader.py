"""Reading untrusted files: a clean score with its summary, or one error.

`tests/malformed_midi` has hundreds of malformed files, and mutations of them.
"""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path

import pytest
from symusic.core import (
    ControlChangeTick,
    NoteTick,
    PedalTick,
    PitchBendTick,
    ScoreTick,
    TempoTick,
    TimeSignatureTick,
    TrackTick,
)

from musiclstm.errors import ScoreError
from musiclstm.midi.reader import MidiLimits, check_score, clean_text, read_midi
from musiclstm.midi.summary import MidiSummary, TrackSummary
from tests.malformed_midi.cases import UPLOADS
from tests.malformed_midi.midi_builder import (
    TEMPO_100,
    THREE_FOUR,
    chunk,
    meta,
    meter,
    midi,
    note,
    tempo,
    track,
    track_name,
)

G_MAJOR = b"\0\xff\x59\x02\x01\x00"


def notes_of(score: ScoreTick) -> list[tuple[int, int, int]]:
    """Return (pitch, tick, duration) of all notes."""
    return [(n.pitch, n.time, n.duration) for track in score.tracks for n in track.notes]


def pitches_and_repairs(data: bytes) -> tuple[list[int], tuple[str, ...]]:
    score, summary = read_midi(data)
    return [pitch for pitch, *_ in notes_of(score)], summary.repairs


def waltz() -> bytes:
    """Return two bars of 3/4 in G major for violin and drums."""
    melody = [note(pitch) for pitch in (67, 71, 74, 79, 74, 67)]
    return midi(
        track(TEMPO_100, THREE_FOUR, G_MAJOR, track_name(b"Waltz")),
        track(track_name(b"Tune"), b"\0\xc0\x28", *melody),
        track(*(note(38, 240, channel=9) for _ in range(4))),
    )


# -- Score and summary ---------------------------------------------------------------------------


def test_a_valid_file_is_read_without_repairs() -> None:
    score, summary = read_midi(waltz(), name="waltz.mid")
    assert summary == MidiSummary(
        name="waltz.mid",
        bars=2,
        notes=10,
        seconds=pytest.approx(3.6),
        tempo_bpm=pytest.approx(100),
        meter="3/4",
        key="G major",
        tracks=(
            TrackSummary("Tune", "Violin", 40, 6, 67, 79),
            TrackSummary("", "Drums", -1, 4, 38, 38),
        ),
        repairs=(),
        unkept=("title",),
    )
    assert notes_of(score)[:2] == [(67, 0, 480), (71, 480, 480)]
    assert score.ticks_per_quarter == 480
    assert [key.key for key in score.key_signatures] == [1]
    assert str(summary).splitlines() == [
        "waltz.mid",
        "  2 bars of 3/4 at 100 bpm in G major",
        "  10 notes, 3.6 seconds",
        "  track 1: Tune (Violin): 6 notes, G4 to G5",
        "  track 2: Drums: 4 notes",
        "  not kept in a continuation: title",
    ]


def test_bytes_without_a_name_and_drums_without_a_key_have_a_summary() -> None:
    summary = read_midi(midi(track(note(38, channel=9))))[1]
    assert (summary.name, summary.key) == ("", None)
    assert str(summary).splitlines()[:2] == ["Untitled", "  1 bar of 4/4 at 120 bpm"]


def test_a_path_and_its_bytes_give_the_same_and_a_name_overrides_the_file_name(
    tmp_path: Path,
) -> None:
    path = tmp_path / "waltz.mid"
    path.write_bytes(waltz())
    assert read_midi(path) == read_midi(str(path)) == read_midi(waltz(), name="waltz.mid")
    assert read_midi(path, name="my waltz.mid")[1].name == "my waltz.mid"


def test_score_and_summary_can_be_pickled() -> None:
    result = read_midi(waltz(), name="waltz.mid")
    assert pickle.loads(pickle.dumps(result)) == result


# -- Unusual but valid files ---------------------------------------------------------------------


def test_running_status_is_read() -> None:
    data = midi(track(b"\0\x90\x3c\x50\x60\x3c\x00\x00\x3e\x50\x60\x3e\x00"), kind=0, division=96)
    assert pitches_and_repairs(data) == ([60, 62], ())


def test_gzip_and_riff_wrappers_are_removed() -> None:
    inner = midi(track(note(60)))
    riff = b"RIFF\0\0\0\0RMID" + b"LIST\x03\0\0\0abc\0" + b"data" + struct.pack("<I", len(inner))
    expected = read_midi(inner)
    assert read_midi(gzip.compress(inner)) == expected
    assert read_midi(riff + inner) == expected


def test_a_long_header_and_unknown_chunks_are_skipped() -> None:
    data = midi(chunk(b"XFIH", b"ab"), track(note(60)), tracks=1)
    longer = data[:4] + struct.pack(">I", 10) + data[8:14] + b"abcd" + data[14:]
    assert read_midi(data)[1].repairs == ("left out 1 chunk without music",)
    assert read_midi(longer) == read_midi(data)


def test_patterns_of_format_2_are_concatenated_at_bar_lines() -> None:
    data = midi(track(note(60)), track(note(62), note(64)), track(note(65)), kind=2)
    score, summary = read_midi(data)
    assert [track.notes[0].time for track in score.tracks] == [0, 1920, 3840]
    assert "format 2" in summary.repairs[0]


def test_smpte_time_becomes_ticks_of_the_same_duration() -> None:
    one_second = note(60, 25 * 40)
    data = midi(track(TEMPO_100, one_second, note(62, 25 * 40)), division=-25 * 256 + 40)
    score, summary = read_midi(data)
    assert summary.seconds == pytest.approx(2)
    assert (summary.tempo_bpm, score.ticks_per_quarter) == (120, 500)
    assert "SMPTE" in summary.repairs[0]


@pytest.mark.parametrize(
    "message", [b"\0\xf7\x03\xf3\x01\x00", b"\0\xf0\x01\x7e\0\xf7\x02\x01\xf7", b"\0\xf0\x01\xf7"]
)
def test_a_split_or_raw_system_message_removes_no_note(message: bytes) -> None:
    score, summary = read_midi(midi(track(message, note(60), message, note(62))))
    assert notes_of(score) == [(60, 0, 480), (62, 480, 480)]
    assert summary.repairs == ()


def test_lyrics_markers_and_tracks_without_notes_are_dropped() -> None:
    text = b"\0\xff\x05\x02la\0\xff\x06\x02mk\0\xff\x01\x02tx"
    score, summary = read_midi(midi(track(track_name(b"Words"), text), track(text, note(60))))
    assert len(score.tracks) == 1
    assert len(score.markers) == len(score.tracks[0].lyrics) == 0
    assert summary.repairs == ()


def test_events_after_the_last_note_are_dropped() -> None:
    late = b"\x8f\x00" + TEMPO_100[1:] + THREE_FOUR + G_MAJOR + b"\0\xb0\x07\x00\0\xe0\x00\x50"
    score, _ = read_midi(midi(track(note(60), late)))
    assert len(score.tempos) == len(score.time_signatures) == len(score.key_signatures) == 0
    assert len(score.tracks[0].controls) == len(score.tracks[0].pitch_bends) == 0


def test_a_pedal_is_released_at_the_last_note_end_at_the_latest() -> None:
    data = midi(track(b"\0\xb0\x40\x7f", note(60), b"\x60\xb0\x40\x00"))
    track_read = read_midi(data)[0].tracks[0]
    assert [(each.time, each.value) for each in track_read.controls] == [(0, 127), (480, 0)]
    assert [(each.time, each.duration) for each in track_read.pedals] == [(0, 480)]


# -- Repairs -------------------------------------------------------------------------------------

UNTERMINATED = midi(track(b"\0\x90\x3c\x50", end=b"\x83\x60\xff\x2f\0"))
LONG_TEXT = b"\0\xff\x01\xff\x7f"  # longer than the file
REPAIRS = {
    "truncated": (midi(track(note(60), note(62), note(64)))[:-10], [60, 62], "43 of 53 bytes"),
    "invalid event": (midi(track(note(60), LONG_TEXT), track(note(64))), [60, 64], "as far as"),
    "unterminated note": (UNTERMINATED, [60], "ended 1 note without an end"),
    "value out of range": (midi(track(b"\0\xb0\x07\xff", note(60))), [60], "out of range"),
    "bytes before the header": (bytes(128) + midi(track(note(60))), [60], "128 bytes before"),
    "missing tracks": (midi(track(note(60)), tracks=3), [60], "only 1 of the 3 tracks"),
}


@pytest.mark.parametrize("case", REPAIRS)
def test_a_repair_is_reported_and_keeps_the_readable_notes(case: str) -> None:
    data, expected, fact = REPAIRS[case]
    pitches, (repair,) = pitches_and_repairs(data)
    assert pitches == expected
    assert fact in repair


@pytest.mark.parametrize("length", [0, 5, 4_000_000_000])
def test_a_track_with_a_wrong_length_is_read_to_its_end(length: int) -> None:
    data = midi(track(note(60), note(62), length=length), track(note(64)))
    pitches, (repair,) = pitches_and_repairs(data)
    assert pitches == [60, 62, 64]
    assert "wrong length" in repair


def test_a_note_that_is_unterminated_at_a_truncation_ends_there() -> None:
    data = midi(track(note(60), b"\0\x90\x40\x50", b"\x83\x60\x90\x43\x50", note(67)))
    # The second one has no length, so it gets a twelfth of a quarter note.
    assert notes_of(read_midi(data[:-16])[0]) == [(60, 0, 480), (64, 480, 40)]
    assert notes_of(read_midi(UNTERMINATED)[0]) == [(60, 0, 480)]


def test_notes_of_length_0_get_a_twelfth_of_a_quarter() -> None:
    score, summary = read_midi(midi(track(note(60, 0), note(62), note(64, 0))))
    assert [duration for _, _, duration in notes_of(score)] == [40, 480, 40]
    assert "2 notes" in summary.repairs[0]


def test_every_tempo_is_kept_that_a_file_can_state() -> None:
    data = midi(track(tempo(0), tempo(0xFFFFFF), note(60), tempo(1), note(62)))
    score, summary = read_midi(data)
    assert [(each.time, each.mspq) for each in score.tempos] == [(0, 0xFFFFFF), (480, 1)]
    assert "1 tempo of 0 seconds" in summary.repairs[0]
    assert summary.seconds == pytest.approx(0xFFFFFF / 1e6 + 1e-6)


def test_invalid_time_signatures_are_dropped() -> None:
    score, summary = read_midi(
        midi(track(THREE_FOUR, meter(0, 2), meter(255, 2), meter(65, 4), meter(3, 8), note(60)))
    )
    assert [(each.numerator, each.denominator) for each in score.time_signatures] == [(65, 16)]
    assert "2 time signatures" in summary.repairs[0]


def test_meters_that_the_network_reads_as_others_are_reported() -> None:
    meters = (meter(above, 4, delta=480) for above in (17, 19, 17, 21, 23))
    score, summary = read_midi(midi(track(note(60, 4_800)), track(*meters)))
    assert [each.numerator for each in score.time_signatures] == [17, 19, 17, 21, 23]
    fact = "kept 17/16, 19/16, 21/16 and 1 more in the file, which the network reads as 4/4"
    assert summary.repairs == (fact,)
    assert read_midi(midi(track(meter(2, 1), note())))[1].repairs == ()  # 2/2 as 4/4


@pytest.mark.parametrize("rest", [0, 480])
def test_tempo_meter_and_key_on_the_last_bar_line_are_kept_but_later_ones_not(rest: int) -> None:
    last = meta(1, delta=rest) + TEMPO_100 + THREE_FOUR + G_MAJOR
    later = tempo(1, delta=1) + meter(5, 3) + meta(0x59, b"\x02\0")
    score, summary = read_midi(midi(track(note(60, 1920 - rest), last, later)))
    events = (score.tempos, score.time_signatures, score.key_signatures)
    assert [[each.time for each in own] for own in events] == [[1920]] * 3
    assert summary.bars == 1


def test_a_time_signature_in_the_rest_of_the_last_bar_ends_it() -> None:
    data = midi(track(note(60, 480), meter(3, 2, delta=480), meter(5, 2, delta=480)))
    score, summary = read_midi(data)
    assert [(each.time, each.numerator) for each in score.time_signatures] == [(960, 3)]
    assert (summary.bars, summary.meter) == (1, "4/4")


def test_a_repeated_time_signature_is_kept_where_it_begins_a_bar() -> None:
    again = note(60) + THREE_FOUR + note(62, 1440) + THREE_FOUR + note(64, 1440)
    score, summary = read_midi(midi(track(THREE_FOUR, again)))
    assert [each.time for each in score.time_signatures] == [0, 480]
    assert summary.bars == 3


def test_repeated_events_are_kept_once_and_the_last_of_simultaneous_ones_counts() -> None:
    repeated = note(60, 1440) + TEMPO_100 + THREE_FOUR + note(62)
    score, _ = read_midi(midi(track(meter(4, 2), TEMPO_100, THREE_FOUR, repeated)))
    assert [(each.time, each.numerator) for each in score.time_signatures] == [(0, 3)]
    assert [each.time for each in score.tempos] == [0]


def test_too_many_controllers_are_dropped() -> None:
    data = midi(track(b"\0\xb0" + b"\x01\x40\x00" * 200_001 + b"\x01\x40", note(60)))
    score, summary = read_midi(data)
    assert len(score.tracks[0].controls) == 0
    assert "200,002" in summary.repairs[0]


def test_too_many_tempos_are_thinned_out() -> None:
    tempos = (tempo(500_000, delta=1) + tempo(500_001, delta=1)) * 20_000
    score, summary = read_midi(midi(track(tempos, note(60)), division=480))
    assert len(score.tempos) <= 40_000 // 40 + 1
    assert summary.tempo_bpm == pytest.approx(120, abs=0.01)


# -- Errors --------------------------------------------------------------------------------------

FACTS = {
    ("other format", "nothing"): "is empty",
    ("other format", "text"): "not a MIDI file (it begins with 'Dear all')",
    ("other format", "zeros"): "00 00 00 00",
    ("other format", "mp3"): "an MP3 recording",
    ("container", "gzip of 3 MB"): "2,000,000 bytes once unpacked",
    ("division", "0"): "division (0); export it again",
    ("track", "breaks off before its first note"): "41 of 79 bytes",
    ("notes", "none"): "has no notes; choose",
    ("notes", "60001"): "60,001 notes, and at most 60,000",
    ("notes", "one of 4097 beats"): "4,097 beats, and at most 4,096",
    ("tempo", "slowest for 700 beats"): "195 minutes of music, and at most 60",
    ("meter", "1/32 for 513 beats"): "4,104 bars, and at most 4,096",
    ("meter", "20000 changes"): "20,000 time signatures, and at most 4,096",
    ("chunk", "1025 tracks"): "more than 1,024 tracks",
    ("chunk", "257 tracks with notes"): "257 tracks with notes, and at most 256",
    ("size", "2 MB of zeros in a track"): "a damaged MIDI file without a readable note",
}


@pytest.mark.parametrize("case", FACTS, ids=": ".join)
def test_an_error_names_the_file_and_the_fact(case: tuple[str, str]) -> None:
    (data,) = (each.data for each in UPLOADS if (each.kind, each.case) == case)
    with pytest.raises(ScoreError) as error:
        read_midi(data, name="x.mid")
    assert str(error.value).startswith("'x.mid' ")
    assert FACTS[case] in str(error.value)


def test_a_file_beyond_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "big.mid"
    with path.open("wb") as file:
        file.truncate(50_000_000_000)  # sparse; it would not fit in memory
    for source in (path, bytes(2_000_001)):
        with pytest.raises(ScoreError, match=r"^'big\.mid' is larger than 2,000,000 bytes"):
            read_midi(source, name="big.mid")


def test_bytes_without_a_name_are_called_this_file() -> None:
    with pytest.raises(ScoreError, match=r"^This file is empty"):
        read_midi(b"")


def test_paths_that_are_not_regular_files_are_refused_without_their_folder(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mid"
    os.mkfifo(pipe)
    cases = {
        tmp_path / "none.mid": "'none.mid' does not exist",
        tmp_path: f"'{tmp_path.name}' is a folder",
        pipe: "'pipe.mid' is not a regular file",
        tmp_path / ("a" * 300): f"'{'a' * 80}' cannot be opened (File name too long)",
        tmp_path / "a\0b.mid": "'ab.mid' cannot be opened (invalid file name)",
    }
    for path, fact in cases.items():
        with pytest.raises(ScoreError) as error:
            read_midi(path)
        assert str(error.value).startswith(f"{fact}; pass ")


def test_training_limits_are_larger_and_limits_are_inclusive() -> None:
    data = midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\x00\x00" * 60_001))
    assert read_midi(data, limits=MidiLimits.training())[1].notes == 60_001
    assert read_midi(midi(track(note(60, 480 * 4_096))))[1].bars == 1_024
    assert read_midi(midi(track(note(60))), limits=MidiLimits(notes=1, beats=1))[1].notes == 1


# -- Names ---------------------------------------------------------------------------------------


def test_track_names_become_one_line_of_plain_text() -> None:
    names = "<b>a\r\nb\x07c\u202etxt</b>".encode(), b"x" * 9_999, b"caf\xe9"
    summary = read_midi(midi(*(track(track_name(name), note(60)) for name in names)))[1]
    markup, long, latin = (each.name for each in summary.tracks)
    assert markup == "<b>a bctxt</b>"
    assert long == "x" * 80
    assert latin.startswith("caf")
    assert latin.isprintable()


def test_file_names_become_one_line_of_plain_text() -> None:
    assert clean_text("a\udcffb\u2066c\nd\u200b  e\0") == "abc d e"
    with pytest.raises(ScoreError, match=r"^'evil name\.mid' is empty"):
        read_midi(b"", name="evil\n\u202ename.mid")
    for path in ("/home/me/a.mid", r"C:\music\a.mid"):
        assert read_midi(waltz(), name=path)[1].name == "a.mid"


# -- Scores made in code -------------------------------------------------------------------------


def test_a_score_made_in_code_is_checked_and_left_unchanged() -> None:
    score = ScoreTick(480)
    score.tracks.append(TrackTick("line\n", 0, False))
    for time, pitch, velocity in ((960, 62, 80), (0, 60, 80), (480, 64, 0), (480, -3, 80)):
        score.tracks[0].notes.append(NoteTick(time, 480, pitch, velocity))
    score.tracks[0].controls.append(ControlChangeTick(-5, 7, 100))
    score.tracks[0].pitch_bends.append(PitchBendTick(0, 20_000))
    score.tracks[0].pedals.append(PedalTick(0, 10_000))
    score.tempos.append(TempoTick(-10, 60))
    score.time_signatures.append(TimeSignatureTick(0, 3, 5))
    before = score.copy()
    clean, summary = check_score(score, name="mine")
    assert score == before
    assert [(note.time, note.pitch) for note in clean.tracks[0].notes] == [(0, 60), (960, 62)]
    assert summary.tracks[0].name == "line"
    assert clean.tracks[0].pedals[0].duration == 1_440
    assert len(clean.tracks[0].controls) == len(clean.tracks[0].pitch_bends) == 0
    assert summary.repairs == (
        "left out 2 notes that cannot sound",
        "left out 1 time signature out of range",
        "left out 1 controller value out of range",
    )


def test_scores_without_playable_notes_are_refused() -> None:
    with pytest.raises(ScoreError, match=r"^This file has no notes; choose a file"):
        check_score(ScoreTick(480))
    score = ScoreTick(480)
    score.tracks.append(TrackTick("", 0, False))
    score.tracks[0].notes.append(NoteTick(-10, 480, 60, 80))
    with pytest.raises(ScoreError, match=r"^'mine' has notes before its beginning; export"):
        check_score(score, name="mine")
    score.tracks[0].notes[0].velocity = 0
    with pytest.raises(ScoreError, match=r"^'mine' has no note that can sound; choose a file"):
        check_score(score, name="mine")
    score.ticks_per_quarter = 40_000
    with pytest.raises(ScoreError, match=r"^'mine' has 40,000 ticks in a quarter note; it must"):
        check_score(score, name="mine")


def test_a_track_without_a_name_has_that_of_its_instrument() -> None:
    named = (meta(3, b"Solo") + meta(4, b"Horn"), meta(4, b"Horn") + meta(4, b"Tuba"))
    score, _ = read_midi(midi(*(track(texts, note(60)) for texts in named)))
    assert [each.name for each in score.tracks] == ["Solo", "Horn"]


@pytest.mark.parametrize("name", ["ﾋﾟｱﾉ 1", "ピアノ①", "ストリングス Str", "FLÖTE É", "Über"])
def test_names_in_shift_jis_and_windows_1252_are_told_apart(name: str) -> None:
    encoding = "cp1252" if "Ö" in name or "Ü" in name else "cp932"
    score, _ = read_midi(midi(track(track_name(name.encode(encoding)), note(60))))
    assert score.tracks[0].name == name


def test_texts_that_are_not_kept_are_named() -> None:
    texts = meta(3, b"Song") + meta(2, b"(c) me") + meta(6, b"A") + meta(5, b"la") + meta(5, b"lo")
    _, summary = read_midi(midi(track(texts), track(meta(3, b"Piano"), note(60))))
    assert summary.unkept == ("title", "copyright notice", "2 lyrics", "1 marker")
    assert "not kept in a continuation: title, copyright notice, 2 lyrics" in str(summary)
    karaoke = track(meta(1, b"@K"), meta(1, b"la", delta=480), meta(1, b"lo", delta=480))
    assert read_midi(midi(karaoke, track(note(60))))[1].unkept == ("2 texts",)
    assert read_midi(midi(track(meta(3, b"Piano"), note(60))))[1].unkept == ()


def test_more_programs_than_can_be_read_are_refused() -> None:
    changes = (
        bytes((0, 0xC0 | channel, program)) + note(60, 1, channel=channel)
        for channel in range(9)
        for program in range(120)
    )
    with pytest.raises(ScoreError, match=r"more than 1,024 tracks and programs with notes; export"):
        read_midi(midi(track(*changes)))


def test_tracks_that_share_a_channel_are_reported() -> None:
    violin = track(b"\0\xc0\x28", note(60), note(62))
    flute = track(b"\0\xc0\x49", note(72), note(74))
    score, summary = read_midi(midi(violin, flute))
    assert [own.program for own in score.tracks] == [40, 73]
    clause = "gave tracks that share a channel their own instruments and controllers"
    assert summary.repairs == (clause,)
