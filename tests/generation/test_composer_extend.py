"""`extend` and `truncated`: every way to the same bars gives the same piece."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclstm import Constraints, Sampling, Surprise
from musiclstm.midi.analysis import tempo_at
from musiclstm.tokens import DRUMS
from tests.generation.pieces import (
    PIANO,
    SAMPLING,
    assert_same,
    constraint_sets,
    samplings,
    surprises,
)


@settings(max_examples=12)
@given(
    constraint_sets,
    samplings,
    surprises,
    st.integers(2, 6),
    st.booleans(),
    st.sampled_from([480, 96, 100]),
)
def test_a_piece_continued_from_any_bar_equals_the_piece(
    tiny_composer, invented, constraints, sampling, surprise, bars, with_prompt, ticks
) -> None:
    prompt = invented(bars=2, programs=(0, 40)).resample(ticks, min_dur=1) if with_prompt else None
    asked = {
        "sampling": sampling,
        "constraints": constraints,
        "surprise": surprise,
        "prompt": prompt,
    }
    piece = tiny_composer.compose(bars=bars, **asked)
    assert_same(piece.truncated(bars), piece)
    for cut in range(bars):
        early = piece.truncated(cut)
        assert early.bar_tokens == piece.bar_tokens[:cut]
        assert_same(tiny_composer.extend(early, bars=bars - cut), piece)


def test_truncated_to_0_bars_leaves_the_prompt(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=2, prompt=invented(bars=2), sampling=SAMPLING)
    begin = piece.truncated(0)
    assert (begin.bars, begin.tokens, begin.steps) == (0, (), ())
    assert begin.score.note_num() == piece.prompt.score.note_num()
    assert begin.continuation.note_num() == 0
    assert begin.note_probabilities() == ()
    nothing = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO).truncated(0)
    assert nothing.score.note_num() == 0
    assert tiny_composer.reproduce(nothing.recipe).to_midi() == nothing.to_midi()


@pytest.mark.parametrize("bars", [-1, 4, 1.5, "2", None])
def test_truncated_refuses_missing_bars(bars, tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match=f"^bars must be from 0 to 3, .* got {bars}"):
        piece.truncated(bars)


def test_truncated_restores_earlier_settings(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=PIANO)
    other = tiny_composer.extend(
        piece, bars=2, sampling=Sampling(seed=9), constraints=replace(PIANO, tempo_bpm=60)
    )
    for bars in (1, 2, 3):
        assert_same(other.truncated(bars), piece.truncated(bars))
    assert other.truncated(4).sampling == other.sampling
    assert other.truncated(0).constraints == PIANO


def test_extend_does_not_change_the_piece(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
    file, state = piece.to_midi(), piece.state.to_bytes()
    one = tiny_composer.extend(piece, bars=2)
    other = tiny_composer.extend(piece, bars=2)
    assert one.to_midi() == other.to_midi()
    assert (piece.to_midi(), piece.state.to_bytes(), piece.bars) == (file, state, 2)


def test_extend_with_another_random_seed_gives_other_bars(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
    plain = tiny_composer.extend(piece, bars=2)
    other = tiny_composer.extend(piece, bars=2, sampling=Sampling(seed=8))
    assert other.bar_tokens[:2] == plain.bar_tokens[:2] == piece.bar_tokens
    assert other.bar_tokens[2:] != plain.bar_tokens[2:]
    assert other.sampling.seed == 8
    assert tiny_composer.extend(piece, bars=1, sampling=Sampling()).sampling.seed is not None


def test_new_constraints_hold_for_the_new_bars(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=3, prompt=invented(bars=1), sampling=SAMPLING)
    constraints = Constraints(programs={40, DRUMS}, meter=(3, 4), tempo_bpm=66, key="E major")
    longer = tiny_composer.extend(piece, bars=4, constraints=constraints)
    assert longer.bar_tokens[:3] == piece.bar_tokens
    assert longer.constraints == constraints
    tpq, change = (
        piece.score.ticks_per_quarter,
        piece.prompt_end_tick + 12 * piece.score.ticks_per_quarter,
    )
    late = [
        (track.program, track.is_drum, note.pitch % 12)
        for track in longer.score.tracks
        for note in track.notes
        if note.time >= change
    ]
    assert late
    assert {(program, drum) for program, drum, _ in late} <= {(40, False), (0, True)}
    assert {c for _, drum, c in late if not drum} <= {4, 6, 8, 9, 11, 1, 3}
    assert tempo_at(longer.score, change - 1) == pytest.approx(120, abs=0.01)
    assert tempo_at(longer.score, change) == pytest.approx(66, abs=0.01)
    assert [(m.time, m.numerator) for m in longer.score.time_signatures] == [(0, 4), (change, 3)]
    assert longer.score.end() <= change + 4 * 3 * tpq


def test_the_key_of_the_prompt_can_be_requested_later(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=1, prompt=invented(bars=2), sampling=SAMPLING)
    longer = tiny_composer.extend(piece, bars=1, constraints=Constraints(key="prompt"))
    assert longer.constraints.key not in (None, "prompt")


def test_extend_refuses_impossible_constraints(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match="leaves nothing to play"):
        tiny_composer.extend(
            piece, constraints=Constraints(programs={DRUMS}, pitch_ranges={DRUMS: (0, 20)})
        )


def test_an_ending_moves_with_the_requested_bars(tiny_composer) -> None:
    constraints = replace(PIANO, key="C major", ending=True)
    piece = tiny_composer.compose(bars=5, sampling=SAMPLING, constraints=constraints)
    plain = tiny_composer.extend(
        piece.truncated(2), bars=3, constraints=replace(constraints, ending=False)
    )
    assert plain.bar_tokens[:2] == piece.bar_tokens[:2]
    assert tiny_composer.extend(plain.truncated(2), bars=3, constraints=constraints) == piece
    assert tiny_composer.extend(piece.truncated(2), bars=1).bar_tokens[2] != piece.bar_tokens[2]


def test_a_deviation_changes_the_music_from_its_bar_on(tiny_composer) -> None:
    asked = {"bars": 4, "sampling": SAMPLING, "constraints": replace(PIANO, key="C major")}
    plain = tiny_composer.compose(**asked)
    deviating = tiny_composer.compose(**asked, surprise=Surprise([0, 0, 0.9]))
    assert deviating.bar_tokens[:2] == plain.bar_tokens[:2]
    assert deviating.bar_tokens[2] != plain.bar_tokens[2]
    assert deviating.surprise == Surprise([0, 0, 0.9])
    assert plain.surprise == Surprise()


def test_amounts_count_from_the_first_new_bar(tiny_composer) -> None:
    asked = {"sampling": SAMPLING, "constraints": PIANO}
    piece = tiny_composer.compose(bars=2, **asked)
    bold = Surprise([1] * 4)
    longer = tiny_composer.extend(piece, bars=2, surprise=bold)
    assert longer.surprise == bold
    assert longer.bar_tokens[:2] == piece.bar_tokens
    assert longer.bar_tokens != tiny_composer.extend(piece, bars=2).bar_tokens
    late = tiny_composer.extend(piece, bars=2, surprise=Surprise([1, 1]))
    assert late.bar_tokens == tiny_composer.extend(piece, bars=2).bar_tokens


@pytest.mark.slow
def test_a_very_long_piece_can_be_extended(tiny_composer) -> None:
    # More bars than are kept for repetition, and deviations from an estimated key.
    asked = {
        "sampling": SAMPLING,
        "constraints": Constraints(programs={0}, meter=(2, 4)),
        "surprise": Surprise("bold"),
    }
    whole = tiny_composer.compose(bars=100, **asked)
    for cut in (66, 90):
        piece = tiny_composer.extend(tiny_composer.compose(bars=cut, **asked), bars=100 - cut)
        assert piece.bar_tokens == whole.bar_tokens
    bars = islice(tiny_composer.stream_endless(**asked), 100)
    assert tuple(bar.tokens for bar in bars) == whole.bar_tokens


def test_a_copy_of_a_piece_can_be_extended(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    twin = copy.deepcopy(piece)
    assert twin == piece
    assert tiny_composer.extend(twin, bars=1).to_midi() == (
        tiny_composer.extend(piece, bars=1).to_midi()
    )
