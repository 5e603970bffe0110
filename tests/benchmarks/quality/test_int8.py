"""Int8 inference, compared with the float32 model."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality import int8


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
    assert f"{bits['steps']:.4f}" in capsys.readouterr().out


def test_a_negative_number_of_pieces_is_refused(data, capsys):
    assert int8.main(["--data", data, "--pieces", "-1"]) == 1
    assert "--pieces must be 0 or more, got -1" in capsys.readouterr().err
