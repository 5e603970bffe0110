"""Speed and memory of reading MIDI files."""

from __future__ import annotations

import json

from benchmarks.speed.corpus_reading import main


def test_speed_and_peak_memory_are_reported(data, tmp_path, capsys):
    path = tmp_path / "facts.json"
    options = ["--rounds", "1", "--workers", "1", "--files", "3", "--json", str(path)]
    assert main(["--data", data, *options]) == 0
    facts = json.loads(path.read_text())
    assert facts["speed"]["pieces"] == 14
    assert facts["speed"]["seconds with one"][0] > 0
    assert set(facts["again"]) == {"cache", "prepared corpus"}
    memory = facts["memory"]["readings"][0]
    assert 2**20 < memory["before"] <= memory["peak"]
    assert "times as fast with 1" in capsys.readouterr().out


def test_an_invalid_number_of_files_is_refused(data, capsys):
    assert main(["--data", data, "--files", "many"]) == 1
    assert "--files must be numbers above 0" in capsys.readouterr().err
