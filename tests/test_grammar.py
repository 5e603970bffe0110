"""Which token may follow which: whatever is chosen can be played, and what was written may be.

That constraints are kept is shown in test_constraints.py.
"""

from __future__ import annotations

import random

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from symusic.core import NoteTick, ScoreTick, TrackTick

from musiclstm import Constraints, MusicTokenizer
from musiclstm.grammar import MAX_NOTES_AT_ONCE, Grammar, Shape, Walk
from musiclstm.tokenization import DRUMS, POSITIONS_PER_BEAT, plain_meter

NOTE = ["Program_0", "Pitch_60", "Velocity_79", "Duration_1.0.12"]
METERS = [(4, 4), (3, 4), (5, 4), (6, 8), (12, 8), (7, 8), (2, 2), (3, 16)]


@pytest.fixture(scope="module")
def plain() -> MusicTokenizer:
    return MusicTokenizer()


@pytest.fixture(scope="module")
def grammars(tiny_tokenizer, plain):
    """Grammars by tokenizer and constraints; building one takes a moment."""
    known = {}

    def grammar(constraints: Constraints | None = None, *, merged: bool = True) -> Grammar:
        key = (constraints, merged)
        if key not in known:
            known[key] = Grammar(tiny_tokenizer if merged else plain, constraints)
        return known[key]

    return grammar


def names_of(tokenizer: MusicTokenizer) -> dict[str, int]:
    return {name: index for index, name in enumerate(tokenizer.base_tokens)}


def follow(walk: Walk, tokenizer: MusicTokenizer, *words: str) -> np.ndarray:
    """Take base tokens by name, each of which must be allowed; what may come next."""
    names = names_of(tokenizer)
    for word in words:
        if word == "Bar_None":
            walk.open_bar()
        assert walk.allowed()[names[word]], word
        walk.advance(names[word])
    return walk.allowed()


# -- A referee of our own ------------------------------------------------------------------------


class Referee:
    """Reads base tokens strictly and knows nothing of the code it judges."""

    FOLLOWS = {  # noqa: RUF012  (a plain table)
        "Bar": "TimeSig",
        "TimeSig": "Bar Position",
        "Position": "Tempo Program",
        "Tempo": "Bar Position Program",
        "Program": "Pitch PitchDrum",
        "Pitch": "Velocity",
        "PitchDrum": "Velocity",
        "Velocity": "Duration",
        "Duration": "Bar Position Program",
    }

    def __init__(self, words: list[str]) -> None:
        self.notes_of_bars: list[int] = []
        self.meters: list[tuple[int, int]] = []
        self.programs: set[int] = set()
        self.tempos = 0
        before = None
        for word in words:
            kind, value = word.split("_", 1)
            assert before is not None or kind == "Bar", "a piece begins with a bar"
            assert before is None or kind in self.FOLLOWS[before].split(), (before, word)
            getattr(self, f"on_{kind.lower()}", lambda _: None)(value)
            before = kind
        assert before in ("TimeSig", "Tempo", "Duration"), "the last bar is complete"

    def on_bar(self, _: str) -> None:
        self.notes_of_bars.append(0)
        self.position, self.struck = -1, set()

    def on_timesig(self, value: str) -> None:
        numerator, denominator = value.split("/")
        self.meters.append((int(numerator), int(denominator)))

    def on_position(self, value: str) -> None:
        assert self.position < int(value), "time runs backwards"
        assert int(value) < self.meters[-1][0] * POSITIONS_PER_BEAT, "beyond the bar line"
        self.position, self.struck = int(value), set()

    def on_tempo(self, _: str) -> None:
        self.tempos += 1

    def on_program(self, value: str) -> None:
        self.program = int(value)
        self.programs.add(self.program)

    def on_pitch(self, value: str) -> None:
        assert self.program != DRUMS, "a pitch on drums"
        self.strike(int(value))

    def on_pitchdrum(self, value: str) -> None:
        assert self.program == DRUMS, "a drum on an instrument"
        self.strike(int(value))

    def strike(self, pitch: int) -> None:
        note = (self.program, pitch)
        assert note not in self.struck, f"{note} struck twice at once"
        self.struck.add(note)
        self.notes_of_bars[-1] += 1

    @property
    def longest_silence(self) -> int:
        """The most bars without a note in a row."""
        longest = run = 0
        for notes in self.notes_of_bars:
            run = 0 if notes else run + 1
            longest = max(longest, run)
        return longest


def wander(grammar: Grammar, *, seed: int, bars: int, most_tokens: int = 60) -> list[int]:
    """A walk by chance that only takes what is allowed.

    It likes a few pitches and programs best and is slow to move on, so that it comes back to the
    same notes again and again, where mistakes would show. A bar of `most_tokens` ends soon.
    """
    rng = random.Random(seed)
    pitches = set(rng.sample(range(55, 65), 3))
    liked = np.array([_pleases(token, pitches) for token in grammar.tokens])
    stays = np.array([token.first not in ("Bar", "EOS", "Position") for token in grammar.tokens])

    def pick(mask: np.ndarray) -> int:
        for wish, how_often in ((liked, 0.8), (stays, 0.7)):
            if (mask & wish).any() and rng.random() < how_often:
                mask = mask & wish
        choices = np.flatnonzero(mask)
        assert len(choices), f"a dead end after {ids[-5:]}"
        return int(rng.choice(choices))

    walk, ids = Walk(grammar), []
    for _ in range(bars):
        walk.open_bar()
        token, length = pick(walk.allowed()), 0
        while length == 0 or not grammar.ends_bar[token]:
            ids.append(token)
            walk.advance(token)
            length += 1
            mask = walk.allowed()
            home = mask & grammar.ends_bar
            token = pick(home if length > most_tokens and home.any() else mask)
    return ids


def _pleases(token, pitches: set[int]) -> bool:
    struck = {note.pitch for note in token.notes if note.pitch is not None}
    return {*token.programs} <= {0, 40, DRUMS} and struck <= pitches


# -- Whatever is chosen can be played ------------------------------------------------------------

many = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("merged", [False, True], ids=["base", "merged"])
@many
@given(seed=st.integers(0, 2**32 - 1))
def test_every_walk_that_takes_what_is_allowed_decodes(
    seed, merged, grammars, plain, tiny_tokenizer
) -> None:
    tokenizer = tiny_tokenizer if merged else plain
    ids = wander(grammars(merged=merged), seed=seed, bars=3)
    referee = Referee(tokenizer.expand(ids))
    score = tokenizer.decode(ids)
    assert len(referee.notes_of_bars) == 3
    assert score.note_num() == sum(referee.notes_of_bars)
    assert len(score.tempos) == referee.tempos
    length = sum(4 * tokenizer.ticks_per_quarter * n // d for n, d in referee.meters)
    assert tokenizer.length_ticks(ids) == length
    assert all(0 <= note.time < length for track in score.tracks for note in track.notes)


CONSTRAINTS = [
    Constraints(programs=frozenset({40})),
    Constraints(programs=frozenset({DRUMS})),
    Constraints(programs=frozenset({0, 40, DRUMS}), meter=(6, 8), max_empty_bars=0),
    Constraints(meter=(3, 4), tempo_changes=False),
    Constraints(meter=(2, 2), max_empty_bars=3),
    Constraints(tempo_changes=False, max_empty_bars=0),
]


@pytest.mark.parametrize("wish", CONSTRAINTS, ids=str)
@settings(many, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_constraints_are_kept_whatever_is_chosen(seed, wish, grammars, tiny_tokenizer) -> None:
    ids = wander(grammars(wish), seed=seed, bars=5, most_tokens=15)
    referee = Referee(tiny_tokenizer.expand(ids))
    assert wish.programs is None or referee.programs <= wish.programs
    assert wish.meter is None or set(referee.meters) == {plain_meter(*wish.meter)}
    assert wish.tempo_changes or referee.tempos == 0
    assert referee.longest_silence <= wish.max_empty_bars


def test_silence_is_possible_up_to_what_is_asked(grammars, tiny_tokenizer) -> None:
    walk = Walk(grammars(Constraints(max_empty_bars=2)))
    names = names_of(tiny_tokenizer)
    for _ in range(2):
        assert follow(walk, tiny_tokenizer, "Bar_None", "TimeSig_4/4")[names["Bar_None"]]
    third = follow(walk, tiny_tokenizer, "Bar_None", "TimeSig_4/4")
    assert not third[names["Bar_None"]]
    assert not third[names["EOS_None"]]
    assert third[names["Position_0"]]


def test_a_tempo_alone_does_not_make_a_bar_sound(grammars, tiny_tokenizer) -> None:
    walk, names = Walk(grammars(Constraints(max_empty_bars=0))), names_of(tiny_tokenizer)
    tempo = next(name for name in names if name.startswith("Tempo_"))
    mask = follow(walk, tiny_tokenizer, "Bar_None", "TimeSig_4/4", "Position_47", tempo)
    assert not mask[names["Bar_None"]]
    assert mask[names["Program_0"]]


# -- What was written is allowed -----------------------------------------------------------------


@pytest.mark.parametrize("meter", METERS, ids=str)
@pytest.mark.parametrize("merged", [False, True], ids=["base", "merged"])
def test_encoded_scores_are_accepted_token_by_token(
    meter, merged, grammars, plain, tiny_tokenizer, invented
) -> None:
    tokenizer = tiny_tokenizer if merged else plain
    for seed in range(3):
        score = invented(meter=meter, programs=(0, 40, DRUMS), bars=4, seed=seed)
        grammar = grammars(merged=merged)
        accept(grammar, [*tokenizer.encode(score), tokenizer.eos_id], tokenizer)


def accept(grammar: Grammar, ids: list[int], tokenizer: MusicTokenizer) -> None:
    walk = Walk(grammar)
    for place, token in enumerate(ids):
        assert walk.allowed()[token], (place, tokenizer.parts[token])
        walk.advance(token)


def test_the_pieces_it_learned_from_are_accepted(grammars, tiny_tokenizer, invented) -> None:
    pieces = [
        invented(bars=12, programs=(0, 40)),
        invented(bars=12, meter=(3, 4), programs=(0, -1), seed=1),
        invented(bars=8, meter=(6, 8), programs=(33,), seed=2, tempo_bpm=90),
    ]
    for piece in pieces:
        ids = tiny_tokenizer.encode(piece)
        assert any(len(tiny_tokenizer.parts[index]) > 1 for index in ids)
        accept(grammars(), ids, tiny_tokenizer)


def test_meter_and_tempo_may_change_in_a_piece(grammars, plain) -> None:
    names = names_of(plain)
    tempo = [name for name in names if name.startswith("Tempo_")]
    words = ["Bar_None", "TimeSig_4/4", "Position_0", tempo[3], *NOTE, "Position_24", tempo[9]]
    words += ["Bar_None", "TimeSig_6/8", "Position_71", *NOTE, "Bar_None", "TimeSig_4/4"]
    accept(grammars(merged=False), [names[word] for word in words], plain)


# -- What is not ---------------------------------------------------------------------------------

BAR = ("Bar_None", "TimeSig_3/4")
FORBIDDEN = [
    (("Bar_None",), ["Bar_None", "Position_0", "Program_0", "EOS_None"]),
    (BAR, ["Program_0", "Pitch_60", "TimeSig_3/4", "Position_36"]),
    ((*BAR, "Position_5"), ["Position_5", "Position_6", "Bar_None", "EOS_None", "Pitch_60"]),
    ((*BAR, "Position_5", "Program_0"), ["PitchDrum_36", "Program_0", "Velocity_79", "Bar_None"]),
    ((*BAR, "Position_5", "Program_-1"), ["Pitch_60"]),
    ((*BAR, "Position_5", *NOTE), ["Position_5", "Position_4", "Pitch_61", "Duration_1.0.12"]),
    ((*BAR, "Position_5", *NOTE, "Program_0"), ["Pitch_60"]),
    ((*BAR, "Position_5", *NOTE[:2]), ["Duration_1.0.12", "Program_0", "Bar_None", "EOS_None"]),
    ((*BAR, "Position_5", *NOTE[:3]), ["Velocity_79", "Program_0", "Bar_None", "EOS_None"]),
    ((*BAR, "Position_35", *NOTE), ["Position_36", "Position_47"]),
]


@pytest.mark.parametrize(("words", "forbidden"), FORBIDDEN, ids=str)
def test_what_cannot_be_played_is_not_allowed(words, forbidden, grammars, tiny_tokenizer) -> None:
    names = names_of(tiny_tokenizer)
    mask = follow(Walk(grammars()), tiny_tokenizer, *words)
    assert [name for name in forbidden if mask[names[name]]] == []
    assert not mask[[names["PAD_None"], names["BOS_None"]]].any()
    assert mask.any()


def test_another_instrument_may_strike_the_same_key(grammars, tiny_tokenizer) -> None:
    names = names_of(tiny_tokenizer)
    mask = follow(Walk(grammars()), tiny_tokenizer, *BAR, "Position_5", *NOTE, "Program_40")
    assert mask[names["Pitch_60"]]


def test_the_same_key_may_be_struck_again_later(grammars, tiny_tokenizer) -> None:
    names = names_of(tiny_tokenizer)
    mask = follow(
        Walk(grammars()), tiny_tokenizer, *BAR, "Position_5", *NOTE, "Position_6", "Program_0"
    )
    assert mask[names["Pitch_60"]]


@pytest.fixture(scope="module")
def unison() -> MusicTokenizer:
    """Merges learned where a violin always strikes the key of another instrument."""
    score = ScoreTick(480)
    for program in (*range(8), 40):
        track = TrackTick("", program, False)
        for beat in range(64):
            if program in (beat % 8, 40):
                track.notes.append(NoteTick(beat * 480, 480, 60 + beat // 8 % 2, 79))
        score.tracks.append(track)
    tokenizer = MusicTokenizer()
    tokenizer.learn_merges([tokenizer.encode_base(score)], len(tokenizer) + 60)
    return tokenizer


def test_a_merged_token_does_not_strike_a_key_twice_for_another_instrument(unison) -> None:
    # `Pitch_60 … Program_40 Pitch_60` was learned behind Program_0; behind Program_40 it doubles.
    tokenizer = unison
    doubling = [
        index
        for index, part in enumerate(tokenizer.parts)
        if part[0] == "Pitch_60" and "Program_40" in part and "Pitch_60" in part[1:]
    ]
    assert doubling
    for program, allowed in (("Program_0", True), ("Program_40", False)):
        walk = Walk(Grammar(tokenizer))
        mask = follow(walk, tokenizer, "Bar_None", "TimeSig_4/4", "Position_0", program)
        assert mask[doubling].tolist() == [allowed] * len(doubling)


@settings(many, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_walk_strikes_a_key_twice_at_once(seed, unison, unison_grammar) -> None:
    ids = wander(unison_grammar, seed=seed, bars=2, most_tokens=20)
    Referee(unison.expand(ids))


@pytest.fixture(scope="module")
def unison_grammar(unison) -> Grammar:
    return Grammar(unison, Constraints(programs=frozenset({0, 40})))


def test_no_more_notes_are_asked_for_than_can_be_played(grammars, plain) -> None:
    walk, names = Walk(grammars(merged=False)), names_of(plain)
    follow(walk, plain, "Bar_None", "TimeSig_4/4", "Position_0")
    for pitch in range(MAX_NOTES_AT_ONCE):
        mask = follow(walk, plain, "Program_0", f"Pitch_{pitch}", "Velocity_79", "Duration_1.0.12")
    kinds = {plain.base_tokens[index].split("_")[0] for index in np.flatnonzero(mask)}
    assert kinds == {"Bar", "EOS", "Position"}
    assert follow(walk, plain, "Position_1")[names["Program_0"]]


# -- Masks and walks -----------------------------------------------------------------------------


def test_masks_are_ours_to_change(grammars, tiny_tokenizer) -> None:
    walk = Walk(grammars())
    walk.allowed()[:] = False
    assert walk.allowed().any()
    follow(walk, tiny_tokenizer, "Bar_None", "TimeSig_4/4")[:] = False
    assert walk.allowed().any()


def test_a_bar_ends_where_another_begins_or_the_piece_does(grammars, tiny_tokenizer) -> None:
    grammar = grammars()
    for index, part in enumerate(tiny_tokenizer.parts):
        assert grammar.ends_bar[index] == (part[0] in ("Bar_None", "EOS_None"))


def test_two_walks_on_one_grammar_do_not_disturb_each_other(grammars, tiny_tokenizer) -> None:
    alone = follow(Walk(grammars()), tiny_tokenizer, *BAR, "Position_5", *NOTE)
    one, other = Walk(grammars()), Walk(grammars())
    follow(one, tiny_tokenizer, *BAR, "Position_5")
    follow(other, tiny_tokenizer, "Bar_None", "TimeSig_6/8", "Position_60", "Program_-1")
    assert np.array_equal(follow(one, tiny_tokenizer, *NOTE), alone)


@settings(many, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), silence=st.integers(0, 3))
def test_a_walk_resumed_behind_bars_goes_on_like_the_one_before(
    seed, silence, grammars, tiny_tokenizer
) -> None:
    grammar = grammars(Constraints(max_empty_bars=silence))
    empty = [names_of(tiny_tokenizer)[word] for word in ("Bar_None", "TimeSig_4/4")]
    played = wander(grammar, seed=seed, bars=1, most_tokens=10)
    bars = [played, *[empty] * silence]
    resumed, whole = Walk(grammar, bars), Walk(grammar)
    for bar in bars:
        whole.open_bar()
        for token in bar:
            whole.advance(token)
    for walk in (resumed, whole):
        walk.open_bar()
    for token in empty:
        for walk in (resumed, whole):
            walk.advance(token)
        assert np.array_equal(resumed.allowed(), whole.allowed())


def test_scores_are_left_alone_and_what_may_come_keeps_its_own(grammars, tiny_tokenizer) -> None:
    walk = Walk(grammars())
    mask = follow(walk, tiny_tokenizer, *BAR, "Position_5", *NOTE)
    scores = np.random.default_rng(0).normal(size=len(tiny_tokenizer)).astype(np.float32)
    before, out = scores.copy(), np.full_like(scores, 7)
    assert walk.masked(scores, out) is out
    assert np.array_equal(scores, before)
    assert np.array_equal(out[mask], scores[mask])
    assert (out[~mask] == -np.inf).all()


@pytest.mark.parametrize("nonsense", [np.nan, np.inf, 3e38, -3e38])
def test_scores_without_sense_do_not_break_the_rules(nonsense, grammars, tiny_tokenizer) -> None:
    walk = Walk(grammars())
    mask = follow(walk, tiny_tokenizer, *BAR, "Position_5")
    scores = np.full(len(tiny_tokenizer), nonsense, np.float32)
    out = walk.masked(scores, np.empty_like(scores))
    assert np.isfinite(out[mask]).all()
    assert (out[~mask] == -np.inf).all()


def test_a_fork_goes_its_own_way(grammars, tiny_tokenizer) -> None:
    walk = Walk(grammars(Constraints(max_polyphony=2)))
    before = follow(walk, tiny_tokenizer, *BAR, "Position_5", *NOTE)
    other = walk.fork()
    assert np.array_equal(other.allowed(), before)
    follow(other, tiny_tokenizer, "Program_0", "Pitch_64", "Velocity_79", "Duration_4.0.4")
    follow(other, tiny_tokenizer, "Bar_None", "TimeSig_4/4", "Position_20", *NOTE)
    assert np.array_equal(walk.allowed(), before)


def test_what_has_ended_stays_so(grammars, tiny_tokenizer) -> None:
    walk = Walk(grammars())
    mask = follow(walk, tiny_tokenizer, *BAR, "Position_5", *NOTE, "EOS_None")
    assert np.flatnonzero(mask).tolist() == [tiny_tokenizer.eos_id]


def test_tokens_are_sorted_into_pitch_and_rhythm(grammars, plain) -> None:
    kinds = grammars(merged=False).kinds
    expected = dict.fromkeys(("Program", "Pitch", "PitchDrum"), 1)
    expected |= dict.fromkeys(("Position", "Duration", "Bar", "TimeSig", "Tempo"), 2)
    for index, name in enumerate(plain.base_tokens):
        assert kinds[index] == expected.get(name.split("_")[0], 0), name


def test_tables_do_not_grow_without_end(plain, monkeypatch) -> None:
    monkeypatch.setattr("musiclstm.rules._MOST_TABLES", 5)
    grammar = Grammar(plain)
    for position in range(20):
        table = grammar.later(position, 48)
        assert table is grammar.later(position, 48)
    assert len(grammar._tables) == 5


def test_a_tokenizer_that_learns_more_is_read_anew(invented) -> None:
    tokenizer = MusicTokenizer()
    assert len(Grammar(tokenizer).tokens) == len(tokenizer)
    tokenizer.learn_merges([tokenizer.encode_base(invented(bars=8))], len(tokenizer) + 20)
    assert len(Grammar(tokenizer).tokens) == len(tokenizer)


def test_an_opener_has_to_fit_its_own_bar(plain, invented) -> None:
    # Merges across "Bar TimeSig Position Program Pitch": one that strikes a note at once.
    tokenizer = MusicTokenizer()
    piece = invented(bars=40, programs=(0,), seed=4)
    tokenizer.learn_merges([tokenizer.encode_base(piece)], len(tokenizer) + 200)
    striking = [
        index
        for index, parts in enumerate(tokenizer.parts)
        if parts[0] == "Bar_None" and "Program_0" in parts and parts[1] == "TimeSig_4/4"
    ]
    assert striking
    grammar = Grammar(tokenizer, Constraints(max_polyphony=1))
    walk = Walk(grammar)
    long_note = ("Program_0", "Pitch_60", "Velocity_79", "Duration_4.0.4")
    mask = follow(walk, tokenizer, "Bar_None", "TimeSig_4/4", "Position_12", *long_note)
    # The note still sounds on the next downbeat. A token that is thrown away does no harm.
    assert mask[striking].any()
    assert mask[names_of(tokenizer)["Bar_None"]]
    walk.open_bar()
    assert not walk.allowed()[striking].any()


# -- Shapes --------------------------------------------------------------------------------------

FOUR = ("Bar_None", "TimeSig_4/4")


def kept(tokenizer: MusicTokenizer, mask: np.ndarray, kind: str) -> set[str]:
    """The values of the base tokens of a kind that are allowed."""
    names = tokenizer.base_tokens
    pairs = [names[index].split("_") for index in np.flatnonzero(mask[: len(names)])]
    return {value for found, value in pairs if found == kind}


def test_off_beat_the_first_note_comes_between_beats_and_then_all_is_free(tiny_tokenizer) -> None:
    walk = Walk(Grammar(tiny_tokenizer, shape=Shape(off_beat=True)))
    places = kept(tiny_tokenizer, follow(walk, tiny_tokenizer, *FOUR), "Position")
    assert places == {str(place) for place in range(48) if place % 12}
    mask = follow(walk, tiny_tokenizer, "Position_5", *NOTE)
    assert {"12", "24", "36"} <= kept(tiny_tokenizer, mask, "Position")


def test_off_mode_the_first_pitch_lies_outside_and_then_all_is_free(tiny_tokenizer) -> None:
    c_major = frozenset({0, 2, 4, 5, 7, 9, 11})
    walk = Walk(Grammar(tiny_tokenizer, shape=Shape(off_mode=c_major)))
    drum = ("Program_-1", "PitchDrum_36", "Velocity_79", "Duration_0.1.12")
    mask = follow(walk, tiny_tokenizer, *FOUR, "Position_0", *drum, "Program_0")
    assert {int(pitch) % 12 for pitch in kept(tiny_tokenizer, mask, "Pitch")} == {1, 3, 6, 8, 10}
    rest = ("Pitch_61", "Velocity_79", "Duration_1.0.12", "Program_40")
    assert "60" in kept(tiny_tokenizer, follow(walk, tiny_tokenizer, *rest), "Pitch")


def test_off_mode_gives_way_to_the_key(tiny_tokenizer) -> None:
    c_major = frozenset({0, 2, 4, 5, 7, 9, 11})
    grammar = Grammar(tiny_tokenizer, Constraints(key="C major"), Shape(off_mode=c_major))
    mask = follow(Walk(grammar), tiny_tokenizer, *FOUR, "Position_0", "Program_0")
    assert {int(pitch) % 12 for pitch in kept(tiny_tokenizer, mask, "Pitch")} == c_major


def test_off_beat_gives_way_where_every_position_is_needed(tiny_tokenizer) -> None:
    wish = Constraints(meter=(1, 8), notes_per_bar=(12, 12), max_notes_at_once=1)
    walk = Walk(Grammar(tiny_tokenizer, wish, Shape(off_beat=True)))
    mask = follow(walk, tiny_tokenizer, "Bar_None", "TimeSig_1/8")
    assert kept(tiny_tokenizer, mask, "Position") == {"0"}


def test_in_a_closed_bar_every_note_ends_by_the_bar_line(tiny_tokenizer) -> None:
    walk = Walk(Grammar(tiny_tokenizer, shape=Shape(closed=True)))
    mask = follow(walk, tiny_tokenizer, *FOUR, "Position_36", *NOTE[:3])
    assert "Duration_1.0.12" in names_of(tiny_tokenizer)
    assert kept(tiny_tokenizer, mask, "Duration") == {f"0.{n}.12" for n in range(1, 12)} | {
        "1.0.12"
    }


def test_a_final_chord_has_its_pitches_on_the_downbeat_and_nothing_else(tiny_tokenizer) -> None:
    shape = Shape(closed=True, chord=frozenset({0, 4, 7}), downbeat_only=True)
    walk = Walk(Grammar(tiny_tokenizer, Constraints(programs={0, 40, DRUMS}), shape))
    mask = follow(walk, tiny_tokenizer, *FOUR)
    assert kept(tiny_tokenizer, mask, "Position") == {"0"}
    assert not kept(tiny_tokenizer, mask, "Bar")
    mask = follow(walk, tiny_tokenizer, "Position_0")
    assert kept(tiny_tokenizer, mask, "Program") == {"0", "40"}  # the drums wait
    mask = follow(walk, tiny_tokenizer, "Program_0")
    assert {int(pitch) % 12 for pitch in kept(tiny_tokenizer, mask, "Pitch")} == {0, 4, 7}
    mask = follow(walk, tiny_tokenizer, "Pitch_60", "Velocity_79", "Duration_4.0.4")
    assert kept(tiny_tokenizer, mask, "Program") == {"0", "40", "-1"}
    assert kept(tiny_tokenizer, mask, "Bar") == {"None"}
    assert kept(tiny_tokenizer, mask, "Position") == set()


def test_softer_makes_loud_notes_less_likely_and_forbids_none(tiny_tokenizer) -> None:
    names = names_of(tiny_tokenizer)
    scores = np.zeros(len(tiny_tokenizer), np.float32)
    walk = Walk(Grammar(tiny_tokenizer, shape=Shape(softer=4)))
    mask = follow(walk, tiny_tokenizer, *FOUR, "Position_0", *NOTE[:2])
    out = walk.masked(scores, np.empty_like(scores))
    heard = [out[names[f"Velocity_{v}"]] for v in (7, 63, 127)]
    assert heard == sorted(heard, reverse=True)
    assert heard[2] == -4
    plainly = Walk(Grammar(tiny_tokenizer))
    assert np.array_equal(mask, follow(plainly, tiny_tokenizer, *FOUR, "Position_0", *NOTE[:2]))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"off_beat": True, "downbeat_only": True}, "off_beat and downbeat_only contradict"),
        ({"softer": -1}, "softer must be 0 or more, got -1."),
        ({"softer": float("nan")}, "softer must be 0 or more, got nan."),
        ({"chord": {12}}, r"chord must be pitch classes from 0 to 11, got \{12\}."),
        ({"off_mode": {-1}}, r"off_mode must be pitch classes from 0 to 11, got \{-1\}."),
        ({"chord": set()}, "chord must name at least one pitch class; None allows all."),
    ],
)
def test_a_shape_that_cannot_be_is_refused(values, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        Shape(**values)


def test_a_chord_that_nobody_may_play_is_refused(tiny_tokenizer) -> None:
    wish = Constraints(programs={0}, pitch_ranges={0: (60, 62)})
    with pytest.raises(
        ValueError, match=r"ending asks for a chord of the pitch classes \[7\], of which key"
    ):
        Grammar(tiny_tokenizer, wish, Shape(chord={7}))


def test_drums_alone_need_no_chord(tiny_tokenizer) -> None:
    grammar = Grammar(tiny_tokenizer, Constraints(programs={DRUMS}), Shape(chord={7}))
    mask = follow(Walk(grammar), tiny_tokenizer, *FOUR)
    assert mask[names_of(tiny_tokenizer)["Bar_None"]]


def test_a_shape_rules_only_the_bars_it_is_given_for(tiny_tokenizer) -> None:
    plainly = Grammar(tiny_tokenizer)
    walk = Walk(plainly)
    walk.open_bar(Grammar(tiny_tokenizer, shape=Shape(downbeat_only=True)))
    names = names_of(tiny_tokenizer)
    for word in FOUR:
        walk.advance(names[word])
    assert kept(tiny_tokenizer, walk.allowed(), "Position") == {"0"}
    walk.open_bar(plainly)
    for word in FOUR:
        walk.advance(names[word])
    assert len(kept(tiny_tokenizer, walk.allowed(), "Position")) == 48


# -- Notes struck together -----------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_more_notes_are_struck_together_than_wished(tiny_tokenizer, most) -> None:
    grammar = Grammar(tiny_tokenizer, Constraints(max_notes_at_once=most))
    for seed in range(4):
        score = tiny_tokenizer.decode(wander(grammar, seed=seed, bars=3, most_tokens=60))
        times = [note.time for track in score.tracks for note in track.notes]
        assert max(map(times.count, times), default=0) <= most


def test_a_merged_token_does_not_ask_for_one_note_too_many(unison) -> None:
    # `… Program_40 Pitch_60 … Program_0` leaves a note to be struck, which counts too.
    grammar = Grammar(unison, Constraints(max_notes_at_once=1))
    asking = [
        index
        for index, token in enumerate(grammar.tokens)
        if token.last in ("Program", "Pitch") and len(token.programs) > 1
    ]
    assert asking
    for seed in range(6):
        score = unison.decode(wander(grammar, seed=seed, bars=3, most_tokens=30))
        times = [note.time for track in score.tracks for note in track.notes]
        assert len(times) == len(set(times))
