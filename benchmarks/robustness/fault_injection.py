"""Kill or terminate a process at a chosen file event.

Events are those below one folder: opening a file for writing, `fsync`, rename, removal, a new
folder. Python audit events report most of them; `fsync` and the writers of torch and safetensors
are wrapped.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch

from training import finetune
from training.trainer import callbacks

Mode = Literal["before", "torn", "term"]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit event -> the places of a path and of the folder it counts from among its arguments.
_AUDITED = {"os.rename": (1, 3), "os.remove": (0, 1), "os.rmdir": (0, 1), "os.mkdir": (0, 2)}
_WRITERS = ("open", "write")


@dataclass(frozen=True)
class Fault:
    """A fault and the number of its event.

    Attributes:
        mode: "before": SIGKILL before the event; "torn": SIGKILL after half of the file is written;
            "term": SIGTERM before the event.
        number: Of the event, from 0.
    """

    mode: Mode
    number: int


class FileEvents:
    """Record file events below a folder and inject a fault.

    Attributes:
        events: Such as "rename checkpoint-2/manifest.json".
    """

    def __init__(self, folder: Path, fault: Fault | None) -> None:
        """Set the folder and the fault; None: no fault."""
        self.events: list[str] = []
        self._folder, self._fault = folder.resolve(), fault
        self._half: Path | None = None

    def install(self) -> None:
        """Record all events from now to the end of the process."""
        sys.addaudithook(self._on_audit_event)
        os.fsync = self._wrapped("fsync", os.fsync, 0)
        torch.save = self._wrapped("write", torch.save, 1)
        weights: Any = safetensors.torch
        weights.serialize_file = self._wrapped("write", weights.serialize_file, 1)

    def _on_audit_event(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open" and arguments[2] & _WRITING:
            self._on_event("open", arguments[0])
        elif name in _AUDITED:
            target, base = _AUDITED[name]
            self._on_event(name.removeprefix("os."), arguments[target], arguments[base])

    def _wrapped(
        self, action: str, function: Callable[..., Any], target: int
    ) -> Callable[..., Any]:
        def notify_and_call(*arguments: Any, **named: Any) -> Any:
            self._on_event(action, arguments[target])
            return function(*arguments, **named)

        return notify_and_call

    def _on_event(self, action: str, target: Any, base: int = -1) -> None:
        path = _resolved(target, base)
        if path is None or not path.is_relative_to(self._folder):
            return
        if action == "open" and path == self._folder:
            return  # a file without a name
        if self._half is not None:
            half, self._half = self._half, None
            _truncate_and_kill(half)
        number = len(self.events)
        self.events.append(f"{action} {path.relative_to(self._folder).as_posix()}")
        if self._fault is not None and number == self._fault.number:
            self._inject(action, path, self._fault.mode)

    def _inject(self, action: str, path: Path, mode: Mode) -> None:
        if mode == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        elif mode == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        elif action in _WRITERS:
            self._half = path


def writes_file(event: str) -> bool:
    """Return whether an event writes a file, so that half of it may be on disk."""
    return event.split()[0] in _WRITERS


def _resolved(target: Any, base: int) -> Path | None:
    """Return the path of an event: a name, a name in an open folder, or an open file."""
    if isinstance(target, int):
        return Path(f"/proc/self/fd/{target}").readlink()
    if not isinstance(target, str | bytes | os.PathLike):
        return None
    begin = Path.cwd() if base < 0 else Path(f"/proc/self/fd/{base}").readlink()
    return begin / os.fsdecode(target)


def _truncate_and_kill(path: Path) -> None:
    """Truncate a file to half its size and kill this process."""
    number = os.open(path, os.O_RDWR)
    os.ftruncate(number, os.fstat(number).st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


# The process.


def run(arguments: list[str], folder: Path, notes: Path, fault: Fault | None) -> int:
    """Run `training.finetune` in a process; return its exit status.

    A fork server imports everything once and forks for each process: one second instead of ten.

    Args:
        arguments: Of `training.finetune`.
        folder: Whose events count.
        notes: An existing folder for `output.txt` and, after status 0, `events.json`.
        fault: None: no fault.

    Returns:
        The exit status; -9 after SIGKILL.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    process = server.Process(target=_session, args=(arguments, folder, notes, fault))
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    return -1 if status is None else status


def _session(arguments: list[str], folder: Path, notes: Path, fault: Fault | None) -> None:
    gc.freeze()  # what was imported before is not looked through, and its memory stays shared
    _redirect_output(notes / "output.txt")
    multiprocessing.set_start_method("fork", force=True)  # its locks have no names to leave behind
    torch.set_num_threads(1)
    os.environ["MUSICLSTM_CACHE"] = str(notes / "cache")
    callbacks.draw_curve = lambda *_: None  # most of the time, and nothing is resumed from it
    watch = FileEvents(folder, fault)
    watch.install()
    status = finetune.main(arguments)
    (notes / "events.json").write_text(json.dumps(watch.events), encoding="utf-8")
    sys.exit(status)


def _redirect_output(path: Path) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(number, stream)
