"""From the probabilities of tokens to those of notes."""

from __future__ import annotations

import pytest
from symusic.core import NoteTick, ScoreTick, TrackTick

from musiclstm.certainty import Spelled, in_order_of, spelled_notes

NOTE = ("Pitch_60", "Velocity_79", "Duration_1.0.12")


def one_by_one(*names: str) -> list[tuple[tuple[str, ...], float]]:
    """Tokens that are not merged, the first with the log probability -1, the next -2 and so on."""
    return [((name,), -number) for number, name in enumerate(names, start=1)]


def test_a_note_is_the_product_of_the_tokens_that_spell_it() -> None:
    (note,) = spelled_notes(one_by_one("Bar_None", "TimeSig_4/4", "Position_6", "Program_0", *NOTE))
    assert note == Spelled(program=0, position=6, pitch=60, log_prob=-(3 + 4 + 5 + 6 + 7))


def test_a_tempo_spells_no_note() -> None:
    (note,) = spelled_notes(one_by_one("Position_0", "Tempo_120.0", "Program_-1", "PitchDrum_38"))
    assert (note.program, note.pitch, note.log_prob) == (-1, 38, -(1 + 3 + 4))


def test_notes_share_their_position() -> None:
    chord = one_by_one("Position_0", "Program_0", "Pitch_60", "Program_40", "Pitch_64")
    later = [(("Position_3",), -10.0), (("Program_0", "Pitch_62"), -20.0)]
    found = {note.pitch: note.log_prob for note in spelled_notes(chord + later)}
    assert found == {60: -(0.5 + 2 + 3), 64: -(0.5 + 4 + 5), 62: -30}


def test_a_merged_token_that_spells_two_notes_gives_each_the_mean() -> None:
    both = ("Program_0", *NOTE, "Program_0", "Pitch_64", *NOTE[1:])
    first, second = spelled_notes([(("Position_0",), -2.0), (both, -8.0)])
    assert first.log_prob == second.log_prob == pytest.approx(-(1 + 4))


def test_a_merged_token_is_divided_among_its_parts_that_spell_notes() -> None:
    tokens = [(("Bar_None", "TimeSig_4/4", "Position_0", "Program_0"), -4.0), (NOTE, -3.0)]
    (note,) = spelled_notes(tokens)
    assert note.log_prob == pytest.approx(-7)


def test_a_silent_bar_has_no_notes() -> None:
    assert spelled_notes(one_by_one("Bar_None", "TimeSig_4/4")) == []


def test_numbers_come_in_the_order_of_the_notes() -> None:
    score = ScoreTick(48)
    violin = 40, False, [(0, 60), (0, 64), (12, 62)]
    for program, is_drum, notes in (violin, (0, True, [(0, 38)])):
        track = TrackTick("", program, is_drum)
        track.notes.extend(type(track.notes)([NoteTick(t, 6, p, 80) for t, p in notes]))
        score.tracks.append(track)
    spelled = [
        Spelled(40, 0, 64, -1.0),
        Spelled(-1, 0, 38, -2.0),
        Spelled(40, 0, 60, -3.0),
        Spelled(40, 3, 62, -4.0),
    ]
    assert in_order_of(score, spelled) == ((-3.0, -1.0, -4.0), (-2.0,))
