"""Speed of steps and compositions, and ratios to an older version."""

from __future__ import annotations

import json

import pytest

from benchmarks.speed import decoding
from musiclstm.core.features import is_available

SHORT = ["--bars", "1", "--prompt_bars", "1", "--examples", "1", "--rounds", "1"]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(decoding, "_REPEATS", 1)
    monkeypatch.setattr(decoding, "_GENERATED", 8)
    monkeypatch.setattr(decoding, "ROWS", (1, 2))


def test_a_run_measures_steps_and_compositions(quick, tiny_checkpoint, tmp_path, capsys):
    place = tmp_path / "speed.json"
    arguments = ["--model", str(tiny_checkpoint), *SHORT, "--json", str(place)]
    assert decoding.main(arguments) == 0
    facts = json.loads(place.read_text())
    assert [row["rows"] for row in facts["steps"]] == [1, 2]
    for row in facts["steps"]:
        assert row["step us"] > 0
        assert (row["features us"] > 0) == is_available()
        assert row["share"] == pytest.approx(row["features us"] / row["step us"])
    found = facts["composing"][decoding.NEW]
    assert found["first bar"] > 0
    assert found["tokens/s"] > 0
    assert facts["composer / generate()"] == pytest.approx(
        found["tokens/s"] / facts["generate() tokens/s"]
    )
    assert facts["ratios"] == {}
    assert f"| {decoding.NEW} |" in capsys.readouterr().out


def test_speeds_are_medians_of_rounds_and_ratios_of_them():
    rounds = [
        [[10, 1.0, 30], [80, 2.0, 200], [[0.1, 0.5], [0.3, 0.7]]],
        [[10, 2.0, 30], [80, 1.0, 200], [[0.2, 0.6], [0.3, 0.6]]],
        [[10, 4.0, 30], [80, 4.0, 200], [[0.1, 0.5], [0.4, 0.8]]],
    ]
    found = decoding._speeds(rounds)
    assert (found["one take"], found["four takes"]) == (5.0, 40.0)
    assert (found["first bar"], found["first sound"]) == pytest.approx((250, 600))
    assert (found["tokens/s"], found["tokens a note"]) == (15.0, 3.0)
    faster = {name: 2 * value for name, value in found.items()}
    assert decoding._ratios({decoding.NEW: faster, decoding.OLD: found}) == dict.fromkeys(
        decoding.KINDS, 2.0
    )


def test_without_a_renderer_there_is_no_time_to_the_first_sound():
    found = decoding._speeds([[[10, 1.0, 30], [80, 2.0, 200], [[0.1, None]]]])
    assert "first sound" not in found
    assert "first sound" not in decoding._ratios({decoding.NEW: found, decoding.OLD: found})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--bars", "0"], "--bars must be 1 or more, got 0."),
        (["--rounds", "0"], "--rounds must be 1 or more, got 0."),
    ],
)
def test_numbers_without_a_meaning_are_refused(options, sentence, capsys):
    assert decoding.main(options) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"


def test_a_folder_without_version_0_2_is_refused(quick, tiny_checkpoint, tmp_path, capsys):
    arguments = ["--model", str(tiny_checkpoint), *SHORT, "--old", str(tmp_path)]
    assert decoding.main(arguments) == 1
    assert "is not a checkout of version 0.2." in capsys.readouterr().err
