"""Deviations by bar, the rules of each bar, and endings."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from musiclstm.generation.bar_plan import (
    FORCES_FROM,
    BarPlan,
    Deviation,
    GenerationRequest,
    Surprise,
    plan_bars,
    tonic_chord,
)
from musiclstm.generation.constraints import BarShape, Constraints, Scale
from musiclstm.generation.decoding.bar_rules import bar_rules
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


def plans(request: GenerationRequest, bars: range) -> list[BarPlan]:
    plan = plan_bars(request)
    return [plan(bar, ()) for bar in bars]


def assert_has_shape(plan: BarPlan, shape: BarShape, constraints: Constraints = PIANO) -> None:
    assert plan.rules == bar_rules(constraints, shape)
    assert plan.velocity_gain == shape.velocity_gain


def test_without_deviations_all_bars_share_rules_and_sampling() -> None:
    found = plans(request_of(), PLANNED)
    assert len({id(plan.rules) for plan in found}) == 1
    assert_has_shape(found[0], BarShape())
    assert {plan.sampling for plan in found} == {SAMPLING}


# Deviations in plans ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", ["gentle", "bold", (0, 0.3, 0, 0.9, 0.5, 0.7, 0.6, 1)], ids=str
)
def test_deviations_change_rules_and_sampling_of_their_bars_only(schedule) -> None:
    surprise = Surprise(schedule)
    kinds = set()
    for bar, plan in enumerate(plans(request_of(surprise=surprise), PLANNED)):
        deviation = surprise.deviation_at(bar, SAMPLING.seed)
        kinds.add(deviation and deviation.kind)
        if deviation is None:
            assert_has_shape(plan, BarShape())
            assert plan.sampling == SAMPLING
            continue
        assert plan.sampling == SAMPLING.with_higher_temperature(deviation.amount)
        expected = {
            "entropy": BarShape(),
            "off_beat": BarShape(off_beat=True),
            "off_mode": BarShape(off_mode=C_MAJOR.pitch_classes),
        }
        assert_has_shape(plan, expected[deviation.kind])
    assert {None, "entropy", "off_beat"} <= kinds
    assert ("off_mode" in kinds) == (schedule != "gentle")


def test_without_a_key_only_off_beat_deviations_are_forced() -> None:
    request = request_of(surprise=Surprise([1.0] * 100), key=lambda before: None)
    found = plans(request, range(100))
    assert {int(plan.rules["off_beat"]) for plan in found} == {0, 1}
    assert {int(plan.rules["mode"]) for plan in found} == {0}
    assert {plan.sampling for plan in found} == {SAMPLING.with_higher_temperature(1)}


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
    *rest, first, last = plans(request_of(constraints=ENDING, end=6), range(6))
    for plan in rest:
        assert_has_shape(plan, BarShape(), ENDING)
    assert 1 > first.velocity_gain > last.velocity_gain > 0.5
    closed = BarShape(closed=True, velocity_gain=first.velocity_gain)
    assert_has_shape(first, closed, ENDING)
    chord = BarShape(closed=True, chord={0, 4, 7}, downbeat_only=True)
    assert_has_shape(last, replace(chord, velocity_gain=last.velocity_gain), ENDING)


@pytest.mark.parametrize("end", [1, 2])
def test_a_piece_of_one_or_two_bars_is_only_an_ending(end) -> None:
    found = plans(request_of(constraints=ENDING, end=end), range(end))
    assert found == plans(request_of(constraints=ENDING, end=9), range(9 - end, 9))


def test_an_ending_has_no_deviation() -> None:
    request = request_of(constraints=ENDING, end=8, surprise=Surprise([1.0] * 8))
    found = plans(request, range(8))
    assert [plan.sampling == SAMPLING for plan in found] == [False] * 6 + [True] * 2
    assert [bool(plan.rules["closed"]) for plan in found] == [False] * 6 + [True] * 2


def test_an_ending_without_a_key_has_no_chord() -> None:
    last = plans(request_of(constraints=ENDING, end=4, key=lambda before: None), range(4))[-1]
    assert last.rules == bar_rules(ENDING, BarShape(closed=True, downbeat_only=True))


def test_an_ending_is_in_the_key_of_the_bars_before() -> None:
    def key(before) -> Scale | None:
        return Scale.named("E minor") if before else None

    plan = plan_bars(request_of(constraints=ENDING, end=4, key=key))
    shape = BarShape(closed=True, chord={4, 7, 11}, downbeat_only=True)
    assert plan(3, ((1, 2),)).rules == bar_rules(ENDING, shape)


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
