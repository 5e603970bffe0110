"""Which requests come through the guard, before an application that only notes what it gets."""

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
FAR, OTHER = "203.0.113.7", "203.0.113.8"
SMALL = ServerLimits(body_bytes=1_000, body_s=0.05, requests=3, bodies=2)


class Application:
    """Reads the whole body, and answers; as careless with errors as applications are."""

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


class NoJobs:
    """A queue with room for everybody, which notes who came."""

    def __init__(self, refusal: RefusedError | None = None) -> None:
        self.refusal = refusal
        self.bodies: list[bytes] = []
        self.listeners: list[str] = []

    @contextmanager
    def admitted(self, who: str, path: str, body: bytes) -> Any:
        self.bodies.append(body)
        if self.refusal:
            raise self.refusal
        yield

    @contextmanager
    def heard(self, listener: str) -> Any:
        self.listeners.append(listener)
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
        said = json.loads(self.body)
        assert said["detail"] == said["error"]
        return str(said["detail"])


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


def coming(parts: Iterable[bytes], *, stalls: bool = False) -> Callable[[], Any]:
    """A body part by part; one that stalls never ends."""
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
    guard = RequestGuard(app or Application(), jobs=jobs or NoJobs(), limits=limits, files=FILES)
    asyncio.run(guard(scope, coming(parts, stalls=stalls), answer.send))
    return answer


# -- Doors -----------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("path", OPEN)
def test_what_the_page_needs_is_open(path: str) -> None:
    assert ask(scope_of(path, method="GET")).body == b"done"


@pytest.mark.parametrize("path", CLOSED)
def test_what_it_does_not_need_is_closed(path: str) -> None:
    app = Application()
    answer = ask(scope_of(path), app=app)
    assert answer.status == 403
    assert "nothing for visitors" in answer.sentence
    assert (app.read, app.served) == (0, 0)


def test_what_a_proxy_puts_before_the_path_changes_nothing() -> None:
    assert ask(scope_of("/room") | {"root_path": "/room", "path": "/room/config"}).status == 200
    assert ask(scope_of("/room") | {"root_path": "/room", "path": "/room/runs"}).status == 403


def test_a_websocket_is_closed_and_the_server_s_own_life_goes_on() -> None:
    answer = ask(scope_of() | {"type": "websocket"})
    assert answer.messages == [{"type": "websocket.close", "code": 1008}]
    app = Application()
    ask({"type": "lifespan"}, app=app)
    assert app.served == 1


def test_every_answer_forbids_guessing_its_type() -> None:
    for answer in (ask(scope_of()), ask(scope_of("/docs"))):
        assert answer.headers["x-content-type-options"] == "nosniff"


# -- Bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("swallows", [False, True])
def test_a_body_is_counted_while_it_comes(swallows: bool) -> None:
    app = Application(swallows=swallows)
    answer = ask(scope_of(), [b"x" * 300] * 50, app=app)
    assert answer.status == 413
    assert "larger than 0.0 MB" in answer.sentence
    assert app.read <= SMALL.body_bytes
    assert answer.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


def test_a_body_that_says_it_is_too_large_is_not_read_by_anyone() -> None:
    app = Application()
    assert ask(scope_of(length=1_001), [b"x"], app=app).status == 413
    assert (app.read, app.served) == (0, 0)
    assert ask(scope_of(length=1_000), [b"x" * 1_000]).status == 200


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/queue/join"])
def test_a_body_that_stalls_is_given_up(path: str, swallows: bool) -> None:
    answer = ask(scope_of(path), [b"x"], app=Application(swallows=swallows), stalls=True)
    assert answer.status == 408
    assert answer.headers["connection"] == "close"
    assert "did not arrive" in answer.sentence


def test_an_error_that_is_no_refusal_goes_on_to_the_server() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("broken")

    with pytest.raises(KeyError):
        ask(scope_of(), app=broken)


def test_who_has_all_of_an_answer_gets_no_second_one() -> None:
    async def hasty(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})
        while (await receive()).get("more_body"):
            pass

    answer = ask(scope_of(), [b"x" * 600] * 3, app=hasty)
    assert [each["type"] for each in answer.messages] == [
        "http.response.start", "http.response.body",
    ]  # fmt: skip


# -- Jobs ------------------------------------------------------------------------------------------


def test_who_joins_the_queue_is_asked_for_and_gradio_reads_the_body_all_the_same() -> None:
    jobs, app = NoJobs(), Application()
    ask(scope_of("/gradio_api/queue/join"), [b"one ", b"two"], jobs=jobs, app=app)
    assert jobs.bodies == [b"one two"]
    assert app.read == 7


def test_who_may_not_join_is_told_when_to_come_again() -> None:
    jobs = NoJobs(RefusedError(429, "Not now.", wait_s=10))
    answer = ask(scope_of("/gradio_api/call/continue"), jobs=jobs)
    assert (answer.status, answer.sentence) == (429, "Not now.")
    assert answer.headers["retry-after"] == "10"


@pytest.mark.parametrize(
    ("path", "query", "listener"),
    [("/gradio_api/queue/data", b"session_hash=abc&x=1", "abc"),
     ("/gradio_api/call/continue/e1", b"", "e1"), ("/gradio_api/queue/data", b"", None),
     ("/gradio_api/info", b"session_hash=abc", None)],
)  # fmt: skip
def test_who_listens_is_noted(path: str, query: bytes, listener: str | None) -> None:
    jobs = NoJobs()
    ask(scope_of(path, method="GET", query=query), jobs=jobs)
    assert jobs.listeners == ([] if listener is None else [listener])


# -- Addresses -------------------------------------------------------------------------------------


def at_once(clients: list[str], limits: ServerLimits, *, stalls: bool) -> list[Answer]:
    """Requests that are all served at the same time, until they are let go."""

    async def run() -> list[Answer]:
        app = Application()
        app.held = asyncio.Event()
        guard = RequestGuard(app, jobs=NoJobs(), limits=limits, files=FILES)
        answers = [Answer() for _ in clients]
        tasks = [
            asyncio.create_task(
                guard(scope_of(client=client), coming([b"x"], stalls=stalls), answer.send)
            )
            for client, answer in zip(clients, answers, strict=True)
        ]
        await asyncio.sleep(0)
        app.held.set()
        await asyncio.gather(*tasks)
        again = Answer()
        await guard(scope_of(client=clients[0]), coming([b"x"]), again.send)
        assert again.status == 200  # everything was given back
        return answers

    return asyncio.run(run())


def test_one_address_has_only_so_many_requests_at_once() -> None:
    answers = at_once([FAR] * 5 + [OTHER], replace(SMALL, bodies=9), stalls=False)
    statuses = [answer.status for answer in answers]
    assert statuses == [200, 200, 200, 429, 429, 200]
    assert "from your address" in answers[3].sentence


def test_one_address_has_only_so_many_bodies_on_their_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("page.server.middleware._DRAINED_S", 0.01)
    limits = replace(SMALL, requests=9)
    statuses = [answer.status for answer in at_once([FAR] * 4 + [OTHER], limits, stalls=True)]
    assert statuses == [408, 408, 429, 429, 408]


def test_this_machine_itself_is_not_counted() -> None:
    for client in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert {answer.status for answer in at_once([client] * 9, SMALL, stalls=False)} == {200}


@pytest.mark.parametrize(
    ("client", "who"),
    [("203.0.113.7", "203.0.113.7"), ("::ffff:203.0.113.7", "203.0.113.7"), ("127.9.9.9", ""),
     ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("testclient", "testclient")],
)  # fmt: skip
def test_whom_a_request_counts_for(client: str, who: str) -> None:
    assert address_of({"client": (client, 1)}) == who


def test_a_proxy_that_names_nobody_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    near = {"client": ("10.1.2.3", 1)}
    assert address_of(near) == "10.1.2.3"
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "proxy.example, 10.0.0.0/8,*")
    assert address_of(near) == ""
    assert address_of({"client": (FAR, 1)}) == FAR


def test_a_request_from_nowhere_counts_for_somebody() -> None:
    assert address_of({"client": None}) == address_of({}) == "unknown"


@pytest.mark.parametrize("name", ["body_bytes", "body_s", "work", "waiting"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be more than 0, got 0"):
        ServerLimits(**{name: 0})
