"""What became of many presses is counted, and told in a table."""

from __future__ import annotations

import json
import math
import sys

import pytest

from benchmarks.common.http_client import Told
from benchmarks.speed import request_bodies
from benchmarks.speed.page_load import _growth, _percentile, _row, _text, main

PLAYED = Told(200, ended=True, first_sound_s=1.0, end_s=2.0)
SLOW = Told(200, ended=True, first_sound_s=3.0, end_s=6.0)
REFUSED = Told(503, "Everybody composes.", end_s=0.01)
FAILED = Told(200, "Something broke.", ended=True)
UNHEARD = Told(200)


def test_every_press_is_counted_once():
    row = _row([PLAYED, SLOW, REFUSED, FAILED, UNHEARD, None], 60.0, 10)
    assert [row[name] for name in ("played", "refused", "failed", "lost")] == [2, 1, 1, 2]
    assert (row["first_p50_s"], row["end_p95_s"]) == (1.0, 6.0)
    assert row["refusal_s"] == 0.01
    assert row["per_minute"] == 2
    assert row["sentences"] == ["Everybody composes.", "Something broke."]


def test_of_nothing_there_is_no_percentile():
    assert math.isnan(_percentile([], 50))
    assert _percentile([3.0, 1.0, 2.0], 50) == 2.0
    assert _percentile(list(range(101)), 95) == 95


def test_growth_is_measured_after_the_warm_up():
    held = [(s, 1000 if s < 25 else 500 + s // 50, s % 7, 10 * s) for s in range(100)]
    found = _growth(held)
    assert (found["before_bytes"], found["after_bytes"]) == (500, 501)
    assert found["growth"] == pytest.approx(0.002)
    assert (found["most_files"], found["most_file_bytes"]) == (6, 990)


def test_the_table_and_the_sentences():
    row = {"listeners": 6, "kind": "burst", **_row([PLAYED, REFUSED], 60.0, 200_000_000)}
    mixed = _row([PLAYED], 60.0, 1) | {"presses": 1, "killed": 2}
    mixed |= _growth([(0.0, 100_000_000, 3, 1_000_000)])
    large = [{"route": "upload", "kind": "json", "status": 413, "seconds": 0.5, "grown_bytes": 0}]
    sent = {
        "size_bytes": 2e8,
        "large": large,
        "stalled": vars(request_bodies.Stalled(3, 3, 30.4, [0.1])),
    }
    text = _text({"rows": [row], "mixed": mixed, "bodies": sent})
    assert "| 6 in a burst |      1 |       1 |      0 |    0 |" in text
    assert "1 presses, 1 played, 0 refused, 0 told of an error, 0 lost; 2 helpers killed." in text
    assert "Memory 100 MB after warming up, then 100 MB, +0.0 % (at most 10 %)" in text
    assert "1 bodies of 200 MB: answered 413, the slowest after 0.50 s" in text
    assert "3 stalled uploads: 3 closed, the last after 30 s" in text


@pytest.mark.parametrize("listeners", ["", "0", "1,x", "-1"])
def test_listeners_that_are_no_number_are_refused(listeners, capsys):
    assert main(["--listeners", listeners]) == 1
    assert capsys.readouterr().err == (
        f"error: --listeners must be numbers such as 1,5,10, got {listeners!r}.\n"
    )


@pytest.mark.slow
@pytest.mark.fluidsynth
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_few_listeners_all_hear_something(tmp_path, tiny_checkpoint):
    found = tmp_path / "load.json"
    few = ["--listeners", "2", "--wave", "1", "--bars", "2", "--model", str(tiny_checkpoint)]
    more = ["--minutes", "0.1", "--visitors", "2", "--bodies", "5", "--stalled", "2"]
    assert main([*few, *more, "--json", str(found)]) == 0
    facts = json.loads(found.read_text())
    assert [row["played"] for row in facts["rows"]] == [2, 2]
    assert facts["mixed"]["lost"] == 0
    assert facts["bodies"]["stalled"]["closed"] == 2
