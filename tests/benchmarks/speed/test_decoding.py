"""Speed of steps and compositions."""

from __future__ import annotations

import json

import pytest

from benchmarks.speed import decoding

SHORT = ["--bars", "1", "--prompt_bars", "1", "--examples", "1", "--rounds", "1"]


def test_steps_and_compositions_are_measured(monkeypatch, tiny_checkpoint, tmp_path, capsys):
    monkeypatch.setattr(decoding, "_REPEATS", 1)
    monkeypatch.setattr(decoding, "_GENERATED", 8)
    monkeypatch.setattr(decoding, "_BARS", 1)
    monkeypatch.setattr(decoding, "ROWS", (1, 2))
    path = tmp_path / "speed.json"
    arguments = ["--model", str(tiny_checkpoint), *SHORT, "--json", str(path)]
    assert decoding.main(arguments) == 0
    facts = json.loads(path.read_text())
    assert [row["rows"] for row in facts["batches"]] == [1, 2]
    assert all(row["tokens/s"] > 0 for row in facts["batches"])
    assert 0 < facts["features us"] < facts["step us"]
    found = facts["composing"][decoding.NEW]
    assert found["first bar"] > 0
    assert facts["composer / generate()"] == pytest.approx(
        found["tokens/s"] / facts["generate() tokens/s"]
    )
    assert f"| {decoding.NEW} |" in capsys.readouterr().out


def test_speeds_are_medians_of_the_rounds():
    rounds = [
        [[10, 1.0, 30], [80, 2.0, 200], [[0.1, 0.5], [0.3, 0.7]]],
        [[10, 2.0, 30], [80, 1.0, 200], [[0.2, 0.6], [0.3, 0.6]]],
        [[10, 4.0, 30], [80, 4.0, 200], [[0.1, 0.5], [0.4, 0.8]]],
    ]
    found = decoding._speeds(rounds)
    assert (found["one sequence"], found["four sequences"]) == (5.0, 40.0)
    assert (found["first bar"], found["first sound"]) == pytest.approx((250, 600))
    doubled = {name: 2 * value for name, value in found.items()}
    ratios = decoding._ratios({decoding.NEW: doubled, "old": found})
    assert ratios == {"old": dict.fromkeys(("tokens/s", *decoding.KINDS), 2.0)}


def test_rounds_below_one_are_refused(capsys):
    assert decoding.main(["--rounds", "0"]) == 1
    assert "--rounds must be 1 or more, got 0" in capsys.readouterr().err
