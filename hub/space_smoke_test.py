"""Whether a staged Space starts and answers, tried on this machine before anything is sent.

Starts `space.py` alone in a copy of the folder, with an interpreter that may be a clean one, and
asks its endpoint for one bar. Knows no Hub; what the Space is made of is staging's affair.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from hub.space_files import APP_FILE, REQUIREMENTS_FILE
from musiclstm import example_files
from musiclstm.core import CACHE_VARIABLE
from musiclstm.errors import PublishError

START_S = 300.0  # a first start compiles the core and may download the model
ANSWER_S = 120.0
_LAST_LINES = 8
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

_open = build_opener(ProxyHandler({})).open  # this machine is not asked through a proxy


def boot(folder: Path, *, python: Path | str = sys.executable) -> bytes:
    """Start a staged Space alone, let it go on for one bar, and stop it.

    It gets no token, so it can load only what everybody can. The folder stays as it is.

    Args:
        folder: From `hub.space_files.stage`.
        python: The interpreter; the present one finds the packages installed here.

    Returns:
        The MIDI file that it composed: a bundled tune and its new bar.

    Raises:
        PublishError: It stopped, did not come up, or did not compose.
    """
    with TemporaryDirectory(prefix="musiclstm-space-") as name:
        room = Path(name)
        shutil.copytree(folder, room / "space")
        with _running(room, python) as process:
            url = f"http://127.0.0.1:{process.port}"
            process.wait_for(url)
            try:
                return _one_bar(url)
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                raise process.failure(f"served its page but composed nothing ({error})") from error


class _Process:
    """A Space that is being tried.

    Attributes:
        port: Where it listens, on this machine's own address.
    """

    def __init__(self, room: Path, python: Path | str) -> None:
        self.port, self._log = _free_port(), room / "log"
        command = [str(python), APP_FILE, "--host", "127.0.0.1", "--port", str(self.port)]
        files = room / "files"
        files.mkdir()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=room / "space",
                env=_surroundings(os.environ) | {"GRADIO_TEMP_DIR": str(files)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, url: str) -> None:
        """Return when the page is served."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            status = self._process.poll()
            if status is not None:
                raise self.failure(f"stopped with status {status} before its page was served")
            try:
                _open(url, timeout=5).close()
                return
            except OSError:
                time.sleep(0.2)
        raise self.failure(f"served no page within {START_S:.0f} seconds")

    def failure(self, what: str) -> PublishError:
        """What happened, with the last lines that the Space printed."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return PublishError(f"The staged Space {what}; nothing was sent.{_last_lines(text)}")

    def stop(self) -> None:
        """End it, gently at first."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _running(room: Path, python: Path | str) -> Iterator[_Process]:
    process = _Process(room, python)
    try:
        yield process
    finally:
        process.stop()


def _surroundings(present: Mapping[str, str]) -> dict[str, str]:
    """Ours without secrets, and without what would let Python find modules elsewhere."""
    kept = {
        name: value
        for name, value in present.items()
        if not name.startswith("PYTHON") and name not in _SECRETS
    }
    told = {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}  # its last words must not get lost
    return kept | told | {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()][-_LAST_LINES:]
    return "\n".join([" It printed:" if lines else " It printed nothing.", *lines])


# One request --------------------------------------------------------------------------------------


def _one_bar(url: str) -> bytes:
    """Ask `/continue` for one bar after the first of the bundled tunes.

    Raises:
        ValueError: It answered with something else than a MIDI file.
        LookupError, TypeError: Its answer is not built as Gradio's are.
        OSError, HTTPException: It did not answer, or not to the end.
    """
    call = f"{url}/gradio_api/call/v2/continue"
    wish = {"midi": None, "tune": next(iter(example_files())), "bars": 1, "random_seed": 7}
    asked = Request(call, json.dumps(wish).encode(), {"Content-Type": "application/json"})
    files = _answer(f"{call}/{json.loads(_read(asked))['event_id']}")
    midi = _read(files[0]["url"])
    if not midi.startswith(b"MThd"):
        raise ValueError(f"{len(midi)} bytes came that are no MIDI file")
    return midi


def _answer(url: str) -> Any:
    event = ""
    for line in _read(url).decode().splitlines():
        kind, _, text = line.partition(": ")
        if kind == "event":
            event = text
        elif kind == "data" and event in ("complete", "error"):
            if event == "error":
                raise ValueError(f"its answer was an error: {text}")
            return json.loads(text)
    raise ValueError("its answer ended too early")


def _read(request: str | Request) -> bytes:
    try:
        with _open(request, timeout=ANSWER_S) as answer:
            return bytes(answer.read())
    except HTTPError as error:
        with error:
            raise ValueError(f"HTTP status {error.code}") from error


# A clean interpreter ------------------------------------------------------------------------------


def clean_python(folder: Path) -> Path:
    """An interpreter that has what requirements.txt of a staged Space names, and nothing else.

    It is built once for each content of that file, in the user's cache. That takes minutes and
    about one gigabyte.

    Raises:
        PublishError: A package cannot be installed.
    """
    room = _environment_of(folder)
    python = room / ("Scripts" if os.name == "nt" else "bin") / "python"
    complete = room / "complete"
    if not complete.is_file():
        venv.create(room, clear=True, with_pip=True)
        _install(python, folder / REQUIREMENTS_FILE)
        complete.touch()
    return python


def _environment_of(folder: Path) -> Path:
    text = f"{sys.version}\n{(folder / REQUIREMENTS_FILE).read_text(encoding='utf-8')}"
    return _cache() / "spaces" / hashlib.sha256(text.encode()).hexdigest()[:16]


def _cache() -> Path:
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "musiclstm"


def _install(python: Path, requirements: Path) -> None:
    # Every package is looked for at every index; one that cannot be reached must not cost minutes.
    pip = [str(python), "-m", "pip", "install", "--quiet", "--retries", "1"]
    done = subprocess.run(
        [*pip, "-r", str(requirements)],
        env=_surroundings(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PublishError(
            f"The Space's {REQUIREMENTS_FILE} cannot be installed into a clean environment; "
            f"nothing was sent.{_last_lines(done.stdout)}"
        )
