"""One run at a time in a folder: two would delete each other's checkpoints.

The system gives a lock back when the process that has it ends, however it ends, so a killed run
stands in nobody's way; also when the process closes the file, so nothing else here may open it.
Where a system or a disk knows no locks (Windows; some network disks), nobody is refused. Knows
nothing of what lies in the folder.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from musiclstm.errors import CheckpointError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_FILE = "running.lock"
_HELD = (errno.EACCES, errno.EAGAIN)


@contextmanager
def exclusive_run(run: Path) -> Iterator[None]:
    """Inside, no other process trains in this folder.

    Raises:
        CheckpointError: Another one does, or nobody can tell.
    """
    with _open(run) as file:
        if not _lock(file):
            raise CheckpointError(
                f"Another process is training in {run.name!r}; wait until it has ended, or choose "
                "another --output_dir."
            )
        yield


def _open(run: Path) -> TextIO:
    try:
        return (run / LOCK_FILE).open("a")
    except (PermissionError, IsADirectoryError) as error:
        raise CheckpointError(
            f"{LOCK_FILE} in {run.name!r} is not ours to write, so another person's run may be "
            "there; choose another --output_dir."
        ) from error


def _lock(file: TextIO) -> bool:
    """Take the lock, if there are locks; False: somebody has it."""
    if fcntl is None:
        return True
    try:
        # Not flock: helper processes would inherit it, and might outlive a killed run.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True
