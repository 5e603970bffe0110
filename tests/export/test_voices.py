"""Chords, at most four voices, and the hands of a pianist."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from musiclstm.export.quantization import WrittenNote
from musiclstm.export.voices import Chord, split_into_hands, split_into_voices


def voices_of(*notes: tuple[int, int, int], bar_lines: tuple[int, ...] = ()) -> list[list[Chord]]:
    return split_into_voices((WrittenNote(*note) for note in notes), bar_lines=bar_lines)


def test_notes_with_equal_onset_and_end_are_a_chord():
    assert voices_of((0, 24, 64), (0, 24, 60), (24, 48, 62)) == [
        [Chord(0, 24, (60, 64)), Chord(24, 48, (62,))]
    ]


def test_the_higher_of_two_overlapping_lines_is_the_first_voice():
    assert voices_of((0, 48, 60), (0, 24, 72), (24, 48, 74)) == [
        [Chord(0, 24, (72,)), Chord(24, 48, (74,))],
        [Chord(0, 48, (60,))],
    ]


def test_voices_are_ordered_again_after_a_bar_line_without_held_notes():
    found = voices_of((0, 96, 72), (24, 48, 60), (96, 192, 50), (120, 144, 70), bar_lines=(96,))
    assert [[chord.pitches[0] for chord in voice] for voice in found] == [[72, 70], [60, 50]]


def test_a_note_ends_where_its_key_is_struck_again():
    assert voices_of((0, 96, 60), (24, 48, 60)) == [[Chord(0, 24, (60,)), Chord(24, 48, (60,))]]


def test_five_chords_that_begin_together_become_four():
    found = voices_of(*((0, end, 60 + end) for end in (12, 24, 27, 72, 96)))
    chords = sorted(chord for voice in found for chord in voice)
    assert [(chord.end, len(chord.pitches)) for chord in chords] == [
        (12, 1),
        (24, 2),
        (72, 1),
        (96, 1),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.integers(0, 127)), max_size=40)
)
def test_no_onset_is_lost_and_no_voice_overlaps_itself(drawn: list[tuple[int, int, int]]):
    notes = [WrittenNote(start, start + length, pitch) for start, length, pitch in drawn]
    found = split_into_voices(notes)
    assert len(found) <= 4
    heads = [(c.start, pitch) for voice in found for c in voice for pitch in c.pitches]
    assert sorted(heads) == sorted({(note.start, note.pitch) for note in notes})
    for voice in found:
        assert all(chord.start < chord.end for chord in voice)
        assert all(a.end <= b.start for a, b in pairwise(voice))


def test_bass_and_melody_are_in_different_hands():
    notes = [
        WrittenNote(n * 24, n * 24 + 24, pitch) for n in range(8) for pitch in (43 + n, 69 + n)
    ]
    upper, lower = split_into_hands(notes)
    assert [note.pitch for note in upper] == [69 + n for n in range(8)]
    assert [note.pitch for note in lower] == [43 + n for n in range(8)]


def test_a_line_across_the_middle_of_the_keyboard_stays_in_one_hand():
    line = [WrittenNote(n * 12, n * 12 + 12, pitch) for n, pitch in enumerate((64, 60, 57, 60, 64))]
    upper, lower = split_into_hands(line)
    assert not upper or not lower
