"""Programs of the music and the trained programs that substitute them."""

from __future__ import annotations

import pytest

from musiclstm.generation.constraints import Constraints
from musiclstm.generation.instrument_mapping import (
    invert_mapping,
    map_programs,
    permitted_mapping,
    remap_constraints,
)
from musiclstm.tokens import DRUMS

TRAINED = [DRUMS, 0, 16, 40]


def test_a_trained_program_maps_to_itself() -> None:
    assert map_programs([{0, 40, DRUMS}], TRAINED) == {0: 0, 40: 40, DRUMS: DRUMS}
    assert map_programs([{5, 99}], None) == {5: 5, 99: 99}


@pytest.mark.parametrize("later", [{17}, {16}, {17, 18, 41}, set()])
def test_a_program_keeps_its_substitute_when_others_are_added(later) -> None:
    alone = map_programs([{19, 0}], TRAINED)
    both = map_programs([{19, 0}, later], TRAINED)
    assert alone == {19: 16, 0: 0}
    assert {program: both[program] for program in alone} == alone
    assert both.keys() == alone.keys() | later
    assert set(both.values()) <= set(TRAINED)


def test_an_added_program_gets_an_unused_substitute() -> None:
    assert map_programs([{19}, {20}], TRAINED)[20] in {0, 40}
    assert map_programs([{19, 1, 41}, {20}], TRAINED)[20] in {0, 16, 40}  # none is free


def test_the_inverse_mapping_prefers_the_program_itself() -> None:
    assert invert_mapping({19: 16, 0: 0}) == {16: 19, 0: 0}
    assert invert_mapping({19: 16, 16: 16}) == {16: 16}


def test_only_permitted_programs_are_mapped() -> None:
    mapping = {19: 16, 0: 0}
    assert permitted_mapping(mapping, Constraints()) == mapping
    assert permitted_mapping(mapping, Constraints(programs={19})) == {19: 16}


def test_constraints_are_mapped_to_trained_programs() -> None:
    constraints = Constraints(programs={19, 0}, pitch_ranges={19: (40, 60)})
    found = remap_constraints(constraints, {19: 16, 0: 0}, TRAINED)
    assert found == Constraints(programs={16, 0}, pitch_ranges={16: (40, 60)})
    free = remap_constraints(Constraints(), {19: 16}, TRAINED)
    assert free.programs == set(TRAINED)
    assert remap_constraints(Constraints(), {}, None).programs is None


def test_pitch_ranges_follow_their_instrument_and_not_its_substitute() -> None:
    mapping = {19: 16, 0: 0, 16: 16}
    ranges = {19: (60, 64), 16: (30, 33), 0: (70, 80), 45: (1, 2)}
    for programs, expected in [
        ({19, 0}, {0: (70, 80)} | {16: (60, 64)}),  # the organ substitutes the church organ
        ({16}, {16: (30, 33)}),
        (None, {16: (30, 33), 0: (70, 80)}),
    ]:
        kept = {p: r for p, r in ranges.items() if programs is None or p in programs}
        constraints = Constraints(programs=programs, pitch_ranges=kept)
        assert remap_constraints(constraints, mapping, TRAINED).ranges == expected
