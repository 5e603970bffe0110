"""Tokens that the network has read, and exact continuation from its state."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from symusic.core import NoteTick, ScoreTick, TimeSignatureTick, TrackTick

from musiclstm import Composer, Composition, Constraints, Sampling, Surprise
from musiclstm.generation import pipeline
from musiclstm.generation.decoding.inference import DecoderState
from musiclstm.tokens import DRUMS, MusicTokenizer

TOKENIZER = MusicTokenizer()
BAR = TOKENIZER.ids["Bar_None"]
SAMPLING = Sampling(seed=7, copy_weight=1)
CONSTRAINTS = Constraints(programs={0, 40}, meter=(4, 4))


def chords(bars: int, *, onsets: int = 16, notes: int = 4) -> ScoreTick:
    """Four-four bars on a piano, each with so many chords."""
    score = ScoreTick(480)
    score.time_signatures.append(TimeSignatureTick(0, 4, 4))
    track = TrackTick("Piano", 0, False)
    step = 1_920 // onsets
    for at in range(bars * onsets):
        for note in range(notes):
            pitch = 48 + (7 * at + 5 * note) % 40
            track.notes.append(NoteTick(at * step, step, pitch, 80))
    score.tracks.append(track)
    return score


def bars_of(ids: tuple[int, ...]) -> int:
    return ids.count(BAR)


# Prompts ------------------------------------------------------------------------------------------


def test_a_prompt_with_too_many_tokens_is_cut_at_a_bar_line(tiny_composer) -> None:
    prompt = chords(64)  # 147 tokens a bar, 9,408 in all
    piece = tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING)
    begin, *read = piece.prompt_ids
    whole = TOKENIZER.encode(prompt)
    assert (begin, read[0]) == (TOKENIZER.bos_id, BAR)
    assert pipeline.CONTEXT_TOKENS - 147 < len(read) <= pipeline.CONTEXT_TOKENS
    assert bars_of(piece.prompt_ids) == 55  # 55 * 147 = 8,085
    end = len(whole) - whole[::-1].index(BAR) - 1  # the empty bar after the last note
    assert read == whole[end - len(read) : end]
    assert piece.prompt_bars == 64


def test_at_most_64_bars_are_read(tiny_composer) -> None:
    prompt = chords(70, onsets=2, notes=1)
    piece = tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING)
    assert bars_of(piece.prompt_ids) == pipeline.CONTEXT_BARS == 64
    assert piece.prompt_bars == 70


def test_only_the_last_tokens_of_a_very_long_bar_are_read(tiny_composer, monkeypatch) -> None:
    monkeypatch.setattr(pipeline, "CONTEXT_TOKENS", 50)
    prompt = chords(2)
    piece = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    whole = TOKENIZER.encode(prompt)
    assert piece.prompt_ids == (TOKENIZER.bos_id, *whole[:-2][-50:])
    assert piece.bars == 2
    assert tiny_composer.reproduce(piece.recipe, prompt=prompt).to_midi() == piece.to_midi()


def test_the_prompt_is_read_in_bars_up_to_its_end(tiny_composer) -> None:
    # Two bars of 4/4, of which the second is silent from its second beat on.
    prompt = chords(1)
    prompt.tracks[0].notes.append(NoteTick(1_920, 480, 60, 80))
    piece = tiny_composer.compose(bars=1, prompt=prompt, sampling=SAMPLING)
    assert bars_of(piece.prompt_ids) == piece.prompt_bars == 2
    assert piece.prompt_ids[1:] == tuple(TOKENIZER.encode(prompt))


def test_drums_that_have_no_token_are_read_as_silence(tiny_composer) -> None:
    prompt = chords(1)
    prompt.tracks[0].is_drum = True
    for note in prompt.tracks[0].notes:
        note.pitch = 5
    piece = tiny_composer.compose(bars=2, prompt=prompt, sampling=SAMPLING)
    assert piece.prompt_ids == (TOKENIZER.bos_id, BAR, TOKENIZER.ids["TimeSig_4/4"])
    assert len(piece.score.tracks) == 1
    assert piece.continuation.note_num() > 0


# State --------------------------------------------------------------------------------------------


def assert_equal_states(one: DecoderState, other: DecoderState) -> None:
    for name in ("logits", "hidden", "cell"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("with_prompt", [False, True], ids=["alone", "with a prompt"])
def test_the_state_equals_that_of_one_prefill(with_prompt, tiny_composer, invented) -> None:
    prompt = invented(bars=2, programs=(0, 40, 40, DRUMS)) if with_prompt else None
    asked = {
        "sampling": SAMPLING,
        "constraints": replace(CONSTRAINTS, meter=None),
        "prompt": prompt,
    }
    piece = tiny_composer.compose(bars=4, **asked)
    network = tiny_composer._inference
    assert_equal_states(piece.initial_state, network.prefill(piece.prompt_ids))
    ids = list(piece.prompt_ids)
    for bar in piece.generated_bars:
        ids += bar.tokens
        assert_equal_states(bar.state, network.prefill(ids))
    assert_equal_states(piece.state, piece.generated_bars[-1].state)


def from_bytes(piece: Composition) -> Composition:
    """Return the piece as another process restores it."""
    return replace(piece, state=DecoderState.from_bytes(piece.state.to_bytes()))


@pytest.mark.parametrize(
    "asked",
    [
        {"constraints": CONSTRAINTS},
        {"constraints": CONSTRAINTS, "sampling": Sampling(seed=3, copy_weight=0.0)},
        {"constraints": CONSTRAINTS, "sampling": Sampling(seed=3, copy_weight=2.0)},
        {"surprise": Surprise("bold"), "constraints": replace(CONSTRAINTS, key="D minor")},
        {"sampling": Sampling(seed=3, repetition_penalty=2.0), "constraints": CONSTRAINTS},
    ],
    ids=["plain", "no copies", "more copies", "surprises", "repetition"],
)
def test_extend_equals_compose_also_from_bytes(asked, tiny_composer, invented) -> None:
    composer = tiny_composer
    asked = {"sampling": SAMPLING, "prompt": invented(bars=2, programs=(0, 40, 40))} | asked
    whole = composer.compose(bars=6, **asked)
    for cut in (1, 5):
        piece = composer.compose(bars=cut, **asked)
        for part in (
            piece,
            from_bytes(piece),
            whole.truncated(cut),
            from_bytes(whole.truncated(cut)),
        ):
            longer = composer.extend(part, bars=6 - cut)
            assert longer == whole
            assert longer.to_midi() == whole.to_midi()
            assert longer.state.to_bytes() == whole.state.to_bytes()


def test_the_copy_weight_changes_the_music(tiny_network, invented) -> None:
    model = tiny_network()
    with torch.no_grad():
        model.gates.bias.fill_(3.0)
    composer = Composer(model, TOKENIZER)
    prompt = invented(bars=2, programs=(0,))
    pieces = [
        composer.compose(bars=3, prompt=prompt, sampling=Sampling(seed=3, copy_weight=weight))
        for weight in (0.0, 1.0, 2.0)
    ]
    assert len({piece.tokens for piece in pieces}) == 3
    longer = composer.extend(
        pieces[0].truncated(1), bars=2, sampling=Sampling(seed=3, copy_weight=2.0)
    )
    assert longer.bar_tokens[:1] == pieces[0].bar_tokens[:1]
    assert longer.bar_tokens[1:] != pieces[0].bar_tokens[1:]
    assert composer.reproduce(longer.recipe, prompt=prompt).to_midi() == longer.to_midi()
