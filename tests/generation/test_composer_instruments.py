"""Instruments that the network was not trained on, and tracks of new instruments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from musiclstm import Composer, Composition, Constraints
from musiclstm.tokens import DRUMS, programs_of
from tests.generation.pieces import SAMPLING, notes_of, token_names


def test_a_new_instrument_gets_a_named_track(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(
        bars=2,
        prompt=invented(bars=1),
        sampling=SAMPLING,
        constraints=Constraints(programs=frozenset({73, DRUMS}), meter=(4, 4)),
    )
    assert {(t.name, t.program, t.is_drum) for t in piece.score.tracks[1:]} <= {
        ("Flute", 73, False),
        ("Drums", 0, True),
    }
    assert len(piece.score.tracks) > 1
    assert not [note for note in piece.score.tracks[0].notes if note.time >= piece.prompt_end_tick]


def substitutes(composer: Composer, piece: Composition) -> set[str]:
    return {word for word in token_names(composer, piece) if word.startswith("Program_")}


def test_an_untrained_instrument_is_read_as_a_substitute(chamber, invented) -> None:
    prompt = invented(bars=2, programs=(19, 0))  # church organ and piano
    piece = chamber.compose(bars=4, prompt=prompt, sampling=SAMPLING)
    assert substitutes(chamber, piece) <= {"Program_16", "Program_0"}
    assert "Program_16" in substitutes(chamber, piece)
    assert programs_of(piece.score) == {19, 0}
    assert piece.constraints.programs == {19, 0}
    assert 19 in {program for program, *_ in notes_of(piece.score, start=piece.prompt_end_tick)}


def test_five_instruments_can_share_three_substitutes(chamber, invented) -> None:
    prompt = invented(bars=1, programs=(0, 16, 40, 41, 1))
    piece = chamber.compose(bars=6, prompt=prompt, sampling=SAMPLING)
    assert substitutes(chamber, piece) <= {"Program_0", "Program_16", "Program_40"}
    assert programs_of(piece.continuation) <= {0, 16, 40, 41, 1}
    assert len(piece.score.tracks) == 5


def test_only_trained_instruments_play_without_request(chamber, invented) -> None:
    for prompt in (None, invented(bars=1, programs=(19,))):
        piece = chamber.compose(
            bars=6, prompt=prompt, sampling=SAMPLING, constraints=Constraints(meter=(2, 4))
        )
        assert substitutes(chamber, piece) <= {
            "Program_0",
            "Program_16",
            "Program_40",
            "Program_-1",
        }


def test_an_untrained_instrument_can_be_requested(chamber, invented) -> None:
    constraints = Constraints(programs={19}, meter=(2, 4))
    alone = chamber.compose(bars=3, sampling=SAMPLING, constraints=constraints)
    assert substitutes(chamber, alone) == {"Program_16"}
    assert programs_of(alone.score) == {19}
    assert all(track.name.startswith("Church Organ") for track in alone.score.tracks)
    after = chamber.compose(
        bars=3, prompt=invented(bars=1), sampling=SAMPLING, constraints=constraints
    )
    assert {program for program, *_ in notes_of(after.score, start=after.prompt_end_tick)} == {19}


def test_a_requested_program_takes_the_substitute_of_the_prompt(chamber, invented) -> None:
    # The church organ of the prompt is read as an organ; the requested organ is itself.
    piece = chamber.compose(
        bars=3,
        prompt=invented(bars=1, programs=(19,)),
        sampling=SAMPLING,
        constraints=Constraints(programs={16}, meter=(2, 4)),
    )
    new = {program for program, *_ in notes_of(piece.score, start=piece.prompt_end_tick)}
    assert new == {16}


def test_an_extended_piece_keeps_its_substitutes(chamber, invented) -> None:
    asked = {"prompt": invented(bars=1, programs=(19, 45)), "sampling": SAMPLING}
    piece = chamber.extend(chamber.compose(bars=1, **asked), bars=2)
    assert piece.to_midi() == chamber.compose(bars=3, **asked).to_midi()


def test_a_program_keeps_its_substitute_when_another_is_added(
    tiny_network, tiny_tokenizer, invented
) -> None:
    chamber = Composer(tiny_network(programs=[0, 16, 40]), tiny_tokenizer)
    piece = chamber.compose(bars=2, prompt=invented(bars=2, programs=(19,)), sampling=SAMPLING)
    constraints = replace(piece.constraints, programs={19, 17})
    longer = chamber.extend(piece, bars=4, constraints=constraints)
    assert programs_of(piece.continuation) == {19}
    assert programs_of(longer.continuation) == {19, 17}
    assert longer.truncated(2).to_midi() == piece.to_midi()
    assert tiny_tokenizer.ids["Program_16"] in longer.tokens


def pitches_of(piece: Composition, program: int) -> list[int]:
    new = notes_of(piece.score, start=piece.prompt_end_tick)
    return [pitch for played, _, _, pitch, _ in new if played == program]


@pytest.mark.parametrize("with_prompt", [False, True], ids=["alone", "after others"])
def test_pitch_ranges_of_untrained_instruments_hold(with_prompt, chamber, invented) -> None:
    # Substitutes: the organ for the church organ, the violin for the cello.
    ranges = {19: (48, 59), 42: (36, 50), DRUMS: (36, 42)}
    constraints = Constraints(
        programs={19, 42, DRUMS}, meter=(2, 4), pitch_ranges=ranges, notes_per_bar=(8, 20)
    )
    prompt = invented(bars=1, programs=(0,)) if with_prompt else None
    seen = set()
    for take in chamber.compose_many(
        6, bars=3, prompt=prompt, sampling=SAMPLING, constraints=constraints
    ):
        new = notes_of(take.score, start=take.prompt_end_tick)
        for program, _, _, pitch, _ in new:
            low, high = ranges[program]
            assert low <= pitch <= high
        seen |= {program for program, *_ in new}
        assert take.constraints == constraints
    assert seen == {19, 42, DRUMS}


def test_pitch_ranges_are_those_of_the_instrument_not_of_its_substitute(chamber, invented) -> None:
    # Without requested programs the church organ is read as the organ, and keeps its range.
    prompt = invented(bars=1, programs=(19, 0))
    ranges = {19: (60, 64), 16: (30, 33), 0: (70, 80)}
    constraints = Constraints(meter=(2, 4), pitch_ranges=ranges, notes_per_bar=(8, 20))
    found = {19: [], 16: [], 0: []}
    for take in chamber.compose_many(
        6, bars=3, prompt=prompt, sampling=SAMPLING, constraints=constraints
    ):
        for program, pitches in found.items():
            pitches += pitches_of(take, program)
    assert {*found[19]} <= {*range(60, 65)}
    assert found[19]
    assert found[16] == []  # it is a substitute
    assert {*found[0]} <= {*range(70, 81)}
    assert found[0]
