"""Which rules hold in which bar: wishes, turns of surprise, and how a take closes."""

from __future__ import annotations

import pytest

from musiclstm import Constraints, Sampling, Surprise
from musiclstm.constraints import SCALES, Scale
from musiclstm.grammar import Grammar, Shape
from musiclstm.planning import Planner, Wishes, tonic_chord

PIANO = Constraints(programs={0}, meter=(4, 4))
SAMPLING = Sampling(temperature=0.8, seed=3)
C_MAJOR = Scale.named("C major")
BARS = range(200)


@pytest.fixture
def planner(tiny_tokenizer) -> Planner:
    return Planner(tiny_tokenizer)


def wishes(**changes) -> Wishes:
    values = {
        "constraints": PIANO,
        "sampling": SAMPLING,
        "surprise": Surprise(),
        "end": None,
        "key": lambda before: C_MAJOR,
    }
    return Wishes(**(values | changes))


def shapes(planner: Planner, wish: Wishes, bars: range) -> list[Shape]:
    plan = planner.plan(wish)
    return [plan(bar, ())[0].shape for bar in bars]


def test_a_plain_wish_is_the_same_rules_in_every_bar(planner) -> None:
    plan = planner.plan(wishes())
    rules = [plan(bar, ()) for bar in BARS]
    assert len({id(grammar) for grammar, _ in rules}) == 1
    assert rules[0][0].shape == Shape()
    assert rules[0][0].constraints == PIANO
    assert {sampling for _, sampling in rules} == {SAMPLING}


def test_many_takes_share_a_grammar(planner) -> None:
    one, other = planner.plan(wishes()), planner.plan(wishes(sampling=Sampling(seed=9)))
    assert one(0, ())[0] is other(7, ())[0]


# Surprise -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schedule", ["gentle", "bold", (0, 0.3, 0, 0.9, 0.5, 0.7, 0.6, 1)], ids=str
)
def test_every_turn_comes_at_its_bar_and_nowhere_else(schedule, planner) -> None:
    surprise = Surprise(schedule)
    plan = planner.plan(wishes(surprise=surprise))
    kinds = set()
    for bar in BARS:
        grammar, sampling = plan(bar, ())
        turn = surprise.turn_at(bar, SAMPLING.seed)
        kinds.add(turn and turn.kind)
        if turn is None:
            assert (grammar.shape, sampling) == (Shape(), SAMPLING)
            continue
        assert sampling == SAMPLING.hotter(turn.amount)
        expected = {
            "entropy": Shape(),
            "off_beat": Shape(off_beat=True),
            "off_mode": Shape(off_mode=C_MAJOR.pitch_classes),
        }
        assert grammar.shape == expected[turn.kind]
    assert {None, "entropy", "off_beat"} <= kinds
    assert ("off_mode" in kinds) == (schedule != "gentle")


def test_turns_follow_the_seed_of_the_take(planner) -> None:
    one, other = (
        shapes(planner, wishes(surprise=Surprise("bold"), sampling=Sampling(seed=seed)), BARS)
        for seed in (1, 2)
    )
    assert one != other


def test_without_a_key_nothing_can_leave_it(planner) -> None:
    plan = planner.plan(wishes(surprise=Surprise([1.0] * 100), key=lambda before: None))
    rules = [plan(bar, ()) for bar in range(100)]
    assert {grammar.shape for grammar, _ in rules} == {Shape(), Shape(off_beat=True)}
    assert {sampling for _, sampling in rules} == {SAMPLING.hotter(1)}


def test_the_key_is_asked_for_with_the_bars_before(planner) -> None:
    asked = []

    def key(before) -> Scale:
        asked.append(tuple(before))
        return C_MAJOR

    plan = planner.plan(wishes(surprise=Surprise([1.0] * 100), key=key))
    before = ((1, 2), (3, 4))
    for bar in range(100):
        plan(bar, before)
    assert set(asked) == {before}
    assert 0 < len(asked) < 100  # only where a turn leaves it


# The ending ---------------------------------------------------------------------------------------

ENDING = Constraints(programs={0}, meter=(4, 4), ending=True)


def test_the_last_two_bars_close(planner) -> None:
    *rest, first, last = shapes(planner, wishes(constraints=ENDING, end=6), range(6))
    assert set(rest) == {Shape()}
    assert first.closed
    assert last.closed
    assert first.chord is None
    assert not first.downbeat_only
    assert last.chord == {0, 4, 7}
    assert last.downbeat_only
    assert 0 < first.softer < last.softer


@pytest.mark.parametrize("end", [1, 2])
def test_a_short_piece_is_all_ending(end, planner) -> None:
    found = shapes(planner, wishes(constraints=ENDING, end=end), range(end))
    assert found == shapes(planner, wishes(constraints=ENDING, end=9), range(9 - end, 9))


def test_a_resumed_take_ends_at_the_same_bar(planner) -> None:
    whole = shapes(planner, wishes(constraints=ENDING, end=8), range(8))
    rest = shapes(planner, wishes(constraints=ENDING, end=8), range(5, 8))
    assert rest == whole[5:]


def test_no_turn_comes_in_an_ending(planner) -> None:
    wish = wishes(constraints=ENDING, end=8, surprise=Surprise([1.0] * 8))
    plan = planner.plan(wish)
    rules = [plan(bar, ()) for bar in range(8)]
    assert [sampling == SAMPLING for _, sampling in rules] == [False] * 6 + [True] * 2
    assert [grammar.shape.closed for grammar, _ in rules] == [False] * 6 + [True] * 2


class Contested(dict):
    """Grammars that another thread throws away whenever it can."""

    def __contains__(self, asked) -> bool:
        found = super().__contains__(asked)
        self.clear()
        return found

    def __setitem__(self, asked, grammar) -> None:
        super().__setitem__(asked, grammar)
        self.clear()


def test_another_visitor_may_make_room_for_grammars_at_any_time(planner) -> None:
    planner._grammars = Contested()
    assert shapes(planner, wishes(constraints=ENDING, end=3), range(3))[-1].downbeat_only


def test_an_ending_without_a_key_has_no_chord(planner) -> None:
    last = shapes(planner, wishes(constraints=ENDING, end=4, key=lambda before: None), range(4))[-1]
    assert last.chord is None
    assert last.downbeat_only
    assert last.closed


def test_an_ending_is_in_the_key_of_the_bars_before(planner) -> None:
    def key(before) -> Scale | None:
        return Scale.named("E minor") if before else None

    plan = planner.plan(wishes(constraints=ENDING, end=4, key=key))
    assert plan(3, ((1, 2),))[0].shape.chord == {4, 7, 11}


def test_a_chord_that_cannot_be_played_is_refused_before_anything_is_composed(planner) -> None:
    wish = Constraints(programs={0}, pitch_ranges={0: (61, 62)}, ending=True)
    with pytest.raises(ValueError, match=r"\[0, 4, 7\]"):
        planner.plan(wishes(constraints=wish, end=4))
    planner.plan(wishes(constraints=wish, end=None))  # without an end all is well


def test_a_wish_that_cannot_be_kept_is_refused_before_anything_is_composed(planner) -> None:
    wish = Constraints(programs={-1}, pitch_ranges={-1: (0, 20)})
    with pytest.raises(ValueError, match="pitch_ranges leaves nothing to play"):
        planner.plan(wishes(constraints=wish))


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
def test_the_tonic_chord_is_as_full_as_the_scale(key, chord) -> None:
    assert tonic_chord(Scale.named(key)) == chord


@pytest.mark.parametrize("mode", SCALES)
@pytest.mark.parametrize("tonic", range(12))
def test_the_tonic_chord_is_of_the_scale_and_on_its_tonic(mode, tonic) -> None:
    scale = Scale(tonic, mode)
    assert tonic in tonic_chord(scale) <= scale.pitch_classes
    assert 2 <= len(tonic_chord(scale)) <= 3


# What is kept -------------------------------------------------------------------------------------


def test_plans_in_use_outlive_the_grammars_that_are_thrown_away(planner, monkeypatch) -> None:
    plan = planner.plan(wishes())
    first, _ = plan(0, ())
    monkeypatch.setattr("musiclstm.planning._MOST_GRAMMARS", 4)
    for meter in range(1, 13):
        planner.plan(wishes(constraints=Constraints(meter=(meter, 4))))
        assert len(planner._grammars) <= 4
    again, _ = plan(1, ())
    assert isinstance(again, Grammar)
    assert (again.constraints, again.shape) == (first.constraints, first.shape)
