"""Deviations by bar, the grammar of each bar, and endings."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from musiclstm.generation.bar_plan import (
    FORCES_FROM,
    Deviation,
    GenerationRequest,
    Surprise,
    plan_bars,
    tonic_chord,
)
from musiclstm.generation.constraints import BarShape, Constraints, Scale
from musiclstm.generation.decoding.sampling import Sampling

SEEDS = range(40)
BARS = range(60)
BARS_OF_SEED_7 = [1, 4, 7, 9, 12]


def deviations(schedule, seed: int, bars=BARS) -> dict[int, Deviation]:
    surprise = Surprise(schedule)
    found = {bar: surprise.deviation_at(bar, seed) for bar in bars}
    return {bar: deviation for bar, deviation in found.items() if deviation is not None}


def all_deviations(schedule) -> list[Deviation]:
    return [deviation for seed in SEEDS for deviation in deviations(schedule, seed).values()]


def test_off_never_deviates() -> None:
    assert Surprise() == Surprise("off")
    assert all_deviations("off") == []


@pytest.mark.parametrize(("schedule", "share"), [("gentle", 1 / 6), ("bold", 1 / 3)])
def test_deviations_are_as_frequent_as_documented(schedule, share) -> None:
    assert len(all_deviations(schedule)) / (len(SEEDS) * len(BARS)) == pytest.approx(
        share, abs=0.02
    )


@pytest.mark.parametrize("schedule", ["gentle", "bold"])
def test_neither_the_first_bar_nor_two_in_a_row_deviate(schedule) -> None:
    for seed in SEEDS:
        bars = [*deviations(schedule, seed)]
        assert 0 not in bars
        assert not {bar + 1 for bar in bars} & {*bars}


def test_gentle_deviations_are_small_and_never_leave_the_key() -> None:
    found = all_deviations("gentle")
    kinds = Counter(deviation.kind for deviation in found)
    assert {*kinds} == {"entropy", "off_beat"}
    assert kinds["entropy"] > kinds["off_beat"]
    assert all(0.1 <= deviation.amount <= 0.3 for deviation in found)


def test_bold_deviations_are_large_and_of_every_kind() -> None:
    found = all_deviations("bold")
    kinds = Counter(deviation.kind for deviation in found)
    assert {*kinds} == {"entropy", "off_beat", "off_mode"}
    assert min(kinds.values()) > len(found) / 4
    assert all(0.4 <= deviation.amount <= 0.8 for deviation in found)


def test_the_deviation_of_a_bar_does_not_depend_on_earlier_calls() -> None:
    whole = deviations("bold", 7)
    alone = {bar: Surprise("bold").deviation_at(bar, 7) for bar in reversed(BARS)}
    assert whole == {bar: deviation for bar, deviation in alone.items() if deviation}
    assert deviations("bold", 7, range(9)) == {
        bar: deviation for bar, deviation in whole.items() if bar < 9
    }


def test_deviations_are_the_same_on_every_machine() -> None:
    # Reproducible pieces need them: a new version of Python must not change them.
    assert [*deviations("bold", 7, range(16))] == BARS_OF_SEED_7


def test_a_far_bar_takes_constant_time() -> None:
    # A search back to the first bar would not end here.
    found = deviations("bold", 1, range(10**12, 10**12 + 30))
    assert 4 < len(found) < 16


def test_amounts_choose_bars_and_temperature() -> None:
    found = deviations([0, 0.3, 0, 0.7, 1], seed=3)
    assert {bar: deviation.amount for bar, deviation in found.items()} == {1: 0.3, 3: 0.7, 4: 1.0}


def test_only_amounts_from_one_half_force_a_deviation() -> None:
    assert {deviation.kind for deviation in all_deviations([0.01, 0.49])} == {"entropy"}
    kinds = Counter(deviation.kind for deviation in all_deviations([FORCES_FROM, 1]))
    assert {*kinds} == {"off_beat", "off_mode"}
    assert min(kinds.values()) > len(SEEDS) / 2


def test_bars_beyond_the_list_or_before_it_do_not_deviate() -> None:
    assert Surprise([1]).deviation_at(0, 5) is not None
    assert Surprise([1]).deviation_at(1, 5) is None
    assert Surprise([1, 1]).deviation_at(-1, 5) is None
    assert Surprise([]).deviation_at(0, 5) is None


def test_a_list_becomes_a_tuple_and_the_schedule_is_hashable() -> None:
    amounts = [0, 1, np.float32(0.5)]
    surprise = Surprise(amounts)
    assert surprise.schedule == (0.0, 1.0, 0.5)
    assert all(type(amount) is float for amount in surprise.schedule)
    assert {surprise: 1}[Surprise((0, 1, 0.5))] == 1
    amounts[0] = 1
    assert surprise.schedule[0] == 0


@pytest.mark.parametrize(
    ("schedule", "got"),
    [
        ("wild", "'wild'"),
        (0.5, "0.5"),
        (None, "None"),
        ([0, 1.5], "an amount of 1.5"),
        ([-0.1], "an amount of -0.1"),
        ([float("nan")], "an amount of nan"),
        (["high"], "an amount of high"),
    ],
)
def test_an_unknown_schedule_is_refused(schedule, got) -> None:
    with pytest.raises(ValueError, match=f"got {got};"):
        Surprise(schedule)


# Plans --------------------------------------------------------------------------------------------

PIANO = Constraints(programs={0}, meter=(4, 4))
SAMPLING = Sampling(temperature=0.8, seed=3)
BOLD = Surprise("bold")
C_MAJOR = Scale.named("C major")
PLANNED = range(200)


def request_of(**changes) -> GenerationRequest:
    values = {
        "constraints": PIANO,
        "sampling": SAMPLING,
        "surprise": Surprise(),
        "end": None,
        "key": lambda before: C_MAJOR,
    }
    return GenerationRequest(**(values | changes))


def shapes(request: GenerationRequest, bars: range) -> list[BarShape]:
    plan = plan_bars(request)
    return [plan(bar, ())[0].shape for bar in bars]


def test_without_deviations_all_bars_share_grammar_and_sampling() -> None:
    plan = plan_bars(request_of())
    rules = [plan(bar, ()) for bar in PLANNED]
    assert len({id(grammar) for grammar, _ in rules}) == 1
    assert rules[0][0].shape == BarShape()
    assert rules[0][0].constraints == PIANO
    assert {sampling for _, sampling in rules} == {SAMPLING}


# Deviations in plans ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", ["gentle", "bold", (0, 0.3, 0, 0.9, 0.5, 0.7, 0.6, 1)], ids=str
)
def test_deviations_change_grammar_and_sampling_of_their_bars_only(schedule) -> None:
    surprise = Surprise(schedule)
    plan = plan_bars(request_of(surprise=surprise))
    kinds = set()
    for bar in PLANNED:
        grammar, sampling = plan(bar, ())
        deviation = surprise.deviation_at(bar, SAMPLING.seed)
        kinds.add(deviation and deviation.kind)
        if deviation is None:
            assert (grammar.shape, sampling) == (BarShape(), SAMPLING)
            continue
        assert sampling == SAMPLING.with_higher_temperature(deviation.amount)
        expected = {
            "entropy": BarShape(),
            "off_beat": BarShape(off_beat=True),
            "off_mode": BarShape(off_mode=C_MAJOR.pitch_classes),
        }
        assert grammar.shape == expected[deviation.kind]
    assert {None, "entropy", "off_beat"} <= kinds
    assert ("off_mode" in kinds) == (schedule != "gentle")


def test_without_a_key_only_off_beat_deviations_are_forced() -> None:
    plan = plan_bars(request_of(surprise=Surprise([1.0] * 100), key=lambda before: None))
    rules = [plan(bar, ()) for bar in range(100)]
    assert {grammar.shape for grammar, _ in rules} == {BarShape(), BarShape(off_beat=True)}
    assert {sampling for _, sampling in rules} == {SAMPLING.with_higher_temperature(1)}


def test_the_key_is_a_function_of_the_bars_before() -> None:
    asked = []

    def key(before) -> Scale:
        asked.append(tuple(before))
        return C_MAJOR

    plan = plan_bars(request_of(surprise=Surprise([1.0] * 100), key=key))
    before = ((1, 2), (3, 4))
    for bar in range(100):
        plan(bar, before)
    assert set(asked) == {before}
    assert 0 < len(asked) < 100  # only for off_mode


# Endings ------------------------------------------------------------------------------------------

ENDING = Constraints(programs={0}, meter=(4, 4), ending=True)


def test_the_last_two_bars_have_closing_shapes() -> None:
    *rest, first, last = shapes(request_of(constraints=ENDING, end=6), range(6))
    assert set(rest) == {BarShape()}
    assert first.closed
    assert last.closed
    assert first.chord is None
    assert not first.downbeat_only
    assert last.chord == {0, 4, 7}
    assert last.downbeat_only
    assert 1 > first.velocity_gain > last.velocity_gain > 0.5


@pytest.mark.parametrize("end", [1, 2])
def test_a_piece_of_one_or_two_bars_is_only_an_ending(end) -> None:
    found = shapes(request_of(constraints=ENDING, end=end), range(end))
    assert found == shapes(request_of(constraints=ENDING, end=9), range(9 - end, 9))


def test_an_ending_has_no_deviation() -> None:
    request = request_of(constraints=ENDING, end=8, surprise=Surprise([1.0] * 8))
    plan = plan_bars(request)
    rules = [plan(bar, ()) for bar in range(8)]
    assert [sampling == SAMPLING for _, sampling in rules] == [False] * 6 + [True] * 2
    assert [grammar.shape.closed for grammar, _ in rules] == [False] * 6 + [True] * 2


def test_an_ending_without_a_key_has_no_chord() -> None:
    last = shapes(request_of(constraints=ENDING, end=4, key=lambda before: None), range(4))[-1]
    assert last.chord is None
    assert last.downbeat_only
    assert last.closed


def test_an_ending_is_in_the_key_of_the_bars_before() -> None:
    def key(before) -> Scale | None:
        return Scale.named("E minor") if before else None

    plan = plan_bars(request_of(constraints=ENDING, end=4, key=key))
    assert plan(3, ((1, 2),))[0].shape.chord == {4, 7, 11}


def test_a_final_chord_that_cannot_be_played_is_refused_at_once() -> None:
    constraints = Constraints(programs={0}, pitch_ranges={0: (61, 62)}, ending=True)
    with pytest.raises(ValueError, match=r"\[0, 4, 7\]"):
        plan_bars(request_of(constraints=constraints, end=4))
    plan_bars(request_of(constraints=constraints, end=None))


def test_a_constraint_that_cannot_be_met_is_refused_at_once() -> None:
    constraints = Constraints(programs={-1}, pitch_ranges={-1: (0, 20)})
    with pytest.raises(ValueError, match="pitch_ranges leaves nothing to play"):
        plan_bars(request_of(constraints=constraints))


@pytest.mark.parametrize(
    ("key", "chord"),
    [
        ("C major", {0, 4, 7}),
        ("A minor", {9, 0, 4}),
        ("F# dorian", {6, 9, 1}),
        ("B locrian", {11, 2}),
        ("C whole tone", {0, 4}),
        ("D minor pentatonic", {2, 5, 9}),
        ("Eb major pentatonic", {3, 7, 10}),
        ("E blues", {4, 7, 11}),
        ("C chromatic", {0, 4, 7}),
    ],
)
def test_the_tonic_chord_has_the_third_and_fifth_of_the_scale(key, chord) -> None:
    assert tonic_chord(Scale.named(key)) == chord
