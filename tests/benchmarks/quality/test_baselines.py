"""Bits per note of a checkpoint and of what only counts."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.quality import baselines
from benchmarks.quality.baselines import counted
from training.data.corpus import read_corpus
from training.evaluation.bits_per_note import measure_bits


@pytest.fixture
def corpus(data):
    return read_corpus(data.split(","), workers=1)


def test_all_predictors_are_asked_the_same(corpus, tiny_model, tiny_tokenizer):
    found = counted(corpus, tiny_tokenizer, split="test")
    model = measure_bits(tiny_model, tiny_tokenizer, corpus.tokens("test"))
    assert list(found) == ["uniform", "unigram", "5-gram"]
    for each in found.values():
        assert (each.notes, each.tokens, each.pieces) == (model.notes, model.tokens, model.pieces)


def test_uniform_costs_the_logarithm_of_the_vocabulary(corpus, tiny_tokenizer):
    found = counted(corpus, tiny_tokenizer, split="test")["uniform"]
    assert found.bits_per_token == pytest.approx(math.log2(len(tiny_tokenizer)))


def test_knowing_more_costs_less(corpus, tiny_tokenizer):
    found = counted(corpus, tiny_tokenizer, split="test")
    assert found["5-gram"].bits < found["unigram"].bits < found["uniform"].bits


def test_held_out_pieces_are_not_learned_from(corpus, tiny_tokenizer):
    found = counted(corpus, tiny_tokenizer, split="test", order=5)
    known = counted(corpus, tiny_tokenizer, split="train", order=5)
    assert known["5-gram"].bits_per_note < 0.5 * found["5-gram"].bits_per_note


def test_the_command_prints_a_table_and_writes_the_figures(data, tmp_path, tiny_checkpoint, capsys):
    place = tmp_path / "figures.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--order", "3"]
    assert baselines.main([*arguments, "--json", str(place)]) == 0
    facts = json.loads(place.read_text())
    assert list(facts["predictors"]) == ["uniform", "unigram", "3-gram", str(tiny_checkpoint)]
    printed = capsys.readouterr().out
    for figures in facts["predictors"].values():
        assert f" {figures['bits'] / figures['notes']:.3f} |" in printed
    notes = facts["predictors"]["uniform"]["notes"]
    assert f"6 pieces, {notes:,} notes" in printed


def test_an_order_below_one_is_one_sentence_and_status_1(data, tiny_checkpoint, capsys):
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--order", "0"]
    assert baselines.main(arguments) == 1
    assert capsys.readouterr().err == "error: --order must be 1 or more, got 0.\n"
