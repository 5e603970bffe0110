"""Import, load and first bar in a fresh process."""

from __future__ import annotations

import json

from benchmarks.speed.startup import LIMIT_MB, STEPS, main


def test_every_step_and_the_peak_are_measured(tiny_checkpoint, tmp_path, capsys) -> None:
    file = tmp_path / "startup.json"
    main(["--model", str(tiny_checkpoint), "--runs", "1", "--json", str(file)])
    facts = json.loads(file.read_text())
    assert list(facts["seconds"]) == list(STEPS)
    assert 0.05 < facts["total_s"] < 60
    assert 20 < facts["peak_mb"] < LIMIT_MB
    assert facts["slow_packages"] == []
    assert f"{facts['peak_mb']} MB" in capsys.readouterr().out


def test_a_model_that_does_not_exist_is_one_sentence(capsys) -> None:
    assert main(["--model", "no/such/folder", "--runs", "1"]) == 1
    assert "is neither a folder nor a Hub id" in capsys.readouterr().err
