"""`compose_many` and `stream_many` equal `compose` with counted-up random seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from musiclstm import Sampling, ScoreError
from musiclstm.generation.decoding.sampling import MAX_SEED
from tests.generation.pieces import PIANO, SAMPLING, assert_same, every_setting


@pytest.mark.parametrize("with_prompt", [False, True], ids=["alone", "with a prompt"])
@pytest.mark.parametrize("constraints", ["plain", "every setting"])
def test_each_alternative_equals_compose_with_its_random_seed(
    constraints, with_prompt, tiny_composer, invented
) -> None:
    prompt = invented(bars=2, programs=(0, 40)) if with_prompt else None
    plain = {"prompt": prompt, "sampling": SAMPLING}
    if not with_prompt:
        plain["constraints"] = PIANO
    asked = every_setting(prompt) if constraints == "every setting" else plain
    takes = tiny_composer.compose_many(3, bars=3, **asked)
    assert [take.sampling.seed for take in takes] == [7, 8, 9]
    for take in takes:
        alone = tiny_composer.compose(bars=3, **(asked | {"sampling": take.sampling}))
        assert take == alone
        assert take.to_midi() == alone.to_midi()
        assert take.state.to_bytes() == alone.state.to_bytes()
    assert takes[0] == tiny_composer.compose(bars=3, **asked)
    assert len({take.tokens for take in takes}) == 3


def test_random_seeds_wrap_around(tiny_composer) -> None:
    takes = tiny_composer.compose_many(
        3, bars=1, sampling=Sampling(seed=MAX_SEED - 1), constraints=PIANO
    )
    assert [take.sampling.seed for take in takes] == [MAX_SEED - 1, MAX_SEED, 0]
    first = tiny_composer.compose(bars=1, sampling=Sampling(seed=0), constraints=PIANO)
    assert takes[2].tokens == first.tokens


def test_a_random_seed_is_drawn_if_there_is_none(tiny_composer) -> None:
    one, other = tiny_composer.compose_many(2, bars=1, constraints=PIANO)
    assert other.sampling.seed == (one.sampling.seed + 1) % (MAX_SEED + 1)
    again = tiny_composer.compose(bars=1, constraints=PIANO, sampling=other.sampling)
    assert again.tokens == other.tokens


def test_the_largest_batch(tiny_composer) -> None:
    takes = tiny_composer.compose_many(32, bars=1, sampling=SAMPLING, constraints=PIANO)
    assert [take.bars for take in takes] == [1] * 32
    last = tiny_composer.compose(bars=1, sampling=Sampling(1.0, seed=38), constraints=PIANO)
    assert takes[31].tokens == last.tokens


@pytest.mark.parametrize("count", [0, -1, 33, 2.0, "2", None])
def test_a_count_out_of_range_is_refused(count, tiny_composer) -> None:
    with pytest.raises(
        ValueError, match=f"^count must be a whole number from 1 to 32, got {count}"
    ):
        tiny_composer.compose_many(count, bars=1, constraints=PIANO)


@pytest.mark.parametrize("with_piece", [False, True])
def test_stream_many_equals_compose_many(with_piece, tiny_composer, invented) -> None:
    asked = {"sampling": SAMPLING, "constraints": replace(PIANO, ending=True)}
    piece = tiny_composer.compose(bars=2, prompt=invented(bars=1), sampling=Sampling(seed=1))
    asked |= {"after": piece} if with_piece else {"prompt": invented(bars=1)}
    bars_of = {0: [], 1: [], 2: []}
    latest = {}
    for number, draft in tiny_composer.stream_many(3, bars=3, **asked):
        bars_of[number].append(draft.bars)
        latest[number] = draft
    before = 2 if with_piece else 0
    assert list(bars_of.values()) == [[before + 1, before + 2, before + 3]] * 3
    for take, number in zip(tiny_composer.compose_many(3, bars=3, **asked), range(3), strict=True):
        assert_same(latest[number], take)
        assert take.sampling.seed == 7 + number


def test_alternatives_after_a_piece_start_with_the_result_of_extend(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
    takes = tiny_composer.compose_many(3, after=piece, bars=2)
    assert_same(takes[0], tiny_composer.extend(piece, bars=2))
    assert len({take.tokens for take in takes}) == 3
    assert {take.bar_tokens[:2] for take in takes} == {piece.bar_tokens}


def test_prompt_and_after_contradict_each_other(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    for ask in (tiny_composer.stream, lambda **a: tiny_composer.compose_many(2, **a)):
        with pytest.raises(ValueError, match="prompt and after contradict each other"):
            ask(after=piece, prompt=invented())
    with pytest.raises(ValueError, match="count must be a whole number from 1 to 32, got 0"):
        tiny_composer.stream_many(0)
    with pytest.raises(ScoreError):
        tiny_composer.stream_many(2, prompt=b"no MIDI")
