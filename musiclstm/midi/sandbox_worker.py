"""`python -m musiclstm.midi.sandbox_worker`: the other side of `helper`, and how the two talk.

Loads what reads MIDI, bounds its own memory, and then does one job after the other until nobody
asks any more. Knows neither who asks nor what for.
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

import musiclstm.midi.reader  # noqa: F401 - so that the first job finds it loaded
from musiclstm.errors import ScoreError

_LENGTH = struct.Struct("<Q")
_LONGEST = 400_000_000  # bytes of a question or an answer
_GRACE_S = 2  # longer than the asker waits: it only counts when there is none any more


def send(pipe: IO[bytes] | None, data: bytes) -> None:
    """Write a message to a pipe.

    Raises:
        OSError: Nobody reads it.
    """
    assert pipe is not None
    pipe.write(_LENGTH.pack(len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: IO[bytes] | None) -> bytes:
    """Read a message from a pipe, waiting for it.

    Raises:
        EOFError: It was closed, or says something that is no message.
    """
    assert pipe is not None
    head = pipe.read(_LENGTH.size)
    length = _LENGTH.unpack(head)[0] if len(head) == _LENGTH.size else _LONGEST + 1
    data = b"" if length > _LONGEST else pipe.read(length)
    if len(data) != length:
        raise EOFError("it ended before it said anything")
    return data


def main(argv: list[str]) -> int:
    """Work until the questions end; `argv`: the seconds of a job, and bytes of memory."""
    seconds, memory_bytes = float(argv[0]), int(argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the asker
    questions = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    _bound(memory_bytes)
    send(answers, b"ready")
    while True:
        try:
            question = receive(questions)
        except EOFError:
            return 0
        with _alarm(seconds + _GRACE_S):
            send(answers, pickle.dumps(_work(question)))


def _work(question: bytes) -> tuple[str, Any]:
    """What becomes of a job: `answer` and its value, `refusal` and a sentence, or `memory`."""
    try:
        work, given, named = pickle.loads(question)
        return "answer", work(*given, **named)
    except ScoreError as error:
        return "refusal", str(error)
    except MemoryError:
        return "memory", None


def _bound(memory_bytes: int) -> None:
    """No more memory than this, no files written, no cores dumped; where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    bounds = {"RLIMIT_AS": memory_bytes, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
    for name, most in bounds.items():
        with contextlib.suppress(OSError, ValueError):  # macOS knows some and does not keep them
            resource.setrlimit(getattr(resource, name), (most, most))


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """End this process when a job takes so long, also when nobody is left to do it."""
    if not hasattr(signal, "setitimer"):  # Windows
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
