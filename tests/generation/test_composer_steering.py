"""Back in a piece, on from there otherwise, and bar by bar all the while."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclstm import (
    Composer,
    Composition,
    Constraints,
    Sampling,
    ScoreError,
    Surprise,
)
from musiclstm.generation.note_probabilities import notes_of_bar
from musiclstm.midi.analysis import tempo_at
from musiclstm.tokens import DRUMS, programs_of

PIANO = Constraints(programs=frozenset({0}), meter=(2, 4))
SAMPLING = Sampling(temperature=1.0, seed=7)


def assert_same(one: Composition, other: Composition) -> None:
    assert one == other
    assert one.to_midi() == other.to_midi()
    assert one.to_midi(only_new=True) == other.to_midi(only_new=True)
    assert one.state.to_bytes() == other.state.to_bytes()
    assert one.note_probabilities() == other.note_probabilities()
    assert [p.log_probs for p in one.generated_bars] == [p.log_probs for p in other.generated_bars]


wishes = st.builds(
    Constraints,
    programs=st.sampled_from([{0}, {0, 40, DRUMS}, {0, 24, 40, 73}]),
    meter=st.sampled_from([None, (3, 4), (2, 4)]),
    tempo_bpm=st.sampled_from([None, None, 71]),
    max_polyphony=st.sampled_from([None, 2]),
    max_empty_bars=st.integers(0, 2),
    key=st.sampled_from([None, "D minor"]),
    ending=st.booleans(),
)
samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.7, 1.0, 1.6]),
    seed=st.integers(0, 9),
    repetition_penalty=st.sampled_from([1.0, 2.0]),
)
surprises = st.sampled_from(["off", "bold", (0, 0.9, 0.3, 0.7)]).map(Surprise)


# -- Back ----------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(
    wishes, samplings, surprises, st.integers(2, 6), st.booleans(), st.sampled_from([480, 96, 100])
)
def test_a_piece_gone_on_with_from_any_bar_is_the_piece_itself(
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


def test_the_first_bars_are_a_piece_of_their_own(tiny_composer, invented) -> None:
    asked = {"prompt": invented(bars=2, meter=(3, 4)), "sampling": SAMPLING}
    piece = tiny_composer.compose(bars=5, **asked)
    for bars in range(1, 6):
        assert_same(piece.truncated(bars), tiny_composer.compose(bars=bars, **asked))


def test_before_the_first_bar_there_is_only_the_seed(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=2, prompt=invented(bars=2), sampling=SAMPLING)
    begin = piece.truncated(0)
    assert (begin.bars, begin.tokens, begin.steps) == (0, (), ())
    assert begin.score.note_num() == piece.prompt.score.note_num()
    assert begin.continuation.note_num() == 0
    assert begin.note_probabilities() == ()
    nothing = tiny_composer.compose(bars=2, sampling=SAMPLING).truncated(0)
    assert nothing.score.note_num() == 0
    assert tiny_composer.reproduce(nothing.recipe).to_midi() == nothing.to_midi()


@pytest.mark.parametrize("bars", [-1, 4, 1.5, "2", None])
def test_there_is_no_way_back_to_bars_that_are_not(bars, tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match=f"^bars must be from 0 to 3, .* got {bars}"):
        piece.truncated(bars)


def test_going_back_leaves_the_piece_as_it_was(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=PIANO)
    file = piece.to_midi()
    piece.truncated(1).score.tracks.clear()
    assert piece.to_midi() == file


def test_going_back_across_a_change_brings_back_what_ruled_there(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=3, sampling=SAMPLING, constraints=PIANO)
    other = tiny_composer.extend(
        piece, bars=2, sampling=Sampling(seed=9), constraints=replace(PIANO, tempo_bpm=60)
    )
    for bars in (1, 2, 3):
        assert_same(other.truncated(bars), piece.truncated(bars))
    assert other.truncated(4).sampling == other.sampling
    assert other.truncated(0).constraints == PIANO


# -- On, otherwise -------------------------------------------------------------------------------


def test_new_constraints_hold_from_there_on(tiny_composer, invented) -> None:
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


def test_the_key_of_the_seed_can_be_asked_for_later(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=1, prompt=invented(bars=2), sampling=SAMPLING)
    longer = tiny_composer.extend(piece, bars=1, constraints=Constraints(key="prompt"))
    assert longer.constraints.key not in (None, "prompt")


def test_the_same_tempo_is_not_said_twice(tiny_composer) -> None:
    slow = replace(PIANO, tempo_bpm=60)
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=slow)
    same = tiny_composer.extend(piece, bars=1, constraints=replace(slow, key="C major"))
    faster = tiny_composer.extend(same, bars=1, constraints=replace(slow, tempo_bpm=90))
    assert [tempo.qpm for tempo in same.score.tempos] == [60]
    assert [round(tempo.qpm) for tempo in faster.score.tempos] == [60, 90]
    assert faster.score.tempos[1].time == 4 * faster.score.ticks_per_quarter


def test_what_cannot_be_kept_is_refused(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    with pytest.raises(ValueError, match="leaves nothing to play"):
        tiny_composer.extend(
            piece, constraints=Constraints(programs={DRUMS}, pitch_ranges={DRUMS: (0, 20)})
        )


def test_who_has_played_keeps_the_stand_in_when_another_joins(
    tiny_network, tiny_tokenizer, invented
) -> None:
    chamber = Composer(tiny_network(programs=[0, 16, 40]), tiny_tokenizer)
    piece = chamber.compose(bars=2, prompt=invented(bars=2, programs=(19,)), sampling=SAMPLING)
    constraints = replace(piece.constraints, programs={19, 17})
    longer = chamber.extend(piece, bars=4, constraints=constraints)
    assert programs_of(piece.continuation) == {19}
    assert programs_of(longer.continuation) == {19, 17}
    assert longer.truncated(2).to_midi() == piece.to_midi()
    assert tiny_tokenizer.ids["Program_16"] in longer.tokens


def test_an_ending_comes_where_it_was_planned_and_not_where_one_went_back_to(tiny_composer) -> None:
    constraints = replace(PIANO, key="C major", ending=True)
    piece = tiny_composer.compose(bars=5, sampling=SAMPLING, constraints=constraints)
    plain = tiny_composer.extend(
        piece.truncated(2), bars=3, constraints=replace(constraints, ending=False)
    )
    assert plain.bar_tokens[:2] == piece.bar_tokens[:2]
    assert tiny_composer.extend(plain.truncated(2), bars=3, constraints=constraints) == piece
    assert tiny_composer.extend(piece.truncated(2), bars=1).bar_tokens[2] != piece.bar_tokens[2]


# -- Bar by bar ----------------------------------------------------------------------------------


@settings(max_examples=8)
@given(wishes, samplings, surprises, st.integers(1, 4), st.integers(1, 4))
def test_a_stream_after_a_piece_is_extending_it(
    tiny_composer, invented, constraints, sampling, surprise, before, bars
) -> None:
    prompt = invented(bars=1, programs=(0, 40))
    piece = tiny_composer.compose(bars=before, prompt=prompt, sampling=SAMPLING)
    asked = {"sampling": sampling, "constraints": constraints, "surprise": surprise}
    drafts = list(tiny_composer.stream(after=piece, bars=bars, **asked))
    whole = tiny_composer.extend(piece, bars=bars, **asked)
    assert [draft.bars for draft in drafts] == list(range(before + 1, before + bars + 1))
    assert_same(drafts[-1], whole)
    for draft in drafts:
        assert_same(draft, whole.truncated(draft.bars))


def test_what_is_left_out_after_a_piece_is_as_in_the_piece(tiny_composer) -> None:
    asked = {"sampling": SAMPLING, "constraints": PIANO, "surprise": Surprise("bold")}
    whole = tiny_composer.compose(bars=4, **asked)
    *_, draft = tiny_composer.stream(after=whole.truncated(1), bars=3)
    assert_same(draft, whole)


@pytest.mark.parametrize("with_piece", [False, True])
def test_streamed_takes_are_the_takes(with_piece, tiny_composer, invented) -> None:
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


def test_takes_after_a_piece_begin_with_what_extending_gives(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=2, sampling=SAMPLING, constraints=PIANO)
    takes = tiny_composer.compose_many(3, after=piece, bars=2)
    assert_same(takes[0], tiny_composer.extend(piece, bars=2))
    assert len({take.tokens for take in takes}) == 3
    assert {take.bar_tokens[:2] for take in takes} == {piece.bar_tokens}


def test_a_piece_and_a_prompt_contradict_each_other(tiny_composer, invented) -> None:
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    for ask in (tiny_composer.stream, lambda **a: tiny_composer.compose_many(2, **a)):
        with pytest.raises(ValueError, match="prompt and after contradict each other"):
            ask(after=piece, prompt=invented())
    with pytest.raises(ValueError, match="count must be a whole number from 1 to 32, got 0"):
        tiny_composer.stream_many(0)
    with pytest.raises(ScoreError):
        tiny_composer.stream_many(2, prompt=b"no MIDI")


def test_a_draft_decodes_only_its_new_bar(tiny_composer, monkeypatch) -> None:
    decoded = []
    decode = type(tiny_composer.tokenizer).decode_parts

    def counting(self, ids):
        decoded.append(tuple(ids))
        return decode(self, ids)

    monkeypatch.setattr(type(tiny_composer.tokenizer), "decode_parts", counting)
    *_, draft = tiny_composer.stream(bars=5, sampling=SAMPLING, constraints=PIANO)
    assert decoded == list(draft.bar_tokens)


# -- How sure it was -----------------------------------------------------------------------------


@settings(max_examples=12)
@given(wishes, samplings, surprises, st.booleans(), st.sampled_from([480, 96, 7]))
def test_every_note_has_one_probability(
    tiny_composer, invented, constraints, sampling, surprise, with_prompt, ticks
) -> None:
    prompt = invented(bars=2, programs=(0, 40, 19)).resample(ticks, min_dur=1)
    piece = tiny_composer.compose(
        bars=4,
        prompt=prompt if with_prompt else None,
        sampling=sampling,
        constraints=constraints,
        surprise=surprise,
    )
    found = piece.note_probabilities()
    assert [each[:3] for each in found] == [
        (number, tick, pitch)
        for number, track in enumerate(piece.continuation.tracks)
        for tick, pitch in sorted((note.time, note.pitch) for note in track.notes)
    ]
    assert len({each[:3] for each in found}) == len(found)
    assert all(0 < each.probability <= 1 for each in found)


def test_the_notes_together_have_the_probability_of_the_tokens_that_spell_them(
    tiny_composer,
) -> None:
    piece = tiny_composer.compose(
        bars=6, sampling=SAMPLING, constraints=replace(PIANO, tempo_changes=False)
    )
    spelling = 0.0
    for passage in piece.generated_bars:
        for token, log_prob in zip(passage.tokens, passage.log_probs, strict=True):
            name = tiny_composer.tokenizer.token_names[token]
            says_note = not name.startswith(("Bar", "TimeSig", "Tempo"))
            spelling += log_prob if says_note else 0.0
    together = sum(log(each.probability) for each in piece.note_probabilities())
    assert together == pytest.approx(spelling)


def test_a_note_is_as_likely_as_its_own_tokens_say(tiny_composer) -> None:
    piece = tiny_composer.compose(bars=1, sampling=SAMPLING, constraints=PIANO)
    (passage,) = piece.generated_bars
    own = notes_of_bar(passage.tokens, passage.log_probs)
    expected = sorted((note.position, note.pitch, exp(note.log_prob)) for note in own)
    unit = piece.score.ticks_per_quarter // 12
    found = [(n.tick // unit, n.pitch, n.probability) for n in piece.note_probabilities()]
    assert np.allclose(found, expected)


def test_probabilities_of_a_stand_in_are_those_of_whom_it_stands_for(
    tiny_network, tiny_tokenizer, invented
) -> None:
    chamber = Composer(tiny_network(programs=[DRUMS, 0, 16]), tiny_tokenizer)
    prompt = invented(bars=2, programs=(19, 0, DRUMS))
    piece = chamber.compose(bars=6, prompt=prompt, sampling=SAMPLING)
    found = piece.note_probabilities()
    assert len(found) == piece.continuation.note_num() > 0
    assert 19 in {piece.continuation.tracks[each.track].program for each in found}


@pytest.mark.parametrize("scale", [0.0, 300.0, 1e6])
def test_any_weights_give_probabilities(scale, tiny_network, tiny_tokenizer) -> None:
    import torch

    model = tiny_network()
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(scale)
    piece = Composer(model, tiny_tokenizer).compose(bars=3, sampling=SAMPLING, constraints=PIANO)
    assert all(0 < each.probability <= 1 for each in piece.note_probabilities())
