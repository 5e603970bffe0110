"""Files nobody trusts, read by another process: what they break, they break there.

A helper is a small Python that has loaded what reads MIDI and nothing else (`helper_process`). It
stays warm between jobs; its memory and time are bounded. Where it breaks, its caller gets one
sentence, and the next job a fresh helper. A server uses this. The library itself does not: a file
of one's own is read where it is asked for, and no process is started behind anyone's back.

Knows no page and no sound. It keeps crashes and excesses away, not code that took a helper over;
still, only scores, reports and plain values are taken from one.
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
from musiclstm.midi.reader import (
    UPLOAD,
    MidiLimits,
    called,
    read_bounded,
    read_midi_bytes,
)
from musiclstm.midi.sandbox_worker import receive, send
from musiclstm.midi.summary import MidiSummary, TrackSummary

if TYPE_CHECKING:
    from symusic.core import ScoreTick

_START_S = 60.0  # a machine under load; usually it is a third of a second
_KEPT_FROM_THE_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each would ask for memory
_TAKEN = {
    ("symusic.core", "ScoreTick"),
    *((each.__module__, each.__qualname__) for each in (MidiSummary, TrackSummary)),
}
# A pipe that ended, one that was closed here meanwhile, or words that are none.
_NO_ANSWER = (OSError, EOFError, ValueError, pickle.UnpicklingError)
_AGAIN = "export it again from the program it came from"


class Bounds(NamedTuple):
    """What a helper may use.

    Args:
        seconds: For one job, from the question to the answer.
        memory_bytes: At any time, code included; kept where the system can bound it, as Linux does.
    """

    seconds: float = 5.0
    memory_bytes: int = 1_000_000_000


class Helper:
    """Processes that read MIDI for this one; any thread may ask.

    Each starts when it is first needed. All end with `close`, with this object, or with the process
    that made it, however that ends.

    Args:
        processes: How many at most, 1 or more: so many jobs go on at once, the others wait.
        bounds: For each of them; None: 5 seconds and 1 GB.
    """

    def __init__(self, *, processes: int = 2, bounds: Bounds | None = None) -> None:
        if processes < 1:
            raise ValueError(f"processes must be 1 or more, got {processes}.")
        self._workers = [_Worker(bounds or Bounds()) for _ in range(processes)]
        self._idle: queue.LifoQueue[_Worker] = queue.LifoQueue()  # the warmest is asked first
        for worker in self._workers:
            self._idle.put(worker)
        weakref.finalize(self, _stop_all, self._workers)

    def __enter__(self) -> Helper:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; a job that is going on is refused."""
        _stop_all(self._workers)

    def warm(self) -> None:
        """Start a process now, so that the first job need not wait for it."""
        self.run(_nothing)

    def read_midi(
        self, source: str | Path | bytes, *, name: str | None = None, limits: MidiLimits = UPLOAD
    ) -> tuple[ScoreTick, MidiSummary]:
        """`musiclstm.read_midi` in a helper; a path is opened here, and only its bytes go there.

        Raises:
            ScoreError: As `read_midi`; or the helper broke on it, or it needs more than the bounds.
        """
        data, shown = read_bounded(source, name=name, limits=limits)
        return self.run(read_midi_bytes, data, name=shown, limits=limits, about=called(shown))

    def run(
        self, work: Callable[..., Any], *given: Any, about: str = "This file", **named: Any
    ) -> Any:
        """Let a helper call a function.

        Args:
            work: A function of a module that the helper can import. It gives plain values, scores
                or reports; nothing else is taken from a helper.
            given: What to call it with.
            about: How sentences begin.
            named: What to call it with, by name.

        Raises:
            ScoreError: The function raised it; or the helper broke, or would need more than its
                bounds.
        """
        worker = self._idle.get()
        try:
            return worker.ask((work, given, named), about=about)
        finally:
            self._idle.put(worker)


class _Worker:
    """One helper and the pipes to it; one thread at a time asks, another may stop it."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, job: tuple[Any, ...], *, about: str) -> Any:
        kind, value = self._answer(self._ready(about), job, about)
        if kind == "memory":
            self.stop()  # it may still hold much
            raise ScoreError(self._too_large(about))
        if kind == "refusal":
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

    def _ready(self, about: str) -> subprocess.Popen[bytes]:
        """A helper that waits for a job; one that ended while nobody asked is replaced."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.stop()
        try:
            self._process = process = _start(self._bounds)
            with _Deadline(process, _START_S):
                receive(process.stdout)  # its first word
        except _NO_ANSWER as error:
            self.stop()
            raise ScoreError(
                f"{about} cannot be read now, because no helper starts ({error}); try again in a "
                "minute."
            ) from error
        return process

    def _answer(
        self, process: subprocess.Popen[bytes], job: tuple[Any, ...], about: str
    ) -> tuple[str, Any]:
        question, deadline = pickle.dumps(job), _Deadline(process, self._bounds.seconds)
        try:
            with deadline:
                send(process.stdin, question)
                answer = receive(process.stdout)
            kind, value = _Unpickler(io.BytesIO(answer)).load()
            return kind, value
        except _NO_ANSWER as error:
            self.stop()
            raise ScoreError(self._too_slow(about) if deadline.over else _broke(about)) from error
        except BaseException:
            self.stop()  # or its answer would be taken for that to the next question
            raise

    def _too_slow(self, about: str) -> str:
        return (
            f"{about} takes longer to read than {self._bounds.seconds:g} seconds, the most a file "
            f"may take; {_AGAIN}."
        )

    def _too_large(self, about: str) -> str:
        return (
            f"{about} needs more than {self._bounds.memory_bytes // 1_000_000:,} MB to be read, "
            "the most a file may need; cut it into shorter pieces."
        )


class _Deadline:
    """Kills a process when a time is over; `over` says whether it was."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.over = False
        self._process = process
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()

    def _end(self) -> None:
        self.over = True
        self._process.kill()


class _Unpickler(pickle.Unpickler):
    """Takes the classes that are expected from a helper, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _TAKEN:
            raise pickle.UnpicklingError(f"{module}.{name} is not taken from a helper")
        return super().find_class(module, name)


def _nothing() -> None:
    """What a helper does when it only has to be there."""


def _stop_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()


def _broke(about: str) -> str:
    return f"{about} broke the program that reads MIDI, as no sound file does; {_AGAIN}."


def _start(bounds: Bounds) -> subprocess.Popen[bytes]:
    """A Python that sees the modules this one sees, and nothing else of its surroundings."""
    kept = {name: os.environ[name] for name in _KEPT_FROM_THE_ENVIRONMENT if name in os.environ}
    places = [*filter(None, sys.path), str(Path(__file__).parents[2])]
    modules = {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.Popen(
        [
            *(sys.executable, "-P", "-m", "musiclstm.midi.sandbox_worker"),
            *(str(bounds.seconds), str(bounds.memory_bytes)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**kept, **modules, **_ONE_THREAD},
    )
