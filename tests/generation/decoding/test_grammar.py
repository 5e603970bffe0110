"""The grammar: permitted sequences decode, and encoded scores are permitted.

test_constraints.py shows that constraints hold.
"""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from musiclstm.core.grammar import CompiledGrammar
from musiclstm.generation.constraints import BarShape, Constraints
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.tokens import DRUMS, MusicTokenizer
from musiclstm.tokens.vocabulary import TABLE
from tests.generation.adversary import BIASES, play
from tests.generation.referee import IDS, NAMES, Referee

NOTE = ("Pitch_60", "Duration_1.0.12")
FOUR = ("Bar_None", "TimeSig_4/4")
THREE = ("Bar_None", "TimeSig_3/4")
DRUM = ("Program_-1", "Position_0", "PitchDrum_36", "Duration_0.1.12")
METERS = [(4, 4), (3, 4), (5, 4), (6, 8), (12, 8), (7, 8), (2, 2), (3, 16)]


def state_of(
    constraints: Constraints | None = None,
    shape: BarShape | None = None,
    *,
    tracks: dict[int, int] | None = None,
) -> CompiledGrammar:
    """Return a state; `tracks` are those of a prompt that ends with silence."""
    state = CompiledGrammar(TABLE, bar_rules(constraints, shape))
    if tracks is not None:
        words = [*FOUR]
        for program, count in tracks.items():
            words += [f"Program_{program}"] * count
            pitch = "PitchDrum_40" if program == DRUMS else "Pitch_40"
            words += ["Position_0", pitch, "Duration_0.1.12"]
        state.read_prompt([IDS[word] for word in words])
    return state


def follow(state: CompiledGrammar, *words: str) -> set[str]:
    """Take tokens by name, each of which must be permitted; return what may follow."""
    for word in words:
        if word == "Bar_None":
            state.open_bar()
        assert state.permitted()[IDS[word]], word
        state.advance(IDS[word])
    return {NAMES[token] for token in np.flatnonzero(state.permitted())}


def of(kind: str, allowed: set[str]) -> set[str]:
    return {name.split("_")[1] for name in allowed if name.split("_")[0] == kind}


def kinds(allowed: set[str]) -> set[str]:
    return {name.split("_")[0] for name in allowed}


# -- What is permitted can be played ---------------------------------------------------------------


@pytest.mark.parametrize("bias", BIASES)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_permitted_sequence_decodes_to_its_notes(seed, bias) -> None:
    ids = [token for bar in play(state_of(), [bar_rules()] * 3, bias, seed) for token in bar]
    referee = Referee(ids)
    score = MusicTokenizer().decode(ids)
    assert len(referee.bars) == 3
    assert score.note_num() == len(referee.notes)
    quarter = score.ticks_per_quarter
    parts = sorted(
        (DRUMS if track.is_drum else track.program, note.time, note.pitch, note.duration)
        for track in score.tracks
        for note in track.notes
    )
    assert parts == sorted(
        (n.program, n.start * quarter // 48, n.pitch, (n.end - n.start) * quarter // 48)
        for n in referee.notes
    )


def test_empty_bars_are_permitted_up_to_the_limit() -> None:
    state = state_of(Constraints(max_empty_bars=2))
    for _ in range(2):
        assert "Bar_None" in follow(state, *FOUR)
    third = follow(state, *FOUR)
    assert not {"Bar_None", "EOS_None"} & third
    assert "Program_0" in third


def test_empty_bars_of_the_prompt_count() -> None:
    state = state_of(Constraints(max_empty_bars=2))
    state.read_prompt(
        [IDS[word] for word in (*FOUR, "Program_0", "Position_0", *NOTE, *FOUR, *FOUR)]
    )
    assert "Bar_None" not in follow(state, *FOUR)


def test_a_bar_with_a_tempo_only_is_empty() -> None:
    state = state_of(Constraints(max_empty_bars=0))
    tempo = next(name for name in NAMES if name.startswith("Tempo_"))
    allowed = follow(state, *FOUR, "Position_47", tempo)
    assert "Bar_None" not in allowed
    assert "Program_0" in allowed


# -- What is encoded is permitted ------------------------------------------------------------------


def accept(state: CompiledGrammar, ids: list[int]) -> None:
    for place, token in enumerate(ids):
        assert state.permitted()[token], (
            place,
            [NAMES[i] for i in ids[place - 5 : place + 1]],
        )
        state.advance(token)


@pytest.mark.parametrize("meter", METERS, ids=str)
def test_encoded_scores_are_accepted_token_by_token(meter, invented) -> None:
    tokenizer = MusicTokenizer()
    for seed in range(3):
        score = invented(meter=meter, programs=(0, 40, 0, DRUMS), bars=4, seed=seed)
        for merge_tracks in (False, True):
            ids = tokenizer.encode(score, merge_tracks=merge_tracks)
            accept(state_of(), [*ids, tokenizer.eos_id])


def test_a_prompt_may_be_continued_by_itself(invented) -> None:
    tokenizer = MusicTokenizer()
    score = invented(programs=(0, 40, 0, 0, DRUMS), bars=6, seed=3)
    ids = tokenizer.encode(score)
    state = state_of(Constraints(programs={0, 40, DRUMS}))
    state.read_prompt([tokenizer.bos_id, *ids])
    accept(state, ids)


# -- What is not -----------------------------------------------------------------------------------

HERE = (*THREE, "Program_0", "Position_5")
FORBIDDEN = [
    (("Bar_None",), ["Bar_None", "Position_0", "Program_0", "EOS_None"]),
    (THREE, ["Pitch_60", "TimeSig_3/4", "Position_36", "Tempo_120.0"]),
    ((*THREE, "Position_5"), ["Position_5", "Program_0", "Bar_None", "EOS_None", "Pitch_60"]),
    ((*THREE, "Program_0"), ["Pitch_60", "PitchDrum_36", "Bar_None", "EOS_None", "Position_36"]),
    (HERE, ["Position_6", "PitchDrum_36", "Program_0", "Bar_None", "EOS_None"]),
    ((*THREE, "Program_-1", "Position_5"), ["Pitch_60"]),
    ((*HERE, *NOTE), ["Position_5", "Position_4", "Pitch_60", "Pitch_59", "Duration_1.0.12"]),
    ((*HERE, NOTE[0]), ["Pitch_61", "Program_0", "Bar_None", "EOS_None", "Position_6"]),
    ((*THREE, "Program_0", "Position_35", *NOTE), ["Position_36", "Position_47"]),
    ((*THREE, *DRUM), ["Program_0", "Program_-1", "Pitch_60"]),
]


@pytest.mark.parametrize(("words", "forbidden"), FORBIDDEN, ids=str)
def test_tokens_against_the_grammar_are_forbidden(words, forbidden) -> None:
    allowed = follow(state_of(), *words)
    assert not allowed & {*forbidden}
    assert not allowed & {"PAD_None", "BOS_None"}
    assert allowed


def test_pitches_of_an_onset_and_positions_of_a_part_ascend() -> None:
    allowed = follow(state_of(), *HERE, *NOTE)
    assert of("Pitch", allowed) == {str(pitch) for pitch in range(61, 128)}
    assert of("Position", allowed) == {str(position) for position in range(6, 36)}
    assert kinds(allowed) == {"Pitch", "Position", "Program", "Bar", "EOS"}


def test_another_part_may_start_the_same_note() -> None:
    assert "Pitch_60" in follow(state_of(), *HERE, *NOTE, "Program_40", "Position_5")
    assert "Pitch_60" in follow(state_of(), *HERE, *NOTE, "Program_0", "Position_5")


def test_no_more_notes_start_together_than_the_limit_over_all_parts() -> None:
    state = state_of(Constraints(max_notes_at_once=3))
    allowed = follow(state, *THREE, "Program_0", "Position_5", *NOTE, "Pitch_64", NOTE[1])
    assert of("Pitch", allowed)
    allowed = follow(state, "Program_40", "Position_5", *NOTE)
    assert not of("Pitch", allowed)
    assert "5" not in of("Position", follow(state, "Program_41"))
    assert "5" not in of("Position", follow(state, "Position_4", *NOTE))


def test_thirty_two_notes_may_start_together_and_no_more() -> None:
    state = state_of()
    follow(state, *FOUR, "Program_0", "Position_0")
    for pitch in range(32):
        allowed = follow(state, f"Pitch_{pitch}", "Duration_1.0.12")
    assert kinds(allowed) == {"Bar", "EOS", "Position", "Program"}
    assert "Pitch_0" in follow(state, "Position_1")


# -- Parts -----------------------------------------------------------------------------------------


def test_a_program_has_as_many_blocks_as_the_prompt_has_tracks() -> None:
    state = state_of(tracks={40: 2, 0: 1})
    follow(state, *FOUR, "Program_40", "Position_0", *NOTE)
    allowed = follow(state, "Program_0", "Position_0", *NOTE)
    assert "40" in of("Program", allowed)
    assert "0" not in of("Program", allowed)
    allowed = follow(state, "Program_40", "Position_0", *NOTE)
    assert not {"0", "40"} & of("Program", allowed)
    assert "41" in of("Program", allowed)
    assert "41" not in of("Program", follow(state, "Program_41", "Position_0", *NOTE))


def test_without_a_prompt_a_program_has_up_to_eight_blocks_and_drums_one() -> None:
    state = state_of()
    follow(state, *FOUR)
    for _ in range(8):
        allowed = follow(state, "Program_40", "Position_0", *NOTE)
    assert "40" not in of("Program", allowed)
    assert of("Program", follow(state, *DRUM)) == set()


@pytest.mark.parametrize("prompt", [FOUR, ("Program_0", "Position_0", *NOTE)], ids=str)
def test_after_silence_or_the_end_of_a_bar_a_program_has_one_block(prompt) -> None:
    state = state_of()
    state.read_prompt([IDS[word] for word in ("BOS_None", *prompt)])
    follow(state, *FOUR, "Program_0", "Position_0", *NOTE)
    allowed = of("Program", follow(state, "Program_40", "Position_0", *NOTE))
    assert not {"0", "40"} & allowed
    assert "41" in allowed


def test_a_block_may_be_empty_only_where_a_later_track_must_play() -> None:
    state = state_of(tracks={40: 3, 0: 1})
    assert kinds(follow(state, *FOUR, "Program_0")) == {"Position"}
    state = state_of(tracks={40: 3, 0: 1})
    allowed = follow(state, *FOUR, "Program_40")
    assert {"Position", "Program"} == kinds(allowed)
    assert "40" in of("Program", allowed)
    allowed = follow(state, "Program_0")
    assert kinds(allowed) == {"Position"}
    allowed = follow(state, "Position_0", *NOTE)
    assert not {"Bar", "EOS"} & kinds(allowed)
    assert "-1" not in of("Program", allowed)  # drums would be the last
    follow(state, "Program_40")
    allowed = follow(state, "Program_40")
    assert kinds(allowed) == {"Position"}  # the last track has to play
    allowed = follow(state, "Position_0", *NOTE)
    assert {"Bar", "EOS"} <= kinds(allowed)


def test_an_empty_block_keeps_a_note_and_a_voice_for_the_track_that_must_play() -> None:
    state = state_of(Constraints(notes_per_bar=(0, 2)), tracks={40: 2, 0: 1, 1: 2})
    follow(state, *FOUR, "Program_40")
    allowed = follow(state, "Program_0", "Position_0", *NOTE)
    assert of("Program", allowed) == {"40"}
    assert not of("Pitch", allowed)
    assert not of("Position", allowed)
    state = state_of(Constraints(max_polyphony=1, meter=(1, 8)), tracks={40: 2, 0: 1})
    follow(state, "Bar_None", "TimeSig_1/8", "Program_40", "Program_0", "Position_0")
    assert max(map(int, of_durations(follow(state, "Pitch_60")))) == 11


def of_durations(allowed: set[str]) -> list[int]:
    """Return durations in positions."""
    values = [tuple(map(int, value.split("."))) for value in of("Duration", allowed)]
    return [(beats * per_beat + parts) * 12 // per_beat for beats, parts, per_beat in values]


def test_drums_come_last_unless_the_prompt_has_them_earlier() -> None:
    assert not of("Program", follow(state_of(tracks={0: 1, DRUMS: 1}), *FOUR, *DRUM))
    allowed = follow(state_of(tracks={DRUMS: 1, 0: 1}), *FOUR, *DRUM)
    assert "0" in of("Program", allowed)
    assert "-1" not in of("Program", allowed)


def test_random_ids_can_be_read_as_a_prompt() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        state = state_of(Constraints(max_polyphony=3))
        state.read_prompt(rng.integers(0, len(NAMES), 60).tolist())
        state.open_bar()
        assert follow(state) == {"Bar_None"}
        follow(state, *FOUR)


# -- Polyphony -------------------------------------------------------------------------------------


def test_no_note_starts_until_a_voice_is_free() -> None:
    state = state_of(Constraints(max_polyphony=1, tempo_changes=False))
    allowed = follow(state, *FOUR, "Program_0", "Position_4", *NOTE)
    assert not of("Pitch", allowed)
    assert min(map(int, of("Position", allowed))) == 16
    # A later part has room before and after it, and none within.
    places = of("Position", follow(state, "Program_40"))
    assert places == {str(place) for place in range(48) if not 4 <= place < 16}
    durations = of_durations(follow(state, "Position_1", "Pitch_60"))
    assert max(durations) == 3


def test_a_note_started_again_uses_one_voice() -> None:
    state = state_of(Constraints(max_polyphony=2))
    start = ("Program_0", "Position_0", "Pitch_60", "Duration_2.0.12", "Position_12", "Pitch_60")
    follow(state, *FOUR, *start, "Duration_2.0.12")
    assert "13" in of("Position", follow(state, "Program_40"))


def test_notes_sound_across_bar_lines_and_changes_of_meter() -> None:
    # Four quarters from the third beat on: two of them in the next bar.
    held = (*FOUR, "Program_0", "Position_24", "Pitch_60", "Duration_4.0.4", "Bar_None")
    for meter, free_from in (("11/16", 8 * 12), ("6/8", 4 * 12), ("4/4", 2 * 12)):
        state = state_of(Constraints(max_polyphony=1, max_empty_bars=3), tracks={0: 1})
        allowed = follow(state, *held, f"TimeSig_{meter}", "Program_0")
        assert min(map(int, of("Position", allowed))) == free_from, meter


def test_a_note_leaves_a_position_of_the_next_bar_free() -> None:
    state = state_of(Constraints(max_polyphony=1, meter=(3, 4)))
    allowed = follow(state, *THREE, "Program_0", "Position_0", "Pitch_60")
    assert "5.3.4" in of("Duration", allowed)  # one position of the next bar stays free
    assert "6.0.4" not in of("Duration", allowed)


# -- Notes that a bar needs ------------------------------------------------------------------------


def test_a_bar_does_not_end_before_it_has_its_fewest_notes() -> None:
    constraints = Constraints(
        notes_per_bar=(2, 2), max_polyphony=1, tempo_changes=False, meter=(4, 4), programs={0}
    )
    state = state_of(constraints, tracks={0: 1})
    assert kinds(follow(state, *FOUR)) == {"Program"}
    allowed = follow(state, "Program_0")
    assert of("Position", allowed) == {str(place) for place in range(47)}  # not the very last
    durations = of_durations(follow(state, "Position_40", "Pitch_60"))
    assert sorted(durations) == [*range(1, 8)]  # one more has to follow
    allowed = follow(state, "Duration_0.3.12")
    assert of("Position", allowed) == {str(place) for place in range(43, 48)}
    allowed = follow(state, "Position_47", "Pitch_60", "Duration_0.1.12")
    assert kinds(allowed) == {"Bar", "EOS"}


def test_later_parts_may_have_the_required_notes() -> None:
    constraints = Constraints(notes_per_bar=(40, 60), max_notes_at_once=1, programs={0, 40})
    state = state_of(constraints, tracks={0: 1, 40: 1})
    follow(state, *FOUR)
    assert "47" in of("Position", follow(state, "Program_0"))
    allowed = follow(state, "Position_47", *NOTE)
    assert kinds(allowed) == {"Program"}
    allowed = follow(state, "Program_40")  # 39 of 47 positions
    assert of("Position", allowed) == {str(place) for place in range(9)}


def test_few_pitches_limit_where_required_notes_start() -> None:
    constraints = Constraints(
        notes_per_bar=(35, 36), meter=(1, 8), programs={0}, pitch_ranges={0: (60, 62)}
    )
    state = state_of(constraints, tracks={0: 1})
    allowed = follow(state, "Bar_None", "TimeSig_1/8", "Program_0")
    assert of("Position", allowed) == {"0"}
    assert of("Pitch", follow(state, "Position_0")) == {"60", "61"}
    allowed = follow(state, "Pitch_61", "Duration_1.0.12")
    assert allowed == {"Pitch_62"}


def test_a_meter_too_short_for_the_fewest_notes_is_forbidden() -> None:
    constraints = Constraints(notes_per_bar=(25, 30), max_notes_at_once=1)
    meters = of("TimeSig", follow(state_of(constraints), "Bar_None"))
    assert {"1/8", "2/8", "1/4", "2/4"}.isdisjoint(meters)
    assert {"3/4", "3/8", "3/16"} <= meters


def test_drums_are_forbidden_if_they_cannot_have_the_required_notes() -> None:
    constraints = Constraints(notes_per_bar=(20, 30), meter=(1, 8), pitch_ranges={DRUMS: (36, 36)})
    allowed = follow(state_of(constraints, tracks={0: 1}), "Bar_None", "TimeSig_1/8")
    assert "0" in of("Program", allowed)
    assert "-1" not in of("Program", allowed)


# -- Pitches and tempos ----------------------------------------------------------------------------


def test_each_instrument_keeps_to_its_own_range() -> None:
    constraints = Constraints(key="C major", pitch_ranges={0: (60, 65), DRUMS: (36, 38)})
    for program, kind, pitches in (
        (0, "Pitch", {60, 62, 64, 65}),
        (-1, "PitchDrum", {36, 37, 38}),
        (40, "Pitch", {p for p in range(128) if p % 12 in {0, 2, 4, 5, 7, 9, 11}}),
    ):
        allowed = follow(state_of(constraints), *FOUR, f"Program_{program}", "Position_0")
        assert of(kind, allowed) == {str(pitch) for pitch in pitches}


def test_a_requested_tempo_forbids_tempo_tokens() -> None:
    assert kinds(follow(state_of(Constraints(tempo_bpm=90)), *FOUR)) == {"Program", "Bar", "EOS"}


# -- Masks and states ------------------------------------------------------------------------------


@pytest.mark.parametrize("polyphony", [None, 2])
def test_a_copy_is_independent(polyphony) -> None:
    state = state_of(Constraints(max_polyphony=polyphony, max_notes_at_once=2))
    before = follow(state, *HERE, *NOTE)
    other = state.copy()
    assert follow(other) == before
    follow(other, "Pitch_64", "Duration_4.0.4")
    follow(other, *FOUR, "Program_0", "Position_40", *NOTE)
    assert follow(state) == before
    assert follow(state, "Pitch_64", "Duration_4.0.4") != before


def test_two_states_are_independent() -> None:
    one, other, alone = (state_of() for _ in range(3))
    expected = follow(alone, *HERE, *NOTE)
    follow(one, *HERE)
    follow(other, "Bar_None", "TimeSig_6/8", *DRUM)
    assert follow(one, *NOTE) == expected


def test_after_the_end_only_the_end_follows() -> None:
    assert follow(state_of(), *HERE, *NOTE, "EOS_None") == {"EOS_None"}


# -- Shapes ----------------------------------------------------------------------------------------

C_MAJOR = frozenset({0, 2, 4, 5, 7, 9, 11})


def test_off_beat_the_earliest_onset_comes_between_beats() -> None:
    state = state_of(shape=BarShape(off_beat=True))
    places = of("Position", follow(state, *FOUR, "Program_0"))
    assert places == {str(place) for place in range(48) if place % 12}
    allowed = follow(state, "Position_29", *NOTE)
    assert "36" in of("Position", allowed)
    places = of("Position", follow(state, "Program_40"))
    assert {"36", "30", "13"} <= places
    assert not {"0", "12", "24"} & places


def test_off_beat_does_not_apply_where_every_position_is_needed() -> None:
    constraints = Constraints(
        meter=(1, 8), notes_per_bar=(12, 12), max_notes_at_once=1, programs={0}
    )
    state = state_of(constraints, BarShape(off_beat=True), tracks={0: 1})
    assert of("Position", follow(state, "Bar_None", "TimeSig_1/8", "Program_0")) == {"0"}


def test_off_beat_keeps_the_beats_that_are_needed() -> None:
    constraints = Constraints(
        meter=(2, 4), notes_per_bar=(23, 24), max_notes_at_once=1, programs={0, 40}
    )
    state = state_of(constraints, BarShape(off_beat=True), tracks={0: 1, 40: 1})
    allowed = follow(state, "Bar_None", "TimeSig_2/4", "Program_0")
    # From position 13 on, beats 0 and 12 would be lost.
    assert of("Position", allowed) == {str(position) for position in range(1, 12)}


def test_off_mode_the_earliest_pitched_onset_has_a_note_outside() -> None:
    state = state_of(shape=BarShape(off_mode=C_MAJOR))
    allowed = follow(state, *FOUR, "Program_0", "Position_12")
    assert {int(pitch) % 12 for pitch in of("Pitch", allowed)} == {1, 3, 6, 8, 10}
    allowed = follow(state, "Pitch_61", "Duration_1.0.12")
    assert {"62", "64"} <= of("Pitch", allowed)
    assert "60" in of("Pitch", follow(state, "Position_13"))
    follow(state, "Pitch_60", "Duration_1.0.12")
    # A part that starts earlier has to be outside too, one that starts later has not.
    earlier = state.copy()
    allowed = follow(earlier, "Program_40", "Position_11")
    assert {int(pitch) % 12 for pitch in of("Pitch", allowed)} == {1, 3, 6, 8, 10}
    assert "60" in of("Pitch", follow(state, "Program_40", "Position_12"))
    follow(state, "Pitch_61", "Duration_1.0.12", "Position_20", "Pitch_61", "Duration_1.0.12")
    assert "60" in of("Pitch", follow(state, "Program_41", "Position_13"))


def test_off_mode_does_not_apply_to_drums_or_within_the_same_key() -> None:
    state = state_of(shape=BarShape(off_mode=C_MAJOR))
    assert "36" in of("PitchDrum", follow(state, *FOUR, "Program_-1", "Position_0"))
    state = state_of(Constraints(key="C major"), BarShape(off_mode=C_MAJOR))
    allowed = follow(state, *FOUR, "Program_0", "Position_0")
    assert {int(pitch) % 12 for pitch in of("Pitch", allowed)} == C_MAJOR


def test_in_a_closed_bar_notes_end_at_the_bar_line() -> None:
    state = state_of(shape=BarShape(closed=True))
    allowed = follow(state, *FOUR, "Program_0", "Position_36", "Pitch_60")
    assert sorted(of_durations(allowed)) == [*range(1, 13)]


def test_a_final_chord_has_its_pitches_on_the_downbeat_and_nothing_else() -> None:
    shape = BarShape(closed=True, chord=frozenset({0, 4, 7}), downbeat_only=True)
    state = state_of(Constraints(programs={0, 40, DRUMS}), shape, tracks={0: 1, 40: 1})
    allowed = follow(state, *FOUR)
    assert "Bar" not in kinds(allowed)
    assert of("Program", allowed) == {"0", "40"}  # the drums wait
    assert of("Position", follow(state, "Program_0")) == {"0"}
    allowed = follow(state, "Position_0")
    assert {int(pitch) % 12 for pitch in of("Pitch", allowed)} == {0, 4, 7}
    allowed = follow(state, "Pitch_60", "Duration_4.0.4")
    assert of("Program", allowed) == {"40", "-1"}
    assert of("Bar", allowed) == {"None"}
    assert of("Position", allowed) == set()


def test_a_chord_that_no_instrument_may_play_is_refused() -> None:
    constraints = Constraints(programs={0}, pitch_ranges={0: (60, 62)})
    with pytest.raises(ValueError, match=r"pitch classes \[7\]"):
        bar_rules(constraints, BarShape(chord={7}))


def test_a_shape_applies_only_to_its_bar() -> None:
    state = state_of()
    state.open_bar(bar_rules(shape=BarShape(downbeat_only=True)))
    for word in (*FOUR, "Program_0"):
        state.advance(IDS[word])
    assert of("Position", follow(state)) == {"0"}
    state.open_bar(bar_rules())
    for word in (*FOUR, "Program_0"):
        state.advance(IDS[word])
    assert len(of("Position", follow(state))) == 48
