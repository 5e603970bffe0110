"""Constraints: values, refusals, and that they hold for any logits."""

from __future__ import annotations

import random
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from benchmarks.quality.constraint_checks import random_constraints
from musiclstm.core.grammar import CompiledGrammar
from musiclstm.generation.constraints import SCALES, BarShape, Constraints, Scale
from musiclstm.generation.decoding.bar_rules import bar_rules
from musiclstm.tokens import DRUMS
from musiclstm.tokens.vocabulary import TABLE
from tests.generation.adversary import BIASES, play
from tests.generation.referee import IDS, BarLine, Note, Referee, complaints

BARS = 6
SEEDS = st.integers(0, 2**32 - 1)

# Scales -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("C major", {0, 2, 4, 5, 7, 9, 11}),
        ("a minor", {9, 11, 0, 2, 4, 5, 7, 8}),  # with its leading tone
        ("A natural minor", {9, 11, 0, 2, 4, 5, 7}),
        ("Eb harmonic  minor", {3, 5, 6, 8, 10, 11, 2}),
        ("D melodic minor", {2, 4, 5, 7, 9, 11, 1}),
        ("F# dorian", {6, 8, 9, 11, 1, 3, 4}),
        ("E Phrygian", {4, 5, 7, 9, 11, 0, 2}),
        ("F lydian", {5, 7, 9, 11, 0, 2, 4}),
        ("G mixolydian", {7, 9, 11, 0, 2, 4, 5}),
        ("B locrian", {11, 0, 2, 4, 5, 7, 9}),
        ("B♭ major pentatonic", {10, 0, 2, 5, 7}),
        ("C♯ minor pentatonic", {1, 4, 6, 8, 11}),
        ("C blues", {0, 3, 5, 6, 7, 10}),
        ("Db whole tone", {1, 3, 5, 7, 9, 11}),
        ("Cb chromatic", set(range(12))),
    ],
)
def test_a_scale_has_the_pitch_classes_of_its_name(name, classes) -> None:
    assert Scale.named(name).pitch_classes == classes


@pytest.mark.parametrize("name", ["H minor", "C", "major", "", "Cmajor", "C# ionian", "c b minor"])
def test_an_unknown_key_is_refused_with_the_known_modes(name) -> None:
    with pytest.raises(ValueError, match="is not known") as error:
        Constraints(key=name)
    assert all(mode in str(error.value) for mode in SCALES)


def test_a_key_does_not_apply_to_drums() -> None:
    constraints = Constraints(key="C major", pitch_ranges={0: (60, 65)})
    assert constraints.pitches(0) == [60, 62, 64, 65]
    assert constraints.pitches(40)[:3] == [0, 2, 4]
    assert len(constraints.pitches(DRUMS)) == 128
    assert Constraints(key="prompt").pitches(0) == list(range(128))


# Values -------------------------------------------------------------------------------------------


def test_equal_constraints_compare_equal_in_every_form() -> None:
    constraints = Constraints(programs={0, 40}, pitch_ranges={40: (60, 80), 0: [30, 50]})
    same = Constraints(
        programs=frozenset({40, 0}), pitch_ranges=((0, (30, 50)), (40, (60, 80))), max_empty_bars=1
    )
    assert constraints == same
    assert hash(constraints) == hash(same)
    assert replace(constraints, max_polyphony=3).ranges == {0: (30, 50), 40: (60, 80)}
    assert Constraints(pitch_ranges={}) == Constraints()
    assert Constraints(notes_per_bar=[1, 2]) == Constraints(notes_per_bar=(1, 2))


def test_a_fixed_tempo_permits_no_tempo_tokens() -> None:
    assert Constraints().allows_tempos
    assert not Constraints(tempo_bpm=90).allows_tempos
    assert not Constraints(tempo_changes=False).allows_tempos


REFUSALS = [
    ({"programs": frozenset()}, "programs must contain at least one"),
    ({"programs": {0, 128}}, r"programs must be from -1 \(drums\) to 127, got \[0, 128\]"),
    ({"meter": (17, 8)}, "meter 17/8 .* use 1 to 12 quarters"),
    ({"meter": (4, 3)}, "meter 4/3"),
    ({"meter": (4, 0)}, "meter 4/0"),
    ({"meter": (0, 4)}, "meter 0/4"),
    ({"max_empty_bars": -1}, "max_empty_bars must be 0 or more, got -1"),
    ({"max_notes_at_once": 0}, "max_notes_at_once must be from 1 to 32, got 0"),
    ({"max_notes_at_once": 33}, "max_notes_at_once must be from 1 to 32, got 33"),
    ({"max_polyphony": 0}, "max_polyphony must be 1 or more, got 0"),
    ({"max_polyphony": 2.5}, "max_polyphony must be 1 or more, got 2.5"),
    ({"tempo_bpm": 19}, "tempo_bpm must be from 20 to 300, got 19"),
    ({"tempo_bpm": float("nan")}, "tempo_bpm must be from 20 to 300, got nan"),
    ({"notes_per_bar": (5, 4)}, "0 <= fewest <= most .* got 5 and 4"),
    ({"notes_per_bar": (0, 0)}, "most at least 1, got 0 and 0"),
    ({"notes_per_bar": (-1, 3)}, "got -1 and 3"),
    ({"notes_per_bar": (1, 2, 3)}, r"two whole numbers, .* got \(1, 2, 3\)"),
    ({"notes_per_bar": (1, 2.5)}, r"two whole numbers, .* got \(1, 2.5\)"),
    (
        {"notes_per_bar": (25, 30), "meter": (2, 4), "max_polyphony": 1},
        "at least 25 notes, but a bar of 2/4 can have 24",
    ),
    (
        {"notes_per_bar": (25, 30), "meter": (1, 8), "max_notes_at_once": 2},
        "at least 25 notes, but a bar of 1/8 can have 24",
    ),
    ({"pitch_ranges": {0: (70, 60)}}, "of program 0 .* from 0 to 127, got 70 and 60"),
    ({"pitch_ranges": {0: (0, 128)}}, "of program 0 .* from 0 to 127, got 0 and 128"),
    ({"pitch_ranges": {0: (60,)}}, r"of program 0 .* got \(60,\)"),
    ({"pitch_ranges": {0: (6.5, 9)}}, "of program 0 .* got"),
    ({"pitch_ranges": {128: (0, 1)}}, "from -1 to 127, got 128"),
    ({"pitch_ranges": {0: (60, 70)}, "programs": {40}}, "program 0, which programs does not"),
    ({"pitch_ranges": {0: (61, 61)}, "key": "C major"}, "61 to 61, where C major has no pitch"),
    ({"ending": True, "programs": {DRUMS}}, "programs has only drums"),
]


@pytest.mark.parametrize(("values", "fact"), REFUSALS, ids=lambda value: str(value)[:60])
def test_invalid_constraints_are_refused(values, fact) -> None:
    with pytest.raises(ValueError, match=fact):
        Constraints(**values)


GRAMMAR_REFUSALS = [
    ({"key": "prompt"}, 'key is "prompt"'),
    (
        {"programs": {DRUMS}, "pitch_ranges": {DRUMS: (90, 100)}},
        "drums are MIDI pitches 27 to 8",
    ),
    (
        {"programs": {0}, "pitch_ranges": {0: (60, 60)}, "notes_per_bar": (13, 20)}
        | {"meter": (1, 8)},
        "13 notes, .* at most 12",
    ),
    ({"notes_per_bar": (193, 200), "max_polyphony": 1}, "193 notes, .* at most 192"),
]


@pytest.mark.parametrize(("values", "fact"), GRAMMAR_REFUSALS, ids=lambda value: str(value)[:60])
def test_constraints_that_tokens_cannot_meet_are_refused(values, fact) -> None:
    with pytest.raises(ValueError, match=fact):
        bar_rules(Constraints(**values))


@pytest.mark.parametrize(
    ("values", "fact"),
    [
        ({"off_beat": True, "downbeat_only": True}, "off_beat and downbeat_only contradict"),
        ({"velocity_gain": 0}, "velocity_gain must be above 0 and at most 1, got 0"),
        ({"velocity_gain": float("nan")}, "velocity_gain must be above 0 and at most 1, got nan"),
        ({"chord": {12}}, r"chord must be pitch classes from 0 to 11, got \{12\}"),
        ({"off_mode": {-1}}, r"off_mode must be pitch classes from 0 to 11, got \{-1\}"),
        ({"chord": set()}, "chord must contain at least one"),
    ],
)
def test_an_invalid_bar_shape_is_refused(values, fact) -> None:
    with pytest.raises(ValueError, match=fact):
        BarShape(**values)


# Any logits ---------------------------------------------------------------------------------------


def random_state(rules: np.ndarray, rng: random.Random) -> tuple[CompiledGrammar, dict[int, int]]:
    """Return a state, in half of the cases after a prompt, and the tracks of each program."""
    state = CompiledGrammar(TABLE, rules)
    if rng.random() < 0.5:
        return state, {}
    tracks = {program: rng.randint(1, 3) for program in (0, 24, 40, 48)}
    blocks = (IDS[f"Program_{program}"] for program in tracks for _ in range(tracks[program]))
    state.read_prompt([*blocks])  # without notes
    return state, {program: tracks.get(program, 1) for program in range(128)}


def check_constraints(seed: int, bias: str, bars: int = BARS) -> None:
    """A sequence under random constraints has its bars and keeps them."""
    rng = random.Random(seed)
    constraints = random_constraints(rng)
    try:
        rules = bar_rules(constraints)
    except ValueError:
        return  # too few different notes
    state, tracks = random_state(rules, rng)
    found = play(state, [rules] * bars, bias, seed)
    referee = Referee([token for bar in found for token in bar], tracks)
    assert len(referee.bars) == bars
    assert complaints(referee, constraints) == [], constraints


@pytest.mark.parametrize("bias", BIASES)
@settings(max_examples=20)
@given(seed=SEEDS)
def test_constraints_hold_for_any_logits(seed, bias) -> None:
    check_constraints(seed, bias)


@pytest.mark.slow
@pytest.mark.parametrize("bias", BIASES)
def test_constraints_hold_in_thousands_of_sequences(bias) -> None:
    for seed in range(200):
        check_constraints(seed, bias)


@settings(max_examples=60)
@given(seed=SEEDS, bias=st.sampled_from(sorted(BIASES)), cut=st.integers(1, BARS - 1))
def test_a_resumed_sequence_continues_like_an_uninterrupted_one(seed, bias, cut) -> None:
    rng = random.Random(seed)
    try:
        rules = bar_rules(random_constraints(rng))
    except ValueError:
        return
    whole = play(CompiledGrammar(TABLE, rules), [rules] * BARS, bias, seed, most=40)
    resumed, uninterrupted = (CompiledGrammar(TABLE, rules) for _ in range(2))
    resumed.advance(*(token for bar in whole[:cut] for token in bar))
    for bar in whole[:cut]:
        uninterrupted.open_bar()
        uninterrupted.advance(*bar)
    rests = [play(state, [rules] * 2, bias, seed, most=40) for state in (resumed, uninterrupted)]
    assert rests[0] == rests[1]


# Bar shapes ---------------------------------------------------------------------------------------


def random_shape(rng: random.Random) -> BarShape:
    """Return a deviation, a closed bar, or a final chord."""
    classes = frozenset(rng.sample(range(12), rng.randint(1, 7)))
    return rng.choice(
        (
            BarShape(),
            BarShape(off_beat=True),
            BarShape(off_mode=classes),
            BarShape(off_beat=True, off_mode=classes),
            BarShape(closed=True, velocity_gain=0.5),
            BarShape(chord=frozenset({*classes, 0, 3, 7, 10}), closed=True, downbeat_only=True),
        )
    )


@settings(max_examples=60)
@given(seed=SEEDS, bias=st.sampled_from(sorted(BIASES)))
def test_bar_shapes_break_no_constraint(seed, bias) -> None:
    rng = random.Random(seed)
    constraints = random_constraints(rng)
    try:
        plan = [bar_rules(constraints, random_shape(rng)) for _ in range(BARS)]
    except ValueError:
        return  # the chord has no pitch in key and range, or there are too few notes
    state, tracks = random_state(plan[0], rng)
    bars = play(state, plan, bias, seed)
    referee = Referee([token for bar in bars for token in bar], tracks)
    # A chord on the downbeat has fewer notes, and has to wait where other notes still sound.
    most = (constraints.notes_per_bar or (0, 100_000))[1]
    relaxed = replace(constraints, max_empty_bars=BARS, notes_per_bar=(0, most))
    assert complaints(referee, relaxed) == [], constraints


@settings(max_examples=50)
@given(seed=SEEDS, bias=st.sampled_from(sorted(BIASES)))
def test_bars_have_their_shapes(seed, bias) -> None:
    rng = random.Random(seed)
    # Constraints that leave every shape possible.
    constraints = Constraints(
        meter=(4, 4),
        programs=rng.choice((None, frozenset({0, 40, DRUMS}))),
        max_polyphony=rng.choice((None, 8)),
        max_notes_at_once=rng.choice((1, 4)),
        notes_per_bar=rng.choice((None, (rng.randint(0, 20), 50))),
    )
    shapes = [random_shape(rng) for _ in range(2)]
    closed = bar_rules(constraints, BarShape(closed=True))
    # Between them closed bars, so that no note still sounds when a special one begins.
    plan = [bar_rules(constraints, shapes[0]), closed, bar_rules(constraints, shapes[1])]
    state, tracks = random_state(plan[0], rng)
    state.open_bar(closed)
    bars = play(state, [closed, *plan], bias, seed, most=40)
    referee = Referee([token for bar in bars for token in bar], tracks)
    for shape, bar in zip(shapes, referee.bars[1::2], strict=True):
        check_shape(shape, bar)
    assert all(note.end <= bar.end for bar in referee.bars[::2] for note in bar.notes)


def check_shape(shape: BarShape, bar: BarLine) -> None:
    pitched = [note for note in bar.notes if note.program != DRUMS]
    if shape.off_beat and bar.notes:
        assert min(note.position for note in bar.notes) % 12
    if shape.off_mode is not None and pitched:
        assert any(note.pitch % 12 not in shape.off_mode for note in earliest(pitched))
    if shape.closed:
        assert all(note.end <= bar.end for note in bar.notes)
    if shape.downbeat_only:
        assert all(note.position == 0 for note in bar.notes)
    if shape.chord is not None:
        assert pitched
        assert bar.notes[0].program != DRUMS
        assert all(note.pitch % 12 in shape.chord for note in pitched)


def earliest(notes: list[Note]) -> list[Note]:
    first = min(note.start for note in notes)
    return [note for note in notes if note.start == first]


@settings(max_examples=40)
@given(seed=SEEDS, bias=st.sampled_from(sorted(BIASES)))
def test_no_note_sounds_across_the_bar_lines_of_the_last_chord(seed, bias) -> None:
    rng = random.Random(seed)
    drawn = random_constraints(rng)
    free = {"programs": frozenset({0, 40, DRUMS}), "pitch_ranges": None, "key": None}
    density = rng.choice((None, (rng.randint(0, 36), 40)))
    constraints = replace(drawn, ending=True, meter=(3, 4), notes_per_bar=density, **free)
    chord = BarShape(chord=frozenset({0, 4, 7}), closed=True, downbeat_only=True)
    shapes = [BarShape()] * 4 + [BarShape(closed=True), chord]
    plan = [bar_rules(constraints, shape) for shape in shapes]
    state, tracks = random_state(plan[0], rng)
    bars = play(state, plan, bias, seed)
    referee = Referee([token for bar in bars for token in bar], tracks)
    assert complaints(referee, constraints) == [], constraints
    last = referee.bars[-1]
    for note in referee.notes:
        assert not note.start < last.start < note.end, "sounds into the last bar"
        assert note.end <= last.end, "is not released"
    assert any(note.start == last.start for note in last.notes)
