"""A checkpoint counts only when all of it is there."""

from __future__ import annotations

import errno
import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from musiclstm.errors import CheckpointError
from training.trainer.checkpoints import (
    Stopwatch,
    check_whole,
    checkpoints,
    find_whole,
    finish,
    is_exported,
    latest_valid_checkpoint,
    remove,
    rotate,
    step_of,
    validation_error,
    write_manifest,
)


def make(run, step, *, sealed=True):
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(step % 7, step % 7 + 90)))
    (folder / "state.json").write_text(json.dumps({"step": step}))
    if sealed:
        write_manifest(folder)
    return folder


def steps(run):
    return [step_of(path) for path in checkpoints(run)]


def test_a_sealed_checkpoint_is_whole_and_an_unsealed_one_is_not(tmp_path):
    assert validation_error(make(tmp_path, 1)) is None
    assert validation_error(make(tmp_path, 2, sealed=False)) == "it was never written to its end"


@pytest.fixture
def synced(monkeypatch):
    """Names of what is forced onto the disk, and of what is renamed, in order."""
    told, sync, replace = [], os.fsync, Path.replace

    def syncing(number):
        told.append(f"sync {Path(f'/proc/self/fd/{number}').readlink().name}")
        sync(number)

    def replacing(self, target):
        told.append(f"rename {Path(target).name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(Path, "replace", replacing)
    return told


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux for names")
def test_the_manifest_comes_after_all_it_names_is_on_the_disk(tmp_path, synced):
    folder = make(tmp_path, 1, sealed=False)
    write_manifest(folder)
    assert synced == [
        *("sync state.json", "sync weights.bin", f"sync {tmp_path.name}"),
        *("sync manifest.json.partial", "rename manifest.json", "sync checkpoint-1"),
    ]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux for names")
def test_a_run_has_ended_when_its_model_is_on_the_disk(tmp_path, synced):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    finish(tmp_path, 7, 9)
    assert synced[0] == "sync model.safetensors"
    assert synced.index("rename finished.json") > 0
    assert is_exported(tmp_path, None, 9)
    assert not is_exported(tmp_path, None, 10)
    assert is_exported(tmp_path, make(tmp_path, 7), 9)
    assert not is_exported(tmp_path, make(tmp_path, 8), 9)


@pytest.mark.parametrize(("number", "counts"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_disk_that_cannot_sync_is_borne_and_one_that_fails_is_not(
    tmp_path, monkeypatch, number, counts
):
    def fail(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("training.trainer.checkpoints._flush", fail)
    folder = make(tmp_path, 1, sealed=False)
    with nullcontext() if counts else pytest.raises(OSError, match="Input/output error"):
        write_manifest(folder)
    assert (validation_error(folder) is None) is counts


def test_a_file_cut_short_changed_or_gone_is_damage(tmp_path):
    short, changed, gone = (make(tmp_path, step) for step in (1, 2, 3))
    (short / "weights.bin").write_bytes(b"12")
    content = bytearray((changed / "weights.bin").read_bytes())
    content[40] ^= 1
    (changed / "weights.bin").write_bytes(content)
    (gone / "state.json").unlink()
    assert validation_error(short) == validation_error(changed) == "weights.bin is damaged"
    assert validation_error(gone) == "state.json is missing"


def test_a_manifest_cut_short_is_damage(tmp_path):
    folder = make(tmp_path, 1)
    (folder / "manifest.json").write_text('{"files": {"wei')
    assert validation_error(folder) == "its manifest.json is damaged"
    for entry in ("3", "{}", "[]"):
        (folder / "manifest.json").write_text(f'{{"files": {{"weights.bin": {entry}}}}}')
        assert validation_error(folder) == "its manifest.json is damaged"


def test_the_newest_whole_one_is_taken_and_the_others_are_told(tmp_path):
    for step in (9, 10):
        make(tmp_path, step)
    make(tmp_path, 100, sealed=False)
    (make(tmp_path, 20) / "weights.bin").unlink()
    said = []
    assert latest_valid_checkpoint(tmp_path, said.append) == tmp_path / "checkpoint-10"
    assert said == [
        "Left out checkpoint-100: it was never written to its end.",
        "Left out checkpoint-20: weights.bin is missing.",
    ]


def test_a_run_without_checkpoints_has_none(tmp_path):
    (tmp_path / "checkpoint-of-something-else").mkdir()
    assert latest_valid_checkpoint(tmp_path, pytest.fail) is None
    assert latest_valid_checkpoint(tmp_path / "nowhere", pytest.fail) is None


def test_a_checkpoint_asked_for_by_name_must_be_whole(tmp_path):
    advice = "leave --resume_from_checkpoint out to resume from the newest whole checkpoint."
    with pytest.raises(CheckpointError) as caught:
        check_whole(make(tmp_path, 4, sealed=False))
    assert str(caught.value) == (
        f"'checkpoint-4' cannot be resumed: it was never written to its end; {advice}"
    )
    with pytest.raises(CheckpointError) as caught:
        check_whole(tmp_path / "checkpoint-5")
    assert str(caught.value) == (
        f"'checkpoint-5' cannot be resumed: there is no such folder; {advice}"
    )


def test_a_checkpoint_stands_for_itself_and_a_run_for_its_newest_whole_one(tmp_path):
    folder = make(tmp_path, 4)
    assert find_whole(folder, pytest.fail) == find_whole(tmp_path, pytest.fail) == folder


def test_weights_alone_are_not_checked(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert find_whole(tmp_path, pytest.fail) == tmp_path


@pytest.mark.parametrize("name", ["checkpoint-4", "renamed"])
def test_a_damaged_checkpoint_is_refused_whatever_its_name(tmp_path, name):
    folder = make(tmp_path, 4).rename(tmp_path / name)
    (folder / "state.json").unlink()
    reason = f"'{name}' cannot be resumed: state.json is missing; name the folder of its run"
    with pytest.raises(CheckpointError, match=reason):
        find_whole(folder, pytest.fail)


def test_damaged_checkpoints_do_not_count_among_those_kept(tmp_path):
    for step in (1, 2, 3):
        make(tmp_path, step)
    make(tmp_path, 4, sealed=False)
    (tmp_path / "checkpoint-2" / "weights.bin").unlink()
    rotate(tmp_path, 2, best_step=None)
    assert steps(tmp_path) == [1, 3]


def test_old_checkpoints_go_but_the_best_and_the_newest_stay(tmp_path):
    for step in (1, 2, 3, 4, 10):
        make(tmp_path, step)
    rotate(tmp_path, 3, best_step=2)
    assert steps(tmp_path) == [2, 4, 10]
    rotate(tmp_path, 1, best_step=2)
    assert steps(tmp_path) == [2, 10]
    rotate(tmp_path, None, best_step=None)
    assert steps(tmp_path) == [2, 10]


def test_what_a_kill_leaves_of_a_deletion_does_not_count(tmp_path, monkeypatch):
    folder = make(tmp_path, 1)
    monkeypatch.setattr(
        "training.trainer.checkpoints.shutil.rmtree", lambda *_, **__: None
    )  # killed here
    remove(folder)
    assert (folder / "weights.bin").exists()
    assert validation_error(folder) == "it was never written to its end"


def test_the_stopwatch_goes_on_where_a_checkpoint_stopped(tmp_path):
    (tmp_path / "training_time.json").write_text('{"seconds": 100.0}')
    watch = Stopwatch()
    watch.resume(tmp_path)
    watch.save(tmp_path)
    assert json.loads((tmp_path / "training_time.json").read_text())["seconds"] >= 100.0
