"""How commands end: any encoding of the console, closed pipes, full disks, Ctrl-C."""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

STDOUT = "standard output"  # its name in messages
CLOSED_PIPE = 141  # exit status 128 + SIGPIPE, as a program that the signal ends has in a shell
_ERRORS = "musiclstm.escape"
INTERRUPTED = 130  # 128 + SIGINT


def run_command(command: Callable[[], int], *, written: Sequence[Path] | None = None) -> int:
    """Run a command and end it as a program in a shell does.

    Args:
        command: Prints to stdout and returns the exit status.
        written: Files that it has written so far, for the line after Ctrl-C. None: unknown.

    Returns:
        The status of the command; 1 after an `OSError`; 130 after Ctrl-C, each with an `error: …`
        line on stderr; 141 if the reader of stdout has closed the pipe.
    """
    escape_unprintable()
    try:
        try:
            return command()
        finally:
            flush_stdout()
    except BrokenPipeError:
        discard_stdout()
        return CLOSED_PIPE
    except OSError as error:
        discard_stdout()
        print_error(_sentence_of(error))
        return 1
    except KeyboardInterrupt:
        print_error("interrupted." if written is None else f"interrupted; {_names_of(written)}.")
        return INTERRUPTED


def _sentence_of(error: OSError) -> str:
    """Return one sentence that names the file."""
    if error.filename is None:
        return f"A file cannot be read or written ({error.strerror or error})."
    name = Path(str(error.filename)).name
    reason = error.strerror or str(error)
    return f"{name!r} cannot be read or written ({reason}); pass another path."


def _names_of(written: Sequence[Path]) -> str:
    *most, last = [str(path) for path in written] or ["nothing"]
    return f"{', '.join(most)} and {last} were written" if most else f"{last} was written"


def escape_unprintable() -> None:
    r"""Print characters that the console's encoding lacks as `\u65e5`, where Python would fail.

    Bytes of file names that are not in the encoding are printed as they are.
    """
    codecs.register_error(_ERRORS, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    character = error.object[error.start]
    if "\udc80" <= character <= "\udcff":  # a byte that `os.fsdecode` has escaped
        return bytes([ord(character) - 0xDC00]), error.start + 1
    return character.encode("ascii", "backslashreplace"), error.start + 1


def print_line(text: str) -> None:
    """Write one line to stdout.

    Raises:
        BrokenPipeError: The reader has closed the pipe.
        OSError: It cannot be written; `filename` names it.
    """
    try:
        if sys.stdout is not None:  # closed by the shell: `>&-`
            sys.stdout.write(text + "\n")
    except OSError as error:
        raise _named(error) from error


def flush_stdout() -> None:
    """Write what is buffered; errors are those of `print_line`."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise _named(error) from error


def discard_stdout() -> None:
    """Drop what is buffered for stdout, so that Python does not fail again when it exits."""
    with suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def print_error(sentence: str) -> None:
    """Write `error: …` to stderr, if there is one."""
    with suppress(OSError, AttributeError):
        sys.stderr.write(f"error: {sentence}\n")
        sys.stderr.flush()


def _named(error: OSError) -> OSError:
    """Return the error with the name of stdout; a closed pipe stays a `BrokenPipeError`."""
    return OSError(error.errno, error.strerror, STDOUT)
