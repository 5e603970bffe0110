"""Two runs never train in one folder at the same time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from musiclstm.errors import CheckpointError
from training.finetune import main
from training.trainer import run_lock
from training.trainer.checkpoints import finish
from training.trainer.run_lock import exclusive_run

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from training.trainer.run_lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("in", flush=True)
    sys.stdin.read()
"""


def other(folder):
    """Another process that is inside, or was refused."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process, process.stdout.readline()


def test_a_second_run_in_the_folder_is_refused_until_the_first_is_killed(tmp_path):
    process, said = other(tmp_path)
    assert said == "in\n"
    with pytest.raises(CheckpointError) as caught, exclusive_run(tmp_path):
        pass
    assert str(caught.value) == (
        f"Another process is training in {tmp_path.name!r}; wait until it has ended, or choose "
        "another --output_dir."
    )
    process.kill()
    process.communicate()
    with exclusive_run(tmp_path):
        process, said = other(tmp_path)
        assert (said, process.communicate()[0]) == ("", "")


def test_the_command_refuses_a_folder_in_which_another_trains(scales, tmp_path, capsys):
    process, _ = other(tmp_path)
    assert main(["--data", str(scales), "--output_dir", str(tmp_path), "--report_to", "none"]) == 1
    assert capsys.readouterr().err.startswith(
        f"error: Another process is training in {tmp_path.name!r}; wait until"
    )
    process.communicate()


def test_a_lock_that_is_not_ours_is_one_sentence(tmp_path):
    (tmp_path / "running.lock").mkdir()
    with pytest.raises(CheckpointError) as caught, exclusive_run(tmp_path):
        pass
    assert str(caught.value) == (
        f"running.lock in {tmp_path.name!r} is not ours to write, so another person's run may be "
        "there; choose another --output_dir."
    )


def test_a_run_that_notes_its_end_is_still_alone(tmp_path):
    with exclusive_run(tmp_path):
        finish(tmp_path, 3, 3)
        process, said = other(tmp_path)
        process.communicate()
        assert said == ""


def test_a_disk_that_knows_no_locks_refuses_nobody(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(run_lock.fcntl, "lockf", unknown)
    with exclusive_run(tmp_path):
        pass


def test_a_system_that_knows_no_locks_refuses_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "fcntl", None)
    with exclusive_run(tmp_path):
        pass
