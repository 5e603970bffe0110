"""What the benchmark of kills takes for an answer."""

from __future__ import annotations

import argparse
import json
import sys

import pytest

from benchmarks.robustness import random_kills, run_process
from benchmarks.robustness.random_kills import KilledRun, count_checkpoints, main
from training.trainer.checkpoints import write_manifest


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--kills", "0"], "error: --kills and --save_steps must be 1 or more.\n"),
        (["--stops", "-1"], "error: --stops must be 0 or more, got -1.\n"),
        (["--eval_steps", "4", "--save_steps", "6"], "error: --eval_steps must divide"),
    ],
)
def test_options_that_mean_nothing_are_one_sentence(options, sentence, capsys):
    assert main(options) == 1
    assert sentence in capsys.readouterr().err


def test_a_torn_checkpoint_is_counted_as_torn(tmp_path):
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "weights").write_bytes(b"x")
        write_manifest(folder)
        (folder / "manifest.json").unlink()
    left = count_checkpoints(tmp_path)
    assert (left["whole"], left["torn"], left["newest"]) == (0, 2, 0)


class Ended:
    """A run that wrote these weights at once."""

    def __init__(self, folder, options, end):
        last = folder / "checkpoint-3"
        last.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"model")
        for name in ("model", "average", "lstm_state_0"):
            (last / f"{name}.safetensors").write_bytes(name.encode())

    def wait_for_the_end(self, patience_s):
        pass


def test_weights_that_differ_from_an_uninterrupted_run_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(random_kills, "TrainingProcess", Ended)
    killed = KilledRun(tmp_path / "run", argparse.Namespace(seed=0))
    Ended(tmp_path / "run", None, 3)
    assert len(killed.compare_with_uninterrupted(tmp_path / "a", 3)) == 64
    (tmp_path / "run" / "checkpoint-3" / "average.safetensors").write_bytes(b"another")
    with pytest.raises(run_process.KillError) as caught:
        killed.compare_with_uninterrupted(tmp_path / "b", 3)
    assert str(caught.value) == (
        "The killed run ended with another checkpoint-3/average.safetensors than a run of 3 steps "
        "without interruption."
    )


def test_a_session_that_is_asked_to_stop_and_fails_is_one_sentence(tmp_path, monkeypatch):
    deaf = "import time; print('step 1 of 9', flush=True); time.sleep(60)"
    monkeypatch.setattr(run_process, "_command_line", lambda *_: [sys.executable, "-c", deaf])
    session = run_process.TrainingProcess(tmp_path, argparse.Namespace())
    session.wait_for_a_step()
    with pytest.raises(run_process.KillError) as caught:
        session.terminate()
    assert str(caught.value).startswith(
        "A process that got SIGTERM ended with status -15; it said: step 1 of 9"
    )


@pytest.mark.slow
def test_a_killed_run_loses_at_most_one_save_interval(tmp_path):
    out = tmp_path / "kills.json"
    assert main(["--kills", "3", "--stops", "1", "--seconds", "2", "--json", str(out)]) == 0
    facts = json.loads(out.read_text())
    assert facts["kills"] == len(facts["sessions"]) == 3
    assert facts["lost_at_most"] <= facts["save_steps"]
    assert facts["sessions"][-1]["left"]["newest"] > 0
    assert [stop["reached"] > 0 for stop in facts["stops"]] == [True]
    assert len(facts["export"]["sha256"]) == 64


def test_a_session_that_loses_more_is_one_sentence(monkeypatch, capsys, tmp_path):
    class Forgetful:
        """Gets far, and begins again every time."""

        def __init__(self, folder, save_steps):
            self.step, self.resumed = 50, 0

        def wait_for_a_step(self):
            pass

        def kill(self):
            pass

    monkeypatch.setattr(random_kills, "TrainingProcess", Forgetful)
    assert main(["--kills", "2", "--seconds", "0"]) == 1
    error = capsys.readouterr().err
    assert error == "error: Process 1 lost 50 steps, more than one save interval.\n"


def test_a_session_that_does_not_learn_says_what_it_said(monkeypatch, capsys):
    broken = [sys.executable, "-c", "print('error: no music here')"]
    monkeypatch.setattr(run_process, "_command_line", lambda *_: broken)
    assert main(["--kills", "1"]) == 1
    error = capsys.readouterr().err
    assert error == "error: A process did not learn; it said: error: no music here\n"
