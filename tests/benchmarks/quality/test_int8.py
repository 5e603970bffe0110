"""Int8 inference, compared with the float32 model."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.quality import int8
from benchmarks.quality.int8 import step_logits
from musiclstm.generation.decoding.inference import InferenceModel


def test_bits_of_steps_are_near_those_of_the_model(data, tiny_checkpoint, tmp_path, capsys):
    place = tmp_path / "precision.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--pieces", "2"]
    assert int8.main([*arguments, "--json", str(place)]) == 0
    facts = json.loads(place.read_text())
    bits = facts["bits per note"]
    assert facts["pieces"] == 2
    assert bits["steps"] == pytest.approx(bits["float32"], rel=0.02)
    assert facts["worse by"] == pytest.approx(bits["steps"] / bits["float32"] - 1)
    assert 0 <= facts["divergence bits a token"]["mean"] <= facts["divergence bits a token"]["max"]
    assert facts["torch steps furthest from the model"] < 1e-4
    assert f"{bits['steps']:.4f}" in capsys.readouterr().out


def test_steps_in_float32_give_the_logits_of_the_model(tiny_model, tiny_tokenizer, invented):
    stream = [tiny_tokenizer.bos_id, *tiny_tokenizer.encode(invented(bars=2))]
    found = step_logits(InferenceModel(tiny_model, engine="torch"), stream)
    with torch.inference_mode():
        expected = tiny_model(torch.tensor([stream])).logits[0, :-1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_negative_number_of_pieces_is_refused(data, capsys):
    assert int8.main(["--data", data, "--pieces", "-1"]) == 1
    assert "--pieces must be 0 or more, got -1" in capsys.readouterr().err
