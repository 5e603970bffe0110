"""Smoke test of a staged Space: start it on this machine and compose one bar through its API."""

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
RESPONSE_S = 120.0
_LOG_LINES = 8
_SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")

_open = build_opener(ProxyHandler({})).open  # without a proxy for 127.0.0.1


def smoke_test(folder: Path, *, python: Path | str = sys.executable) -> bytes:
    """Start a copy of a staged Space, compose one bar, and stop it.

    The process gets no token, as on the Hub. The folder is left unchanged.

    Args:
        folder: From `hub.space_files.stage`.
        python: Interpreter, by default that of this process.

    Returns:
        The composed MIDI file: an example file and one new bar.

    Raises:
        PublishError: The Space stopped, did not start in time, or did not compose.
    """
    with TemporaryDirectory(prefix="musiclstm-space-") as name:
        temporary = Path(name)
        shutil.copytree(folder, temporary / "space")
        with _running(temporary, python) as process:
            url = f"http://127.0.0.1:{process.port}"
            process.wait_for(url)
            try:
                return _compose_bar(url)
            except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
                raise process.failure(f"served its page but composed nothing ({error})") from error


class _Process:
    """The process of a Space, which listens on 127.0.0.1 at `port`."""

    def __init__(self, temporary: Path, python: Path | str) -> None:
        self.port, self._log = _free_port(), temporary / "log"
        command = [str(python), APP_FILE, "--host", "127.0.0.1", "--port", str(self.port)]
        files = temporary / "files"
        files.mkdir()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=temporary / "space",
                env=_clean_environment(os.environ) | {"GRADIO_TEMP_DIR": str(files)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, url: str) -> None:
        """Wait until the page is served."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
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
        """Return an error with the last lines of the log."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return PublishError(f"The staged Space {what}; nothing was sent.{_log_tail(text)}")

    def stop(self) -> None:
        """Terminate the process, and kill it after ten seconds."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _running(temporary: Path, python: Path | str) -> Iterator[_Process]:
    process = _Process(temporary, python)
    try:
        yield process
    finally:
        process.stop()


def _clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without tokens and without Python's variables such as PYTHONPATH."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("PYTHON") and name not in _SECRETS
    }
    added = {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}  # a complete log if it crashes
    return kept | added | {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _log_tail(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()][-_LOG_LINES:]
    return "\n".join([" It printed:" if lines else " It printed nothing.", *lines])


# -- One request -----------------------------------------------------------------------------------


def _compose_bar(url: str) -> bytes:
    """Request one bar after the first example file from the endpoint `/continue`.

    Raises:
        ValueError: The result is not a MIDI file.
        LookupError, TypeError: The response does not have Gradio's format.
        OSError, HTTPException: There is no response, or it is incomplete.
    """
    call = f"{url}/gradio_api/call/v2/continue"
    arguments = {"midi": None, "tune": next(iter(example_files())), "bars": 1, "random_seed": 7}
    request = Request(call, json.dumps(arguments).encode(), {"Content-Type": "application/json"})
    files = _event_result(f"{call}/{json.loads(_read(request))['event_id']}")
    midi = _read(files[0]["url"])
    if not midi.startswith(b"MThd"):
        raise ValueError(f"received {len(midi)} bytes that are not a MIDI file")
    return midi


def _event_result(url: str) -> Any:
    event = ""
    for line in _read(url).decode().splitlines():
        kind, _, text = line.partition(": ")
        if kind == "event":
            event = text
        elif kind == "data" and event in ("complete", "error"):
            if event == "error":
                raise ValueError(f"error event: {text}")
            return json.loads(text)
    raise ValueError("the event stream ended without a result")


def _read(request: str | Request) -> bytes:
    try:
        with _open(request, timeout=RESPONSE_S) as response:
            return bytes(response.read())
    except HTTPError as error:
        with error:
            raise ValueError(f"HTTP status {error.code}") from error


# -- Clean interpreter -----------------------------------------------------------------------------


def clean_interpreter(folder: Path) -> Path:
    """Return an interpreter with the packages of a Space's requirements.txt and no others.

    It is installed once for each content of that file, in the user's cache. That takes minutes and
    about one gigabyte.

    Raises:
        PublishError: A package cannot be installed.
    """
    environment = _environment_folder(folder)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    complete = environment / "complete"
    if not complete.is_file():
        venv.create(environment, clear=True, with_pip=True)
        _install(python, folder / REQUIREMENTS_FILE)
        complete.touch()
    return python


def _environment_folder(folder: Path) -> Path:
    text = f"{sys.version}\n{(folder / REQUIREMENTS_FILE).read_text(encoding='utf-8')}"
    cache = Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "musiclstm")
    return cache / "spaces" / hashlib.sha256(text.encode()).hexdigest()[:16]


def _install(python: Path, requirements: Path) -> None:
    # pip asks every index for every package; few retries, in case one index cannot be reached.
    pip = [str(python), "-m", "pip", "install", "--quiet", "--retries", "1"]
    done = subprocess.run(
        [*pip, "-r", str(requirements)],
        env=_clean_environment(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PublishError(
            f"The Space's {REQUIREMENTS_FILE} cannot be installed into a clean environment; "
            f"nothing was sent.{_log_tail(done.stdout)}"
        )
