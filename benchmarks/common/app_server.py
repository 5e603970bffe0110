"""`app.py` as a server process, with its memory, worker processes and temporary files."""

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
START_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class AppProcess:
    """A running `app.py`.

    Attributes:
        url: Address of the page, without a trailing slash.
        process: The server process.
        folder: Its temporary folder, for uploads and downloads.
    """

    url: str
    process: subprocess.Popen[bytes]
    folder: Path

    def memory_bytes(self) -> int:
        """Resident memory (VmRSS) of the server and its worker processes; Linux only."""
        return sum(resident_bytes(pid) for pid in (self.process.pid, *self._worker_pids()))

    def kill_workers(self) -> int:
        """Kill all worker processes with SIGKILL and return their number."""
        killed = 0
        for pid in self._worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        return killed

    def count_files(self) -> tuple[int, int]:
        """Return the number of temporary files and their size in bytes."""
        sizes = []
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                sizes += [path.stat().st_size] if path.is_file() else []
        return len(sizes), sum(sizes)

    def _worker_pids(self) -> list[int]:
        pid = self.process.pid
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
            return [int(child) for child in children.split()]
        return []


@contextlib.contextmanager
def run_app(model: str) -> Iterator[AppProcess]:
    """Start `app.py`, wait until it answers, and terminate it at the end.

    Raises:
        ReportError: The system is not Linux, or the server does not start.
    """
    require_linux()
    with tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        command = [sys.executable, "app.py", "--port", str(port), "--model", model]
        env = os.environ | {"GRADIO_TEMP_DIR": folder}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL) as process:
            server = AppProcess(f"http://127.0.0.1:{port}", process, Path(folder))
            try:
                _wait_until_ready(server)
                yield server
            finally:
                process.terminate()


def require_linux() -> None:
    """Check that the memory of processes can be read.

    Raises:
        ReportError: The system is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise ReportError("The memory of a process can be read on Linux only.")


def resident_bytes(pid: int | str = "self") -> int:
    """Return the resident memory (VmRSS) of a process; 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return 1024 * int(line.split()[1])
    return 0


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_ready(server: AppProcess) -> None:
    end_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end_s and server.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{server.url}/healthz").status_code == 200:
                return
        time.sleep(0.05)
    raise ReportError(f"app.py does not answer at {server.url}; start it by hand to see why.")
