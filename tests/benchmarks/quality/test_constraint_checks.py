"""Checks of scores against constraints."""

from __future__ import annotations

import random
import re

import pytest
from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from benchmarks.quality.constraint_checks import find_violations, random_constraints
from musiclstm import Constraints
from musiclstm.tokens import DRUMS

QUARTER = 48


def piece(*notes: tuple[int, int, float, float], meter=(4, 4), tempos=()) -> ScoreTick:
    """Notes as (program, pitch, start, length), in quarters."""
    score = ScoreTick(QUARTER)
    score.time_signatures.append(TimeSignatureTick(0, *meter))
    for beat, bpm in tempos:
        score.tempos.append(TempoTick(beat * QUARTER, bpm))
    for program in sorted({note[0] for note in notes}):
        track = TrackTick("", max(program, 0), program == DRUMS)
        for own, pitch, start, length in notes:
            if own == program:
                times = int(start * QUARTER), int(length * QUARTER)
                track.notes.append(NoteTick(*times, pitch, 80))
        score.tracks.append(track)
    return score


C, E, G = (0, 60, 0, 4), (0, 64, 1, 1), (0, 67, 4, 1)


def test_a_score_that_satisfies_all_constraints_has_no_violations() -> None:
    constraints = Constraints(
        programs={0},
        meter=(2, 2),
        tempo_bpm=100,
        key="C major",
        pitch_ranges={0: (60, 67)},
        max_polyphony=2,
        max_notes_at_once=1,
        notes_per_bar=(1, 2),
        max_empty_bars=0,
    )
    assert find_violations(piece(C, E, G, tempos=[(0, 100)]), constraints, bars=2) == []


BROKEN = [
    (piece(C, E, G), Constraints(), 1, "begins outside the bars"),
    (piece(C), Constraints(programs={1}), 1, "has an instrument that is not allowed"),
    (piece(C, meter=(3, 4)), Constraints(meter=(4, 4)), 1, "The bar at tick 0 is a 3/4."),
    (piece(C, E, tempos=[(0, 90), (1, 95)]), Constraints(tempo_changes=False), 1, "tempo changes"),
    (piece(C, tempos=[(0, 90)]), Constraints(tempo_bpm=91), 1, r"The tempo is \[90.0\], not 91."),
    (piece((0, 61, 0, 1)), Constraints(key="C major"), 1, "out of range or key"),
    (piece(C), Constraints(pitch_ranges={0: (61, 90)}), 1, "out of range or key"),
    (piece(C, E), Constraints(max_polyphony=1), 1, "2 notes sound at tick 48."),
    (piece(C, (1, 60, 0, 1)), Constraints(max_notes_at_once=1), 1, "2 notes start at tick 0."),
    (piece(C, C), Constraints(), 1, "Pitch 60 of track 0 starts 2 times at tick 0."),
    (piece(C, E), Constraints(notes_per_bar=(3, 4)), 1, "Bar 0 has 2 notes, not 3 to 4."),
    (piece(C, E), Constraints(notes_per_bar=(0, 1)), 1, "Bar 0 has 2 notes, not 0 to 1."),
    (piece(C), Constraints(max_empty_bars=1), 3, "Bar 2 is empty, number 2 in a row."),
]


@pytest.mark.parametrize(
    ("score", "constraints", "bars", "fact"), BROKEN, ids=[b[3] for b in BROKEN]
)
def test_every_violation_is_found(score, constraints, bars, fact) -> None:
    found = find_violations(score, constraints, bars=bars)
    assert any(re.search(fact, each) for each in found), found


def test_the_next_onset_of_a_pitch_ends_its_note() -> None:
    constraints = Constraints(max_polyphony=1)
    assert find_violations(piece(C, (0, 60, 1, 1)), constraints, bars=1) == []
    assert find_violations(piece(C, (1, 60, 1, 1)), constraints, bars=1) != []


def test_the_last_chord_of_an_ending_may_be_small_but_not_missing() -> None:
    constraints = Constraints(notes_per_bar=(2, 9), ending=True, max_empty_bars=3)
    assert find_violations(piece(C, E, G), constraints, bars=2) == []
    assert find_violations(piece(C, E), constraints, bars=2) == ["Bar 1 has 0 notes, not 1 to 9."]
    assert find_violations(piece(G, C), constraints, bars=2) == ["Bar 0 has 1 notes, not 2 to 9."]


def test_random_constraints_are_different_and_valid() -> None:
    constraint_sets = {random_constraints(random.Random(seed)) for seed in range(300)}
    assert len(constraint_sets) == 300
    for name in ("programs", "meter", "tempo_bpm", "key", "pitch_ranges", "max_polyphony"):
        values = {getattr(each, name) for each in constraint_sets}
        assert None in values
        assert len(values) > 5
    assert {each.ending for each in constraint_sets} == {True, False}
    assert random_constraints(random.Random(7)) == random_constraints(random.Random(7))
