"""Files nobody trusts: each gives a clean score with its report, or one sentence.

The files are written here byte by byte, so that each test shows what is wrong with its own.
Hundreds more, and mutants of them, are in `tests/hostile`.
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
from musiclstm.midi.reader import (
    MidiLimits,
    MidiSummary,
    check_score,
    clean_text,
    read_midi,
)
from musiclstm.midi.summary import TrackSummary

END = b"\0\xff\x2f\0"
TEMPO_100 = b"\0\xff\x51\x03\x09\x27\xc0"
THREE_FOUR = b"\0\xff\x58\x04\x03\x02\x18\x08"
G_MAJOR = b"\0\xff\x59\x02\x01\x00"


def number(value: int) -> bytes:
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | value & 0x7F)
    return bytes(reversed(out))


def note(pitch: int, ticks: int = 480, *, channel: int = 0) -> bytes:
    return bytes((0, 0x90 | channel, pitch, 80)) + number(ticks) + bytes((0x80 | channel, pitch, 0))


def named(text: bytes) -> bytes:
    return b"\0\xff\x03" + number(len(text)) + text


def track(*events: bytes, end: bytes = END) -> bytes:
    body = b"".join(events) + end
    return b"MTrk" + struct.pack(">I", len(body)) + body


def midi(*chunks: bytes, kind: int = 1, division: int = 480, tracks: int | None = None) -> bytes:
    count = len(chunks) if tracks is None else tracks
    return b"MThd" + struct.pack(">IHHh", 6, kind, count, division) + b"".join(chunks)


def pitches(score: ScoreTick) -> list[int]:
    return [note.pitch for track in score.tracks for note in track.notes]


def waltz() -> bytes:
    """Two bars of 3/4 in G major: a tune on the violin, and drums."""
    tune = [note(pitch) for pitch in (67, 71, 74, 79, 74, 67)]
    return midi(
        track(TEMPO_100, THREE_FOUR, G_MAJOR, named(b"Waltz")),
        track(named(b"Tune"), b"\0\xc0\x28", *tune),
        track(*(note(38, 240, channel=9) for _ in range(4))),
    )


# -- What is read --------------------------------------------------------------------------------


def test_a_good_file_is_reported_as_it_is() -> None:
    score, report = read_midi(waltz(), name="waltz.mid")
    assert report == MidiSummary(
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
    )
    assert pitches(score) == [67, 71, 74, 79, 74, 67, 38, 38, 38, 38]
    assert [note.time for note in score.tracks[0].notes] == [0, 480, 960, 1440, 1920, 2400]
    assert score.ticks_per_quarter == 480
    assert [key.key for key in score.key_signatures] == [1]


def test_the_report_is_a_few_plain_lines() -> None:
    assert str(read_midi(waltz(), name="waltz.mid")[1]).splitlines() == [
        "waltz.mid",
        "  2 bars of 3/4 at 100 bpm in G major",
        "  10 notes, 3.6 seconds",
        "  track 1: Tune (Violin): 6 notes, G4 to G5",
        "  track 2: Drums: 4 notes",
    ]


def test_bytes_without_a_name_and_drums_without_a_key_have_a_report_too() -> None:
    report = read_midi(midi(track(note(38, channel=9))))[1]
    assert (report.name, report.key) == ("", None)
    assert str(report).splitlines()[:2] == ["Untitled", "  1 bar of 4/4 at 120 bpm"]


def test_a_path_gives_the_same_as_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "waltz.mid"
    path.write_bytes(waltz())
    assert read_midi(path) == read_midi(str(path)) == read_midi(waltz(), name="waltz.mid")


def test_a_name_of_ones_own_takes_the_place_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "upload-1234.mid"
    path.write_bytes(waltz())
    assert read_midi(path, name="my waltz.mid")[1].name == "my waltz.mid"


def test_score_and_report_can_be_sent_to_another_process() -> None:
    result = read_midi(waltz(), name="waltz.mid")
    assert pickle.loads(pickle.dumps(result)) == result


# -- Odd but legal files -------------------------------------------------------------------------


def test_running_status_and_one_track_are_read() -> None:
    data = midi(track(b"\0\x90\x3c\x50\x60\x3c\x00\x00\x3e\x50\x60\x3e\x00"), kind=0, division=96)
    score, report = read_midi(data)
    assert pitches(score) == [60, 62]
    assert report.repairs == ()


def test_gzip_and_riff_wrappers_are_taken_off() -> None:
    inner = midi(track(note(60)))
    riff = b"RIFF\0\0\0\0RMID" + b"LIST\x03\0\0\0abc\0" + b"data" + struct.pack("<I", len(inner))
    expected = read_midi(inner)
    assert read_midi(gzip.compress(inner)) == expected
    assert read_midi(riff + inner) == expected


def test_a_long_header_and_alien_chunks_are_passed_over() -> None:
    data = midi(b"XFIH\0\0\0\x02ab", track(note(60)), tracks=1)
    longer = data[:4] + struct.pack(">I", 10) + data[8:14] + b"abcd" + data[14:]
    assert read_midi(data)[1].repairs == ("left out 1 chunk without music",)
    assert read_midi(longer) == read_midi(data)


def test_patterns_of_format_2_follow_one_another_at_bar_lines() -> None:
    data = midi(track(note(60)), track(note(62), note(64)), track(note(65)), kind=2)
    score, report = read_midi(data)
    assert [track.notes[0].time for track in score.tracks] == [0, 1920, 3840]
    assert pitches(score) == [60, 62, 64, 65]
    assert report.repairs == ("read its patterns (format 2) one after another",)


def test_film_frames_become_ticks_of_the_same_length() -> None:
    one_second = note(60, 25 * 40)
    data = midi(track(TEMPO_100, one_second, note(62, 25 * 40)), division=-25 * 256 + 40)
    score, report = read_midi(data)
    assert report.seconds == pytest.approx(2)
    assert (report.tempo_bpm, score.ticks_per_quarter) == (120, 500)
    assert report.repairs == ("read its film frames (SMPTE) as ticks at 120 beats a minute",)


@pytest.mark.parametrize(
    "message", [b"\0\xf7\x03\xf3\x01\x00", b"\0\xf0\x01\x7e\0\xf7\x02\x01\xf7", b"\0\xf0\x01\xf7"]
)
def test_a_system_message_in_pieces_or_sent_raw_takes_no_note_along(message: bytes) -> None:
    score, report = read_midi(midi(track(message, note(60), message, note(62))))
    assert [(each.time, each.pitch) for each in score.tracks[0].notes] == [(0, 60), (480, 62)]
    assert report.repairs == ()


def test_lyrics_markers_and_tracks_without_notes_are_dropped() -> None:
    text = b"\0\xff\x05\x02la\0\xff\x06\x02mk\0\xff\x01\x02tx"
    score, report = read_midi(midi(track(named(b"Words"), text), track(text, note(60))))
    assert len(score.tracks) == 1
    assert len(score.markers) == len(score.tracks[0].lyrics) == 0
    assert report.repairs == ()


def test_what_comes_after_the_last_note_is_dropped() -> None:
    late = b"\x8f\x00" + TEMPO_100[1:] + THREE_FOUR + G_MAJOR + b"\0\xb0\x07\x00\0\xe0\x00\x50"
    score, _ = read_midi(midi(track(note(60), late)))
    assert len(score.tempos) == len(score.time_signatures) == len(score.key_signatures) == 0
    assert len(score.tracks[0].controls) == len(score.tracks[0].pitch_bends) == 0


def test_a_pedal_lifted_after_the_last_note_is_lifted_at_its_end() -> None:
    data = midi(track(b"\0\xb0\x40\x7f", note(60), b"\x60\xb0\x40\x00"))
    track_read = read_midi(data)[0].tracks[0]
    assert [(each.time, each.value) for each in track_read.controls] == [(0, 127), (480, 0)]
    assert [(each.time, each.duration) for each in track_read.pedals] == [(0, 480)]


# -- Repairs -------------------------------------------------------------------------------------


def test_a_file_that_breaks_off_is_used_up_to_there() -> None:
    data = midi(track(note(60), note(62), note(64)))
    score, report = read_midi(data[:-10])
    assert pitches(score) == [60, 62]
    assert report.repairs == (
        f"used what comes before the break: it breaks off after {len(data) - 10} of "
        f"{len(data)} bytes",
    )


def test_a_note_that_sounds_where_the_file_breaks_off_is_ended_there() -> None:
    whole = midi(track(note(60), b"\0\x90\x40\x50", b"\x83\x60\x90\x43\x50", note(67)))
    score, _ = read_midi(whole[:-16])
    assert [(note.pitch, note.time, note.duration) for note in score.tracks[0].notes] == [
        (60, 0, 480),
        (64, 480, 40),  # broke off at once: a twelfth of a beat
    ]


@pytest.mark.parametrize("length", [0, 5, 4_000_000_000])
def test_a_track_with_a_wrong_length_is_read_to_its_end(length: int) -> None:
    first = track(note(60), note(62))
    data = midi(first[:4] + struct.pack(">I", length) + first[8:], track(note(64)))
    score, report = read_midi(data)
    assert pitches(score) == [60, 62, 64]
    assert report.repairs == ("read a track with a wrong length to its real end",)


def test_a_track_with_nonsense_in_it_is_read_up_to_there() -> None:
    nonsense = b"\0\xff\x01\xff\x7f"  # a text longer than the file
    score, report = read_midi(midi(track(note(60), nonsense, note(62)), track(note(64))))
    assert pitches(score) == [60, 64]
    assert report.repairs == ("read its tracks as far as they go and ended notes that never end",)


def test_notes_that_never_end_are_ended_where_nothing_else_sounds() -> None:
    score, report = read_midi(midi(track(b"\0\x90\x3c\x50", end=b"\x83\x60\xff\x2f\0")))
    assert [(note.pitch, note.duration) for note in score.tracks[0].notes] == [(60, 480)]
    assert report.repairs == ("read its tracks as far as they go and ended notes that never end",)


def test_values_out_of_range_are_brought_into_it() -> None:
    score, report = read_midi(midi(track(b"\0\xb0\x07\xff", note(60))))
    assert score.tracks[0].controls[0].value == 127
    assert report.repairs == ("brought values out of range into the range of MIDI",)


def test_bytes_before_the_header_are_left_out() -> None:
    report = read_midi(bytes(128) + midi(track(note(60))))[1]
    assert report.repairs == ("left out 128 bytes before the MIDI header",)


def test_missing_tracks_are_told() -> None:
    report = read_midi(midi(track(note(60)), tracks=3))[1]
    assert report.repairs == ("found only 1 of the 3 tracks its header announces",)


def test_notes_without_length_get_a_short_one() -> None:
    score, report = read_midi(midi(track(note(60, 0), note(62), note(64, 0))))
    assert [note.duration for note in score.tracks[0].notes] == [40, 480, 40]
    assert report.repairs == ("gave 2 notes without length a twelfth of a beat",)


def test_tempos_are_brought_into_range_and_impossible_ones_dropped() -> None:
    slow, endless = b"\0\xff\x51\x03\xff\xff\xff", b"\0\xff\x51\x03\0\0\0"
    fast = b"\0\xff\x51\x03\0\0\x01"
    score, report = read_midi(midi(track(endless, slow, note(60), fast, note(62))))
    assert [(tempo.time, round(tempo.qpm)) for tempo in score.tempos] == [(0, 10), (480, 300)]
    assert report.repairs == ("brought 2 tempos into the range of 10 to 300 bpm",)


def test_meters_that_no_bar_can_have_are_dropped() -> None:
    nothing, crowd = b"\0\xff\x58\x04\0\x02\x18\x08", b"\0\xff\x58\x04\x21\x02\x18\x08"
    tiny = b"\0\xff\x58\x04\x03\x06\x18\x08"
    score, report = read_midi(midi(track(THREE_FOUR, nothing, crowd, tiny, note(60))))
    assert [(each.numerator, each.denominator) for each in score.time_signatures] == [(3, 4)]
    assert report.repairs == ("left out 3 time signatures that no bar can have",)


def test_events_said_twice_are_kept_once_and_the_last_of_a_moment_rules() -> None:
    again = note(60) + TEMPO_100 + THREE_FOUR + note(62)
    four_four = b"\0\xff\x58\x04\x04\x02\x18\x08"
    score, _ = read_midi(midi(track(four_four, TEMPO_100, THREE_FOUR, again)))
    assert [(each.time, each.numerator) for each in score.time_signatures] == [(0, 3)]
    assert [tempo.time for tempo in score.tempos] == [0]


def test_more_controllers_than_anyone_plays_are_left_out() -> None:
    busy = b"\0\xb0" + b"\x01\x40\x00" * 200_001 + b"\x01\x40"
    score, report = read_midi(midi(track(busy, note(60))))
    assert len(score.tracks[0].controls) == 0
    assert report.repairs == ("left out all 200,002 controller values, more than 200,000",)


def test_a_flood_of_tempos_is_thinned() -> None:
    flood = b"\1\xff\x51\x03\x07\xa1\x20\1\xff\x51\x03\x07\xa1\x21" * 20_000
    score, report = read_midi(midi(track(flood, note(60)), division=480))
    assert len(score.tempos) <= 40_000 // 40 + 1
    assert report.tempo_bpm == pytest.approx(120, abs=0.01)


# -- Refusals ------------------------------------------------------------------------------------

REFUSALS = {
    "empty": (b"", "'x.mid' is empty (0 bytes); drop a .mid or .midi file."),
    "text": (
        b"Dear all, please find",
        "'x.mid' is not a MIDI file (it begins with 'Dear all'); drop a .mid or .midi file.",
    ),
    "zeros": (
        bytes(2_000),
        "'x.mid' is not a MIDI file (it begins with the bytes 00 00 00 00); "
        "drop a .mid or .midi file.",
    ),
    "mp3": (
        b"ID3\x04\0\0\0",
        "'x.mid' is an MP3 recording, not a MIDI file; drop a .mid or .midi file.",
    ),
    "wav": (
        b"RIFF\0\0\0\0WAVEfmt ",
        "'x.mid' is a WAV recording, not a MIDI file; drop a .mid or .midi file.",
    ),
    "riff": (
        b"RIFF\0\0\0\0RMIDLIST\0\0\0\0",
        "'x.mid' is a RIFF file without MIDI in it; drop a .mid or .midi file.",
    ),
    "gzip": (
        b"\x1f\x8b\x08\0\0\0\0\0\0\0nonsense",
        "'x.mid' is a damaged gzip file; drop a .mid or .midi file.",
    ),
    "bomb": (
        gzip.compress(bytes(3_000_000)),
        "'x.mid' holds more than 2,000,000 bytes once unpacked; drop a .mid or .midi file.",
    ),
    "header": (
        b"MThd\0\0\0",
        "'x.mid' breaks off in its header, after 7 bytes; fetch or export it again.",
    ),
    "header only": (
        midi(tracks=2),
        "'x.mid' has a MIDI header, but no track in its 14 bytes; fetch or export it again.",
    ),
    "division": (
        midi(track(note(60)), division=0),
        "'x.mid' does not say how long a tick is (its division is 0); "
        "export it again from the program it came from.",
    ),
    "cut": (
        midi(track(named(b"x" * 40), note(60)))[:41],
        "'x.mid' breaks off after 41 of 79 bytes, before its first note; fetch it again.",
    ),
    "no notes": (
        midi(track(TEMPO_100)),
        "'x.mid' has no notes; choose a file with something to play.",
    ),
    "damaged": (
        midi(track(b"\xff\xff\xff\xff\xff\xff")),
        "'x.mid' is a damaged MIDI file without a readable note; "
        "export it again from the program it came from.",
    ),
    "a damaged file that is too long to mend": (
        midi(track(note(60), bytes(1_000_000))),
        "'x.mid' needs mending over 1,000,035 bytes, and at most 1,000,000 can be mended; "
        "export it again from the program it came from.",
    ),
    "notes": (
        midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\x00\x00" * 60_001)),
        "'x.mid' has 60,001 notes, and at most 60,000 can be read; cut it into shorter pieces.",
    ),
    "beats": (
        midi(track(note(60, 480 * 4_096 + 1))),
        "'x.mid' has 4,097 beats, and at most 4,096 can be read; cut it into shorter pieces.",
    ),
    "bars": (
        midi(track(b"\0\xff\x58\x04\x01\x05\x18\x08", note(60, 480 * 513))),
        "'x.mid' has 4,104 bars, and at most 4,096 can be read; cut it into shorter pieces.",
    ),
    "minutes": (
        midi(track(b"\0\xff\x51\x03\xff\xff\xff", note(60, 480 * 700))),
        "'x.mid' has 70 minutes of music, and at most 60 can be read; cut it into shorter pieces.",
    ),
    "tracks": (
        midi(*[track()] * 1_025),
        "'x.mid' has more than 1,024 tracks, the most that can be read; export fewer.",
    ),
    "tracks with notes": (
        midi(*[track(note(60))] * 257),
        "'x.mid' has 257 tracks with notes, and at most 256 can be read; "
        "cut it into shorter pieces.",
    ),
    "meters": (
        midi(
            track(b"\1\xff\x58\x04\x03\x02\x18\x08\1\xff\x58\x04\x04\x02\x18\x08" * 2_049, note(60))
        ),
        "'x.mid' has 4,098 time signatures, and at most 4,096 can be read; "
        "cut it into shorter pieces.",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_every_refusal_is_one_sentence(case: str) -> None:
    data, sentence = REFUSALS[case]
    with pytest.raises(ScoreError) as refusal:
        read_midi(data, name="x.mid")
    assert str(refusal.value) == sentence


def test_a_file_beyond_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "big.mid"
    with path.open("wb") as file:
        file.truncate(50_000_000_000)  # a hole: reading it whole would not fit in memory
    sentence = (
        r"^'big.mid' is larger than 2,000,000 bytes, the most that can be read; "
        r"cut it into shorter pieces\.$"
    )
    with pytest.raises(ScoreError, match=sentence):
        read_midi(path)
    with pytest.raises(ScoreError, match=sentence):
        read_midi(bytes(2_000_001), name="big.mid")


def test_bytes_without_a_name_are_called_this_file() -> None:
    with pytest.raises(ScoreError, match=r"^This file is empty"):
        read_midi(b"")


def test_paths_that_are_no_files_are_refused_without_showing_the_way(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.mid"
    os.mkfifo(pipe)
    cases = {
        tmp_path / "none.mid": "'none.mid' does not exist; pass a .mid or .midi file.",
        tmp_path: f"'{tmp_path.name}' is a folder; pass one .mid or .midi file.",
        pipe: "'pipe.mid' is not a regular file; pass a .mid or .midi file.",
        tmp_path / ("a" * 300): f"'{'a' * 80}' cannot be opened (File name too long); "
        "pass another file.",
        tmp_path / "a\0b.mid": "'ab.mid' cannot be opened (its name is not one a file can have); "
        "pass another file.",
    }
    for path, sentence in cases.items():
        with pytest.raises(ScoreError) as refusal:
            read_midi(path)
        assert str(refusal.value) == sentence


def test_training_takes_what_an_upload_may_not_have() -> None:
    data = midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\x00\x00" * 60_001))
    assert read_midi(data, limits=MidiLimits.training())[1].notes == 60_001


def test_limits_hold_at_the_limit() -> None:
    assert read_midi(midi(track(note(60, 480 * 4_096))))[1].bars == 1_024
    assert read_midi(midi(track(note(60))), limits=MidiLimits(notes=1, beats=1))[1].notes == 1


# -- Names ---------------------------------------------------------------------------------------


def test_names_of_tracks_become_one_line_of_plain_text() -> None:
    name = "<b>a\r\nb\x07c\u202etxt</b>".encode()
    report = read_midi(midi(track(named(name), note(60))))[1]
    assert report.tracks[0].name == "<b>a bctxt</b>"


def test_names_that_are_not_utf_8_and_endless_names_are_safe() -> None:
    data = midi(track(named(b"caf\xe9"), note(60)), track(named(b"x" * 9_999), note(60)))
    latin, long = (each.name for each in read_midi(data)[1].tracks)
    assert latin.startswith("caf")
    assert latin.isprintable()
    assert long == "x" * 80


def test_names_of_files_become_one_line_of_plain_text() -> None:
    assert clean_text("a\udcffb\u2066c\nd\u200b  e\0") == "abc d e"
    with pytest.raises(ScoreError, match=r"^'evil name\.mid' is empty"):
        read_midi(b"", name="evil\n\u202ename.mid")
    for path in ("/home/me/a.mid", r"C:\music\a.mid"):
        assert read_midi(waltz(), name=path)[1].name == "a.mid"


# -- Scores that did not come from a file --------------------------------------------------------


def test_a_score_from_code_is_checked_too_and_left_unchanged() -> None:
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
    clean, report = check_score(score, name="mine")
    assert score == before
    assert [(note.time, note.pitch) for note in clean.tracks[0].notes] == [(0, 60), (960, 62)]
    assert report.tracks[0].name == "line"
    assert clean.tracks[0].pedals[0].duration == 1_440
    assert len(clean.tracks[0].controls) == len(clean.tracks[0].pitch_bends) == 0
    assert report.repairs == (
        "left out 2 notes that cannot sound",
        "left out 1 time signature that no bar can have",
        "left out 1 controller value out of range",
    )


def test_scores_that_cannot_be_music_are_refused() -> None:
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
