"""Probabilities of notes, from those of their tokens."""

from __future__ import annotations

from dataclasses import replace
from math import log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic.core import NoteTick, ScoreTick, TrackTick

from musiclstm.generation.note_probabilities import TokenNote, log_probs_by_track, notes_of_bar
from musiclstm.tokens import PartName
from tests.generation.pieces import PIANO, SAMPLING, constraint_sets, samplings, surprises
from tests.generation.referee import IDS

OPENING = ("Bar_None", "TimeSig_4/4")
PIANO_PART, DRUM_PART = PartName(0, 0), PartName(-1, 0)


def notes_of(*names: str) -> list[TokenNote]:
    """Return notes where the first token has the log-probability -1, the next -2 and so on."""
    return notes_of_bar([IDS[name] for name in names], [-i - 1.0 for i in range(len(names))])


def test_a_note_is_the_product_of_the_tokens_that_spell_it() -> None:
    found = notes_of(*OPENING, "Program_0", "Position_6", "Pitch_60", "Duration_1.0.12")
    assert found == [TokenNote(PIANO_PART, 6, 60, -(3.0 + 4 + 5 + 6))]


def test_a_tempo_belongs_to_no_note() -> None:
    tempo = next(name for name in IDS if name.startswith("Tempo_"))
    words = (*OPENING, "Position_0", tempo, "Program_-1", "Position_0", "PitchDrum_38")
    (note,) = notes_of(*words, "Duration_0.1.12")
    assert note == TokenNote(DRUM_PART, 0, 38, -(5.0 + 6 + 7 + 8))


def test_the_notes_of_an_onset_share_its_position_and_those_of_a_block_its_program() -> None:
    block = ("Program_0", "Position_0", "Pitch_60", "Duration_1.0.12", "Pitch_64")
    found = notes_of(*block, "Duration_1.0.12", "Position_3", "Pitch_62", "Duration_1.0.12")
    expected = {60: 2 / 2 + 3 + 4, 64: 2 / 2 + 5 + 6, 62: 7.0 + 8 + 9}
    assert {note.pitch: -note.log_prob for note in found} == pytest.approx(
        {pitch: value + 1 / 3 for pitch, value in expected.items()}
    )


def test_the_program_of_an_empty_block_counts_with_the_next_one_of_its_program() -> None:
    words = ("Program_40", "Program_0", "Position_0", "Pitch_60", "Duration_1.0.12")
    found = notes_of(*words, "Program_40", "Position_0", "Pitch_62", "Duration_1.0.12")
    assert found == [
        TokenNote(PIANO_PART, 0, 60, -(2.0 + 3 + 4 + 5)),
        TokenNote(PartName(40, 1), 0, 62, -(1.0 + 6 + 7 + 8 + 9)),
    ]


def test_the_notes_of_a_bar_have_the_probability_of_all_tokens_of_its_parts() -> None:
    words = ("Program_40", "Program_40", "Position_0", "Pitch_60", "Duration_1.0.12", "Position_9")
    words += ("Pitch_62", "Duration_1.0.12", "Pitch_65", "Duration_1.0.12", "Program_-1")
    words += ("Position_4", "PitchDrum_38", "Duration_0.1.12")
    found = notes_of(*words)
    assert sum(note.log_prob for note in found) == pytest.approx(-sum(range(1, len(words) + 1)))


def test_a_silent_bar_has_no_notes() -> None:
    assert notes_of(*OPENING) == []


def test_numbers_come_in_the_order_of_tracks_and_notes() -> None:
    score = ScoreTick(48)
    violin, second = [(0, 60), (0, 64), (12, 62)], [(0, 60)]
    for program, is_drum, notes in ((40, False, violin), (40, False, second), (0, True, [(0, 38)])):
        track = TrackTick("", program, is_drum)
        track.notes.extend(type(track.notes)([NoteTick(t, 6, p, 80) for t, p in notes]))
        score.tracks.append(track)
    parts = [PartName(40, 0), PartName(40, 1), DRUM_PART]
    notes = [
        TokenNote(parts[0], 0, 64, -1.0),
        TokenNote(DRUM_PART, 0, 38, -2.0),
        TokenNote(parts[0], 0, 60, -3.0),
        TokenNote(parts[1], 0, 60, -5.0),
        TokenNote(parts[0], 3, 62, -4.0),
    ]
    assert log_probs_by_track(score, parts, notes) == ((-3.0, -1.0, -4.0), (-5.0,), (-2.0,))


# Compositions -------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(constraint_sets, samplings, surprises, st.booleans(), st.sampled_from([480, 96, 7]))
def test_every_note_of_a_piece_has_one_probability(
    tiny_composer, invented, constraints, sampling, surprise, with_prompt, ticks
) -> None:
    prompt = invented(bars=2, programs=(0, 40, 19)).resample(ticks, min_dur=1)
    piece = tiny_composer.compose(
        bars=4,
        prompt=prompt if with_prompt else None,
        sampling=sampling,
        constraints=constraints,
        surprise=surprise,
    )
    found = piece.note_probabilities()
    assert [each[:3] for each in found] == [
        (number, tick, pitch)
        for number, track in enumerate(piece.continuation.tracks)
        for tick, pitch in sorted((note.time, note.pitch) for note in track.notes)
    ]
    assert len({each[:3] for each in found}) == len(found)
    assert all(0 < each.probability <= 1 for each in found)


def test_log_probabilities_of_notes_add_up_to_those_of_their_tokens(tiny_composer) -> None:
    piece = tiny_composer.compose(
        bars=6, sampling=SAMPLING, constraints=replace(PIANO, tempo_changes=False)
    )
    expected = sum(
        log_prob
        for bar in piece.generated_bars
        for token, log_prob in zip(bar.tokens, bar.log_probs, strict=True)
        if not tiny_composer.tokenizer.token_names[token].startswith(("Bar", "TimeSig", "Tempo"))
    )
    found = sum(log(each.probability) for each in piece.note_probabilities())
    assert found == pytest.approx(expected)
