"""Response times of the page in Chromium."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.speed.page_in_browser import MAX_S, _text, main


def test_times_over_their_limit_are_marked():
    times = [[0.05], [1.0, 2.0, 9.0], [4.0], [0.5], [3.0]]
    text = _text(dict(zip(MAX_S, times, strict=True)), 0.01, None)
    rows = text.splitlines()[2:7]
    assert [row.split("|")[-2].strip() for row in rows] == ["yes", "no", "yes", "yes", "yes"]
    assert "Layout shift: 0.010" in text


def test_presses_below_one_are_refused(capsys):
    assert main(["--presses", "0"]) == 1
    assert "--presses must be 1 or more, got 0" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.fluidsynth
@pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed")
def test_times_and_memory_are_measured(tmp_path):
    path = tmp_path / "page.json"
    few = ["--presses", "1", "--rounds", "1", "--continuations", "2", "--warm-up", "1"]
    assert main([*few, "--json", str(path)]) == 0
    facts = json.loads(path.read_text())
    assert all(0 < seconds < 60 for times in facts["seconds"].values() for seconds in times)
    assert facts["layout_shift"] < 1
    assert facts["memory"]["before_bytes"] > 50_000_000
