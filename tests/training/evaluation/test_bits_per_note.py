"""Bits per note, and accuracy by type of token."""

from __future__ import annotations

import math

import pytest
import torch

from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import read_corpus
from training.evaluation.bits_per_note import TokenStatistics, measure_bits


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


def test_uniform_logits_cost_the_logarithm_of_the_vocabulary_per_token(pieces):
    model, tokenizer = small_model(features=False, tie_word_embeddings=False), MusicTokenizer()
    torch.nn.init.zeros_(model.lm_head.weight)
    result = measure_bits(model, tokenizer, pieces)
    assert result.bits_per_token == pytest.approx(math.log2(len(tokenizer)), rel=1e-5)
    assert result.tokens == sum(len(piece) + 1 for piece in pieces)
    names = tokenizer.token_names
    assert result.notes == sum(names[i].startswith("Pitch") for piece in pieces for i in piece)
    assert result.bits_per_note == pytest.approx(result.bits / result.notes)


@pytest.mark.parametrize("features", [True, False])
def test_batches_and_windows_equal_one_forward_pass_per_piece(pieces, features, monkeypatch):
    model, tokenizer = small_model(features=features).eval(), MusicTokenizer()
    nats = 0.0
    for piece in pieces:
        ids = torch.tensor([[tokenizer.bos_id, *piece.tolist(), tokenizer.eos_id]])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        nats += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
    expected = pytest.approx(nats / math.log(2), rel=1e-5)
    assert measure_bits(model, tokenizer, pieces).bits == expected
    monkeypatch.setattr("training.evaluation.bits_per_note.STEPS", 7)
    assert measure_bits(model, tokenizer, pieces, batch_size=3).bits == expected


def test_a_model_in_training_mode_is_read_without_dropout_and_stays_in_it(pieces):
    model = small_model(dropout=0.5).train()
    first = measure_bits(model, MusicTokenizer(), pieces[:2]).bits
    assert model.training
    assert measure_bits(model, MusicTokenizer(), pieces[:2]).bits == first


def test_accuracy_counts_the_most_likely_token_by_type():
    tokenizer = MusicTokenizer()
    names = list(tokenizer.token_names)
    pitch, other, bar = (names.index(name) for name in ("Pitch_60", "Pitch_61", "Bar_None"))
    targets = torch.tensor([[pitch, other, bar, bar]])
    logits = torch.zeros(1, 4, len(tokenizer))
    for index, likeliest in enumerate((pitch, pitch, bar, bar)):
        logits[0, index, likeliest] = 1.0
    statistics = TokenStatistics.of_tokenizer(tokenizer)
    counted = torch.tensor([[True, True, True, False]])
    statistics(logits, targets, counted, torch.full((1, 4), math.log(2)))
    assert statistics.accuracy() == {
        "all": {"share": 0.6667, "tokens": 3},
        "Pitch": {"share": 0.5, "tokens": 2},
        "Bar": {"share": 1.0, "tokens": 1},
    }
    assert statistics.bits() == pytest.approx({"Pitch": 2, "Bar": 1})


def test_an_observer_receives_every_token_once(pieces):
    statistics = TokenStatistics.of_tokenizer(MusicTokenizer())
    result = measure_bits(
        small_model(), MusicTokenizer(), pieces, batch_size=3, observer=statistics
    )
    types = statistics.accuracy()
    assert types["all"]["tokens"] == result.tokens
    assert types["Pitch"]["tokens"] + types["PitchDrum"]["tokens"] == result.notes
    assert sum(statistics.bits().values()) == pytest.approx(result.bits)
