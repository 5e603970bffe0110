"""The folder of a run: lock, checkpoints with manifests, records.

A run may be killed at any moment, even while it saves or deletes. A checkpoint is valid only if its
manifest, which is written last, exists and matches the size and SHA-256 of every file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock, Timeout

from musiclstm.errors import CheckpointError

LOCK_FILE = "running.lock"
MANIFEST_FILE = "manifest.json"
STARTED_FILE = "begun.json"  # of a run: the model and the pieces that it started with
FINISHED_FILE = "finished.json"  # of a run: written after the exported model
TIME_FILE = "training_time.json"
STATE_FILE = "trainer_state.json"
_OPTIONS = {"pieces": "data"}  # key of STARTED_FILE -> option of the command
_PREFIX = "checkpoint-"
_NO_FSYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # unsupported, or another user's file


class TrainingTimer:
    """Training time of a run over all its sessions."""

    def __init__(self) -> None:
        """Start the timer."""
        self._start = time.monotonic()
        self._earlier_seconds = 0.0

    @property
    def seconds(self) -> float:
        """Seconds in all sessions, without the time between them."""
        return self._earlier_seconds + time.monotonic() - self._start

    def resume(self, checkpoint: Path) -> None:
        """Add the time recorded in a checkpoint."""
        self._earlier_seconds = float(read_record(checkpoint / TIME_FILE).get("seconds", 0.0))

    def save(self, checkpoint: Path) -> None:
        """Record the time in a checkpoint."""
        write_record(checkpoint / TIME_FILE, {"seconds": round(self.seconds, 1)})


# The folder of a run.


def check_writable(run: Path) -> Path:
    """Create the folder of a run if it does not exist; return it.

    Raises:
        CheckpointError: It cannot be created or written to.
    """
    try:
        str(run).encode()
        run.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=run):
            return run
    except UnicodeEncodeError as error:
        raise CheckpointError(
            "--output_dir has characters that are not UTF-8, and weights cannot be written there; "
            "choose another one."
        ) from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CheckpointError(
            f"{run.name!r} cannot be written to ({reason}); choose another --output_dir."
        ) from error


@contextmanager
def exclusive_run(run: Path) -> Iterator[None]:
    """Lock the folder of a run, because two runs would delete each other's checkpoints.

    The system releases the lock when the process ends, also after a kill. A disk without locks
    (some network disks) is used without one.

    Raises:
        CheckpointError: Another process holds the lock, or its file belongs to another user.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(run / LOCK_FILE, timeout=0))
        except Timeout as error:
            raise CheckpointError(
                f"Another process is training in {run.name!r}; wait until it has ended, or choose "
                "another --output_dir."
            ) from error
        except (PermissionError, IsADirectoryError) as error:
            raise CheckpointError(
                f"{LOCK_FILE} in {run.name!r} cannot be written, so another user may be training "
                "there; choose another --output_dir."
            ) from error
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
        yield


def start_or_resume(run: Path, start: dict[str, str]) -> None:
    """Record what a run starts from, or check that a resumed run starts from the same.

    Args:
        run: Its folder.
        start: Its `model`, and the fingerprint of its `pieces`.

    Raises:
        CheckpointError: The folder holds a run that started from something else.
    """
    recorded = read_record(run / STARTED_FILE)
    changed = [f"--{_OPTIONS.get(k, k)}" for k in start if recorded.get(k) != start[k]]
    if recorded and changed and (checkpoints(run) or (run / FINISHED_FILE).exists()):
        raise CheckpointError(
            f"{run.name!r} holds a run that started with another {' and another '.join(changed)}; "
            f"choose another --output_dir (and --model {run}, to build on it)."
        )
    write_record(run / STARTED_FILE, start)


def mark_finished(run: Path, step: int, last_step: int) -> None:
    """Record that a run of `last_step` steps ended at `step` and that its model is written."""
    _fsync(*(path for path in run.iterdir() if path.is_file()))
    write_record(run / FINISHED_FILE, {"step": step, "last_step": last_step})


def is_exported(run: Path, last: Path | None, last_step: int) -> bool:
    """Return whether a run of `last_step` steps has ended and its model is written."""
    record = read_record(run / FINISHED_FILE)
    same = record.get("last_step") == last_step
    return same and (last is None or record.get("step", -1) >= step_of(last))


# Checkpoints.


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoint folders of a run, valid or not, the oldest first."""
    found = [path for path in run.glob(f"{_PREFIX}*") if path.is_dir() and step_of(path) >= 0]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step in the name of a checkpoint; -1 for another name."""
    number = checkpoint.name.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else -1


def checkpoint_path(run: Path, step: int) -> Path:
    """Return the path of the checkpoint of a step."""
    return run / f"{_PREFIX}{step}"


def write_manifest(checkpoint: Path) -> None:
    """Write the manifest, after which the checkpoint is valid even if the power fails."""
    files = {
        path.relative_to(checkpoint).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MANIFEST_FILE
    }
    _fsync(*(checkpoint / name for name in files), checkpoint.parent)
    write_record(checkpoint / MANIFEST_FILE, {"files": files})


def validation_error(checkpoint: Path) -> str | None:
    """Return why a checkpoint is not valid; None: it is valid."""
    if not (checkpoint / MANIFEST_FILE).is_file():
        return "it was not completely written"
    files = read_record(checkpoint / MANIFEST_FILE).get("files")
    if not isinstance(files, dict) or not files:
        return f"its {MANIFEST_FILE} is damaged"
    for name, entry in files.items():
        if not isinstance(entry, dict) or not {"bytes", "sha256"} <= set(entry):
            return f"its {MANIFEST_FILE} is damaged"
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != entry["bytes"] or _sha256(path) != entry["sha256"]:
            return f"{name} is damaged"
    return None


def latest_valid_checkpoint(run: Path, say: Callable[[str], None]) -> Path | None:
    """Return the newest valid checkpoint of a run; report newer ones, which are skipped."""
    for checkpoint in reversed(checkpoints(run)):
        reason = validation_error(checkpoint)
        if reason is None:
            return checkpoint
        say(f"Skipped {checkpoint.name}: {reason}.")
    return None


def require_valid(
    checkpoint: Path,
    advice: str = "leave --resume_from_checkpoint out to resume from the newest valid checkpoint",
) -> Path:
    """Return the checkpoint.

    Args:
        checkpoint: Its folder.
        advice: End of the error message.

    Raises:
        CheckpointError: It is not valid.
    """
    reason = validation_error(checkpoint) if checkpoint.is_dir() else "there is no such folder"
    if reason is not None:
        raise CheckpointError(f"{checkpoint.name!r} cannot be resumed: {reason}; {advice}.")
    return checkpoint


def find_valid(folder: Path, say: Callable[[str], None]) -> Path:
    """Return the newest valid checkpoint of a run, or the folder itself if it is not a run.

    A folder that holds weights alone has no manifest and is not checked.

    Args:
        folder: A run, a checkpoint, or weights.
        say: Called with a sentence for every checkpoint that is skipped.

    Raises:
        CheckpointError: The folder is a checkpoint that is not valid.
    """
    newest = latest_valid_checkpoint(folder, say)
    if newest is not None:
        return newest
    if step_of(folder.resolve()) >= 0 or (folder / MANIFEST_FILE).exists():
        require_valid(folder, "name the folder of its run to use the newest valid checkpoint")
    return folder


def rotate(run: Path, limit: int | None, best_step: int | None) -> None:
    """Delete invalid checkpoints, and the oldest until `limit` are left.

    The best and the newest are always kept. None: keep all.
    """
    if not limit or limit < 1:
        return
    valid = [path for path in checkpoints(run) if validation_error(path) is None]
    kept = {path for path in valid if step_of(path) == best_step} | set(valid[-1:])
    for path in reversed(valid):
        if len(kept) < limit:
            kept.add(path)
    for path in checkpoints(run):
        if path not in kept:
            remove(path)


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, its manifest first, so that a kill does not leave it valid."""
    (checkpoint / MANIFEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


# JSON records.


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write JSON to a temporary file and rename it atomically."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _fsync(path.parent)


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _fsync(*paths: Path) -> None:
    """Flush files and folder entries to the disk."""
    if os.name != "posix":  # other systems flush only files that are open for writing
        return
    for path in paths:
        try:
            _fsync_path(path)
        except OSError as error:
            if error.errno not in _NO_FSYNC:
                raise


def _fsync_path(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
