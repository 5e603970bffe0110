"""What a visitor waits for is told in a table."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace

import pytest

from benchmarks.speed.page_in_browser import _report, main


def test_what_is_too_slow_is_told():
    growth = {
        "continuations": 200,
        "warm_up": 60,
        "before_bytes": 5e8,
        "after_bytes": 5.5e8,
        "growth": 0.1,
    }
    report = _report(3.0, [1.0, 2.0, 9.0], [0.5], [4.0], growth, Namespace())
    first, four, changed, usable = report.text.splitlines()[2:6]
    assert first.startswith("| press to first sound ")
    assert [line.endswith("| no      |") for line in (first, four, changed, usable)] == [
        True, False, False, False,
    ]  # fmt: skip
    assert "500 MB, then 550 MB, +10.0 % (at most 5 %)" in report.text


def test_nothing_to_press_is_refused(capsys):
    assert main(["--presses", "0"]) == 1
    assert capsys.readouterr().err == "error: --presses must be 1 or more, got 0.\n"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.fluidsynth
@pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed")
def test_a_visitor_hears_something(tmp_path):
    found = tmp_path / "page.json"
    few = ["--presses", "1", "--rounds", "1", "--continuations", "2", "--warm-up", "1"]
    assert main([*few, "--json", str(found)]) == 0
    facts = json.loads(found.read_text())
    assert all(0 < seconds < 60 for times in facts["seconds"].values() for seconds in times)
    assert facts["memory"]["before_bytes"] > 50_000_000
