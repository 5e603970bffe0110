"""Who stands in for whom, also when others join later."""

from __future__ import annotations

import pytest

from musiclstm import Constraints
from musiclstm.casting import allowed_parts, for_stand_ins, stand_ins, way_back
from musiclstm.tokenization import DRUMS

TRAINED = [DRUMS, 0, 16, 40]


def test_who_is_known_stands_for_itself() -> None:
    assert stand_ins([{0, 40, DRUMS}], TRAINED) == {0: 0, 40: 40, DRUMS: DRUMS}
    assert stand_ins([{5, 99}], None) == {5: 5, 99: 99}


@pytest.mark.parametrize("later", [{17}, {16}, {17, 18, 41}, set()])
def test_who_has_a_stand_in_keeps_it_when_others_join(later) -> None:
    alone = stand_ins([{19, 0}], TRAINED)
    both = stand_ins([{19, 0}, later], TRAINED)
    assert alone == {19: 16, 0: 0}
    assert {program: both[program] for program in alone} == alone
    assert both.keys() == alone.keys() | later
    assert set(both.values()) <= set(TRAINED)


def test_who_joins_takes_one_that_nobody_uses_yet() -> None:
    assert stand_ins([{19}, {20}], TRAINED)[20] in {0, 40}
    assert stand_ins([{19, 1, 41}, {20}], TRAINED)[20] in {0, 16, 40}  # nobody is free


def test_the_way_back_leads_to_the_music() -> None:
    assert way_back({19: 16, 0: 0}) == {16: 19, 0: 0}
    assert way_back({19: 16, 16: 16}) == {16: 16}


def test_only_those_that_may_play_have_a_part() -> None:
    cast = {19: 16, 0: 0}
    assert allowed_parts(cast, Constraints()) == cast
    assert allowed_parts(cast, Constraints(programs={19})) == {19: 16}


def test_constraints_are_put_in_programs_the_network_knows() -> None:
    wish = Constraints(programs={19, 0}, pitch_ranges={19: (40, 60)})
    found = for_stand_ins(wish, {19: 16, 0: 0}, TRAINED)
    assert found == Constraints(programs={16, 0}, pitch_ranges={16: (40, 60)})
    free = for_stand_ins(Constraints(), {19: 16}, TRAINED)
    assert free.programs == set(TRAINED)
    assert for_stand_ins(Constraints(), {}, None).programs is None
