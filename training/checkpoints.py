"""Which checkpoints of a run are whole: a manifest, written last, says what must lie in the folder.

A run may be killed at any moment, also while it saves or deletes. So a folder counts only when its
manifest is there and every file has the size and the SHA-256 that it names. Knows nothing of the
network; a checkpoint is a folder of files here.
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
from training.locking import LOCK_FILE

MANIFEST_FILE = "manifest.json"
FINISHED_FILE = "finished.json"  # in the folder of the run: it ended, and the model was written
BEGUN_FILE = "begun.json"  # in the folder of the run: with which model and pieces
_OPTION = {"pieces": "data"}  # what the command calls it
TIME_FILE = "training_time.json"
STATE_FILE = "trainer_state.json"
_PREFIX = "checkpoint-"
_NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # disks that cannot; files not ours


class Stopwatch:
    """What a run took so far, over all its sessions."""

    def __init__(self) -> None:
        """Start."""
        self._begin = time.monotonic()
        self._before = 0.0

    @property
    def seconds(self) -> float:
        """Since the first session began, pauses left out."""
        return self._before + time.monotonic() - self._begin

    def resume(self, checkpoint: Path) -> None:
        """Go on counting where a checkpoint stopped."""
        self._before = float(read_record(checkpoint / TIME_FILE).get("seconds", 0.0))

    def save(self, checkpoint: Path) -> None:
        """Write down the time so far."""
        write_record(checkpoint / TIME_FILE, {"seconds": round(self.seconds, 1)})


# The folder of a run.


def check_writable(run: Path) -> Path:
    """The same folder, made if need be, before anything long begins.

    Raises:
        CheckpointError: It cannot be made, or not be written to.
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


def begin_or_go_on(run: Path, wanted: dict[str, str]) -> None:
    """Note what a run was begun with, or see that it goes on with the same.

    Args:
        run: Its folder.
        wanted: `model` it starts from and fingerprint of its `pieces`.

    Raises:
        CheckpointError: It was begun with something else.
    """
    begun = read_record(run / BEGUN_FILE)
    others = [f"--{_OPTION.get(name, name)}" for name in wanted if begun.get(name) != wanted[name]]
    if begun and others and (checkpoints(run) or (run / FINISHED_FILE).exists()):
        raise CheckpointError(
            f"{run.name!r} holds a run that was begun with another {' and another '.join(others)}; "
            f"choose another --output_dir (and --model {run}, to build on it)."
        )
    write_record(run / BEGUN_FILE, wanted)


# Whole or not.


def seal(checkpoint: Path) -> None:
    """Write the manifest: from now on the checkpoint counts, also after a power cut."""
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


def damage(checkpoint: Path) -> str | None:
    """Why a checkpoint does not count; None: it is whole."""
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


def newest_whole(run: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint of a run that counts; says which ones before it were left out."""
    for checkpoint in reversed(checkpoints(run)):
        reason = damage(checkpoint)
        if reason is None:
            return checkpoint
        say(f"Left out {checkpoint.name}: {reason}.")
    return None


def check_whole(checkpoint: Path) -> Path:
    """The same folder.

    Raises:
        CheckpointError: It does not count.
    """
    reason = damage(checkpoint) if checkpoint.is_dir() else "there is no such folder"
    if reason is not None:
        raise CheckpointError(
            f"{checkpoint.name!r} cannot be resumed: {reason}; leave --resume_from_checkpoint out "
            "to resume from the newest whole checkpoint."
        )
    return checkpoint


def finish(run: Path, step: int, last_step: int) -> None:
    """Note that a run of so many steps ended at a step, and that its model lies in its folder."""
    # Whoever closes the lock, though only after reading it, gives it back.
    files = (path for path in run.iterdir() if path.is_file() and path.name != LOCK_FILE)
    _onto_the_disk(*files)
    write_record(run / FINISHED_FILE, {"step": step, "last_step": last_step})


def is_exported(run: Path, last: Path | None, last_step: int) -> bool:
    """Whether a run of so many steps has ended and its model was written."""
    record = read_record(run / FINISHED_FILE)
    same = record.get("last_step") == last_step
    return same and (last is None or record.get("step", -1) >= step_of(last))


def checkpoints(run: Path) -> list[Path]:
    """Checkpoint folders of a run, whole or not, the oldest first."""
    found = [path for path in run.glob(f"{_PREFIX}*") if path.is_dir() and step_of(path) >= 0]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step at which it was written; -1 where its name says none."""
    number = checkpoint.name.removeprefix(_PREFIX)
    return int(number) if number.isdigit() else -1


def place_for(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return run / f"{_PREFIX}{step}"


# Making room.


def rotate(run: Path, limit: int | None, best_step: int | None) -> None:
    """Delete the oldest checkpoints until `limit` are left; the best and the newest always stay."""
    if not limit or limit < 1:
        return
    found = checkpoints(run)
    kept = {path for path in found if step_of(path) == best_step} | set(found[-1:])
    for path in reversed(found):
        if len(kept) < limit:
            kept.add(path)
    for path in found:
        if path not in kept:
            remove(path)


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, its manifest first, so that what is left after a kill does not count."""
    (checkpoint / MANIFEST_FILE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def size_of(checkpoint: Path) -> int:
    """Bytes of all its files."""
    return sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file())


# Small records.


def write_record(path: Path, content: dict[str, Any]) -> None:
    """Write JSON so that the file is there as a whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _onto_the_disk(path.parent)


def read_record(path: Path) -> dict[str, Any]:
    """A JSON record; empty where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _onto_the_disk(*paths: Path) -> None:
    """Wait until files, and the names in folders, would outlive a power cut."""
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
