"""Reference pieces that are read before the prompt."""

from __future__ import annotations

import numpy as np
import pytest

from musiclstm.core import Sequence as CoreSequence
from musiclstm.errors import RecipeError, ScoreError
from musiclstm.generation import Recipe, Sampling
from musiclstm.generation.references import (
    REFERENCE_TOKENS,
    read_references,
    reference_ids,
    transposed,
    transposition,
)

SAMPLING = Sampling(seed=3)


@pytest.fixture
def pieces(invented):
    """A prompt of one track, and two references of three."""
    prompt = invented(bars=3, programs=(0,), seed=1)
    return prompt, [invented(bars=4, programs=(0, 0, 40), seed=seed) for seed in (2, 3)]


def test_references_change_the_music_and_the_recipe_names_them(tiny_composer, pieces):
    prompt, references = pieces
    alone = tiny_composer.compose(prompt=prompt, bars=3, sampling=SAMPLING)
    piece = tiny_composer.compose(
        prompt=prompt, bars=3, sampling=SAMPLING, references=references, reference_bars=2
    )
    assert not np.array_equal(piece.initial_state.logits, alone.initial_state.logits)
    assert piece.constraints == alone.constraints
    assert tiny_composer.extend(piece.truncated(1), bars=2).tokens == piece.tokens
    recipe = Recipe.from_json(piece.recipe.to_json())
    assert recipe == piece.recipe
    assert len(recipe.references) == recipe.reference_bars == 2
    again = tiny_composer.reproduce(recipe, prompt=prompt, references=references)
    assert again.to_midi() == piece.to_midi()
    many = tiny_composer.compose_many(
        2, prompt=prompt, bars=3, sampling=SAMPLING, references=references, reference_bars=2
    )
    assert many[0].tokens == piece.tokens
    assert "references" not in alone.recipe.to_json()


def test_new_bars_have_the_tracks_of_the_prompt_and_not_of_the_references(tiny_composer, pieces):
    prompt, references = pieces
    for seed in (2, 5):  # they would have a second track if it were permitted
        sampling = Sampling(seed=seed)
        piece = tiny_composer.compose(
            prompt=prompt, bars=3, sampling=sampling, references=references
        )
        assert [track.program for track in piece.continuation.tracks] == [0]


def test_a_recipe_is_refused_with_other_references(tiny_composer, pieces):
    prompt, references = pieces
    recipe = tiny_composer.compose(prompt=prompt, bars=1, references=references).recipe
    with pytest.raises(RecipeError, match="has 2 references, and 0 were passed"):
        tiny_composer.reproduce(recipe, prompt=prompt)
    with pytest.raises(RecipeError, match="Reference 1 of this recipe is a file with SHA-256"):
        tiny_composer.reproduce(recipe, prompt=prompt, references=references[::-1])


def test_a_new_piece_may_have_references(tiny_composer, pieces):
    first = tiny_composer.compose(bars=2, sampling=SAMPLING, references=pieces[1])
    bars = list(tiny_composer.stream(bars=2, sampling=SAMPLING, references=pieces[1]))
    assert bars[-1].tokens == first.tokens
    with pytest.raises(ValueError, match="references and after contradict"):
        tiny_composer.compose_many(1, after=first, references=pieces[1])


def test_features_and_not_states_are_carried_to_the_prompt(tiny_composer, pieces):
    prompt, references = pieces
    piece = tiny_composer.compose(prompt=prompt, bars=1, references=references)
    ids = list(piece.prompt_ids)
    start = len(ids) - ids[::-1].index(tiny_composer.tokenizer.bos_id) - 1
    sequence = CoreSequence(tiny_composer._inference.network)
    sequence.read(ids[:start])
    sequence.hidden[...] = sequence.cell[...] = 0
    sequence.read(ids[start:])
    assert np.array_equal(sequence.logits, piece.initial_state.logits)


def test_references_are_cut_at_bar_lines_and_moved_to_the_key(tiny_tokenizer, invented):
    score = invented(bars=4, programs=(0, -1), seed=5)
    higher = transposed(score, 5)
    assert transposition(higher, score) == -5
    long = invented(bars=400, programs=(0,), seed=6)
    both = read_references([higher, long], None)
    ids = reference_ids(both, score, tiny_tokenizer, None)
    bos, eos = tiny_tokenizer.bos_id, tiny_tokenizer.eos_id
    end = ids.index(eos) + 1
    assert ids[:end] == [bos, *tiny_tokenizer.encode(score), eos]
    rest = ids[end + 1 : -1]
    assert rest == tiny_tokenizer.encode(transposed(long, transposition(long, score)))[: len(rest)]
    assert REFERENCE_TOKENS - 300 < len(rest) <= REFERENCE_TOKENS
    short = reference_ids(read_references([higher], 1), None, tiny_tokenizer, None)
    assert short.count(tiny_tokenizer.ids["Bar_None"]) == 1


def test_invalid_references_are_refused(tiny_composer, pieces):
    with pytest.raises(ValueError, match="at most 8 pieces, got 9"):
        tiny_composer.compose(bars=1, references=pieces[1][:1] * 9)
    with pytest.raises(ValueError, match="at most 8 pieces, got one text"):
        tiny_composer.compose(bars=1, references="a.mid")
    with pytest.raises(ValueError, match="reference_bars must be a whole number"):
        tiny_composer.compose(bars=1, references=pieces[1], reference_bars=0)
    with pytest.raises(ScoreError):
        tiny_composer.compose(bars=1, references=[b"no music"])
