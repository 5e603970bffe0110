"""Endings: a tonic chord in the last bar, after which every note has ended."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import pytest

from musiclstm import Composer, Composition, Constraints, Sampling
from musiclstm.generation.bar_plan import tonic_chord
from musiclstm.generation.constraints import Scale
from musiclstm.midi.analysis import estimate_key, last_note_end
from musiclstm.tokens import DRUMS, programs_of
from tests.generation.pieces import SAMPLING, every_setting, notes_of


def assert_it_ends(composer: Composer, piece: Composition, chord: set[int]) -> None:
    """Check that the last bar has one chord, and that no note sounds across its bar lines."""
    raw = composer.tokenizer.decode(piece.tokens)  # not cut at the end
    tpq = raw.ticks_per_quarter
    length = composer.tokenizer.length_ticks(piece.tokens)
    last = length - composer.tokenizer.length_ticks(piece.bar_tokens[-1])
    last_notes = notes_of(raw, start=last)
    assert {beat * tpq for _, beat, *_ in last_notes} == {last}
    pitched = {pitch % 12 for program, *_, pitch, _ in last_notes if program != DRUMS}
    assert pitched
    assert pitched <= chord
    assert last_note_end(raw) <= length
    assert all((beat + beats) * tpq <= last for _, beat, beats, *_ in notes_of(raw, end=last))


@pytest.mark.parametrize("bars", [1, 2, 5])
@pytest.mark.parametrize(
    ("key", "chord"),
    [("Eb major", {3, 7, 10}), ("F# dorian", {6, 9, 1}), ("A minor pentatonic", {9, 0, 4})],
)
def test_an_ending_is_in_the_requested_key(key, chord, bars, tiny_composer) -> None:
    constraints = Constraints(programs={0, 40, DRUMS}, key=key, ending=True)
    for take in tiny_composer.compose_many(
        4, bars=bars, sampling=SAMPLING, constraints=constraints
    ):
        assert_it_ends(tiny_composer, take, chord)
        assert take.bars == bars


@pytest.mark.parametrize("named", [True, False], ids=["asked for", "by itself"])
def test_an_ending_is_in_the_key_of_the_prompt(named, tiny_composer, invented) -> None:
    for seed in range(4):
        prompt = invented(bars=2, seed=seed)
        key = Scale.named(str(estimate_key(prompt)))
        constraints = replace(
            tiny_composer.default_constraints(prompt), ending=True, key="prompt" if named else None
        )
        piece = tiny_composer.compose(
            bars=3, prompt=prompt, sampling=SAMPLING, constraints=constraints
        )
        assert_it_ends(tiny_composer, piece, {*tonic_chord(key)})


def test_an_ending_of_a_new_piece_is_in_its_estimated_key(tiny_composer) -> None:
    constraints = Constraints(programs={0, 40}, ending=True)
    for take in tiny_composer.compose_many(8, bars=4, sampling=SAMPLING, constraints=constraints):
        before = [token for bar in take.bar_tokens[:-1] for token in bar]
        key = Scale.named(str(estimate_key(tiny_composer.tokenizer.decode(before))))
        assert_it_ends(tiny_composer, take, {*tonic_chord(key)})


@pytest.mark.parametrize("seed", [0, 32, 64])
def test_no_note_outlasts_an_ending_in_free_meters(seed, tiny_composer) -> None:
    constraints = Constraints(programs={0, 40}, key="C major", ending=True)  # in any meter
    wild = Sampling(temperature=2.0, seed=seed)
    for take in tiny_composer.compose_many(32, bars=3, sampling=wild, constraints=constraints):
        assert_it_ends(tiny_composer, take, {0, 4, 7})


def test_an_ending_meets_all_other_constraints(tiny_composer) -> None:
    asked = every_setting(None)
    constraints = replace(asked["constraints"], ending=True)
    for take in tiny_composer.compose_many(4, bars=4, **(asked | {"constraints": constraints})):
        assert_it_ends(tiny_composer, take, {2, 5, 9})
        ranges = constraints.ranges
        for program, _, _, pitch, _ in notes_of(take.score):
            low, high = ranges[program]
            assert low <= pitch <= high
            assert pitch % 12 in Scale.named("D minor").pitch_classes


def test_every_method_gives_the_same_ending(tiny_composer, invented) -> None:
    constraints = Constraints(programs={0}, ending=True)
    asked = {"prompt": invented(bars=1), "sampling": SAMPLING, "constraints": constraints}
    whole = tiny_composer.compose(bars=4, **asked)
    *_, draft = tiny_composer.stream(bars=4, **asked)
    assert draft == whole == tiny_composer.compose_many(1, bars=4, **asked)[0]


def test_an_ended_piece_can_be_extended_to_another_ending(tiny_composer) -> None:
    constraints = Constraints(programs={0}, key="C major", ending=True)
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=constraints)
    longer = tiny_composer.extend(piece, bars=3)
    assert longer.bar_tokens[:3] == piece.bar_tokens
    assert_it_ends(tiny_composer, longer, {0, 4, 7})


def test_an_untrained_instrument_plays_an_ending_and_endless_music(chamber) -> None:
    constraints = Constraints(
        programs={19}, meter=(2, 4), key="G major", pitch_ranges={19: (55, 67)}
    )
    ending = replace(constraints, ending=True)
    piece = chamber.compose(bars=3, sampling=SAMPLING, constraints=ending)
    assert_it_ends(chamber, piece, {7, 11, 2})
    assert programs_of(piece.score) == {19}
    for bar in islice(chamber.stream_endless(sampling=SAMPLING, constraints=constraints), 3):
        assert programs_of(bar.score) <= {19}
        assert all(55 <= pitch <= 67 for *_, pitch, _ in notes_of(bar.score))
