"""Bits per note of a checkpoint and of baselines."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.quality import baselines
from benchmarks.quality.baselines import measure_baselines
from training.data.corpus import read_corpus


def test_longer_contexts_reduce_bits(data, tiny_tokenizer):
    corpus = read_corpus(data.split(","), workers=1)
    found = measure_baselines(corpus, tiny_tokenizer, split="test")
    assert found["5-gram"].bits < found["unigram"].bits < found["uniform"].bits
    assert found["uniform"].bits_per_token == pytest.approx(math.log2(len(tiny_tokenizer)))
    train = measure_baselines(corpus, tiny_tokenizer, split="train")
    assert train["5-gram"].bits_per_note < 0.5 * found["5-gram"].bits_per_note


def test_all_predictors_read_the_same_tokens(data, tmp_path, tiny_checkpoint, capsys):
    path = tmp_path / "figures.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--order", "3"]
    assert baselines.main([*arguments, "--json", str(path)]) == 0
    predictors = json.loads(path.read_text())["predictors"]
    assert list(predictors) == ["uniform", "unigram", "3-gram", str(tiny_checkpoint)]
    counts = [(each["notes"], each["tokens"], each["pieces"]) for each in predictors.values()]
    assert len(set(counts)) == 1
    printed = capsys.readouterr().out
    for each in predictors.values():
        assert f" {each['bits'] / each['notes']:.3f} |" in printed


def test_an_order_below_one_is_refused(data, tiny_checkpoint, capsys):
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--order", "0"]
    assert baselines.main(arguments) == 1
    assert "--order must be 1 or more, got 0" in capsys.readouterr().err
