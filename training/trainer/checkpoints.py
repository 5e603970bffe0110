"""Find, check and delete the checkpoints of a run.

A run may be killed at any moment, also while it saves or deletes. So a checkpoint is whole only if
its manifest, which is written last, is there, and every file has the size and the SHA-256 that the
manifest names.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from musiclstm.errors import CheckpointError
from training.trainer.run_lock import LOCK_FILE

MANIFEST_FILE = "manifest.json"
FINISHED_FILE = "finished.json"  # in the folder of the run: it ended, and the model was written
BEGUN_FILE = "begun.json"  # in the folder of the run: with which model and pieces
_OPTION = {"pieces": "data"}  # what the command calls it
TIME_FILE = "training_time.json"
STATE_FILE = "trainer_state.json"
_PREFIX = "checkpoint-"
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # disks that cannot; files not ours


class Stopwatch:
    """Time of a run over all its sessions."""

    def __init__(self) -> None:
        """Start."""
        self._begin = time.monotonic()
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Time since the first session began, without pauses."""
        return self._before + time.monotonic() - self._begin

    def resume(self, checkpoint: Path) -> None:
        """Add the time that a checkpoint recorded."""
        self._before = float(read_record(checkpoint / TIME_FILE).get("seconds", 0.0))

    def save(self, checkpoint: Path) -> None:
        """Write the time so far into a checkpoint."""
        write_record(checkpoint / TIME_FILE, {"seconds": round(self.seconds, 1)})


# The folder of a run.


def check_writable(run: Path) -> Path:
    """Make the folder of a run if it does not exist; return it.

    Raises:
        CheckpointError: It cannot be made or written to.
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


def start_or_resume(run: Path, wanted: dict[str, str]) -> None:
    """Record what a run starts from, or check that it continues with the same.

    Args:
        run: Its folder.
        wanted: `model` it starts from and fingerprint of its `pieces`.

    Raises:
        CheckpointError: The run was begun with something else.
    """
    begun = read_record(run / BEGUN_FILE)
    others = [f"--{_OPTION.get(name, name)}" for name in wanted if begun.get(name) != wanted[name]]
    if begun and others and (checkpoints(run) or (run / FINISHED_FILE).exists()):
        raise CheckpointError(
            f"{run.name!r} holds a run that was begun with another {' and another '.join(others)}; "
            f"choose another --output_dir (and --model {run}, to build on it)."
        )
    write_record(run / BEGUN_FILE, wanted)


# Manifests.


def write_manifest(checkpoint: Path) -> None:
    """Write the manifest, which makes a checkpoint whole, also after a power cut."""
    files = {
        path.relative_to(checkpoint).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name != MANIFEST_FILE
    }
    _onto_the_disk(*(checkpoint / name for name in files), checkpoint.parent)
    write_record(checkpoint / MANIFEST_FILE, {"files": files})


def validation_error(checkpoint: Path) -> str | None:
    """Return why a checkpoint is not whole; None: it is whole."""
    if not (checkpoint / MANIFEST_FILE).is_file():
        return "it was never written to its end"
    files = read_record(checkpoint / MANIFEST_FILE).get("files")
    if not isinstance(files, dict) or not files:
        return f"its {MANIFEST_FILE} is damaged"
    for name, wanted in files.items():
        if not isinstance(wanted, dict) or not {"bytes", "sha256"} <= set(wanted):
            return f"its {MANIFEST_FILE} is damaged"
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != wanted["bytes"] or _sha256(path) != wanted["sha256"]:
            return f"{name} is damaged"
    return None


def latest_valid_checkpoint(run: Path, say: Callable[[str], None]) -> Path | None:
    """Return the newest whole checkpoint of a run; report those after it, which are left out."""
    for checkpoint in reversed(checkpoints(run)):
        reason = validation_error(checkpoint)
        if reason is None:
            return checkpoint
        say(f"Left out {checkpoint.name}: {reason}.")
    return None


def check_whole(
    checkpoint: Path,
    advice: str = "leave --resume_from_checkpoint out to resume from the newest whole checkpoint",
) -> Path:
    """Return the same folder.

    Args:
        checkpoint: What was asked for.
        advice: What to do where it is refused.

    Raises:
        CheckpointError: It is not whole.
    """
    reason = validation_error(checkpoint) if checkpoint.is_dir() else "there is no such folder"
    if reason is not None:
        raise CheckpointError(f"{checkpoint.name!r} cannot be resumed: {reason}; {advice}.")
    return checkpoint


def find_whole(folder: Path, say: Callable[[str], None]) -> Path:
    """Return the newest whole checkpoint of a run, or the folder itself if it is none.

    A folder with weights alone is not checked: it has no manifest and another name.

    Args:
        folder: Of a run, of a checkpoint, or of weights.
        say: Reports checkpoints that are left out.

    Raises:
        CheckpointError: The folder is a checkpoint that is not whole.
    """
    newest = latest_valid_checkpoint(folder, say)
    if newest is not None:
        return newest
    if step_of(folder.resolve()) >= 0 or (folder / MANIFEST_FILE).exists():
        check_whole(folder, "name the folder of its run to use the newest whole checkpoint")
    return folder


def finish(run: Path, step: int, last_step: int) -> None:
    """Record that a run of `last_step` steps ended at `step` and that its model is written."""
    # Closing any handle of the lock file releases the lock.
    files = (path for path in run.iterdir() if path.is_file() and path.name != LOCK_FILE)
    _onto_the_disk(*files)
    write_record(run / FINISHED_FILE, {"step": step, "last_step": last_step})


def is_exported(run: Path, last: Path | None, last_step: int) -> bool:
    """Return whether a run of `last_step` steps has ended and its model is written."""
    record = read_record(run / FINISHED_FILE)
    same = record.get("last_step") == last_step
    return same and (last is None or record.get("step", -1) >= step_of(last))


def checkpoints(run: Path) -> list[Path]:
    """Return the checkpoint folders of a run, whole or not, the oldest first."""
    found = [path for path in run.glob(f"{_PREFIX}*") if path.is_dir() and step_of(path) >= 0]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """Return the step in the name of a checkpoint; -1 for another name."""
    number = checkpoint.name.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else -1


def place_for(run: Path, step: int) -> Path:
    """Return the folder for the checkpoint of a step."""
    return run / f"{_PREFIX}{step}"


# Deletion.


def rotate(run: Path, limit: int | None, best_step: int | None) -> None:
    """Delete damaged checkpoints, and the oldest until `limit` are left.

    The best and the newest are always kept.
    """
    if not limit or limit < 1:
        return
    whole = [path for path in checkpoints(run) if validation_error(path) is None]
    kept = {path for path in whole if step_of(path) == best_step} | set(whole[-1:])
    for path in reversed(whole):
        if len(kept) < limit:
            kept.add(path)
    for path in checkpoints(run):
        if path not in kept:
            remove(path)


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, its manifest first, so that it is not whole after a kill."""
    (checkpoint / MANIFEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def size_of(checkpoint: Path) -> int:
    """Return the bytes of all files of a checkpoint."""
    return sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())


# JSON records.


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write JSON to a temporary file and rename it."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _onto_the_disk(path.parent)


def read_record(path: Path) -> dict[str, Any]:
    """Return a JSON record; empty if there is none or it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _onto_the_disk(*paths: Path) -> None:
    """Write files, and the names in folders, from the cache to the disk."""
    if os.name != "posix":  # elsewhere the system allows it for files open for writing only
        return
    for path in paths:
        try:
            _flush(path)
        except OSError as error:
            if error.errno not in _NO_FLUSH:
                raise


def _flush(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
