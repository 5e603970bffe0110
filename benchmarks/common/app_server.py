"""The page as anybody starts it, for benchmarks that visit it: `app.py` in a process of its own.

Knows the process, its memory and its files; nothing of what visitors do.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.common.report import ReportError

ROOT = Path(__file__).parents[2]
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Server:
    """A page that is served.

    Attributes:
        url: Where, without a slash at the end.
        process: What serves it.
        folder: Where it writes uploads and downloads.
    """

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    def memory_bytes(self) -> int:
        """What it and its helpers hold, as Linux counts it (VmRSS)."""
        return sum(_held(number) for number in (self.process.pid, *self.helpers()))

    def helpers(self) -> list[int]:
        """The processes that it has started."""
        place = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            return [int(number) for number in place.read_text(encoding="ascii").split()]
        return []

    def kill_helpers(self) -> int:
        """Kill them all, without a warning; how many there were."""
        killed = 0
        for number in self.helpers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
                killed += 1
        return killed

    def files(self) -> tuple[int, int]:
        """How many files it keeps, and how many bytes they have."""
        sizes = []
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                sizes += [path.stat().st_size] if path.is_file() else []
        return len(sizes), sum(sizes)


@contextlib.contextmanager
def served(model: str) -> Iterator[Server]:
    """Start the page, and end it as a service manager does.

    Raises:
        ReportError: This is no Linux, or the page does not come.
    """
    if not sys.platform.startswith("linux"):
        raise ReportError("This system does not tell what a process holds; use Linux.")
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [sys.executable, "app.py", "--port", str(port), "--model", model]
        told = os.environ | {"GRADIO_TEMP_DIR": folder}
        with subprocess.Popen(command, cwd=ROOT, env=told, stdout=subprocess.DEVNULL) as process:
            server = Server(f"http://127.0.0.1:{port}", process, Path(folder))
            try:
                _wait_for(server)
                yield server
            finally:
                process.terminate()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(server: Server) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s and server.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/healthz").status_code == 200:
                return
        time.sleep(0.2)
    raise ReportError(f"app.py does not answer at {server.url}; start it by hand to see why.")


def _held(number: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return 1024 * int(line.split()[1])
    return 0
