"""The folder of a run: its lock, and checkpoints that are valid only when complete."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from musiclstm.errors import CheckpointError
from training.trainer.checkpoints import (
    TrainingTimer,
    checkpoints,
    exclusive_run,
    find_valid,
    is_exported,
    latest_valid_checkpoint,
    mark_finished,
    remove,
    require_valid,
    rotate,
    step_of,
    validation_error,
    write_manifest,
)

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")


def make(run, step, *, complete=True):
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(step % 7, step % 7 + 90)))
    (folder / "state.json").write_text(json.dumps({"step": step}))
    if complete:
        write_manifest(folder)
    return folder


def steps(run):
    return [step_of(path) for path in checkpoints(run)]


# Validity.


@pytest.fixture
def synced(monkeypatch):
    """Names of files that are flushed or renamed, in order."""
    events, sync, replace = [], os.fsync, Path.replace

    def syncing(number):
        events.append(f"sync {Path(f'/proc/self/fd/{number}').readlink().name}")
        sync(number)

    def replacing(self, target):
        events.append(f"rename {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    return events


@needs_proc
def test_the_manifest_is_written_after_all_files_are_flushed(tmp_path, synced):
    folder = make(tmp_path, 1, complete=False)
    assert validation_error(folder) == "it was not completely written"
    write_manifest(folder)
    assert validation_error(folder) is None
    assert synced == [
        *("sync state.json", "sync weights.bin", f"sync {tmp_path.name}"),
        *("sync manifest.json.partial", "rename manifest.json", "sync checkpoint-1"),
    ]


@needs_proc
def test_a_run_is_marked_as_finished_after_its_model_is_flushed(tmp_path, synced):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    mark_finished(tmp_path, 7, 9)
    assert synced[0] == "sync model.safetensors"
    assert synced.index("rename finished.json") > 0
    assert is_exported(tmp_path, None, 9)
    assert not is_exported(tmp_path, None, 10)
    assert is_exported(tmp_path, make(tmp_path, 7), 9)
    assert not is_exported(tmp_path, make(tmp_path, 8), 9)


@pytest.mark.parametrize(("number", "valid"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_disk_without_fsync_is_accepted_and_a_failing_one_is_not(
    tmp_path, monkeypatch, number, valid
):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("training.trainer.checkpoints._fsync_path", fail)
    folder = make(tmp_path, 1, complete=False)
    with nullcontext() if valid else pytest.raises(OSError, match="Input/output error"):
        write_manifest(folder)
    assert (validation_error(folder) is None) is valid


def test_a_truncated_changed_or_missing_file_is_damage(tmp_path):
    short, changed, missing = (make(tmp_path, step) for step in (1, 2, 3))
    (short / "weights.bin").write_bytes(b"12")
    content = bytearray((changed / "weights.bin").read_bytes())
    content[40] ^= 1
    (changed / "weights.bin").write_bytes(content)
    (missing / "state.json").unlink()
    assert validation_error(short) == validation_error(changed) == "weights.bin is damaged"
    assert validation_error(missing) == "state.json is missing"


@pytest.mark.parametrize(
    "text", ['{"files": {"wei', *(f'{{"files": {{"weights.bin": {x}}}}}' for x in ("3", "{}"))]
)
def test_a_damaged_manifest_is_damage(tmp_path, text):
    folder = make(tmp_path, 1)
    (folder / "manifest.json").write_text(text)
    assert validation_error(folder) == "its manifest.json is damaged"


# Selection.


def test_the_newest_valid_checkpoint_is_used_and_newer_ones_are_reported(tmp_path):
    for step in (9, 10):
        make(tmp_path, step)
    make(tmp_path, 100, complete=False)
    (make(tmp_path, 20) / "weights.bin").unlink()
    reports = []
    assert latest_valid_checkpoint(tmp_path, reports.append) == tmp_path / "checkpoint-10"
    assert [report.split(":")[0] for report in reports] == [
        "Skipped checkpoint-100",
        "Skipped checkpoint-20",
    ]


def test_a_run_without_checkpoints_has_no_latest_one(tmp_path):
    (tmp_path / "checkpoint-of-something-else").mkdir()
    assert latest_valid_checkpoint(tmp_path, pytest.fail) is None
    assert latest_valid_checkpoint(tmp_path / "nowhere", pytest.fail) is None


def test_a_named_checkpoint_must_be_valid(tmp_path):
    for checkpoint in (make(tmp_path, 4, complete=False), tmp_path / "checkpoint-5"):
        with pytest.raises(CheckpointError, match=f"{checkpoint.name}.*--resume_from_checkpoint"):
            require_valid(checkpoint)


def test_a_checkpoint_or_the_folder_of_its_run_finds_it(tmp_path):
    folder = make(tmp_path, 4)
    assert find_valid(folder, pytest.fail) == find_valid(tmp_path, pytest.fail) == folder


def test_a_folder_of_weights_alone_is_not_checked(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert find_valid(tmp_path, pytest.fail) == tmp_path


@pytest.mark.parametrize("name", ["checkpoint-4", "renamed"])
def test_a_damaged_checkpoint_is_refused_under_any_name(tmp_path, name):
    folder = make(tmp_path, 4).rename(tmp_path / name)
    (folder / "state.json").unlink()
    with pytest.raises(CheckpointError, match=f"'{name}'.*state.json is missing"):
        find_valid(folder, pytest.fail)


# Deletion.


def test_invalid_checkpoints_do_not_count_among_those_kept(tmp_path):
    for step in (1, 2, 3):
        make(tmp_path, step)
    make(tmp_path, 4, complete=False)
    (tmp_path / "checkpoint-2" / "weights.bin").unlink()
    rotate(tmp_path, 2, best_step=None)
    assert steps(tmp_path) == [1, 3]


def test_the_best_and_the_newest_checkpoint_are_kept(tmp_path):
    for step in (1, 2, 3, 4, 10):
        make(tmp_path, step)
    rotate(tmp_path, 3, best_step=2)
    assert steps(tmp_path) == [2, 4, 10]
    rotate(tmp_path, 1, best_step=2)
    assert steps(tmp_path) == [2, 10]
    rotate(tmp_path, None, best_step=None)
    assert steps(tmp_path) == [2, 10]


def test_a_partly_deleted_checkpoint_is_not_valid(tmp_path, monkeypatch):
    folder = make(tmp_path, 1)
    monkeypatch.setattr("training.trainer.checkpoints.shutil.rmtree", lambda *_, **__: None)
    remove(folder)  # killed after the manifest
    assert (folder / "weights.bin").exists()
    assert validation_error(folder) is not None


def test_the_timer_adds_the_time_of_earlier_sessions(tmp_path):
    (tmp_path / "training_time.json").write_text('{"seconds": 100.0}')
    timer = TrainingTimer()
    timer.resume(tmp_path)
    timer.save(tmp_path)
    assert json.loads((tmp_path / "training_time.json").read_text())["seconds"] >= 100.0


# Lock.

HOLD_LOCK = """
import os, sys, time
from pathlib import Path
from training.trainer.checkpoints import exclusive_run
with exclusive_run(Path(sys.argv[1])):
    if os.fork() == 0:  # a worker that outlives the run
        os.close(1)
        time.sleep(30)
        os._exit(0)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "locked\n"
    with pytest.raises(CheckpointError, match=f"training in '{tmp_path.name}'"):
        exclusive_run(tmp_path).__enter__()
    process.kill()
    process.communicate()
    with exclusive_run(tmp_path):
        mark_finished(tmp_path, 3, 3)  # opens every file of the run, and keeps the lock
        with pytest.raises(CheckpointError):
            exclusive_run(tmp_path).__enter__()


def test_a_lock_file_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "running.lock").mkdir()
    with pytest.raises(CheckpointError, match=r"running\.lock.*--output_dir"):
        exclusive_run(tmp_path).__enter__()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows always has locks")
def test_a_disk_without_locks_is_used_without_one(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    with exclusive_run(tmp_path):
        pass
