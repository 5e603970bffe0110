"""Assessments of compositions whose new bars are written by the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from symusic.core import NoteTick, ScoreTick, TrackTick

from musiclstm import Composer, Composition, Sampling
from musiclstm.tokens.vocabulary import TOKEN_NAMES

IDS = {name: index for index, name in enumerate(TOKEN_NAMES)}
SCALE = (60, 62, 64, 65, 67, 69, 71, 72)
QUARTERS = "Duration_1.0.12"


def prompt(bars: int = 8, *, programs: Sequence[int] = (0,)) -> ScoreTick:
    """Return bars of 4/4 with four different quarter notes of each program."""
    score = ScoreTick(480)
    for number, program in enumerate(programs):
        track = TrackTick("", program)
        for at in range(4 * bars):
            track.notes.append(NoteTick(480 * at, 480, pitch_at(at) + 12 * number, 80))
        score.tracks.append(track)
    return score


def pitch_at(quarter: int) -> int:
    bar, beat = divmod(quarter, 4)
    return SCALE[(bar * 3 + beat * (1 + bar % 3)) % 8]


def new_bar(notes: Sequence[tuple[int, int]], program: int = 0) -> tuple[int, ...]:
    """Return the tokens of a bar with notes at (position in twelfths of a quarter, pitch)."""
    names = ["Bar_None", "TimeSig_4/4", *([f"Program_{program}"] if notes else [])]
    for position, pitch in notes:
        names += [f"Position_{position}", f"Pitch_{pitch}", QUARTERS]
    return tuple(IDS[name] for name in names)


def prompt_bar(number: int) -> tuple[int, ...]:
    """Return a bar of `prompt`, counted from 1."""
    return new_bar([(12 * beat, pitch_at(4 * (number - 1) + beat)) for beat in range(4)])


def filler(number: int, *, notes: int = 4, transpose: int = 0) -> tuple[int, ...]:
    """Return a bar that resembles no other one."""
    rng = np.random.default_rng(number)
    positions = sorted(rng.choice(48, notes, replace=False).tolist())
    return new_bar([(at, int(rng.choice(SCALE)) + transpose) for at in positions])


@pytest.fixture
def continued(tiny_composer: Composer):
    """Return a function that continues a prompt by bars of tokens."""

    def continue_with(
        bars: Sequence[tuple[int, ...]], source: ScoreTick | None = None
    ) -> Composition:
        piece = tiny_composer.compose(bars=len(bars), prompt=source, sampling=Sampling(seed=1))
        generated = tuple(
            replace(own, tokens=tokens, log_probs=(-1.0,) * len(tokens))
            for own, tokens in zip(piece.generated_bars, bars, strict=True)
        )
        return replace(piece, bar_tokens=tuple(bars), generated_bars=generated)

    return continue_with


def test_the_bar_that_comes_back_and_its_place_are_named(tiny_composer, continued) -> None:
    bars = [filler(1), filler(2), prompt_bar(3), filler(4), filler(5)]
    piece = continued(bars, prompt())
    assert "returns to bar 3 in bar 11" in tiny_composer.assess(piece).reasons
    reasons = tiny_composer.assess(piece, first_bar=-1).reasons
    assert "returns to bar 1 in bar 9" in reasons
    reasons = tiny_composer.assess(piece, first_bar=-2).reasons
    assert not any(reason.startswith("returns") for reason in reasons)


def test_the_longest_passage_that_comes_back_is_named(tiny_composer, continued) -> None:
    bars = [prompt_bar(8), filler(1), prompt_bar(2), prompt_bar(3), prompt_bar(4), filler(2)]
    reasons = tiny_composer.assess(continued(bars, prompt())).reasons
    assert "returns to bars 2-4 in bars 11-13" in reasons


def test_a_bar_that_goes_on_does_not_return(tiny_composer, continued) -> None:
    source = prompt(1)
    found = tiny_composer.assess(continued([prompt_bar(1)] * 4, source))
    assert found.statistics["returns"] == 0
    assert "repeats its own bars" in found.reasons
    assert "keeps the rhythm of your bars" in found.reasons


@pytest.mark.parametrize(
    ("notes", "transpose", "reason"),
    [
        (12, 0, "busier than your bars"),
        (1, 0, "sparser than your bars"),
        (4, 24, "higher top voice"),
        (4, -24, "lower top voice"),
    ],
)
def test_density_and_register_are_compared_with_the_prompt(
    tiny_composer, continued, notes, transpose, reason
) -> None:
    bars = [filler(number, notes=notes, transpose=transpose) for number in range(6)]
    assert reason in tiny_composer.assess(continued(bars, prompt())).reasons


def test_a_part_that_rests_is_named(tiny_composer, continued) -> None:
    bars = [filler(number) for number in range(4)]
    reasons = tiny_composer.assess(continued(bars, prompt(programs=(0, 42)))).reasons
    assert "Cello rests throughout" in reasons
    bars[2] = (*bars[2], *new_bar([(0, 48)], program=42)[2:])
    reasons = tiny_composer.assess(continued(bars, prompt(programs=(0, 42)))).reasons
    assert "Cello rests in 3 of 4 bars" in reasons


def test_a_new_piece_is_not_compared_with_a_prompt(tiny_composer, continued) -> None:
    found = tiny_composer.assess(continued([filler(1)] * 4))
    assert found.reasons == ("repeats its own bars",)
    assert np.isfinite(found.score)
    assert tiny_composer.assess(continued([filler(1)] * 4).truncated(0)).reasons == ()


def test_at_most_three_reasons_are_given(tiny_composer, continued) -> None:
    found = tiny_composer.assess(continued([filler(1, notes=16, transpose=24)] * 4, prompt()))
    assert len(found.reasons) == 3
    assert str(found) == "; ".join(found.reasons)


def test_alternatives_are_ranked_by_score_with_collapsed_ones_last(
    tiny_composer, continued
) -> None:
    good = [continued([filler(8 * n + bar) for bar in range(4)], prompt()) for n in range(3)]
    silent = continued([new_bar([])] * 3 + [prompt_bar(1)], prompt())
    equal = replace(good[1])
    ranked = tiny_composer.rank([silent, *good, equal])
    assert ranked[-1] is silent
    scores = [tiny_composer.assess(piece).score for piece in ranked[:-1]]
    assert scores == sorted(scores, reverse=True)
    assert len({round(score, 4) for score in scores}) == 3
    at = next(number for number, piece in enumerate(ranked) if piece is good[1])
    assert ranked[at + 1] is equal
    assert tiny_composer.rank(ranked) == ranked


@pytest.mark.parametrize(
    ("bars", "is_collapsed"),
    [
        ([new_bar([(0, 60), (12, 60)])] * 4, True),
        ([new_bar([])] * 3 + [prompt_bar(1)], True),
        ([prompt_bar(1)] * 9, True),
        ([prompt_bar(1)] * 8, False),
        ([prompt_bar(1), filler(1)] * 9, False),  # half of a longer piece
        ([new_bar([])] * 3, False),
    ],
)
def test_degenerate_pieces_of_four_bars_have_collapsed(
    tiny_composer, continued, bars, is_collapsed
) -> None:
    found = tiny_composer.assess(continued(bars, prompt()))
    assert found.is_collapsed == is_collapsed
    assert ("mostly silence" in str(found)) == is_collapsed


def test_the_score_is_the_mean_of_the_scores_that_chose_the_bars(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, prompt=prompt(), sampling=Sampling(seed=3))
    context = tiny_composer._inference.bar_context(piece.prompt_ids, [])
    scores = []
    for bar in piece.generated_bars:
        scores.append(
            context.score(tiny_composer.bar_score, context.features(bar.tokens, bar.log_probs))
        )
        context.add(bar.tokens)
    assert tiny_composer.assess(piece).score == pytest.approx(np.mean(scores))


def test_references_are_not_taken_for_the_prompt(tiny_composer, invented) -> None:
    alone = tiny_composer.compose(bars=2, prompt=prompt(), sampling=Sampling(seed=3))
    after = replace(
        alone,
        prompt_ids=tiny_composer.compose(
            bars=1, prompt=prompt(), references=[invented(bars=2)]
        ).prompt_ids,
    )
    assert len(after.prompt_ids) > len(alone.prompt_ids)
    assert tiny_composer.assess(after) == tiny_composer.assess(alone)
