"""Bits per note."""

from __future__ import annotations

import math

import pytest
import torch

from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import read_corpus
from training.evaluation.held_out import Accuracy, held_out


@pytest.fixture
def pieces(scales):
    return read_corpus([scales], workers=1).tokens("train")


def small_model(*, features=True, **kwargs):
    torch.manual_seed(0)
    names = list(MusicTokenizer.token_names)
    config = MusicLSTMConfig(
        vocab_size=len(names),
        hidden_size=16,
        num_hidden_layers=2,
        token_names=names if features else None,
        **kwargs,
    )
    model = MusicLSTMForCausalLM(config)
    if features:
        torch.nn.init.normal_(model.context_head.weight, std=0.1)
    return model


def test_a_model_that_knows_nothing_costs_the_logarithm_of_the_vocabulary(pieces):
    model, tokenizer = small_model(features=False, tie_word_embeddings=False), MusicTokenizer()
    torch.nn.init.zeros_(model.lm_head.weight)
    result = held_out(model, tokenizer, pieces)
    assert result.bits_per_token == pytest.approx(math.log2(len(tokenizer)), rel=1e-5)
    assert result.tokens == sum(len(piece) + 1 for piece in pieces)
    assert result.bits_per_note == pytest.approx(result.bits / result.notes)


def test_notes_are_counted_by_their_pitches(pieces):
    names = MusicTokenizer().token_names
    expected = sum(names[index].startswith("Pitch") for piece in pieces for index in piece)
    assert held_out(small_model(), MusicTokenizer(), pieces).notes == expected


@pytest.mark.parametrize("features", [True, False])
def test_the_figure_is_that_of_reading_each_piece_alone_and_at_once(pieces, features):
    model, tokenizer = small_model(features=features).eval(), MusicTokenizer()
    nats = 0.0
    for piece in pieces:
        ids = torch.tensor([[tokenizer.bos_id, *piece.tolist(), tokenizer.eos_id]])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        nats += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
    assert held_out(model, tokenizer, pieces).bits == pytest.approx(nats / math.log(2), rel=1e-5)


def test_neither_batch_nor_window_changes_the_figure(pieces, monkeypatch):
    model, tokenizer = small_model(), MusicTokenizer()
    whole = held_out(model, tokenizer, pieces).bits
    monkeypatch.setattr("training.evaluation.held_out.STEPS", 7)
    assert held_out(model, tokenizer, pieces, batch_size=3).bits == pytest.approx(whole, rel=1e-5)


def test_a_model_in_training_stays_in_training(pieces):
    model = small_model(dropout=0.5).train()
    first = held_out(model, MusicTokenizer(), pieces[:2]).bits
    assert model.training
    assert held_out(model, MusicTokenizer(), pieces[:2]).bits == first


def test_accuracy_counts_what_is_likeliest_by_the_kind_of_the_right_token():
    tokenizer = MusicTokenizer()
    names = list(tokenizer.token_names)
    pitch, other, bar = (names.index(name) for name in ("Pitch_60", "Pitch_61", "Bar_None"))
    targets = torch.tensor([[pitch, other, bar, bar]])
    logits = torch.zeros(1, 4, len(tokenizer))
    for place, likeliest in enumerate((pitch, pitch, bar, bar)):
        logits[0, place, likeliest] = 1.0
    accuracy = Accuracy(tokenizer)
    real = torch.tensor([[True, True, True, False]])
    accuracy(logits, targets, real, torch.zeros(1, 4))
    assert accuracy.facts() == {
        "all": {"share": 0.6667, "tokens": 3},
        "Pitch": {"share": 0.5, "tokens": 2},
        "Bar": {"share": 1.0, "tokens": 1},
    }


def test_who_watches_sees_every_token_once(pieces):
    accuracy = Accuracy(MusicTokenizer())
    result = held_out(small_model(), MusicTokenizer(), pieces, batch_size=3, watch=accuracy)
    kinds = accuracy.facts()
    assert kinds["all"]["tokens"] == result.tokens
    assert kinds["Pitch"]["tokens"] + kinds["PitchDrum"]["tokens"] == result.notes
