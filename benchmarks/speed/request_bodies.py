"""Large bodies and stalled uploads against a served page: what it answers, and what it holds.

One part of `python -m benchmarks.speed.page_load`.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchmarks.common.app_server import Server
from benchmarks.common.http_client import API

ROUTES = (
    "upload", "queue/join", "call/continue", "component_server", "run/predict", "cancel", "reset",
    "process_recording",
)  # fmt: skip
KINDS = {
    "json": ("application/json", b'{"data": ["'),
    "field": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n',
    ),
    "file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mid"\r\n\r\n',
    ),
}
_PART = b"x" * 100_000


@dataclass(frozen=True)
class Stalled:
    """What became of uploads that never end.

    Attributes:
        opened: How many there were.
        closed: How many of them the server closed.
        seconds: Until the last of those was closed.
        page_s: How long the page took to answer meanwhile, again and again.
    """

    opened: int
    closed: int
    seconds: float
    page_s: list[float]


def large(server: Server, size_bytes: int) -> list[dict[str, Any]]:
    """Send a large body of every kind to every route that takes one.

    Returns:
        For each: `route`, `kind`, `status` (0: cut off without an answer), `seconds` and
        `grown_bytes`, by which the server's memory was larger afterwards than before all of them.
    """
    before = server.memory_bytes()
    found = []
    with httpx.Client(base_url=server.url, timeout=120) as http:
        for route in ROUTES:
            for kind, (mime, begin) in KINDS.items():
                begun_s = time.perf_counter()
                status = _sent(http, f"{API}/{route}", mime, _parts(begin, size_bytes))
                spent_s = time.perf_counter() - begun_s
                grown = server.memory_bytes() - before
                found.append(
                    {"route": route, "kind": kind, "status": status, "seconds": spent_s,
                     "grown_bytes": grown}
                )  # fmt: skip
    return found


def _sent(http: httpx.Client, path: str, mime: str, parts: Iterator[bytes]) -> int:
    try:
        return http.post(path, content=parts, headers={"content-type": mime}).status_code
    except httpx.TransportError:
        return 0


def _parts(begin: bytes, size_bytes: int) -> Iterator[bytes]:
    yield begin
    for _ in range(size_bytes // len(_PART)):
        yield _PART


def stalled(server: Server, count: int, *, patience_s: float = 60.0) -> Stalled:
    """Begin uploads and never go on with them."""
    mime, begin = KINDS["file"]
    head = f"POST {API}/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: {mime}"
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(count):
            line = stack.enter_context(socket.create_connection((host, port), timeout=10))
            line.sendall(head.encode() + b"\r\n\r\n" + begin)
            line.setblocking(False)
            lines.append(line)
        return _watched(server, lines, patience_s)


def _watched(server: Server, lines: list[socket.socket], patience_s: float) -> Stalled:
    """Ask for the page twice a second until all lines are closed."""
    begun_s, last_s = time.perf_counter(), 0.0
    open_lines, page_s = set(lines), []
    while open_lines and time.perf_counter() - begun_s < patience_s:
        asked_s = time.perf_counter()
        httpx.get(f"{server.url}/", timeout=60)
        page_s.append(time.perf_counter() - asked_s)
        closed = {line for line in open_lines if _is_closed(line)}
        last_s = time.perf_counter() - begun_s if closed else last_s
        open_lines -= closed
        time.sleep(0.5)
    return Stalled(len(lines), len(lines) - len(open_lines), last_s, page_s)


def _is_closed(line: socket.socket) -> bool:
    try:
        while line.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def in_words(bodies: list[dict[str, Any]], size_bytes: int, waits: Stalled) -> str:
    """Both, in a few sentences."""
    statuses = sorted({int(each["status"]) for each in bodies})
    slowest = max(float(each["seconds"]) for each in bodies)
    grown = max(int(each["grown_bytes"]) for each in bodies)
    page_s = waits.page_s or [0.0]
    return (
        f"{len(bodies)} bodies of {size_bytes / 1e6:.0f} MB: answered "
        f"{', '.join(map(str, statuses))}, the slowest after {slowest:.2f} s; memory grew by "
        f"{grown / 1e6:.0f} MB at most.\n"
        f"{waits.opened} stalled uploads: {waits.closed} closed, the last after "
        f"{waits.seconds:.0f} s; the page answered meanwhile in {statistics.median(page_s):.2f} s "
        f"(median) to {max(page_s):.2f} s."
    )
