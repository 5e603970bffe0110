"""Kills at the file events of a run, a handful of them here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.robustness import kill_at_every_write
from benchmarks.robustness.fault_injection import Fault, FileEvents
from benchmarks.robustness.kill_at_every_write import FaultyRuns, all_faults, evenly_spaced, main
from benchmarks.robustness.run_process import KillError

ROOT = Path(__file__).parents[3]
LINUX = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux for names")

# What a process writes that is faults: a record, by way of a partial file.
WRITER = """
import os, sys
from pathlib import Path
from benchmarks.robustness.fault_injection import Fault, FileEvents
folder = Path(sys.argv[1])
watch = FileEvents(folder, Fault(sys.argv[2], int(sys.argv[3])))
watch.install()
with (folder / "a.partial").open("w") as file:
    file.write("0123456789")
    file.flush()
    os.fsync(file.fileno())
(folder / "a.partial").replace(folder / "a")
(folder / "a").unlink()
"""


def test_every_event_is_a_point_and_every_file_can_be_torn():
    events = ["open a", "fsync a", "fsync b", "rename a", "write c", "open last"]
    assert all_faults(events) == [
        *(Fault("before", 0), Fault("torn", 0), Fault("before", 1), Fault("before", 3)),
        *(Fault("before", 4), Fault("torn", 4), Fault("before", 5)),
    ]


def test_points_are_spread_over_all_of_them():
    assert evenly_spaced(range(100), 4) == [12, 37, 62, 87]
    assert evenly_spaced("abc", 5) == ["a", "b", "c"]
    assert evenly_spaced("abc", 0) == []


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "number", "left"),
    [
        ("before", 0, {}),
        ("before", 2, {"a.partial": "0123456789"}),
        ("torn", 0, {"a.partial": "01234"}),
        ("before", 3, {"a": "0123456789"}),
    ],
)
def test_a_strike_leaves_what_was_written_until_then(tmp_path, mode, number, left):
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path), mode, str(number)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -9
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == left


@LINUX
def test_events_elsewhere_are_not_counted(tmp_path):
    watch = FileEvents(tmp_path / "run", None)
    watch._on_audit_event("open", (str(tmp_path / "run" / "a"), "w", os.O_WRONLY))
    watch._on_audit_event("open", (str(tmp_path / "elsewhere"), "w", os.O_WRONLY))
    watch._on_audit_event("open", (str(tmp_path / "run" / "a"), "r", os.O_RDONLY))
    watch._on_audit_event("os.rename", (tmp_path / "b", tmp_path / "run" / "c", -1, -1))
    watch._on_audit_event("os.remove", (bytes(tmp_path / "run" / "c"), -1))
    assert watch.events == ["open a", "rename c", "remove c"]


@LINUX
def test_a_killed_run_ends_with_the_weights_of_a_run_without_faults(tmp_path, capsys):
    out = tmp_path / "chaos.json"
    assert main(["--points", "3", "--stops", "1", "--json", str(out)]) == 0
    facts = json.loads(out.read_text())
    assert [point["mode"] for point in facts["points"]][-1] == "term"
    assert len(facts["points"]) == 4
    assert facts["lost_at_most"] <= 2
    assert {"rename finished.json", "write model.safetensors"} <= set(facts["events"])
    said = capsys.readouterr().out
    assert "all 4 resumed" in said
    assert "| rename | " in said


class Played(FaultyRuns):
    """Sessions that are only played: the second learns something else, or goes too far back."""

    def __init__(self, folder, resumed):
        self._folder, self._run = folder, folder / "run"
        self.events, self._resumed = ["open a", "rename b"], resumed
        (self._run / "checkpoint-6").mkdir(parents=True)
        self.digests = {"model.safetensors": "0"}

    def _session(self, fault, allowed):
        account = kill_at_every_write.TrainingProgress()
        account.step, account.resumed = 5, 0 if fault else self._resumed
        return (-9 if fault else 0), account


@pytest.mark.parametrize(
    ("resumed", "sentence"),
    [
        (2, "A run that was faults (before) at event 1, 'rename b', lost 3 steps."),
        (
            4,
            "A run that was faults (before) at event 1, 'rename b', ended with another "
            "model.safetensors.",
        ),
    ],
)
def test_what_a_run_must_not_lose_or_change_is_one_sentence(
    tmp_path, monkeypatch, resumed, sentence
):
    monkeypatch.setattr(kill_at_every_write, "digests", lambda _: {"model.safetensors": "1"})
    with pytest.raises(KillError) as caught:
        Played(tmp_path, resumed).run_with_fault(Fault("before", 1))
    assert str(caught.value) == sentence


@LINUX
def test_a_session_that_does_not_die_is_one_sentence(tmp_path, monkeypatch, capsys):
    def play(arguments, folder, notes, fault):
        (notes / "output.txt").write_text("step 1 of 6\nerror: no music here\n")
        return 1

    monkeypatch.setattr(kill_at_every_write, "run", play)
    assert main(["--points", "1"]) == 1
    assert capsys.readouterr().err == (
        "error: A process ended with status 1; it said: step 1 of 6 error: no music here\n"
    )


@pytest.mark.parametrize("options", [["--points", "0"], ["--stops", "-1"]])
def test_options_that_mean_nothing_are_one_sentence(options, capsys):
    assert main(options) == 1
    error = capsys.readouterr().err
    assert error == "error: --points must be 1 or more, and --stops 0 or more.\n"
