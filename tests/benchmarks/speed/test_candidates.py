"""Cost of candidates."""

from __future__ import annotations

import json

import pytest

from benchmarks.speed import candidates


def test_each_number_of_candidates_is_measured(tiny_checkpoint, tmp_path, capsys):
    path = tmp_path / "candidates.json"
    arguments = ["--model", str(tiny_checkpoint), "--bars", "2", "--rounds", "1"]
    assert candidates.main([*arguments, "--candidates", "1,3", "--json", str(path)]) == 0
    found = json.loads(path.read_text())["candidates"]
    assert set(found) == {"1", "3"}
    assert all(value > 0 for row in found.values() for value in row.values())
    assert "| candidates |" in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--candidates", "33"], ["--bars", "1"]])
def test_invalid_options_are_refused(tiny_checkpoint, capsys, options):
    assert candidates.main(["--model", str(tiny_checkpoint), *options]) == 1
    assert f"{options[0]} must be" in capsys.readouterr().err
