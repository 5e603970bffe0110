"""At which bars a turn comes, and which."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from musiclstm.surprise import FORCES_FROM, Surprise, Turn

SEEDS = range(40)
BARS = range(60)
TURNS_OF_SEED_7 = [1, 4, 7, 9, 12]


def turns(schedule, seed: int, bars=BARS) -> dict[int, Turn]:
    surprise = Surprise(schedule)
    found = {bar: surprise.turn_at(bar, seed) for bar in bars}
    return {bar: turn for bar, turn in found.items() if turn is not None}


def all_turns(schedule) -> list[Turn]:
    return [turn for seed in SEEDS for turn in turns(schedule, seed).values()]


def test_off_never_turns() -> None:
    assert Surprise() == Surprise("off")
    assert all_turns("off") == []


@pytest.mark.parametrize(("schedule", "share"), [("gentle", 1 / 6), ("bold", 1 / 3)])
def test_turns_come_about_as_often_as_promised(schedule, share) -> None:
    assert len(all_turns(schedule)) / (len(SEEDS) * len(BARS)) == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("schedule", ["gentle", "bold"])
def test_neither_the_first_bar_nor_two_in_a_row_turn(schedule) -> None:
    for seed in SEEDS:
        bars = [*turns(schedule, seed)]
        assert 0 not in bars
        assert not {bar + 1 for bar in bars} & {*bars}


@pytest.mark.parametrize("schedule", ["gentle", "bold"])
def test_turns_come_at_irregular_distances(schedule) -> None:
    distances = Counter(int(d) for seed in SEEDS for d in np.diff([*turns(schedule, seed)]))
    assert len(distances) >= 4


def test_gentle_turns_are_small_and_never_leave_the_key() -> None:
    found = all_turns("gentle")
    kinds = Counter(turn.kind for turn in found)
    assert {*kinds} == {"entropy", "off_beat"}
    assert kinds["entropy"] > kinds["off_beat"]
    assert all(0.1 <= turn.amount <= 0.3 for turn in found)


def test_bold_turns_are_large_and_of_every_kind() -> None:
    found = all_turns("bold")
    kinds = Counter(turn.kind for turn in found)
    assert {*kinds} == {"entropy", "off_beat", "off_mode"}
    assert min(kinds.values()) > len(found) / 4
    assert all(0.4 <= turn.amount <= 0.8 for turn in found)


def test_a_bar_has_its_turn_whoever_asks_and_when() -> None:
    whole = turns("bold", 7)
    alone = {bar: Surprise("bold").turn_at(bar, 7) for bar in reversed(BARS)}
    assert whole == {bar: turn for bar, turn in alone.items() if turn}
    assert turns("bold", 7, range(9)) == {bar: turn for bar, turn in whole.items() if bar < 9}


def test_seeds_turn_at_bars_of_their_own() -> None:
    assert len({tuple(turns("gentle", seed)) for seed in SEEDS}) > len(SEEDS) / 2


def test_turns_are_the_same_on_every_machine() -> None:
    # They are part of "the same seed gives the same piece": a new Python must not change them.
    assert [*turns("bold", 7, range(16))] == TURNS_OF_SEED_7


def test_a_far_bar_is_answered_at_once() -> None:
    # Asking back bar by bar to the first one would never come to an end here.
    found = turns("bold", 1, range(10**12, 10**12 + 30))
    assert 4 < len(found) < 16


def test_amounts_say_which_bars_turn_and_how_far() -> None:
    found = turns([0, 0.3, 0, 0.7, 1], seed=3)
    assert {bar: turn.amount for bar, turn in found.items()} == {1: 0.3, 3: 0.7, 4: 1.0}


def test_a_small_amount_forces_nothing_and_a_large_one_a_turn() -> None:
    assert {turn.kind for turn in all_turns([0.01, 0.49])} == {"entropy"}
    kinds = Counter(turn.kind for turn in all_turns([FORCES_FROM, 1]))
    assert {*kinds} == {"off_beat", "off_mode"}
    assert min(kinds.values()) > len(SEEDS) / 2


def test_bars_beyond_the_list_or_before_it_do_not_turn() -> None:
    assert Surprise([1]).turn_at(0, 5) is not None
    assert Surprise([1]).turn_at(1, 5) is None
    assert Surprise([1, 1]).turn_at(-1, 5) is None
    assert Surprise([]).turn_at(0, 5) is None


def test_a_list_is_kept_as_a_tuple_and_the_record_can_be_a_key() -> None:
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
def test_a_schedule_that_means_nothing_is_refused(schedule, got) -> None:
    sentence = (
        'schedule must be "off", "gentle", "bold" or an amount from 0 to 1 for each bar, got '
        rf"{got}; pass a list such as \[0, 0.3, 0, 0.7\]\."
    )
    with pytest.raises(ValueError, match=sentence):
        Surprise(schedule)
