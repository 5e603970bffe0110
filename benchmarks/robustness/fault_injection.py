"""A process of ours that dies, or is asked to stop, at a chosen one of its file events.

Counted are those below one folder: a file opened for writing or written by a library in one go,
`fsync`, a rename, a deletion, a new folder. Python tells of most of them by its audit events; for
`fsync` and for what torch and safetensors write with code of their own, functions are wrapped.
Knows the command it runs, and nothing of what its files mean.
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
    """What happens, and at which event.

    Attributes:
        mode: "before": `kill -9` before the event; "torn": after it, when half of the file is
            written; "term": SIGTERM before it.
        number: Of the event, from 0.
    """

    mode: Mode
    number: int


class Watch:
    """Counts the events below a folder, and strikes.

    Attributes:
        events: What happened, in words such as "rename checkpoint-2/manifest.json".
    """

    def __init__(self, folder: Path, fault: Fault | None) -> None:
        """Take the folder; None: nothing strikes."""
        self.events: list[str] = []
        self._folder, self._fault = folder.resolve(), fault
        self._half: Path | None = None

    def begin(self) -> None:
        """From now on, for as long as the process lives."""
        sys.addaudithook(self._audit)
        os.fsync = self._wrapped("fsync", os.fsync, 0)
        torch.save = self._wrapped("write", torch.save, 1)
        weights: Any = safetensors.torch
        weights.serialize_file = self._wrapped("write", weights.serialize_file, 1)

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open" and arguments[2] & _WRITING:
            self._tell("open", arguments[0])
        elif name in _AUDITED:
            place, base = _AUDITED[name]
            self._tell(name.removeprefix("os."), arguments[place], arguments[base])

    def _wrapped(self, deed: str, function: Callable[..., Any], place: int) -> Callable[..., Any]:
        def told(*arguments: Any, **named: Any) -> Any:
            self._tell(deed, arguments[place])
            return function(*arguments, **named)

        return told

    def _tell(self, deed: str, place: Any, base: int = -1) -> None:
        path = _resolved(place, base)
        if path is None or not path.is_relative_to(self._folder):
            return
        if deed == "open" and path == self._folder:
            return  # a file without a name
        if self._half is not None:
            half, self._half = self._half, None
            _tear(half)
        number = len(self.events)
        self.events.append(f"{deed} {path.relative_to(self._folder).as_posix()}")
        if self._fault is not None and number == self._fault.number:
            self._strike(deed, path, self._fault.mode)

    def _strike(self, deed: str, path: Path, mode: Mode) -> None:
        if mode == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        elif mode == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        elif deed in _WRITERS:
            self._half = path


def can_be_torn(event: str) -> bool:
    """Whether an event writes a file of which half may be there."""
    return event.split()[0] in _WRITERS


def _resolved(place: Any, base: int) -> Path | None:
    """The path of an event: a name, a name in an open folder, or an open file."""
    if isinstance(place, int):
        return Path(f"/proc/self/fd/{place}").readlink()
    if not isinstance(place, str | bytes | os.PathLike):
        return None
    begin = Path.cwd() if base < 0 else Path(f"/proc/self/fd/{base}").readlink()
    return begin / os.fsdecode(place)


def _tear(path: Path) -> None:
    """Take half of a file away, and die."""
    number = os.open(path, os.O_RDWR)
    os.ftruncate(number, os.fstat(number).st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


# The process.


def run(words: list[str], folder: Path, notes: Path, fault: Fault | None) -> int:
    """Run `training.finetune` in a process of its own; the status with which it ended.

    A server process imports everything once, and forks for each session: this takes a second where
    a new interpreter takes ten.

    Args:
        words: Of the command.
        folder: Whose events count.
        notes: A folder that exists; `said.txt` and, after a good end, `events.json` go there.
        fault: What strikes; None: nothing.

    Returns:
        0 or more as the command says, and -9 after a kill.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    process = server.Process(target=_session, args=(words, folder, notes, fault))
    process.start()
    process.join()
    status = process.exitcode
    process.close()
    return -1 if status is None else status


def _session(words: list[str], folder: Path, notes: Path, fault: Fault | None) -> None:
    gc.freeze()  # what was imported before is not looked through, and its memory stays shared
    _speak_into(notes / "said.txt")
    multiprocessing.set_start_method("fork", force=True)  # its locks have no names to leave behind
    torch.set_num_threads(1)
    os.environ["MUSICLSTM_CACHE"] = str(notes / "cache")
    callbacks.draw_curve = lambda *_: None  # most of the time, and nothing is resumed from it
    watch = Watch(folder, fault)
    watch.begin()
    status = finetune.main(words)
    (notes / "events.json").write_text(json.dumps(watch.events), encoding="utf-8")
    sys.exit(status)


def _speak_into(path: Path) -> None:
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(number, stream)
