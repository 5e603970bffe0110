"""MIDI files: what holds for a channel, which note an end belongs to, and files written again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclstm.core.library import is_available
from musiclstm.core.midi_file import (
    BAD_DIVISION,
    NOT_MIDI,
    MidiFileError,
    MidiTables,
    read_tables,
    write_tables,
)
from tests.malformed_midi.midi_builder import meta, midi, note, track

pytestmark = pytest.mark.skipif(not is_available(), reason="this machine cannot run the core")

GS_DRUMS = b"\xf0\x0a\x41\x10\x42\x12\x40\x11\x15\x02\x18\xf7"  # on channel 1
XG_DRUMS = b"\xf0\x08\x43\x10\x4c\x08\x00\x07\x02\xf7"


def program(number: int, *, channel: int = 0, delta: bytes = b"\0") -> bytes:
    return delta + bytes((0xC0 | channel, number))


def control(number: int, value: int, *, channel: int = 0, delta: bytes = b"\0") -> bytes:
    return delta + bytes((0xB0 | channel, number, value))


def port(number: int) -> bytes:
    return meta(0x21, bytes([number]))


def voices_of(data: bytes) -> list[tuple[int, int, bool, int]]:
    """Return program, bank, whether it is a drum part, and number of notes of each voice."""
    tables, _ = read_tables(data)
    counts = np.bincount(tables.notes[:, 4], minlength=len(tables.voices)).tolist()
    return [
        (own, bank, bool(drums), count)
        for (_, _, own, bank, drums), count in zip(tables.voices.tolist(), counts, strict=True)
    ]


def lengths_of(*events: bytes) -> list[tuple[int, int, int]]:
    """Return onset, length and pitch of the notes of one track."""
    tables, _ = read_tables(midi(track(*events)))
    return sorted(tuple(row) for row in tables.notes[:, :3].tolist())


# Channels ---------------------------------------------------------------------------------------


def test_a_program_of_another_track_holds_for_the_channel() -> None:
    setup = track(program(40), program(42, channel=1))
    assert voices_of(midi(setup, track(note()), track(note(channel=1)))) == [
        (40, 0, False, 1),
        (42, 0, False, 1),
    ]


def test_a_later_program_of_another_track_changes_the_notes_from_there() -> None:
    changes = track(program(40), program(56, delta=b"\x86\x40"))  # at tick 832
    assert voices_of(midi(track(program(1), note(), note(), note()), changes)) == [
        (1, 0, False, 2),
        (56, 0, False, 1),
    ]


def test_tracks_that_choose_programs_of_one_channel_at_one_time_play_their_own() -> None:
    data = midi(track(program(40), note(), note()), track(program(73), note(), note()))
    assert voices_of(data) == [(40, 0, False, 2), (73, 0, False, 2)]
    assert read_tables(data)[1].shared_events == 1  # the second one of the first track


def test_ports_have_channels_of_their_own() -> None:
    data = midi(track(port(0), program(40)), track(port(1), program(73)), track(port(1), note()))
    assert voices_of(data) == [(73, 0, False, 1)]


def test_a_bank_takes_effect_at_the_next_program() -> None:
    chosen = control(0, 1) + control(32, 2) + program(5)
    assert voices_of(midi(track(chosen, note()))) == [(5, 130, False, 1)]
    assert voices_of(midi(track(program(5), control(0, 8), note()))) == [(5, 0, False, 1)]


@pytest.mark.parametrize(
    "switch",
    [GS_DRUMS, XG_DRUMS, control(0, 120)[1:] + program(0), control(0, 127)[1:] + program(0)],
    ids=["GS", "XG", "GM2 bank", "XG bank"],
)
def test_another_channel_than_the_tenth_can_be_drums(switch: bytes) -> None:
    assert [voice[2] for voice in voices_of(midi(track(b"\0" + switch, note())))] == [True]
    assert [voice[2] for voice in voices_of(midi(track(note(), b"\0" + switch)))] == [False]


def test_the_tenth_channel_can_be_melodic() -> None:
    off = GS_DRUMS.replace(b"\x40\x11\x15\x02", b"\x40\x10\x15\x00")
    assert [voice[2] for voice in voices_of(midi(track(note(channel=9))))] == [True]
    assert [v[2] for v in voices_of(midi(track(b"\0" + off, note(channel=9))))] == [False]
    melody = control(0, 121, channel=9) + program(0, channel=9)
    assert [v[2] for v in voices_of(midi(track(melody, note(channel=9))))] == [False]


def test_simultaneous_controllers_keep_the_order_of_the_file() -> None:
    events = [(64, 127), (64, 0), (7, 100), (7, 40), (101, 0), (100, 0), (6, 12), (38, 0)]
    data = midi(track(*(control(*event) for event in events), b"\0\xe0\x7f\x7f", note()))
    tables, _ = read_tables(data)
    assert [tuple(row) for row in tables.controls[:-1, 3:5].tolist()] == events
    assert tables.controls[-1, 2:5].tolist() == [0xE0, 127, 127]


# Notes ------------------------------------------------------------------------------------------

ON, OFF = b"\x90\x3c\x50", b"\x80\x3c\x40"


@pytest.mark.parametrize(
    ("events", "lengths"),
    [
        ([b"\0" + ON, b"\x10" + ON, b"\x10" + OFF, b"\x10" + OFF], [(0, 32), (16, 32)]),
        ([b"\0" + ON, b"\x40" + ON, b"\x10" + OFF, b"\x20" + ON, b"\x10" + OFF],
         [(0, 64), (64, 16), (112, 16)]),  # the first one has no end
        ([b"\0" + ON, b"\0" + ON, b"\0" + OFF, b"\x30" + OFF], [(0, 48)]),  # a twin of length 0
        ([b"\0" + ON, b"\0" + ON, b"\x30" + OFF], [(0, 48), (0, 48)]),  # one end for two
        ([b"\0" + ON, b"\0" + OFF], [(0, 40)]),  # a twelfth of a quarter
        ([b"\0" + ON, b"\x85\x20" + b"\x90\x3e\x00"], [(0, 672)]),  # to the end of the track
        ([b"\0" + ON, b"\xa0\x00" + b"\x90\x3e\x00"], [(0, 1_920)]),  # at most four quarters
        ([b"\0" + OFF, b"\x10" + ON, b"\x10" + OFF], [(16, 16)]),
    ],
)  # fmt: skip
def test_each_note_has_its_own_end(events: list[bytes], lengths: list[tuple[int, int]]) -> None:
    assert [(on, length) for on, length, _ in lengths_of(*events)] == lengths


def test_all_notes_off_of_another_track_ends_the_notes_of_the_channel() -> None:
    off = track(control(123, 0, delta=b"\x60"), note(72, 480))
    tables, _ = read_tables(
        midi(track(note(60, 960), note(62, 480)), off, track(note(64, 960, channel=1)))
    )
    lengths = dict(tables.notes[:, [2, 1]].tolist())
    assert lengths == {60: 96, 62: 480, 64: 960, 72: 480}


@pytest.mark.parametrize("number", [120, 123, 126])
def test_all_notes_off_ends_the_notes_of_its_channel(number: int) -> None:
    other = bytes((0x91, 62, 80))
    events = [b"\0" + ON, b"\0" + other, control(number, 0, delta=b"\x40"), b"\x10\x81\x3e\x00"]
    assert lengths_of(*events, b"\x10" + OFF) == [(0, 64, 60), (0, 80, 62)]


def test_controllers_of_two_tracks_at_one_time_are_reported() -> None:
    def report(second: int) -> int:
        data = midi(track(control(7, 90), note()), track(control(7, second), note()))
        return read_tables(data)[1].shared_events

    assert (report(90), report(20)) == (0, 1)


def test_a_track_without_a_port_is_on_port_0() -> None:
    other = track(port(1), program(40), note())
    assert [voice[0] for voice in voices_of(midi(other, track(note())))] == [40, 0]


def test_a_track_can_play_on_two_ports() -> None:
    both = track(port(0), program(40), port(1), program(42), port(0), note(), port(1), note(50))
    assert [voice[0] for voice in voices_of(midi(both))] == [40, 42]


def test_an_end_belongs_to_the_track_of_its_note() -> None:
    long, short = track(note(60, 960)), track(note(60, 240))
    tables, _ = read_tables(midi(long, short))
    assert sorted(tables.notes[:, 1].tolist()) == [240, 960]


def test_a_note_that_is_open_in_its_track_ends_by_an_end_of_another() -> None:
    on = b"\0\x90\x3c\x50"
    tables, report = read_tables(midi(track(on, note(64, 960)), track(b"\x60\x80\x3c\0", note(67))))
    assert sorted(tables.notes[:, [2, 1]].tolist()) == [[60, 96], [64, 960], [67, 480]]
    assert report.endless_notes == 0
    last = read_tables(midi(track(on), track(b"\x60\x80\x3c\0", note(67))))  # of its track
    assert (last[0].notes[0, 1], last[1].lengthless_notes) == (96, 0)
    other_channel = track(b"\x60\x81\x3c\0", note(67))
    assert read_tables(midi(track(on, note(64, 960)), other_channel))[1].endless_notes == 1


def test_a_pedal_that_is_pressed_before_the_end_of_a_note_holds_it() -> None:
    on, off, press = b"\0\x90\x3c\x50", b"\x80\x3c\0", b"\xb0\x40\x7f"
    assert lengths_of(on, b"\x60" + press, b"\0" + off, note(64)) == [(0, 97, 60), (96, 480, 64)]
    assert lengths_of(on, b"\x60" + off, b"\0" + press, note(64)) == [(0, 96, 60), (96, 480, 64)]
    assert lengths_of(b"\0" + press, on, b"\x60" + off) == [(0, 96, 60)]


def controls_of(*events: bytes) -> list[tuple[int, int, int, int]]:
    """Return tick, status and data bytes of controllers and bends."""
    tables, _ = read_tables(midi(track(*events)))
    return [tuple(row) for row in tables.controls[:, [0, 2, 3, 4]].tolist()]


def test_a_reset_of_controllers_sets_those_that_were_set_before() -> None:
    before = control(7, 80) + control(11, 20) + control(64, 127) + b"\0\xe0\0\x60"
    assert controls_of(before, note(), control(121, 0))[4:] == [
        *((480, 0xB0, 11, 127), (480, 0xB0, 64, 0), (480, 0xE0, 0, 64)),
    ]
    assert controls_of(control(121, 0), note()) == [(0, 0xB0, 121, 0)]  # nothing was set
    twice = controls_of(control(11, 20), note(), control(121, 0), control(121, 0))
    assert twice[1:] == [(480, 0xB0, 11, 127), (480, 0xB0, 121, 0)]
    assert controls_of(control(11, 127), note(), control(121, 0))[1:] == [(480, 0xB0, 121, 0)]


SYSTEM_RESETS = {
    "GM": b"\0\xf0\x05\x7e\x7f\x09\x01\xf7",
    "GS": b"\0\xf0\x0a\x41\x10\x42\x12\x40\x00\x7f\x00\x41\xf7",
    "XG": b"\0\xf0\x08\x43\x10\x4c\x00\x00\x7e\x00\xf7",
}


@pytest.mark.parametrize("kind", SYSTEM_RESETS)
def test_a_system_reset_sets_volume_bend_range_program_and_drum_parts(kind: str) -> None:
    bend_range = control(101, 0) + control(100, 0) + control(6, 12)
    before = (
        control(0, 8)
        + program(40)
        + control(7, 80)
        + control(10, 10)
        + bend_range
        + b"\0"
        + GS_DRUMS
    )
    data = midi(track(before, note(), SYSTEM_RESETS[kind], note(62)))
    assert voices_of(data) == [(0, 0, False, 1), (40, 8 << 7, True, 1)]
    tables, _ = read_tables(data)
    assert tables.controls[5:, [0, 3, 4]].tolist() == [
        *([480, 7, 100], [480, 10, 64], [480, 101, 0], [480, 100, 0], [480, 6, 2]),
        *([480, 101, 127], [480, 100, 127]),
    ]


def test_what_other_tracks_set_at_the_tick_of_a_system_reset_stays() -> None:
    parts = track(program(40) + control(7, 80), note())
    tables, _ = read_tables(midi(parts, track(SYSTEM_RESETS["GM"], note(channel=1))))
    assert tables.controls[:, 3:5].tolist() == [[7, 80]]
    assert tables.voices[:, 2].tolist() == [40, 0]


def test_aftertouch_and_master_volumes_are_counted() -> None:
    quiet, full = (b"\0\xf0\x07\x7f\x7f\x04\x01\0" + bytes((v, 0xF7)) for v in (64, 127))
    _, report = read_tables(midi(track(quiet, full, b"\0\xd0\x40\0\xa0\x3c\x10", note())))
    assert (report.pressures, report.master_volumes) == (2, 1)


def test_running_status_after_a_system_message_is_read_and_reported() -> None:
    plain = midi(track(note(60), b"\0\x90\x3e\x50", b"\x10\x3e\x00"))
    assert read_tables(plain)[1].running_after_system == 0
    broken = midi(track(note(60), b"\0\x90\x3e\x50", b"\0\xf0\x02\x01\xf7", b"\x10\x3e\x00"))
    tables, report = read_tables(broken)
    assert tables.notes.tolist() == read_tables(plain)[0].notes.tolist()
    assert report.running_after_system == 1


def test_bytes_without_a_header_are_refused() -> None:
    for data, code in (
        (b"", NOT_MIDI),
        (b"x" * 2_000 + midi(track(note())), NOT_MIDI),
        (midi(track(note()))[:13], NOT_MIDI),
        (midi(track(note()), division=0), BAD_DIVISION),
        (midi(track(note()), division=-(23 << 8)), BAD_DIVISION),
    ):
        with pytest.raises(MidiFileError) as error:
            read_tables(data)
        assert error.value.code == code


# Writing ----------------------------------------------------------------------------------------


def tables_of(voices: list[tuple[int, int, int]], **others: Any) -> MidiTables:
    """Return a note for each (program, bank, whether it is drums)."""
    rows = [(0, 0, *voice) for voice in voices]
    notes = [(480 * i, 240, 60, 80, i) for i in range(len(voices))]
    return MidiTables(
        480, notes=np.array(notes, np.int32), voices=np.array(rows, np.int32), **others
    )


def test_twenty_programs_are_on_channels_of_two_ports() -> None:
    tables = tables_of([(program, 0, 0) for program in range(20)] + [(0, 0, 1)])
    read, _ = read_tables(write_tables(tables, end_tick=0))
    channels = read.voices[:, 1].tolist()
    assert len(set(channels)) == 21
    assert [channel % 16 == 9 for channel in channels] == [False] * 20 + [True]
    assert [channel // 16 for channel in channels] == [0] * 15 + [1] * 5 + [0]
    assert read.voices[:, 2].tolist() == [*range(20), 0]


def test_of_more_than_fifteen_voices_those_that_sound_the_same_share_a_channel() -> None:
    controls = np.array([[0, 19, 0xB0, 10, 5, 0]], np.int32)
    tables = tables_of([(program % 4, 0, 0) for program in range(20)], controls=controls)
    read, _ = read_tables(write_tables(tables, end_tick=0))
    assert read.voices[:, 2].tolist() == [program % 4 for program in range(20)]
    shared = read.voices[:19, 1].tolist()
    assert shared == ([0, 1, 2, 3] * 5)[:19]
    assert read.voices[19, 1] == 4  # it has another place in the stereo image


def test_a_bank_is_written_before_its_program() -> None:
    data = write_tables(tables_of([(5, 8 << 7 | 3, 0)]), end_tick=0)
    chosen = b"\0\xb0\x00\x08\0\xb0\x20\x03\0\xc0\x05"
    assert chosen in data
    assert read_tables(data)[0].voices[:, 3].tolist() == [8 << 7 | 3]


def test_a_note_ends_at_the_next_onset_of_its_key_and_the_longest_twin_stays() -> None:
    rows = [(0, 500, 60, 80, 0), (240, 100, 60, 90, 0), (240, 300, 60, 70, 0)]
    tables = MidiTables(
        480, notes=np.array(rows, np.int32), voices=np.array([[0, 0, 1, 0, 0]], np.int32)
    )
    read, _ = read_tables(write_tables(tables, end_tick=0))
    assert read.notes[:, :4].tolist() == [[0, 240, 60, 80], [240, 300, 60, 70]]


def test_all_tracks_end_at_the_end() -> None:
    data = write_tables(tables_of([(0, 0, 0)] * 2), end_tick=1_920)
    assert data.count(b"\xff\x2f\0") == 3
    assert read_tables(data)[0].notes[:, 0].tolist() == [0, 480]
    # The last delta times: 1,920, 1,920 - 240 and 1,920 - 720.
    for delta in (b"\x8f\x00", b"\x8d\x10", b"\x89\x30"):
        assert delta + b"\xff\x2f\0" in data


INT7 = st.integers(0, 127)


@st.composite
def tables(draw: st.DrawFn) -> MidiTables:
    count = draw(st.integers(1, 20))
    voices = [(0, 0, draw(INT7), draw(st.integers(0, 16_383)), 0) for _ in range(count)]
    notes, controls = [], []
    for voice in range(count):
        taken = draw(st.lists(st.tuples(st.integers(0, 40), INT7), max_size=4, unique=True))
        notes += [
            (48 * at, draw(st.integers(1, 48)), key, draw(st.integers(1, 127)), voice)
            for at, key in sorted(taken)
        ]
        if taken:
            ticks = sorted(draw(st.lists(st.integers(0, 2_000), max_size=3)))
            controls += [(tick, voice, 0xB0, draw(st.integers(1, 31)), draw(INT7), 0)
                         for tick in ticks]  # fmt: skip

    def rows(values: list[Any], columns: int) -> np.ndarray:
        return np.array(values, np.int32).reshape(-1, columns)

    return MidiTables(
        draw(st.integers(1, 32_767)),
        rows(notes, 5), rows(controls, 6), rows([(7, 500_000), (0, 1)], 2),
        rows([(0, 3, 8), (9, 65, 16)], 3), rows([(0, -3, 1)], 3),
        rows([(0, 0, 1, 0, 3), (5, 1, 5, 3, 2)], 5), rows(voices, 5),
    )  # fmt: skip


@given(tables())
def test_what_is_written_is_read_again(before: MidiTables) -> None:
    data = write_tables(before, end_tick=5_000, texts=b"abcde")
    after, report = read_tables(data)
    assert report.endless_notes == report.doubled_notes == report.damaged_tracks == 0
    assert after.ticks_per_quarter == before.ticks_per_quarter

    def notes(found: MidiTables) -> list[tuple[int, ...]]:
        voices = found.voices[found.notes[:, 4], 2:4]
        return sorted(map(tuple, np.concatenate([found.notes[:, :4], voices], 1).tolist()))

    assert notes(after) == notes(before)
    assert sorted(after.tempos.tolist()) == sorted(before.tempos.tolist())
    assert after.meters.tolist() == before.meters.tolist()
    assert after.keys.tolist() == before.keys.tolist()
    assert [data[o : o + n] for _, _, _, o, n in after.texts.tolist()] == [b"abc", b"de"]


@pytest.mark.parametrize(
    "change",
    [
        {"notes": [[0, 0, 60, 80, 0]]},
        {"notes": [[-1, 10, 60, 80, 0]]},
        {"notes": [[0, 10, 128, 80, 0]]},
        {"notes": [[0, 10, 60, 0, 0]]},
        {"notes": [[0, 10, 60, 80, 1]]},
        {"notes": [[0x0FFF_FFFF, 10, 60, 80, 0]]},
        {"controls": [[0, 1, 0xB0, 7, 7, 0]]},
        {"controls": [[0, 0, 0x90, 7, 7, 0]]},
        {"tempos": [[0, 0]]},
        {"meters": [[0, 4, 0]]},
        {"keys": [[0, 8, 0]]},
        {"texts": [[0, 0, 1, 0, 1]]},
        {"voices": [[0, 0, 128, 0, 0]]},
        {"ticks_per_quarter": 0},
    ],
    ids=str,
)
def test_numbers_out_of_range_are_refused(change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {
        "ticks_per_quarter": 48,
        "voices": np.zeros((1, 5), np.int32),
        **{name: np.array(rows, np.int32) if isinstance(rows, list) else rows
           for name, rows in change.items()},
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"\.$"):
        write_tables(MidiTables(**fields), end_tick=0)
