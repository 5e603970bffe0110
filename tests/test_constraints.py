"""Constraints: what they mean, which are refused, and that they hold whatever the scores are."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from symusic.core import ScoreTick

import musiclstm
from benchmarks.promises import holds, random_constraints
from musiclstm.constraints import SCALES, Constraints, Scale
from musiclstm.grammar import Grammar, Shape, Walk
from musiclstm.tokenization import DRUMS, POSITIONS_PER_BEAT, MusicTokenizer
from musiclstm.vocabulary import Vocabulary

BARS = 6
few = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def tokenizer() -> MusicTokenizer:
    """The one that the bundled weights came with: 1,350 merged tokens."""
    return MusicTokenizer.from_folder(Path(musiclstm.__file__).parent / "pretrained")


# -- Scales --------------------------------------------------------------------------------------


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
def test_the_name_of_a_key_means_its_tones(name, classes) -> None:
    assert Scale.named(name).pitch_classes == classes


@pytest.mark.parametrize("name", ["H minor", "C", "major", "", "Cmajor", "C# ionian", "c b minor"])
def test_an_unknown_key_is_answered_with_those_that_are_known(name) -> None:
    with pytest.raises(ValueError, match=r"is not known; use a tonic such as C, .* one of: ") as it:
        Constraints(key=name)
    assert all(mode in str(it.value) for mode in SCALES)


def test_keys_bind_pitches_but_not_drums() -> None:
    wish = Constraints(key="C major", pitch_ranges={0: (60, 65)})
    assert wish.pitches(0) == [60, 62, 64, 65]
    assert wish.pitches(40)[:3] == [0, 2, 4]
    assert len(wish.pitches(DRUMS)) == 128
    assert Constraints(key="seed").pitches(0) == list(range(128))


# -- The record ----------------------------------------------------------------------------------


def test_plain_values_will_do_and_equal_wishes_are_equal() -> None:
    wish = Constraints(programs={0, 40}, pitch_ranges={40: (60, 80), 0: [30, 50]})
    same = Constraints(
        programs=frozenset({40, 0}), pitch_ranges=((0, (30, 50)), (40, (60, 80))), max_empty_bars=1
    )
    assert wish == same
    assert hash(wish) == hash(same)
    assert replace(wish, max_polyphony=3).ranges == {0: (30, 50), 40: (60, 80)}
    assert Constraints(pitch_ranges={}) == Constraints()
    assert Constraints(notes_per_bar=[1, 2]) == Constraints(notes_per_bar=(1, 2))


def test_a_tempo_that_was_asked_for_does_not_change() -> None:
    assert Constraints().allows_tempos
    assert not Constraints(tempo_bpm=90).allows_tempos
    assert not Constraints(tempo_changes=False).allows_tempos


REFUSALS = [
    ({"programs": frozenset()}, "programs must name at least one instrument; None allows all."),
    ({"programs": {0, 128}}, r"programs must be from -1 \(drums\) to 127, got \[0, 128\]"),
    ({"programs": {-2}}, r"programs must be from -1 \(drums\) to 127, got \[-2\]."),
    ({"meter": (17, 8)}, "meter 17/8 is not one the tokens can say; use 1 to 12 quarters, 1 to"),
    ({"meter": (4, 3)}, "meter 4/3 is not one the tokens can say"),
    ({"meter": (4, 0)}, "meter 4/0 is not one the tokens can say"),
    ({"meter": (0, 4)}, "meter 0/4 is not one the tokens can say"),
    ({"max_empty_bars": -1}, "max_empty_bars must be 0 or more, got -1."),
    ({"max_notes_at_once": 0}, "max_notes_at_once must be from 1 to 32, got 0."),
    ({"max_notes_at_once": 33}, "max_notes_at_once must be from 1 to 32, got 33."),
    ({"max_polyphony": 0}, "max_polyphony must be 1 or more, got 0; None is no limit."),
    ({"max_polyphony": 2.5}, "max_polyphony must be 1 or more, got 2.5; None is no limit."),
    ({"tempo_bpm": 19}, "tempo_bpm must be from 20 to 300, got 19."),
    ({"tempo_bpm": float("nan")}, "tempo_bpm must be from 20 to 300, got nan."),
    ({"notes_per_bar": (5, 4)}, "with 0 <= fewest <= most and most at least 1, got 5 and 4."),
    ({"notes_per_bar": (0, 0)}, "most at least 1, got 0 and 0."),
    ({"notes_per_bar": (-1, 3)}, "got -1 and 3."),
    ({"notes_per_bar": (1, 2, 3)}, r"two whole numbers, fewest and most, got \(1, 2, 3\)."),
    ({"notes_per_bar": (1, 2.5)}, r"two whole numbers, fewest and most, got \(1, 2.5\)."),
    (
        {"notes_per_bar": (25, 30), "meter": (2, 4), "max_polyphony": 1},
        "asks for at least 25 notes, but a bar of 2/4 has room for 24; ask for fewer or raise",
    ),
    (
        {"notes_per_bar": (25, 30), "meter": (1, 8), "max_notes_at_once": 2},
        "asks for at least 25 notes, but a bar of 1/8 has room for 24; ask for fewer or raise",
    ),
    ({"pitch_ranges": {0: (70, 60)}}, "of program 0 must be .* from 0 to 127, got 70 and 60."),
    ({"pitch_ranges": {0: (0, 128)}}, "of program 0 must be .* from 0 to 127, got 0 and 128."),
    ({"pitch_ranges": {0: (60,)}}, r"of program 0 must be a lowest and a highest .* got \(60,\)."),
    ({"pitch_ranges": {0: (6.5, 9)}}, r"of program 0 must be a lowest and a highest pitch, got"),
    ({"pitch_ranges": {128: (0, 1)}}, "pitch_ranges must name programs from -1 to 127, got 128."),
    (
        {"pitch_ranges": {0: (60, 70)}, "programs": {40}},
        "pitch_ranges names program 0, which may not play; add it to programs or leave its range",
    ),
    (
        {"pitch_ranges": {0: (61, 61)}, "key": "C major"},
        "allows program 0 only 61 to 61, where C major has no tone; widen the range or leave",
    ),
    (
        {"ending": True, "programs": {DRUMS}},
        "ending needs an instrument with pitches to close on, and programs names only drums;",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSALS, ids=lambda value: str(value)[:60])
def test_what_cannot_be_kept_is_refused(values, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Constraints(**values)


GRAMMAR_REFUSALS = [
    ({"key": "seed"}, 'key is "seed", which only a composer with a seed can estimate; name the'),
    (
        {"programs": {DRUMS}, "pitch_ranges": {DRUMS: (90, 100)}},
        "pitch_ranges leaves nothing to play that the tokens know; drums are MIDI pitches 27 to 88",
    ),
    (
        {"programs": {0}, "pitch_ranges": {0: (60, 60)}, "notes_per_bar": (13, 20)}
        | {"meter": (1, 8)},
        "notes_per_bar asks for at least 13 notes, but at most 12 fit into a bar; ask for fewer",
    ),
    (
        {"notes_per_bar": (193, 200), "max_polyphony": 1},
        "notes_per_bar asks for at least 193 notes, but at most 192 fit into a bar; ask for fewer",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), GRAMMAR_REFUSALS, ids=lambda v: str(v)[:60])
def test_what_the_tokens_cannot_keep_is_refused_before_anything_is_played(
    values, sentence, tokenizer
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Grammar(tokenizer, Constraints(**values))


# -- Hostile scores ------------------------------------------------------------------------------


@lru_cache
def leaning(vocabulary: Vocabulary, taste: str) -> np.ndarray:
    """What each token is worth to one who likes it this way."""
    tokens = vocabulary.tokens
    stays = ~np.isin(vocabulary.first, ["Position", "Bar", "EOS", "Tempo"])
    late = vocabulary.last_position
    longest = np.array([max((n.duration or 0 for n in t.notes), default=0) for t in tokens])
    merged = np.arange(len(tokens)) >= vocabulary.base
    return {
        "by chance": 0 * late,
        "rarest": 3 * np.random.default_rng(5).permutation(len(tokens)),
        "merged": 30 * merged,
        "base": -30 * merged,
        "long and late": 3 * late + longest,
        "long and early": 2 * longest - late,
        "on one spot": 30 * stays,
        "long on one spot": 30 * stays + longest,
        "ending": 30 * np.isin(vocabulary.first, ["Bar", "EOS"]) + 5 * merged,
    }[taste]


class Adversary:
    """Scores that lean to one side, with some chance, as no network would give them."""

    def __init__(self, grammar: Grammar, taste: str, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.lean = leaning(grammar.vocabulary, taste)
        self.haste = 1e4 * grammar.ends_bar + 10 * grammar.vocabulary.last_position

    def scores(self, *, hurried: bool) -> np.ndarray:
        """One row; hurried, it moves on, so that a test comes to an end."""
        chance = 3 * self.random.normal(size=len(self.lean))
        return (self.lean + chance + (self.haste if hurried else 0)).astype(np.float32)


TASTES = [
    "by chance",
    "rarest",
    "merged",
    "base",
    "long and late",
    "long and early",
    "on one spot",
    "long on one spot",
    "ending",
]


def play(walk: Walk, plan: list[Grammar], taste: str, seed: int, most: int = 80) -> list[list[int]]:
    """The likeliest allowed token again and again, one bar under each grammar."""
    bars, out = [], np.empty(len(plan[0].tokens), np.float32)
    for number, grammar in enumerate(plan):
        adversary = Adversary(grammar, taste, seed + number)
        walk.open_bar(grammar)
        bar: list[int] = []
        while True:
            scores = adversary.scores(hurried=len(bar) > most)
            token = int(walk.masked(scores, out).argmax())
            assert out[token] > -np.inf, f"a dead end after {bar[-3:]}"
            if bar and grammar.ends_bar[token]:
                break
            bar.append(token)
            walk.advance(token)
        bars.append(bar)
    return bars


def decoded(tokenizer: MusicTokenizer, bars: list[list[int]]) -> ScoreTick:
    return tokenizer.decode([token for bar in bars for token in bar])


def check_promises(tokenizer: MusicTokenizer, seed: int, taste: str, bars: int = BARS) -> None:
    """A take under constraints made by chance has its bars and keeps them."""
    constraints = random_constraints(random.Random(seed))
    grammar = Grammar(tokenizer, constraints)
    take = play(Walk(grammar), [grammar] * bars, taste, seed)
    assert [tokenizer.expand(bar).count("Bar_None") for bar in take] == [1] * bars
    score = decoded(tokenizer, take)
    assert holds(score, constraints, bars=bars) == [], constraints


@pytest.mark.parametrize("taste", TASTES)
@settings(few, max_examples=12)
@given(seed=st.integers(0, 2**32 - 1))
def test_constraints_are_kept_whatever_the_scores_are(seed, taste, tokenizer) -> None:
    check_promises(tokenizer, seed, taste)


@pytest.mark.slow
@pytest.mark.parametrize("taste", TASTES)
def test_constraints_are_kept_in_many_takes(taste, tokenizer) -> None:
    for seed in range(300):
        check_promises(tokenizer, seed, taste, bars=12)


@few
@given(seed=st.integers(0, 2**32 - 1), taste=st.sampled_from(TASTES), cut=st.integers(1, BARS - 1))
def test_a_take_resumed_from_its_bars_goes_on_as_it_would_have(seed, taste, cut, tokenizer) -> None:
    grammar = Grammar(tokenizer, random_constraints(random.Random(seed)))
    whole = play(Walk(grammar), [grammar] * BARS, taste, seed)
    resumed = Walk(grammar, whole[:cut])
    rest = play(resumed, [grammar] * (BARS - cut), taste, seed + cut)
    assert rest == whole[cut:]


def test_only_the_bars_that_matter_are_read_again(tokenizer, monkeypatch) -> None:
    grammar = Grammar(tokenizer, Constraints(meter=(4, 4), max_polyphony=3))
    take = play(Walk(grammar), [grammar] * 30, "by chance", 1)
    read: list[int] = []
    advance = Walk.advance
    monkeypatch.setattr(
        Walk, "advance", lambda walk, token: (read.append(token), advance(walk, token))
    )
    Walk(grammar, take)
    # The longest note lasts 32 beats, eight of these bars.
    assert read == [token for bar in take[-8:] for token in bar]


# -- Special bars under constraints --------------------------------------------------------------


def random_shape(rng: random.Random) -> Shape:
    """A surprise, a closed bar, or a final chord."""
    classes = frozenset(rng.sample(range(12), rng.randint(1, 7)))
    return rng.choice(
        (
            Shape(),
            Shape(off_beat=True),
            Shape(off_mode=classes),
            Shape(off_beat=True, off_mode=classes),
            Shape(closed=True, softer=2.0),
            Shape(chord=frozenset({*classes, 0, 3, 7, 10}), closed=True, downbeat_only=True),
        )
    )


@settings(few, max_examples=80)
@given(seed=st.integers(0, 2**32 - 1), taste=st.sampled_from(TASTES))
def test_special_bars_break_no_constraint(seed, taste, tokenizer) -> None:
    rng = random.Random(seed)
    constraints = replace(random_constraints(rng), notes_per_bar=None)
    try:
        plan = [Grammar(tokenizer, constraints, random_shape(rng)) for _ in range(BARS)]
    except ValueError:
        return  # no tone of the chord in key and range
    score = decoded(tokenizer, play(Walk(plan[0]), plan, taste, seed))
    # A last chord that finds all voices taken has to wait, so silence may last longer here.
    relaxed = replace(constraints, max_empty_bars=BARS)
    assert holds(score, relaxed, bars=BARS) == [], constraints


def events(tokenizer: MusicTokenizer, bar: list[int]) -> list[tuple[int, int, int, int]]:
    """Position, program, pitch and end of each note of a bar, read from its base tokens."""
    found, position, program, pitch = [], 0, 0, 0
    for name in tokenizer.expand(bar):
        kind, value = name.split("_")
        if kind == "Position":
            position = int(value)
        elif kind == "Program":
            program = int(value)
        elif kind in ("Pitch", "PitchDrum"):
            pitch = int(value)
        elif kind == "Duration":
            beats, parts, resolution = map(int, value.split("."))
            duration = (beats * resolution + parts) * POSITIONS_PER_BEAT // resolution
            found.append((position, program, pitch, position + duration))
    return found


@settings(few, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), taste=st.sampled_from(TASTES))
def test_special_bars_are_what_they_are_asked_to_be(seed, taste, tokenizer) -> None:
    rng = random.Random(seed)
    # Constraints that leave every shape possible.
    constraints = Constraints(
        meter=(4, 4),
        programs=rng.choice((None, frozenset({0, 40, DRUMS}))),
        max_polyphony=rng.choice((None, 8)),
        max_notes_at_once=rng.choice((1, 4)),
    )
    shapes = [random_shape(rng) for _ in range(2)]
    closed = Grammar(tokenizer, constraints, Shape(closed=True))
    plan = [Grammar(tokenizer, constraints, shape) for shape in shapes]
    # Between them closed bars, so that no voice is taken when a special one begins.
    plan = [grammar for special in plan for grammar in (special, *[closed] * 8)]
    take = play(Walk(plan[0]), plan, taste, seed, most=20)
    for shape, bar in zip(shapes, take[::9], strict=True):
        check_shape(shape, events(tokenizer, bar))
    for bar in take[1::9]:
        assert all(end <= 48 for _, _, _, end in events(tokenizer, bar))


def check_shape(shape: Shape, notes: list[tuple[int, int, int, int]]) -> None:
    pitched = [pitch % 12 for _, program, pitch, _ in notes if program != DRUMS]
    if shape.off_beat and notes:
        assert notes[0][0] % POSITIONS_PER_BEAT
    if shape.off_mode is not None and pitched:
        assert pitched[0] not in shape.off_mode
    if shape.closed:
        assert all(end <= 48 for _, _, _, end in notes)
    if shape.downbeat_only:
        assert all(position == 0 for position, _, _, _ in notes)
    if shape.chord is not None:
        assert pitched
        assert shape.chord.issuperset(pitched)


@settings(few, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), taste=st.sampled_from(TASTES))
def test_after_a_closed_bar_an_ending_finds_silence(seed, taste, tokenizer) -> None:
    rng = random.Random(seed)
    free = {"programs": frozenset({0, 40, DRUMS}), "pitch_ranges": None, "key": None}
    constraints = replace(random_constraints(rng), ending=True, meter=(3, 4), **free)
    chord = Shape(chord=frozenset({0, 4, 7}), closed=True, downbeat_only=True)
    shapes = [Shape()] * 4 + [Shape(closed=True, softer=1.0), chord]
    plan = [Grammar(tokenizer, constraints, shape) for shape in shapes]
    take = play(Walk(plan[0]), plan, taste, seed)
    score = decoded(tokenizer, take)
    assert holds(score, constraints, bars=6) == [], constraints
    lines = [bar * 3 * score.ticks_per_quarter for bar in range(7)]
    notes = [note for track in score.tracks for note in track.notes]
    for note in notes:
        assert not note.time < lines[5] < note.time + note.duration, "sounds into the last bar"
        assert note.time + note.duration <= lines[6], "not released"
    assert any(note.time == lines[5] for note in notes)


# -- What a constraint does to one step ----------------------------------------------------------


def standing(tokenizer: MusicTokenizer, wish: Constraints, words: str) -> tuple[Walk, set[str]]:
    """A walk after base tokens, each of which must be allowed, and what may come next."""
    names = {name: index for index, name in enumerate(tokenizer.base_tokens)}
    walk = Walk(Grammar(tokenizer, wish))
    for word in words.split():
        if word == "Bar_None":
            walk.open_bar()
        assert walk.allowed()[names[word]], word
        walk.advance(names[word])
    return walk, {name for name, index in names.items() if walk.allowed()[index]}


def of(kind: str, allowed: set[str]) -> set[str]:
    return {name.split("_")[1] for name in allowed if name.split("_")[0] == kind}


START = "Bar_None TimeSig_4/4 Position_0"
NOTE = "Program_0 Pitch_60 Velocity_79"


def test_each_instrument_keeps_to_its_own_range(tokenizer) -> None:
    wish = Constraints(key="C major", pitch_ranges={0: (60, 65), DRUMS: (36, 38)})
    for program, kind, pitches in (
        (0, "Pitch", {60, 62, 64, 65}),
        (-1, "PitchDrum", {36, 37, 38}),
        (40, "Pitch", {p for p in range(128) if p % 12 in Scale(0, "major").pitch_classes}),
    ):
        _, allowed = standing(tokenizer, wish, f"{START} Program_{program}")
        assert of(kind, allowed) == {str(pitch) for pitch in pitches}


def test_an_instrument_with_one_pitch_is_named_once_at_a_time(tokenizer) -> None:
    wish = Constraints(programs={0, 40}, pitch_ranges={0: (60, 60)})
    _, allowed = standing(tokenizer, wish, f"{START} {NOTE} Duration_1.0.12")
    assert of("Program", allowed) == {"40"}
    _, allowed = standing(tokenizer, wish, f"{START} {NOTE} Duration_1.0.12 Position_1")
    assert of("Program", allowed) == {"0", "40"}


def test_where_all_voices_are_taken_nothing_begins_until_one_is_free(tokenizer) -> None:
    wish = Constraints(max_polyphony=1, tempo_changes=False)
    _, allowed = standing(tokenizer, wish, f"{START} {NOTE} Duration_1.0.12")
    assert not of("Program", allowed)
    assert min(map(int, of("Position", allowed))) == 12


def test_a_key_struck_again_takes_no_second_voice(tokenizer) -> None:
    wish = Constraints(max_polyphony=2)
    held = f"{START} {NOTE} Duration_2.0.12 Position_12 {NOTE} Duration_2.0.12"
    _, allowed = standing(tokenizer, wish, held)
    assert of("Program", allowed)


def test_notes_sound_on_over_bar_lines_and_changes_of_meter(tokenizer) -> None:
    wish = Constraints(max_polyphony=1, max_empty_bars=3)
    # Four quarters from the third beat on: two more than the bar, sixteen sixteenths less eight.
    held = f"Bar_None TimeSig_4/4 Position_24 {NOTE} Duration_4.0.4 Bar_None TimeSig_11/16"
    _, allowed = standing(tokenizer, wish, held)
    assert min(map(int, of("Position", allowed))) == 8 * 12
    held = f"Bar_None TimeSig_4/4 Position_24 {NOTE} Duration_4.0.4 Bar_None TimeSig_6/8"
    _, allowed = standing(tokenizer, wish, held)
    assert min(map(int, of("Position", allowed))) == 4 * 12


def test_one_voice_leaves_the_next_bar_room_for_a_note(tokenizer) -> None:
    wish = Constraints(max_polyphony=1, meter=(3, 4))
    _, allowed = standing(tokenizer, wish, f"Bar_None TimeSig_3/4 Position_0 {NOTE}")
    # One position of the next bar must stay free: 71 positions at most.
    assert "5.3.4" in of("Duration", allowed)
    assert "6.0.4" not in of("Duration", allowed)


def test_a_bar_does_not_end_before_it_has_its_fewest_notes(tokenizer) -> None:
    wish = Constraints(notes_per_bar=(2, 2), max_polyphony=1, tempo_changes=False, meter=(4, 4))
    _, allowed = standing(tokenizer, wish, "Bar_None TimeSig_4/4")
    assert not of("Bar", allowed)
    assert of("Position", allowed) == {str(place) for place in range(47)}  # not the very last
    _, allowed = standing(tokenizer, wish, f"Bar_None TimeSig_4/4 Position_40 {NOTE}")
    assert of("Duration", allowed) == {f"0.{n}.12" for n in range(1, 8)}  # one more has to follow
    first = f"Bar_None TimeSig_4/4 Position_40 {NOTE} Duration_0.3.12"
    _, allowed = standing(tokenizer, wish, first)
    assert of("Position", allowed) == {str(place) for place in range(43, 48)}
    _, allowed = standing(tokenizer, wish, f"{first} Position_47 {NOTE} Duration_0.1.12")
    assert not of("Position", allowed)
    assert not of("Program", allowed)
    assert of("Bar", allowed)
    assert of("EOS", allowed)


def test_a_meter_too_short_for_the_fewest_notes_is_not_taken(tokenizer) -> None:
    wish = Constraints(notes_per_bar=(25, 30), max_notes_at_once=1)
    _, allowed = standing(tokenizer, wish, "Bar_None")
    assert {"1/8", "2/8", "1/4", "2/4"}.isdisjoint(of("TimeSig", allowed))
    assert {"3/4", "3/8", "3/16"} <= of("TimeSig", allowed)


def test_a_tempo_that_was_asked_for_leaves_no_tempo_tokens(tokenizer) -> None:
    _, allowed = standing(tokenizer, Constraints(tempo_bpm=90), START)
    assert not of("Tempo", allowed)
    assert of("Program", allowed)
