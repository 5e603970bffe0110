"""Read untrusted MIDI files in a pool of worker processes with limited memory and time.

A crash, a hang or an excess of memory ends a worker (`sandbox_worker`); the caller gets an error,
and the next job a new worker. Of a worker's answer only scores, summaries and plain values are
unpickled. This is a protection against malformed files, not against code that controls a worker.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import queue
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from musiclstm.errors import ScoreError
from musiclstm.midi.reader import UPLOAD, MidiLimits, label_of, read_bounded, read_midi_bytes
from musiclstm.midi.sandbox_worker import receive, send
from musiclstm.midi.smf import EXPORT_AGAIN
from musiclstm.midi.summary import MidiSummary, TrackSummary

if TYPE_CHECKING:
    from symusic.core import ScoreTick

_START_TIMEOUT_S = 60.0  # for a machine under load; a third of a second is usual
_INHERITED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each thread reserves memory
_ACCEPTED_CLASSES = {
    ("symusic.core", "ScoreTick"),
    *((each.__module__, each.__qualname__) for each in (MidiSummary, TrackSummary)),
}
# The pipe was closed by the worker or by `close`, or the answer is invalid.
_NO_ANSWER = (OSError, EOFError, ValueError, pickle.UnpicklingError)


class WorkerLimits(NamedTuple):
    """Limits of one worker process.

    Args:
        seconds: Duration of one job.
        memory_bytes: Address space, code included. Enforced on Linux only.
    """

    seconds: float = 5.0
    memory_bytes: int = 1_000_000_000


class SandboxPool:
    """Pool of worker processes that read MIDI; thread-safe.

    Workers start when they are first needed. They end with `close`, with this object, or with this
    process.

    Args:
        processes: Maximum number of workers, 1 or more. Further jobs wait.
        limits: Of each worker. None: 5 seconds and 1 GB.
    """

    def __init__(self, *, processes: int = 2, limits: WorkerLimits | None = None) -> None:
        if processes < 1:
            raise ValueError(f"processes must be 1 or more, got {processes}.")
        self._workers = [_Worker(limits or WorkerLimits()) for _ in range(processes)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()  # reuses a started worker first
        for worker in self._workers:
            self._idle.put(worker)
        weakref.finalize(self, _stop_all, self._workers)

    def __enter__(self) -> SandboxPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all workers. Running jobs fail with `ScoreError`; later jobs start new workers."""
        _stop_all(self._workers)

    def start(self) -> None:
        """Start a worker now, so that the first job does not wait for it."""
        self.run(_do_nothing)

    def read_midi(
        self, source: str | Path | bytes, *, name: str | None = None, limits: MidiLimits = UPLOAD
    ) -> tuple[ScoreTick, MidiSummary]:
        """Run `musiclstm.read_midi` in a worker. A path is opened in this process.

        Raises:
            ScoreError: As `read_midi`; or the worker crashed or exceeded its limits.
        """
        data, file_name = read_bounded(source, name=name, limits=limits)
        label = label_of(file_name)
        return self.run(read_midi_bytes, data, name=file_name, limits=limits, label=label)

    def run(
        self, function: Callable[..., Any], *args: Any, label: str = "This file", **kwargs: Any
    ) -> Any:
        """Call a function in a worker.

        Args:
            function: A function that the worker can import. It returns plain values, scores or
                summaries.
            args: Positional arguments.
            label: Subject of error messages.
            kwargs: Keyword arguments.

        Raises:
            ScoreError: The function raised it; or the worker crashed or exceeded its limits.
        """
        worker = self._idle.get()
        try:
            return worker.run((function, args, kwargs), label=label)
        finally:
            self._idle.put(worker)


class _Worker:
    """One worker process and its pipes. One thread at a time runs a job; any thread may stop it."""

    def __init__(self, limits: WorkerLimits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: tuple[Any, ...], *, label: str) -> Any:
        kind, value = self._answer(self._started(label), job, label)
        if kind == "memory":
            self.stop()  # because it may keep much of the memory
            limit_mb = self._limits.memory_bytes // 1_000_000
            raise ScoreError(
                f"{label} needs more than {limit_mb:,} MB of memory, the limit for a file; "
                "cut it into shorter pieces."
            )
        if kind == "error":
            raise ScoreError(value)
        return value

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _started(self, label: str) -> subprocess.Popen[bytes]:
        """Return a running process; a process that ended since the last job is replaced."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        try:
            self._process = process = _start(self._limits)
            with _Deadline(process, _START_TIMEOUT_S):
                receive(process.stdout)  # its ready message
        except _NO_ANSWER as error:
            self.stop()
            raise ScoreError(
                f"{label} cannot be read now, because no worker process starts ({error}); try "
                "again in a minute."
            ) from error
        return process

    def _answer(
        self, process: subprocess.Popen[bytes], job: tuple[Any, ...], label: str
    ) -> tuple[str, Any]:
        request, deadline = pickle.dumps(job), _Deadline(process, self._limits.seconds)
        try:
            with deadline:
                send(process.stdin, request)
                answer = receive(process.stdout)
            kind, value = _RestrictedUnpickler(io.BytesIO(answer)).load()
            return kind, value
        except _NO_ANSWER as error:
            self.stop()
            if deadline.expired:
                problem = f"takes longer to read than {self._limits.seconds:g} seconds, the limit"
            else:
                problem = "crashes the program that reads MIDI, as no valid file does"
            raise ScoreError(f"{label} {problem}; {EXPORT_AGAIN}.") from error
        except BaseException:
            self.stop()  # or its answer would be read as that of the next job
            raise


class _Deadline:
    """Context that kills a process after a time; `expired` says whether it did."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.expired = False
        self._process = process
        self._timer = threading.Timer(seconds, self._kill)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def _kill(self) -> None:
        self.expired = True
        self._process.kill()


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickler that accepts the classes of expected answers only."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ACCEPTED_CLASSES:
            raise pickle.UnpicklingError(f"{module}.{name} is not accepted from a worker")
        return super().find_class(module, name)


def _do_nothing() -> None:
    """Job that only starts a worker."""


def _stop_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()


def _start(limits: WorkerLimits) -> subprocess.Popen[bytes]:
    """Start a Python process with this process's module path and no other environment."""
    variables = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    module_path = [*filter(None, sys.path), str(Path(__file__).parents[2])]
    return subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "musiclstm.midi.sandbox_worker"),
            *(str(limits.seconds), str(limits.memory_bytes)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**variables, "PYTHONPATH": os.pathsep.join(module_path), **_ONE_THREAD},
    )
