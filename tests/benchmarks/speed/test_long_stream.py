"""Memory and speed of streamed music."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.speed.long_stream import main


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_memory_and_speed_are_measured(tiny_checkpoint, tmp_path):
    path = tmp_path / "facts.json"
    options = ["--minutes", "3", "--json", str(path)]
    assert main(["--model", str(tiny_checkpoint), *options]) == 0
    facts = json.loads(path.read_text())
    assert facts["minutes"] == 3
    assert facts["bars"] >= 3 * 25
    assert facts["bytes after the first minute"] > 50_000_000
    assert facts["notes per s"] > 0


def test_too_few_minutes_are_refused(capsys):
    assert main(["--minutes", "2"]) == 1
    assert "--minutes must be 3 or more, got 2" in capsys.readouterr().err
