"""Many users of one server."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.common.http_client import JobResult
from benchmarks.speed.page_load import MemorySample, _growth, _summarize, main


def test_every_job_is_counted_once():
    results = [
        JobResult(200, ended=True, first_sound_s=1.0, end_s=2.0),
        JobResult(200, ended=True, first_sound_s=3.0, end_s=6.0),
        JobResult(503, "The queue is full.", end_s=0.01),
        JobResult(200, "An error.", ended=True),
        JobResult(200),  # no end reported
        None,  # broken connection
    ]
    row = _summarize(results, 60.0, 10)
    assert [row[name] for name in ("played", "refused", "failed", "lost")] == [2, 1, 1, 2]
    assert (row["first_p50_s"], row["end_p95_s"]) == (1.0, 6.0)
    assert row["per_minute"] == 2
    assert row["sentences"] == ["An error.", "The queue is full."]


def test_growth_is_measured_after_the_warm_up():
    samples = [
        MemorySample(s, 1000 if s < 25 else 500 + s // 50, s % 7, 10 * s) for s in range(100)
    ]
    found = _growth(samples)
    assert (found["before_bytes"], found["after_bytes"]) == (500, 501)
    assert (found["most_files"], found["most_file_bytes"]) == (6, 990)


@pytest.mark.parametrize("listeners", ["0", "1,x"])
def test_invalid_numbers_of_users_are_refused(listeners, capsys):
    assert main(["--listeners", listeners]) == 1
    assert "--listeners must be numbers such as 1,5,10" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.fluidsynth
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_all_jobs_of_a_few_users_are_played(tmp_path, tiny_checkpoint):
    path = tmp_path / "load.json"
    few = ["--listeners", "2", "--wave", "1", "--bars", "2", "--model", str(tiny_checkpoint)]
    more = ["--minutes", "0.1", "--visitors", "2", "--bodies", "5", "--stalled", "2"]
    assert main([*few, *more, "--json", str(path)]) == 0
    facts = json.loads(path.read_text())
    assert [row["played"] for row in facts["rows"]] == [2, 2]
    assert facts["mixed"]["lost"] == 0
    assert facts["bodies"]["stalled"]["closed"] == 2
