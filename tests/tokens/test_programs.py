"""Substitutes for programs without training data."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given
from symusic.core import TrackTick

from musiclstm.tokens import DRUMS, nearest_programs, programs_of, with_programs


def test_a_trained_program_maps_to_itself() -> None:
    assert nearest_programs([0, 40, DRUMS], [0, 40, DRUMS]) == {0: 0, 40: 40, DRUMS: DRUMS}
    assert nearest_programs([0, 40, DRUMS], None) == {0: 0, 40: 40, DRUMS: DRUMS}


def test_the_nearest_of_the_family_comes_first() -> None:
    assert nearest_programs([19], [16, 20, 24]) == {19: 20}
    assert nearest_programs([23], [16, 24]) == {23: 16}  # 24 is nearer, but a guitar
    assert nearest_programs([23], [0, 24]) == {23: 24}


def test_a_program_that_is_not_in_use_comes_first() -> None:
    assert nearest_programs([40, 41], [40, 60]) == {40: 40, 41: 60}
    assert nearest_programs([40, 41], [40]) == {40: 40, 41: 40}


def test_drums_map_to_drums_only() -> None:
    assert nearest_programs([DRUMS, 5], [0]) == {DRUMS: DRUMS, 5: 0}
    assert nearest_programs([5], [DRUMS]) == {5: 5}


PROGRAMS = st.sets(st.integers(-1, 127), max_size=20)


@given(PROGRAMS, st.sets(st.integers(-1, 127), min_size=1))
def test_substitutes_are_trained_and_differ_where_there_are_enough(wanted, trained) -> None:
    chosen = nearest_programs(wanted, trained)
    pitched = {program: other for program, other in chosen.items() if program != DRUMS}
    assert chosen.keys() == wanted
    assert chosen.get(DRUMS, DRUMS) == DRUMS
    assert all(chosen[program] == program for program in wanted & trained)
    available = trained - {DRUMS}
    if available:
        assert set(pitched.values()) <= available
    if len(available) >= len(pitched):
        assert len(set(pitched.values())) == len(pitched)


def test_programs_change_and_drums_and_notes_stay(invented) -> None:
    score = invented(programs=(0, 40, -1))
    before = score.copy()
    moved = with_programs(score, {0: 19, DRUMS: 7})
    assert [(t.program, t.is_drum) for t in moved.tracks] == [(19, False), (40, False), (0, True)]
    assert [track.notes for track in moved.tracks] == [track.notes for track in score.tracks]
    assert score == before


def test_only_tracks_with_notes_have_a_program(invented) -> None:
    score = invented(programs=(0, -1))
    score.tracks.append(TrackTick("silent", 60, False))
    assert programs_of(score) == {0, DRUMS}
