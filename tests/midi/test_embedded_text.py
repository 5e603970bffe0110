"""A text in a MIDI file is read again and does not change the music."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from symusic.core import ScoreTick

from musiclstm.midi.embedded_text import embed_text, extract_text
from musiclstm.midi.smf import canonical_midi, repair_tracks


@pytest.fixture(scope="module")
def midi(invented) -> bytes:
    return bytes(invented(bars=2, programs=(0, -1)).dumps_midi())


@pytest.mark.parametrize("length", [0, 128, 200_000])
def test_a_text_can_be_read_again(length, midi) -> None:
    text = "x" * length
    assert extract_text(embed_text(midi, text)) == text


def test_the_music_stays_the_same(midi) -> None:
    written = embed_text(midi, '{"a":1}')
    assert ScoreTick.from_midi(written) == ScoreTick.from_midi(midi)
    plain = canonical_midi(written, label="x", limit=10**6)
    assert plain.repairs == []
    assert ScoreTick.from_midi(repair_tracks(plain.data)).note_num() == (
        ScoreTick.from_midi(midi).note_num()
    )


def test_chunk_lengths_stay_correct(midi) -> None:
    written, chunks, at = embed_text(midi, "text"), 0, 14
    while at < len(written):
        name, length = struct.unpack_from(">4sI", written, at)
        assert name == b"MTrk"
        chunks, at = chunks + 1, at + 8 + length
    assert at == len(written)
    assert chunks == struct.unpack_from(">H", written, 10)[0]


def test_a_file_without_tracks_gets_one() -> None:
    written = embed_text(bytes(ScoreTick(48).dumps_midi()), "nothing yet")
    assert extract_text(written) == "nothing yet"
    assert struct.unpack_from(">HHH", written, 8) == (1, 1, 48)
    assert ScoreTick.from_midi(written).note_num() == 0


def test_text_events_of_other_programs_are_skipped(midi) -> None:
    written = embed_text(midi, "text")
    name = b"\0\xff\x03\x05Piano\0\xff\x01\x05Hello"
    length = struct.unpack_from(">I", written, 18)[0] + len(name)
    moved = written[:18] + struct.pack(">I", length) + name + written[22:]
    assert extract_text(moved) == "text"


def test_a_file_without_a_text_gives_none(midi) -> None:
    assert extract_text(midi) is None
    assert extract_text(b"") is None
    assert extract_text(b"MThd but nothing else") is None


@given(st.binary(max_size=400), st.integers(0, 60), st.integers(0, 60))
def test_any_bytes_give_a_text_or_none(noise, keep, drop) -> None:
    whole = embed_text(bytes(ScoreTick(48).dumps_midi()), "some text")
    for data in (noise, whole[:keep] + noise, whole[: len(whole) - drop], whole[:22] + noise):
        assert extract_text(data) is None or isinstance(extract_text(data), str)
