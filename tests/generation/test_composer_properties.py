"""Random constraints and random prompts: every take decodes and keeps its constraints."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from symusic.core import ScoreTick

from benchmarks.quality.constraint_checks import random_constraints
from musiclstm import Composer, Composition, Constraints, Sampling, Surprise
from musiclstm.midi.analysis import bar_starts, last_note_end
from musiclstm.tokens import DRUMS, MusicTokenizer, PartName, programs_of
from tests.generation.referee import Referee, complaints

TOKENIZER = MusicTokenizer()
PROGRAMS = (DRUMS, 0, 0, 6, 24, 33, 40, 40, 48, 73)
METERS = ((4, 4), (3, 4), (6, 8), (2, 2), (5, 4))
CASES = 50
MANY_CASES = 2_000


def random_prompt(rng: random.Random, invented) -> ScoreTick | None:
    """Nothing, or one to four bars for one to five tracks."""
    if rng.random() < 0.3:
        return None
    return invented(
        bars=rng.randint(1, 4),
        meter=rng.choice(METERS),
        programs=rng.sample(PROGRAMS, rng.randint(1, 5)),
        ticks_per_quarter=rng.choice((480, 96, 960)),
        seed=rng.randrange(1_000),
    )


def random_request(rng: random.Random, invented) -> dict[str, object]:
    return {
        "bars": rng.randint(1, 4),
        "prompt": random_prompt(rng, invented),
        "constraints": random_constraints(rng),
        "sampling": Sampling(
            temperature=rng.choice((0.0, 0.7, 1.0, 3.0)),
            top_p=rng.choice((0.9, 0.98, 1.0)),
            copy_weight=rng.choice((0.0, 1.0, 2.0)),
            repetition_penalty=rng.choice((1.0, 3.0)),
            seed=rng.randrange(2**32),
        ),
        "surprise": Surprise(rng.choice(("off", "gentle", "bold", (0.9, 0.3, 1.0)))),
    }


def check(case: int, composer: Composer, invented) -> bool:
    """Check two takes of one request; whether the constraints could be kept at all."""
    request = random_request(random.Random(case), invented)
    try:
        takes = composer.compose_many(2, **request)
    except ValueError:  # refused before anything is composed: too few different notes
        return False
    for take in takes:
        assert take.bars == request["bars"], case
        check_tokens(take, request["constraints"], case)
        check_score(take, case)
    return True


def check_tokens(take: Composition, constraints: Constraints, case: int) -> None:
    tracks = None
    if take.prompt_ids[1:]:
        tracks = Counter(part.program for part in TOKENIZER.parts_in(take.prompt_ids))
        tracks = {program: max(1, tracks[program]) for program in range(128)}
    referee = Referee(take.tokens, tracks)
    assert complaints(referee, constraints) == [], case


def check_score(take: Composition, case: int) -> None:
    """The score has the notes of the tokens, in the tracks of their parts, and exact bars."""
    decoded, new, start = TOKENIZER.decode(take.tokens), take.continuation, take.prompt_end_tick
    assert new.note_num() == decoded.note_num() == len(take.note_probabilities()), case
    asked = take.constraints.programs
    assert asked is None or programs_of(new) <= asked, case
    scale = take.score.ticks_per_quarter / TOKENIZER.ticks_per_quarter
    end = start + round(TOKENIZER.length_ticks(take.tokens) * scale)
    assert max(last_note_end(take.score), start) <= end, case
    assert len(bar_starts(take.score, end_tick=end)) == take.prompt_bars + take.bars + 1, case
    expected = Counter[tuple[PartName, int]]()
    for part, track in zip(TOKENIZER.parts_in(take.tokens), decoded.tracks, strict=True):
        expected.update((part, note.pitch) for note in track.notes)
    found = Counter[tuple[PartName | None, int]]()
    for part, track in zip(take.track_parts, take.score.tracks, strict=True):
        found.update((part, note.pitch) for note in track.notes if note.time >= start)
        assert part is None or part.program == (DRUMS if track.is_drum else track.program), case
    assert found == expected, case
    assert ScoreTick.from_midi(take.to_midi()).note_num() == take.score.note_num(), case


@pytest.fixture(scope="module")
def composer(tiny_network) -> Composer:
    return Composer(tiny_network(), TOKENIZER)


def test_every_take_decodes_and_keeps_its_constraints(composer, invented) -> None:
    kept = sum(check(case, composer, invented) for case in range(CASES))
    assert kept > 0.8 * CASES


@pytest.mark.slow
def test_every_one_of_many_takes_decodes_and_keeps_its_constraints(composer, invented) -> None:
    kept = sum(check(case, composer, invented) for case in range(CASES, CASES + MANY_CASES // 2))
    assert kept > 0.8 * MANY_CASES / 2
