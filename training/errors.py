"""What goes wrong while training, as sentences: no number any more, no memory, no room on the disk.

Libraries say these things in many ways; here each becomes one `TrainingError` that says what to do.
Knows nothing of the network or of checkpoints.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments

from musiclstm.errors import MusicLSTMError

# What PyTorch and the operating system say where their errors have no number.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
_NO_ROOM = ("no space left on device", "disk quota exceeded", "os error 28", "not enough space")
_TORN = ("pytorchstreamwriter failed", "unexpected pos", "enforce fail at inline_container")


class TrainingError(MusicLSTMError):
    """The run cannot go on: what happened, and what to change before the same command again."""


def not_a_number(step: int, learning_rate: float, what: str = "loss") -> TrainingError:
    """The sentence for a loss, or weights, that are nan or infinite."""
    return TrainingError(
        f"The {what} is no longer a number at step {step:,}; lower --learning_rate (it is "
        f"{learning_rate:g}) and run the same command again, which resumes from the last "
        "checkpoint."
    )


@contextmanager
def memory_in_plain_words(args: TrainingArguments, window: int) -> Iterator[None]:
    """Turn what a lack of memory raises into one sentence.

    Raises:
        TrainingError: There was not enough memory inside.
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
def disk_in_plain_words(folder: Path, needed: int) -> Iterator[None]:
    """Turn what a full disk raises into one sentence.

    Args:
        folder: Where is written.
        needed: About how many bytes.

    Raises:
        TrainingError: There was no room inside.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if not is_full_disk(error, folder, needed):
            raise
        raise no_room(folder, needed) from error


def no_room(folder: Path, needed: int) -> TrainingError:
    """The sentence for a disk without room."""
    return TrainingError(
        f"The disk is full: saving {folder.name!r} needs about {megabytes(needed)} and "
        f"{megabytes(free_bytes(folder))} are free; make room or lower --save_total_limit, and run "
        "the same command again, which resumes from the last checkpoint."
    )


def free_bytes(folder: Path) -> int:
    """Room on the disk that holds a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:,.1f} MB" if size < 10e6 else f"{size / 1e6:,.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this says, in any of its ways, that there is no memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _NO_MEMORY)


def is_full_disk(error: BaseException | None, folder: Path, needed: int) -> bool:
    """Whether this says, itself or by its cause, that a disk is full.

    `torch.save` tells only that writing failed; then the room that is left decides.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        text = str(error).lower()
        if any(words in text for words in _NO_ROOM):
            return True
        if any(words in text for words in _TORN) and free_bytes(folder) < needed:
            return True
        error = error.__cause__ or error.__context__
    return False
