"""The middleware, before an ASGI application that records what it gets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from page.server.middleware import RequestGuard
from page.server.queue_limits import RefusedError, ServerLimits, address_of

FILES = "/own/folder"
CLIENT, OTHER = "203.0.113.7", "203.0.113.8"
SMALL = ServerLimits(body_bytes=1_000, body_s=0.05, requests=3, bodies=2)


class Application:
    """Reads the whole body and answers; it may swallow errors, as Gradio does."""

    def __init__(self, *, swallows: bool = False) -> None:
        self.swallows = swallows
        self.read = 0
        self.served = 0
        self.held: asyncio.Event | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            while True:
                message = await receive()
                self.read += len(message.get("body", b""))
                if not message.get("more_body"):
                    break
        except Exception:
            if not self.swallows:
                raise
        if self.held:
            await self.held.wait()
        self.served += 1
        status = 400 if self.swallows else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})


class FakeJobs:
    """Stands in for `QueueLimits` and records its calls."""

    def __init__(self, refusal: RefusedError | None = None) -> None:
        self.refusal = refusal
        self.bodies: list[bytes] = []
        self.clients: list[str] = []

    @contextmanager
    def admit(self, address: str, path: str, body: bytes) -> Any:
        self.bodies.append(body)
        if self.refusal:
            raise self.refusal
        yield

    @contextmanager
    def listening(self, client: str) -> Any:
        self.clients.append(client)
        yield


class Answer:
    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.messages[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages[1:])

    @property
    def sentence(self) -> str:
        content = json.loads(self.body)
        assert content["detail"] == content["error"]
        return str(content["detail"])


def scope_of(
    path: str = "/gradio_api/upload",
    *,
    method: str = "POST",
    client: str = "127.0.0.1",
    length: int | None = None,
    query: bytes = b"",
) -> dict[str, Any]:
    headers = [] if length is None else [(b"content-length", b"%d" % length)]
    return {
        "type": "http", "method": method, "path": path, "headers": headers,
        "client": (client, 1), "query_string": query,
    }  # fmt: skip


def receive_parts(parts: Iterable[bytes], *, stalls: bool = False) -> Callable[[], Any]:
    """A body in parts; one that stalls never ends."""
    left = list(parts)

    async def receive() -> Any:
        if not left and stalls:
            await asyncio.Event().wait()
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left) or stalls}

    return receive


def ask(
    scope: dict[str, Any],
    parts: Iterable[bytes] = (b"",),
    *,
    app: Any = None,
    jobs: Any = None,
    limits: ServerLimits = SMALL,
    stalls: bool = False,
) -> Answer:
    answer = Answer()
    guard = RequestGuard(app or Application(), jobs=jobs or FakeJobs(), limits=limits, files=FILES)
    asyncio.run(guard(scope, receive_parts(parts, stalls=stalls), answer.send))
    return answer


# -- Routes ----------------------------------------------------------------------------------------

API = "/gradio_api"
OPEN = [
    "/", "/config", "/theme.css", "/assets/index.js", "/static/fonts/a.woff2", "/healthz",
    f"{API}/info", f"{API}/queue/join", f"{API}/queue/data", f"{API}/upload", f"{API}/heartbeat/x",
    f"{API}/component_server", f"{API}/run/predict", f"{API}/call/continue", f"{API}/mcp",
    f"{API}/mcp/", f"{API}/file={FILES}/0a/motif.mid",
]  # fmt: skip
CLOSED = [
    f"{API}/process_recording", f"{API}/proxy=http://127.0.0.1/", f"{API}/vibe-edit",
    f"{API}/vibe-code", f"{API}/run-history/connect", f"{API}/runs", f"{API}/dev/reload",
    "/monitoring", "/monitoring/summary", "/openapi.json", f"{API}/openapi.json", "/docs",
    f"{API}/custom_component/1/client/component/x.js", f"{API}/stream/a/b/c/playlist.m3u8",
    f"{API}/file={FILES}", f"{API}/file={FILES}x/motif.mid", f"{API}/file={FILES}/../secret",
    f"{API}/file=/etc/passwd", f"{API}/file=http://169.254.169.254/", f"{API}/file=//host/share",
    f"{API}/file=HTTPS://example.org", f"{API}/file=file:///etc/passwd", f"{API}/file=..\\secret",
    f"{API}/file/etc/passwd", "/login", "/logout", "/static/../../secret", "/assets/..\\secret",
    "/whatever.php", f"{API}/", f"{API}/queue/../process_recording",
]  # fmt: skip


def test_routes_of_the_page_are_allowed() -> None:
    for path in OPEN:
        assert ask(scope_of(path, method="GET")).body == b"done", path


def test_other_routes_are_refused() -> None:
    for path in CLOSED:
        app = Application()
        answer = ask(scope_of(path), app=app)
        assert answer.status == 403, path
        assert "not available" in answer.sentence
        assert (app.read, app.served) == (0, 0), path


def test_the_prefix_of_a_proxy_is_ignored() -> None:
    assert ask(scope_of("/p") | {"root_path": "/p", "path": "/p/config"}).status == 200
    assert ask(scope_of("/p") | {"root_path": "/p", "path": "/p/runs"}).status == 403


def test_websockets_are_closed_and_lifespan_messages_are_passed_on() -> None:
    answer = ask(scope_of() | {"type": "websocket"})
    assert answer.messages == [{"type": "websocket.close", "code": 1008}]
    app = Application()
    ask({"type": "lifespan"}, app=app)
    assert app.served == 1


def test_every_answer_has_the_security_headers() -> None:
    for answer in (ask(scope_of()), ask(scope_of("/docs"))):
        assert answer.headers["x-content-type-options"] == "nosniff"


# -- Bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [False, True])
def test_a_body_that_grows_too_large_is_refused(swallows: bool) -> None:
    app = Application(swallows=swallows)
    answer = ask(scope_of(), [b"x" * 300] * 50, app=app)
    assert answer.status == 413
    assert "larger than 0.0 MB" in answer.sentence
    assert app.read <= SMALL.body_bytes
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_a_body_declared_too_large_is_not_read() -> None:
    app = Application()
    assert ask(scope_of(length=1_001), [b"x"], app=app).status == 413
    assert (app.read, app.served) == (0, 0)
    assert ask(scope_of(length=1_000), [b"x" * 1_000]).status == 200


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join"])
def test_a_body_that_stalls_is_refused(path: str, swallows: bool) -> None:
    answer = ask(scope_of(path), [b"x"], app=Application(swallows=swallows), stalls=True)
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert "did not arrive" in answer.sentence


def test_other_errors_reach_the_server() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("broken")

    with pytest.raises(KeyError):
        ask(scope_of(), app=broken)


def test_a_complete_answer_is_not_followed_by_a_refusal() -> None:
    async def early(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        while (await receive()).get("more_body"):
            pass

    answer = ask(scope_of(), [b"x" * 600] * 3, app=early)
    assert [each["type"] for each in answer.messages] == [
        "http.response.start", "http.response.body",
    ]  # fmt: skip


# -- Jobs ------------------------------------------------------------------------------------------


def test_the_body_of_a_job_is_read_for_its_admission_and_passed_on() -> None:
    jobs, app = FakeJobs(), Application()
    ask(scope_of("/gradio_api/queue/join"), [b"one ", b"two"], jobs=jobs, app=app)
    assert jobs.bodies == [b"one two"]
    assert app.read == 7


def test_a_refused_job_gets_a_retry_after_header() -> None:
    jobs = FakeJobs(RefusedError(429, "Not now.", wait_s=10))
    answer = ask(scope_of("/gradio_api/call/continue"), jobs=jobs)
    assert (answer.status, answer.sentence) == (429, "Not now.")
    assert answer.headers["retry-after"] == "10"


@pytest.mark.parametrize(
    ("path", "query", "listener"),
    [("/gradio_api/queue/data", b"session_hash=abc&x=1", "abc"),
     ("/gradio_api/call/continue/e1", b"", "e1"), ("/gradio_api/queue/data", b"", None),
     ("/gradio_api/info", b"session_hash=abc", None)],
)  # fmt: skip
def test_a_listening_client_is_recorded(path: str, query: bytes, listener: str | None) -> None:
    jobs = FakeJobs()
    ask(scope_of(path, method="GET", query=query), jobs=jobs)
    assert jobs.clients == ([] if listener is None else [listener])


# -- Addresses -------------------------------------------------------------------------------------


def concurrently(clients: list[str], limits: ServerLimits, *, stalls: bool) -> list[Answer]:
    """Answers to requests that are all served at the same time."""

    async def run() -> list[Answer]:
        app = Application()
        app.held = asyncio.Event()
        guard = RequestGuard(app, jobs=FakeJobs(), limits=limits, files=FILES)
        answers = [Answer() for _ in clients]
        tasks = [
            asyncio.create_task(
                guard(scope_of(client=client), receive_parts([b"x"], stalls=stalls), answer.send)
            )
            for client, answer in zip(clients, answers, strict=True)
        ]
        await asyncio.sleep(0)
        app.held.set()
        await asyncio.gather(*tasks)
        again = Answer()
        await guard(scope_of(client=clients[0]), receive_parts([b"x"]), again.send)
        assert again.status == 200  # the counters are back at 0
        return answers

    return asyncio.run(run())


def test_one_address_has_a_limited_number_of_requests() -> None:
    answers = concurrently([CLIENT] * 5 + [OTHER], replace(SMALL, bodies=9), stalls=False)
    statuses = [answer.status for answer in answers]
    assert statuses == [200, 200, 200, 429, 429, 200]
    assert "from your address" in answers[3].sentence


def test_one_address_has_a_limited_number_of_arriving_bodies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("page.server.middleware._DRAINED_S", 0.01)
    limits = replace(SMALL, requests=9)
    statuses = [
        answer.status for answer in concurrently([CLIENT] * 4 + [OTHER], limits, stalls=True)
    ]
    assert statuses == [408, 408, 429, 429, 408]


def test_requests_of_this_machine_are_not_counted() -> None:
    for client in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert {answer.status for answer in concurrently([client] * 9, SMALL, stalls=False)} == {
            200
        }


@pytest.mark.parametrize(
    ("client", "address"),
    [("203.0.113.7", "203.0.113.7"), ("::ffff:203.0.113.7", "203.0.113.7"), ("127.9.9.9", ""),
     ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("testclient", "testclient")],
)  # fmt: skip
def test_the_address_of_a_request(client: str, address: str) -> None:
    assert address_of({"client": (client, 1)}) == address


def test_a_proxy_that_names_no_client_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    near = {"client": ("10.1.2.3", 1)}
    assert address_of(near) == "10.1.2.3"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "proxy.example, 10.0.0.0/8,*")
    assert address_of(near) == ""
    assert address_of({"client": (CLIENT, 1)}) == CLIENT


def test_a_request_without_a_client_counts_as_unknown() -> None:
    assert address_of({"client": None}) == address_of({}) == "unknown"


@pytest.mark.parametrize("name", ["body_bytes", "body_s"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be more than 0, got 0"):
        ServerLimits(**{name: 0})
