"""The served page over HTTP: routes, bodies, files, jobs and shutdown."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from benchmarks.common.http_client import PageClient
from musiclstm import Composer, __version__
from page.server.deadlines import CLOSING, DEADLINES
from page.server.gradio_private import GradioQueue
from page.server.lifecycle import close, trust_proxy
from page.server.middleware import ALLOWED_API, ALLOWED_FOLDERS, ALLOWED_PATHS
from page.server.queue_limits import ServerLimits
from page.server.temp_cleanup import TempCleaner
from page.ui.errors import UNEXPECTED
from tests.page.server.app_server import Server, served
from tests.page.server.waiting import TIMEOUT_S, until

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing"),
    # Gradio leaves the files of uploads that break off to the garbage collector.
    pytest.mark.filterwarnings(
        "ignore:.*unclosed file|Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning"
    ),
]

API = "/gradio_api"
CLIENT, OTHER = "203.0.113.7", "203.0.113.8"


class ControlledComposer:
    """A composer that can be paused before its next bar, or made to fail."""

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self.resumed = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.error: BaseException | None = None
        self.started = 0
        self.ended = 0
        self.resumed.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._composer, name)

    def stream(self, **options: Any) -> Iterator[Any]:
        self.started += 1
        try:
            for draft in self._composer.stream(**options):
                self.resumed.wait(TIMEOUT_S)
                if self.error is not None:
                    raise self.error
                yield draft
        finally:
            self.ended += 1


@pytest.fixture(scope="module")
def composer(tiny_composer: Composer) -> ControlledComposer:
    return ControlledComposer(tiny_composer)


@pytest.fixture(autouse=True)
def _reset(composer: ControlledComposer) -> Iterator[None]:
    composer.reset()
    yield
    composer.reset()


@pytest.fixture(scope="module")
def server(
    composer: ControlledComposer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with served(composer, tmp_path_factory.mktemp("served"), ServerLimits(waiting=4)) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(
    composer: ControlledComposer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with short timeouts."""
    limits = ServerLimits(body_s=0.5, unheard_s=0.5)
    with served(composer, tmp_path_factory.mktemp("impatient"), limits) as running:
        yield running


@pytest.fixture
def open_session(server: Server) -> Iterator[Callable[..., PageClient]]:
    opened = []

    def open_one(address: str = "", *, to: Server = server) -> PageClient:
        opened.append(PageClient(to.url, address=address))
        opened[-1].set("New bars", 2)
        opened[-1].set("SoundFont", None)  # silent and quick
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


# -- Routes ----------------------------------------------------------------------------------------

SECRET = "a secret"
FORMS = [
    "file={secret}", "file=/{secret}", "file={own}/../secret.txt", "file={own}/%2e%2e/secret.txt",
    "file={own}%2f..%2fsecret.txt", "file={own}/..%5csecret.txt", "file={own}x/secret.txt",
    "file=file://{secret}", "file=/proc/self/environ", "file=/proc/self/fd/0", "file=app.py",
    "file=../app.py", "file=/etc/passwd", "file=%2fetc%2fpasswd", "file=%252fetc%252fpasswd",
    "file=/etc/passwd%00.mid", "file=C:\\Windows\\win.ini", "file=\\\\host\\share",
    "file=~/.bashrc", "file={own}", "file={own}/", "file={own}/nothing.mid", "file/{secret}",
    "file=http://127.0.0.1:{port}/config", "file=HTTP://127.0.0.1:{port}/config",
    "file=https://169.254.169.254/latest/meta-data", "file=http://2130706433:{port}/config",
    "file=http://[::1]:{port}/config", "file=//127.0.0.1:{port}/config", "file=ftp://127.0.0.1/",
    "proxy=http://127.0.0.1:{port}/config", "proxy=https://user.hf.space/",
    "custom_component/1/client/component/..%2f..%2fsecret.txt", "stream/a/b/1/playlist.m3u8",
    "run-history/records", "runs", "dev/reload", "openapi.json", "vibe-code",
    "../static/..%2f..%2fsecret.txt", "../assets/..%2f..%2fsecret.txt",
]  # fmt: skip


def test_no_path_serves_another_file_or_fetches_a_url(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET, encoding="utf-8")
    (server.folder.parent / "secret.txt").write_text(SECRET, encoding="utf-8")
    for form in FORMS:
        path = form.format(secret=secret, own=server.folder, port=server.port)
        answer = raw_answer(server, f"{API}/{path}")
        assert b" 4" in answer.partition(b"\r\n")[0], form
        for word in (SECRET.encode(), b"root:", b"musiclstm/", b"api_prefix", b"Traceback"):
            assert word not in answer.replace(b"musiclstm/static", b""), form


def raw_answer(server: Server, path: str) -> bytes:
    """The whole answer; an HTTP client would normalize the path."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: line.recv(65_536), b""))


POSTS = ["/gradio_api/process_recording", "/gradio_api/vibe-edit", "/gradio_api/undo-vibe-edit",
         "/login", "/gradio_api/api/continue", "/gradio_api/stream/x"]  # fmt: skip


def test_routes_that_the_page_does_not_need_are_closed(server: Server) -> None:
    for path in POSTS:
        answer = httpx.post(server.url + path, files={"file": ("a.webm", b"x")})
        assert answer.status_code == 403, path
        assert str(server.folder) not in answer.text, path


def test_the_queue_cannot_be_bypassed(
    open_session: Callable[..., PageClient], composer: ControlledComposer
) -> None:
    user = open_session()
    event = user.event("compose")
    asked = {"data": [None] * len(event["inputs"]), "fn_index": event["id"]}
    for name in ("compose", "predict", "continue"):
        answer = user.http.post(f"{API}/run/{name}", json=asked | {"session_hash": "x"})
        assert answer.status_code == 404
    assert composer.started == 0


# Every route of Gradio 6.31, and whether the middleware allows it. If a newer version adds one,
# decide: a route in neither list is refused, but the page may need it.
OPEN = {
    "/", "/assets/{path:path}", "/config", "/favicon.ico", "/healthz", "/manifest.json",
    "/pwa_icon", "/pwa_icon/{size}", "/robots.txt", "/static/{path:path}", "/svelte/{path:path}",
    "/theme.css",
} | {
    f"{API}/{name}"
    for name in (
        "app_id", "call/v2/{api_name}", "call/v2/{api_name}/{event_id}", "call/{api_name}",
        "call/{api_name}/{event_id}", "cancel", "component_server",
        "file={path_or_url:path}", "heartbeat/{session_hash}", "info", "queue/data", "queue/join",
        "queue/status", "reset", "run/{api_name}", "startup-events", "theme.css", "upload",
        "upload_progress",
    )
}  # fmt: skip
CLOSED = {
    f"{API}/deep_link", "/login", "/logout", "/monitoring", "/monitoring/summary",
    "/monitoring/{key}",
} | {
    f"{API}/{name}"
    for name in (
        "api/{api_name}", "custom_component/{id}/{environment}/{type}/{file_name}", "dev/reload",
        "file/{path:path}", "login_check", "openapi.json", "process_recording",
        "proxy={url_path:path}", "runs", "stream/{event_id}", "stream/{event_id}/close",
        "stream/{session_hash}/{run}/{component_id}/playlist-file",
        "stream/{session_hash}/{run}/{component_id}/playlist.m3u8",
        "stream/{session_hash}/{run}/{component_id}/{segment_id}.{ext}", "token",
        "undo-vibe-edit", "user", "vibe-code", "vibe-edit", "vibe-starter-queries",
    )
}  # fmt: skip


def test_every_route_of_gradio_is_listed(server: Server) -> None:
    assert routes_of(server) == OPEN | CLOSED


def routes_of(server: Server) -> set[str]:
    """All paths, with those of included routers, without the slash at the end."""
    found = set()
    for route in server.demo.app.routes:
        router = getattr(route, "original_router", None)
        inner = [route] if router is None else router.routes
        found |= {str(each.path) for each in inner}
    return {path.rstrip("/") or "/" for path in found}


def test_every_allowed_route_exists() -> None:
    opened = {path.removeprefix(f"{API}/").partition("/")[0] for path in OPEN}
    assert opened >= ALLOWED_API - {"mcp"}  # only with --mcp
    assert {path.rstrip("/") or "/" for path in ALLOWED_PATHS} <= OPEN
    assert all(any(path.startswith(folder) for path in OPEN) for folder in ALLOWED_FOLDERS)


# -- Health ----------------------------------------------------------------------------------------


def test_the_health_route_counts_jobs(
    server: Server, open_session: Callable[..., PageClient], composer: ControlledComposer
) -> None:
    def health() -> dict[str, Any]:
        return dict(httpx.get(server.url + "/healthz").raise_for_status().json())

    before = health()
    assert before.pop("uptime_s") >= 0
    assert before == {
        "ok": True, "version": __version__, "model": "toy", "running": 0, "waiting": 0,
    }  # fmt: skip
    composer.resumed.clear()
    users = [open_session() for _ in range(3)]
    with ThreadPoolExecutor() as pool:
        presses = [pool.submit(each.run) for each in users]
        until(lambda: (health()["running"], health()["waiting"]) == (2, 1))
        composer.resumed.set()
        assert all(press.result().error == "" for press in presses)
    until(lambda: health()["running"] == 0)


# -- Bodies ----------------------------------------------------------------------------------------

BIG = 20_000_000


def parts_of(kind: str) -> tuple[str, Iterator[bytes]]:
    """A content type, and a large body that is never in memory as a whole."""
    begin = {
        "json": b'{"data": ["',
        "field": b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n',
        "file": b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.mid"\r\n\r\n',
    }[kind]
    kind = "application/json" if kind == "json" else "multipart/form-data; boundary=b"

    def parts() -> Iterator[bytes]:
        yield begin
        for _ in range(BIG // 50_000):
            yield b"x" * 50_000

    return kind, parts()


def memory_bytes() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return 1024 * int(line.split()[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_large_bodies_are_refused_and_not_kept_in_memory(server: Server) -> None:
    paths = ["upload", "queue/join", "call/continue", "component_server", "run/predict", "cancel",
             "reset", "process_recording", "api/continue"]  # fmt: skip
    with httpx.Client(base_url=server.url, timeout=TIMEOUT_S) as http:
        http.get("/config")
        before = memory_bytes()
        for path in paths:
            for kind in ("json", "field", "file"):
                mime, body = parts_of(kind)
                try:
                    headers = {"content-type": mime}
                    status = http.post(f"{API}/{path}", content=body, headers=headers).status_code
                except httpx.TransportError:  # cut off while it was still sending
                    status = 413
                assert status in (400, 403, 404, 413, 422), (path, kind)
                assert memory_bytes() - before < 2 * BIG, (path, kind)
    gc.collect()  # Gradio leaves files open; collect them here


def test_a_file_of_the_allowed_size_is_accepted(server: Server) -> None:
    file = ("a.mid", b"x" * 2_000_000)
    assert httpx.post(f"{server.url}{API}/upload", files={"files": file}).status_code == 200


def test_stalled_uploads_are_closed_and_the_page_still_answers(impatient: Server) -> None:
    head = (
        f"POST {API}/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        'Content-Disposition: form-data; name="files"; filename="a.mid"\r\n\r\nMThd'
    )
    lines = [socket.create_connection(("127.0.0.1", impatient.port)) for _ in range(30)]
    for line in lines:
        line.settimeout(TIMEOUT_S)
        line.sendall(head.encode())
    assert httpx.get(impatient.url + "/healthz", timeout=TIMEOUT_S).status_code == 200
    for line in lines:
        with line:
            assert b"".join(iter(lambda line=line: line.recv(4096), b"")).startswith(
                b"HTTP/1.1 408"
            )
    gc.collect()


# -- Files -----------------------------------------------------------------------------------------


def test_many_uploads_are_cleaned_up(impatient: Server) -> None:
    def upload(number: int) -> None:
        file = (f"{number}.mid", b"MThd" + number.to_bytes(4) * 100)
        httpx.post(f"{impatient.url}{API}/upload", files={"files": file}, timeout=TIMEOUT_S)

    cleaner = TempCleaner(impatient.folder, max_age_s=1e-3, every_s=0.01)
    cleaner.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, range(60)))
    assert cleaner.is_alive()
    until(lambda: not any(path.is_file() for path in impatient.folder.rglob("*")))
    cleaner.close()


# -- Jobs ------------------------------------------------------------------------------------------


def test_one_address_cannot_occupy_the_queue(
    open_session: Callable[..., PageClient], composer: ControlledComposer
) -> None:
    composer.resumed.clear()
    greedy, user = open_session(CLIENT), open_session(OTHER)
    statuses = [greedy.join().status_code for _ in range(30)]
    assert sorted(statuses) == [200] * 3 + [429] * 27
    with ThreadPoolExecutor() as pool:
        press = pool.submit(user.run)
        composer.resumed.set()
        assert press.result(TIMEOUT_S).statuses[-1].startswith("Continue adds 2 bars after bar 10.")


def test_a_full_queue_refuses_at_once(
    open_session: Callable[..., PageClient], composer: ControlledComposer, server: Server
) -> None:
    composer.resumed.clear()
    many = [open_session(f"203.0.113.{number}") for number in range(6)]
    assert [each.join().status_code for each in many[:2]] == [200, 200]
    until(lambda: composer.started == 2)
    assert [each.join().status_code for each in many[2:]] == [200] * 4
    result = open_session(OTHER).run()
    assert (result.status, result.ended) == (503, False)
    assert result.error.startswith("The queue is full, 4 are waiting")
    composer.resumed.set()
    until(lambda: composer.ended == 6)


def test_a_job_without_a_listener_ends(
    open_session: Callable[..., PageClient], composer: ControlledComposer, impatient: Server
) -> None:
    user = open_session(to=impatient)
    user.set("Endless, until you press Stop", True)
    assert user.join().status_code == 200
    until(lambda: composer.started == 1)
    until(lambda: composer.ended == 1)
    until(lambda: not GradioQueue(impatient.demo).jobs() and not len(DEADLINES))


def test_closing_the_page_ends_the_job(
    open_session: Callable[..., PageClient], composer: ControlledComposer
) -> None:
    user = open_session()
    user.set("Endless, until you press Stop", True)
    messages = user.messages(user.join().json()["event_id"])
    while "bar 1" not in next(messages)[1]:
        pass
    messages.close()
    user.close()
    until(lambda: (composer.started, composer.ended) == (1, 1))
    until(lambda: len(DEADLINES) == 0)


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("y"), MemoryError()])
def test_an_unexpected_error_is_one_sentence_and_the_next_job_works(
    open_session: Callable[..., PageClient],
    composer: ControlledComposer,
    error: Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    user = open_session()
    composer.error = error
    for _ in range(3):  # one more than can run at once
        result = user.run()
        assert (result.ended, result.error) == (True, UNEXPECTED)
    assert "An event handler failed" in caplog.text
    composer.error = None
    assert user.run().statuses[-1].startswith("Continue adds 2 bars after bar 10.")


def test_a_job_over_its_time_ends_with_a_reason_and_its_music(
    open_session: Callable[..., PageClient], composer: ControlledComposer
) -> None:
    user = open_session()
    user.set("Endless, until you press Stop", True)
    with ThreadPoolExecutor() as pool:
        press = pool.submit(user.run)
        until(lambda: len(DEADLINES) == 1)
        until(lambda: composer.started == 1)
        DEADLINES.expire(num_waiting=0, now_s=time.monotonic() + 1_000_000)
        result = press.result(TIMEOUT_S)
    assert result.error == ""
    assert "after bar" in result.statuses[-1]
    assert "Endless music stops" in result.warnings[-1]


def test_closing_informs_running_and_waiting_jobs(
    composer: ControlledComposer,
    open_session: Callable[..., PageClient],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "page.server.lifecycle.SHUTDOWN_S", TIMEOUT_S
    )  # a busy machine needs longer
    with served(composer, tmp_path) as server:
        users = [open_session(to=server) for _ in range(3)]
        for each in users:
            each.set("Endless, until you press Stop", True)
        with ThreadPoolExecutor() as pool:
            presses = [pool.submit(each.run) for each in users]
            until(lambda: composer.started == 2)
            until(lambda: len(GradioQueue(server.demo).jobs()) == 3)
            close(server.demo)
            results = [press.result(TIMEOUT_S) for press in presses]
    assert all(each.ended for each in results)
    assert sum(CLOSING in " ".join(each.warnings) for each in results) == 2
    assert sum(each.error == CLOSING for each in results) == 1


# -- Addresses behind a proxy ----------------------------------------------------------------------


def test_only_proxies_of_private_networks_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")  # so that what is set here goes afterwards
    monkeypatch.delenv("FORWARDED_ALLOW_IPS")
    trust_proxy()
    seen = []

    async def record(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["client"][0])

    proxied: Any = ProxyHeadersMiddleware(record, os.environ["FORWARDED_ALLOW_IPS"])
    for peer, forwarded in (
        ("10.1.2.3", "198.51.100.1, 203.0.113.7, 10.9.9.9"),
        ("203.0.113.9", "203.0.113.7"),
    ):
        headers = [(b"x-forwarded-for", forwarded.encode())]
        scope = {"type": "http", "client": (peer, 1), "headers": headers}
        asyncio.run(proxied(scope, None, None))
    assert seen == ["203.0.113.7", "203.0.113.9"]
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.1")
    trust_proxy()
    assert os.environ["FORWARDED_ALLOW_IPS"] == "192.0.2.1"
