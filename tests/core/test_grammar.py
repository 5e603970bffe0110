"""The compiled grammar against its reference."""

from __future__ import annotations

import random

import numpy as np
import pytest

from musiclstm.core.grammar import BAR_RULES, NO_LIMIT, CompiledGrammar
from musiclstm.core.library import is_available
from musiclstm.core.reference.grammar import GrammarState
from musiclstm.model.step_features import TokenKind, TokenTable
from musiclstm.tokens.vocabulary import DRUM_PITCHES, IDS, TIME_SIGNATURES, TOKEN_NAMES

pytestmark = pytest.mark.skipif(not is_available(), reason="this machine cannot run the core")

TABLE = TokenTable(TOKEN_NAMES)
KIND = np.array(TABLE.kind)
PROGRAMS = (0, 24, 40, 127, -1)
FLAGS = (
    *("closed", "downbeat_only", "off_beat", "needs_pitched", "has_ending", "allows_tempos"),
    "keep_lines",
)


def random_rules(rng: random.Random) -> np.ndarray:
    """Return rules that may contradict each other."""
    rules = np.zeros((), BAR_RULES)
    rules["max_at_once"] = rng.choice((1, 1, 2, 3, 32))
    rules["max_polyphony"] = rng.choice((0, 0, 1, 2, 5))
    rules["fewest"] = fewest = rng.choice((0, 1, 2, 7, 11, 20, 35))
    rules["most"] = rng.choice((max(1, fewest), fewest + 3, NO_LIMIT))
    rules["max_empty_bars"] = rng.choice((0, 1, 2))
    for flag in FLAGS:
        rules[flag] = rng.random() < (0.5 if flag in ("off_beat", "keep_lines") else 0.2)
    rules["mode"] = rng.choice((0, rng.getrandbits(12)))
    short = TIME_SIGNATURES.index((1, 8)), TIME_SIGNATURES.index((2, 8))  # tight limits
    meters = rng.choice((range(len(TIME_SIGNATURES)), short, short[:1], [rng.randrange(35)]))
    rules["meters"] = sum(1 << meter for meter in meters)
    shared = random_pitches(rng)
    programs = (PROGRAMS, range(-1, 128), [rng.choice(PROGRAMS)], rng.sample(PROGRAMS, 2))
    for program in rng.choice(programs):
        pitches = shared if rng.random() < 0.8 else random_pitches(rng)
        if program == -1:
            pitches &= sum(1 << pitch for pitch in DRUM_PITCHES)
        rules["pitches"][program] = pitches % 2**64, pitches >> 64
    if not rules["pitches"].any():
        rules["pitches"][0][0] = 1 << 60
    return rules


def random_pitches(rng: random.Random) -> int:
    low, count = rng.choice(((0, 128), (60, 3), (38, 1), (36, 60)))
    scale = rng.choice((4095, rng.getrandbits(12)))
    return sum(1 << p for p in range(low, min(128, low + count)) if scale >> p % 12 & 1)


def random_token(rng: random.Random, permitted: np.ndarray, chaos: float) -> int:
    """Return a token of a random kind, with probability `chaos` one that is not permitted."""
    ids = np.arange(len(TABLE)) if rng.random() < chaos else np.flatnonzero(permitted)
    kinds = [int(kind) for kind in np.unique(KIND[ids])]
    weights = [8 if kind in (TokenKind.PITCH, TokenKind.POSITION) else 2 for kind in kinds]
    ids = ids[KIND[ids] == rng.choices(kinds, weights)[0]]
    nearest = ids[ids <= ids[0] + 5]  # an ascending order leaves room for more
    usual = [token for token in ids if TABLE.value[token] in PROGRAMS]
    return int(rng.choice(rng.choice((ids, nearest, usual or ids))))


def random_prompt(rng: random.Random, chaos: float) -> list[int]:
    state, prompt = GrammarState(TABLE, random_rules(rng)), []
    if rng.random() < 0.5:  # several tracks of a few programs, and drums need not be last
        prompt = [IDS[f"Program_{program}"] for program in rng.choices(PROGRAMS, k=6)]
    state.read_prompt(prompt)
    for _ in range(rng.choice((0, 5, 40))):
        permitted = state.permitted()
        prompt.append(random_token(rng, permitted, chaos if permitted.any() else 1))
        state.advance(prompt[-1])
    return prompt[rng.choice((0, 0, 7)) :]


def random_melodies(rng: random.Random) -> list[int]:
    """Return some bars in which parts play one note at a time, with few exceptions."""
    names: list[str] = []
    for _ in range(rng.choice((2, 9))):
        names += ("Bar_None", "TimeSig_4/4")
        for program in rng.choices(PROGRAMS[:4], k=rng.choice((1, 3))):
            names.append(f"Program_{program}")
            for position in range(0, 48, 12):
                pitches = rng.sample(range(50, 70), 2 if rng.random() < 0.05 else 1)
                length = rng.choice(("0.6.12", "1.0.12", "1.0.12", "1.1.12"))
                names.append(f"Position_{position}")
                for pitch in sorted(pitches):
                    names += (f"Pitch_{pitch}", f"Duration_{length}")
    return [IDS[name] for name in names]


def random_parts(rng: random.Random) -> np.ndarray:
    """Return limits of the parts of a bar."""
    parts = np.zeros((4, 129), np.uint8)
    for program in PROGRAMS:
        most = 1 if program == -1 else 4
        parts[0, program] = kept = rng.randint(0, most)
        parts[1, program] = rng.randint(0, most - kept)
        parts[2, program] = rng.choice((0, rng.getrandbits(8)))
        parts[3, program] = rng.random() < 0.3
    return parts


def check_equal(seed: int, steps: int = 40) -> None:
    """Compare the masks of a random sequence after each token; a few tokens are not permitted."""
    rng = random.Random(seed)
    chaos = rng.choice((0, 0, 0.03, 0.3))
    rules = random_rules(rng)
    compiled, reference = CompiledGrammar(TABLE, rules), GrammarState(TABLE, rules)
    for _ in range(rng.choice((0, 1, 1, 2))):
        prompt = random_melodies(rng) if rng.random() < 0.4 else random_prompt(rng, chaos)
        compiled.read_prompt(prompt)
        reference.read_prompt(prompt)
    for _ in range(3):
        tokens: list[int] = []
        limited_at = rng.choice((1, 2, 15, steps, steps, steps))
        while len(tokens) < steps:
            if len(tokens) >= limited_at and is_within_a_bar(tokens):
                parts, limited_at = random_parts(rng), steps
                compiled.limit_parts(parts)
                reference.limit_parts(parts)
            expected, found = reference.permitted(), compiled.permitted()
            names = [TOKEN_NAMES[i] for i in np.flatnonzero(expected != found)]
            assert not names, (seed, [TOKEN_NAMES[token] for token in tokens])
            if not expected.any():  # rules that contradict each other
                return
            tokens.append(random_token(rng, found, chaos if tokens else 0))
            compiled.advance(tokens[-1])
            reference.advance(tokens[-1])
        new = random_rules(rng) if chaos == 0 else None
        compiled = compiled.copy()
        compiled.open_bar(new)
        reference.open_bar(new)


def is_within_a_bar(tokens: list[int]) -> bool:
    """Return whether a bar has a meter and the last token is not within a note."""
    inside = (TokenKind.BAR, TokenKind.POSITION, TokenKind.PITCH, TokenKind.DRUM, TokenKind.OTHER)
    return IDS["Bar_None"] in tokens and TABLE.kind[tokens[-1]] not in inside


def test_masks_equal_those_of_the_reference() -> None:
    for seed in range(40):
        check_equal(seed)


@pytest.mark.slow
def test_masks_equal_those_of_the_reference_in_a_hundred_thousand_states() -> None:
    for seed in range(1_000, 2_000):
        check_equal(seed)


# The border ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_at_once", 0),
        ("max_at_once", 33),
        ("max_polyphony", -1),
        ("max_polyphony", NO_LIMIT + 1),
        ("fewest", -1),
        ("fewest", 11),  # above `most`
        ("most", NO_LIMIT + 1),
        ("max_empty_bars", -1),
        ("mode", -1),
        ("mode", 1 << 12),
        ("meters", 0),
        ("meters", 1 << len(TIME_SIGNATURES)),
        ("pitches", 0),
        *((flag, 2) for flag in FLAGS),
    ],
)
def test_rules_out_of_range_are_refused(field, value) -> None:
    rules = random_rules(random.Random(0))
    rules["fewest"], rules["most"] = 1, 10
    state = CompiledGrammar(TABLE, rules)
    before = state.permitted()
    rules[field] = value
    for refused in (lambda: CompiledGrammar(TABLE, rules), lambda: state.open_bar(rules)):
        with pytest.raises(ValueError, match=r"rules .* out of range"):
            refused()
    assert (state.permitted() == before).all()


def test_drums_may_begin_a_bar_to_which_drums_alone_are_added() -> None:
    rules = random_rules(random.Random(0))
    for flag in FLAGS:
        rules[flag] = flag == "needs_pitched"
    rules["max_at_once"], rules["max_polyphony"] = 32, 0
    rules["fewest"], rules["most"] = 4, NO_LIMIT
    rules["pitches"][40], rules["pitches"][-1] = (1 << 60, 0), (1 << 38, 0)
    rules["meters"] = 1 << TIME_SIGNATURES.index((4, 4))
    parts = np.zeros((4, 129), np.uint8)
    parts[0, 40], parts[1, -1] = 3, 1
    compiled, reference = CompiledGrammar(TABLE, rules), GrammarState(TABLE, rules)
    for state in (compiled, reference):
        state.advance(IDS["Bar_None"])
        state.advance(IDS["TimeSig_4/4"])
        assert not state.permitted()[IDS["Program_-1"]]
        state.limit_parts(parts)
        assert state.permitted()[IDS["Program_-1"]]


def test_parts_cannot_be_limited_between_bars_within_notes_or_beyond_eight() -> None:
    state, parts = (
        CompiledGrammar(TABLE, random_rules(random.Random(0))),
        random_parts(random.Random(0)),
    )
    with pytest.raises(ValueError, match="while a bar is open"):
        state.limit_parts(parts)
    state.advance(IDS["Bar_None"], IDS["TimeSig_4/4"], IDS["Program_0"], IDS["Position_0"])
    with pytest.raises(ValueError, match="whole notes"):
        state.limit_parts(parts)
    state.advance(IDS["Pitch_60"], IDS["Duration_1.0.12"])
    state.limit_parts(parts)
    parts[:2, 0] = 5, 4
    with pytest.raises(ValueError, match="out of range"):
        state.limit_parts(parts)
    with pytest.raises(ValueError, match=r"\(4, 129\) uint8"):
        state.limit_parts(parts[:2])


def test_a_pitch_without_a_token_is_refused() -> None:
    rules = random_rules(random.Random(0))
    rules["pitches"][-1][1] |= 1 << 63  # no drum has pitch 127
    with pytest.raises(ValueError, match="out of range"):
        CompiledGrammar(TABLE, rules)


@pytest.mark.parametrize("token", [-1, len(TABLE), 2**31 - 1])
def test_unknown_tokens_are_refused_and_nothing_is_read(token) -> None:
    state = CompiledGrammar(TABLE, random_rules(random.Random(0)))
    before = state.permitted()
    for read in (state.read_prompt, lambda tokens: state.advance(*tokens)):
        with pytest.raises(IndexError, match="outside the vocabulary"):
            read([IDS["Bar_None"], token])
    assert (state.permitted() == before).all()
