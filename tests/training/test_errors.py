"""What goes wrong while training, in one sentence each."""

from __future__ import annotations

import errno

import pytest
from safetensors import SafetensorError
from transformers import TrainingArguments

from training import errors
from training.errors import (
    TrainingError,
    disk_in_plain_words,
    memory_in_plain_words,
    not_a_number,
)


@pytest.fixture
def free(monkeypatch):
    """A disk with half a megabyte left."""
    monkeypatch.setattr(errors, "free_bytes", lambda _: 500_000)


def test_no_number_any_more_says_where_and_what_to_lower():
    advice = (
        "lower --learning_rate (it is 0.002) and run the same command again, which resumes from "
        "the last checkpoint."
    )
    assert str(not_a_number(1234, 2e-3)) == (
        f"The loss is no longer a number at step 1,234; {advice}"
    )
    assert str(not_a_number(7, 2e-3, "network")) == (
        f"The network is no longer a number at step 7; {advice}"
    )


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "any words"),
        OSError(errno.EDQUOT, "any words"),
        OSError("No space left on device"),
        OSError("Disk quota exceeded"),
        OSError("There is not enough space on the disk."),
        SafetensorError("Error while serializing: I/O error: (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:664] ."),
        RuntimeError("unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"),
    ],
    ids=str,
)
def test_a_full_disk_is_one_sentence_in_whatever_words_it_comes(error, free, tmp_path):
    with pytest.raises(TrainingError) as caught, disk_in_plain_words(tmp_path / "out", 12_345_678):
        raise error
    assert str(caught.value) == (
        "The disk is full: saving 'out' needs about 12 MB and 0.5 MB are free; make room or lower "
        "--save_total_limit, and run the same command again, which resumes from the last "
        "checkpoint."
    )


def test_a_full_disk_behind_another_error_is_told_too(free, tmp_path):
    error = RuntimeError("it could not be saved")
    error.__cause__ = OSError(errno.ENOSPC, "any words")
    with (
        pytest.raises(TrainingError, match="The disk is full: saving 'out' needs about"),
        disk_in_plain_words(tmp_path / "out", 100),
    ):
        raise error


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (PermissionError(errno.EACCES, "Permission denied"), 10**9),
        (RuntimeError("shapes do not fit"), 10**9),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), 100),  # there was room
    ],
)
def test_another_error_is_not_taken_for_a_full_disk(error, needed, free, tmp_path):
    with pytest.raises(type(error)) as caught, disk_in_plain_words(tmp_path, needed):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "words",
    ["CUDA out of memory.", "DefaultCPUAllocator: not enough memory", "can't allocate memory"],
)
def test_too_little_memory_is_one_sentence_in_whatever_words_it_comes(words, tmp_path):
    args = TrainingArguments(
        output_dir=str(tmp_path), per_device_train_batch_size=6, use_cpu=True, report_to="none"
    )
    with pytest.raises(TrainingError) as caught, memory_in_plain_words(args, 1024):
        raise RuntimeError(words)
    assert str(caught.value) == (
        "There is not enough memory for 6 rows of 1,024 tokens at once; lower "
        "--per_device_train_batch_size (it is 6) or --window (it is 1024)."
    )
