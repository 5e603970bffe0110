"""Errors of training, and the conversion of memory and disk errors of libraries.

Libraries report these conditions in many ways; each becomes a `TrainingError` that says what to do.
"""

from __future__ import annotations

import errno
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments

from musiclstm.errors import MusicLSTMError

SIGTERM_STATUS = 128 + signal.SIGTERM  # exit status that shells give to a process after SIGTERM

# Messages of PyTorch and the operating system whose exceptions carry no error number.
_MEMORY_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory")
_DISK_MESSAGES = (
    "no space left on device",
    "disk quota exceeded",
    "os error 28",
    "not enough space",
)
_WRITE_MESSAGES = ("pytorchstreamwriter failed", "unexpected pos", "inline_container")


class TrainingError(MusicLSTMError):
    """The run cannot continue: the reason, and what to change before it is started again."""


class StoppedError(MusicLSTMError):
    """SIGTERM stopped the session after a checkpoint was written."""


def nonfinite_error(step: int, learning_rate: float, what: str = "loss") -> TrainingError:
    """Return the error for a loss, or a network, with values that are nan or infinite."""
    return TrainingError(
        f"The {what} is not finite at step {step:,}; lower --learning_rate (it is "
        f"{learning_rate:g}) and run the same command again, which resumes from the last "
        "checkpoint."
    )


@contextmanager
def convert_memory_errors(args: TrainingArguments, window: int) -> Iterator[None]:
    """Convert out-of-memory errors inside the block.

    Raises:
        TrainingError: There was not enough memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not is_out_of_memory(error):
            raise
        rows = args.per_device_train_batch_size
        raise TrainingError(
            f"There is not enough memory for {rows} rows of {window:,} tokens at once; lower "
            f"--per_device_train_batch_size (it is {rows}) or --window (it is {window})."
        ) from error


@contextmanager
def convert_disk_errors(folder: Path, needed: int) -> Iterator[None]:
    """Convert disk-full errors inside the block.

    Args:
        folder: The folder that is written.
        needed: Estimated bytes.

    Raises:
        TrainingError: The disk was full.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not is_full_disk(error, folder, needed):
            raise
        raise disk_full_error(folder, needed) from error


def disk_full_error(folder: Path, needed: int) -> TrainingError:
    """Return the error for a folder that needs more bytes than are free."""
    return TrainingError(
        f"The disk is full: saving {folder.name!r} needs about {_format_size(needed)} and "
        f"{_format_size(free_bytes(folder))} are free; free some space or lower "
        "--save_total_limit, and run the same command again, which resumes from the last "
        "checkpoint."
    )


def free_bytes(folder: Path) -> int:
    """Return the free bytes on the disk of a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _format_size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size < 10e6 else f"{size / 1e6:,.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports a lack of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(message in str(error).lower() for message in _MEMORY_MESSAGES)


def is_full_disk(error: BaseException | None, folder: Path, needed: int) -> bool:
    """Return whether an error, or one of its causes, reports a full disk.

    `torch.save` reports only that writing failed; then the free bytes decide.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(error).lower()
        if any(message in text for message in _DISK_MESSAGES):
            return True
        if any(message in text for message in _WRITE_MESSAGES) and free_bytes(folder) < needed:
            return True
        error = error.__cause__ or error.__context__
    return False
