"""Worker process of `sandbox`, and the message format of both.

Limits its own memory, then runs one job after the other until standard input is closed.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
from collections.abc import Iterator
from typing import IO, Any

import musiclstm.midi.reader  # noqa: F401 - load it before the first job
from musiclstm.errors import ScoreError

_LENGTH = struct.Struct("<Q")
_MAX_MESSAGE_BYTES = 400_000_000
_GRACE_S = 2  # the parent kills earlier; the alarm is for workers that lost their parent


def send(pipe: IO[bytes] | None, data: bytes) -> None:
    """Write a message to a pipe.

    Raises:
        OSError: The other end is closed.
    """
    assert pipe is not None
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> bytes:
    """Wait for a message from a pipe and return it.

    Raises:
        EOFError: The other end is closed, or the message is invalid.
    """
    assert pipe is not None
    head = pipe.read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else _MAX_MESSAGE_BYTES + 1
    data = b"" if length > _MAX_MESSAGE_BYTES else pipe.read(length)
    if len(data) != length:
        raise EOFError("the process ended without an answer")
    return data


def main(argv: list[str]) -> int:
    """Run jobs until standard input is closed. `argv`: seconds per job, bytes of memory."""
    seconds, memory_bytes = float(argv[0]), int(argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # so that output of a library is not read as an answer
    _set_limits(memory_bytes)
    send(answers, b"ready")
    while True:
        try:
            request = receive(requests)
        except EOFError:
            return 0
        with _time_limit(seconds + _GRACE_S):
            send(answers, pickle.dumps(_run(request)))


def _run(request: bytes) -> tuple[str, Any]:
    """Run a job; return ("answer", value), ("error", message) or ("memory", None)."""
    try:
        function, args, kwargs = pickle.loads(request)
        return "answer", function(*args, **kwargs)
    except ScoreError as error:
        return "error", str(error)
    except MemoryError:
        return "memory", None


def _set_limits(memory_bytes: int) -> None:
    """Limit memory and forbid written files and core dumps, where the system supports it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {"RLIMIT_AS": memory_bytes, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, limit in limits.items():
        with contextlib.suppress(OSError, ValueError):  # macOS does not enforce all of them
            resource.setrlimit(getattr(resource, name), (limit, limit))


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End this process when a job takes longer, also if the parent has ended."""
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
