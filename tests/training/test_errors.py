"""Memory and disk errors of libraries become one sentence."""

from __future__ import annotations

import errno

import pytest
from safetensors import SafetensorError
from transformers import TrainingArguments

from training import errors
from training.errors import (
    TrainingError,
    convert_disk_errors,
    convert_memory_errors,
    nonfinite_error,
)


@pytest.fixture
def nearly_full(monkeypatch):
    """A disk with half a megabyte left."""
    monkeypatch.setattr(errors, "free_bytes", lambda _: 500_000)


def caused_by_full_disk():
    error = RuntimeError("it could not be saved")
    error.__cause__ = OSError(errno.ENOSPC, "any text")
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "any text"),
        OSError(errno.EDQUOT, "any text"),
        OSError("No space left on device"),
        OSError("Disk quota exceeded"),
        OSError("There is not enough space on the disk."),
        SafetensorError("Error while serializing: I/O error: (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:664] ."),
        RuntimeError("unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
        caused_by_full_disk(),
    ],
    ids=str,
)
def test_every_report_of_a_full_disk_names_folder_and_sizes(error, nearly_full, tmp_path):
    with pytest.raises(TrainingError) as caught, convert_disk_errors(tmp_path / "out", 12_345_678):
        raise error
    for fact in ("'out'", "12 MB", "0.5 MB", "--save_total_limit"):
        assert fact in str(caught.value)


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), 10**9),
        (RuntimeError("shapes do not fit"), 10**9),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), 100),  # enough space
    ],
)
def test_other_errors_are_not_converted_to_a_full_disk(error, needed, nearly_full, tmp_path):
    with pytest.raises(type(error)) as caught, convert_disk_errors(tmp_path, needed):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "text",
    ["CUDA out of memory.", "DefaultCPUAllocator: not enough memory", "can't allocate memory"],
)
def test_every_report_of_too_little_memory_names_the_options(text, tmp_path):
    args = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=6, use_cpu=True, report_to="none"
    )
    with pytest.raises(TrainingError) as caught, convert_memory_errors(args, 1024):
        raise RuntimeError(text)
    for fact in ("6 rows of 1,024 tokens", "--per_device_train_batch_size", "--window"):
        assert fact in str(caught.value)


def test_a_nonfinite_loss_names_the_step_and_the_learning_rate():
    assert "loss is not finite at step 1,234; lower --learning_rate (it is 0.002)" in str(
        nonfinite_error(1234, 2e-3)
    )
