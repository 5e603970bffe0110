"""Oversized request bodies and stalled uploads; a part of `benchmarks.speed.page_load`."""

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

from benchmarks.common.app_server import AppProcess
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
class StalledUploads:
    """Result of `stall_uploads`.

    Attributes:
        opened: Number of uploads.
        closed: Number of uploads that the server closed.
        seconds: Seconds until the last of them was closed.
        page_s: Response times of the page in the meantime.
    """

    opened: int
    closed: int
    seconds: float
    page_s: list[float]


def send_large_bodies(server: AppProcess, size_bytes: int) -> list[dict[str, Any]]:
    """Send a large body of every kind to every route that accepts a body.

    Returns:
        For each request: `route`, `kind`, `status` (0: closed without a response), `seconds`, and
        `grown_bytes`, the growth of the server's memory since before the first request.
    """
    before = server.memory_bytes()
    found = []
    with httpx.Client(base_url=server.url, timeout=120) as http:
        for route in ROUTES:
            for kind, (mime, head) in KINDS.items():
                begin_s = time.perf_counter()
                status = _post(http, f"{API}/{route}", mime, _body(head, size_bytes))
                seconds = time.perf_counter() - begin_s
                grown = server.memory_bytes() - before
                found.append(
                    {"route": route, "kind": kind, "status": status, "seconds": seconds,
                     "grown_bytes": grown}
                )  # fmt: skip
    return found


def _post(http: httpx.Client, path: str, mime: str, body: Iterator[bytes]) -> int:
    try:
        return http.post(path, content=body, headers={"content-type": mime}).status_code
    except httpx.TransportError:
        return 0


def _body(head: bytes, size_bytes: int) -> Iterator[bytes]:
    yield head
    for _ in range(size_bytes // len(_PART)):
        yield _PART


def stall_uploads(server: AppProcess, count: int, *, timeout_s: float = 60.0) -> StalledUploads:
    """Start uploads without finishing them, and request the page until all are closed."""
    mime, head = KINDS["file"]
    request = (
        f"POST {API}/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        f"Content-Type: {mime}\r\n\r\n"
    )
    host, port = urlsplit(server.url).hostname, urlsplit(server.url).port
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(count):
            connection = socket.create_connection((host, port), timeout=10)
            connections.append(stack.enter_context(connection))
            connection.sendall(request.encode() + head)
            connection.setblocking(False)
        return _wait_until_closed(server, connections, timeout_s)


def _wait_until_closed(
    server: AppProcess, connections: list[socket.socket], timeout_s: float
) -> StalledUploads:
    begin_s, last_s = time.perf_counter(), 0.0
    is_open, page_s = set(connections), []
    while is_open and time.perf_counter() - begin_s < timeout_s:
        request_s = time.perf_counter()
        httpx.get(f"{server.url}/", timeout=60)
        page_s.append(time.perf_counter() - request_s)
        closed = {connection for connection in is_open if _is_closed(connection)}
        last_s = time.perf_counter() - begin_s if closed else last_s
        is_open -= closed
        time.sleep(0.5)
    return StalledUploads(len(connections), len(connections) - len(is_open), last_s, page_s)


def _is_closed(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def describe(bodies: list[dict[str, Any]], size_bytes: int, stalled: StalledUploads) -> str:
    """Return both results as text."""
    statuses = sorted({int(each["status"]) for each in bodies})
    slowest = max(float(each["seconds"]) for each in bodies)
    grown = max(int(each["grown_bytes"]) for each in bodies)
    page_s = stalled.page_s or [0.0]
    return (
        f"{len(bodies)} bodies of {size_bytes / 1e6:.0f} MB: status "
        f"{', '.join(map(str, statuses))}, the slowest response after {slowest:.2f} s; memory grew "
        f"by {grown / 1e6:.0f} MB at most.\n"
        f"{stalled.opened} stalled uploads: {stalled.closed} closed, the last after "
        f"{stalled.seconds:.0f} s; response time of the page meanwhile "
        f"{statistics.median(page_s):.2f} s (median), {max(page_s):.2f} s (maximum)."
    )
