"""What stands before Gradio: which doors are open, how much comes in, how slowly, and from whom.

Plain ASGI. Knows HTTP and Gradio's addresses; of jobs only whom to ask about them, and nothing of
music. What is not named here as open is closed: a route that a newer Gradio brings stays closed.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias
from urllib.parse import parse_qs

from page.server.queue_limits import QueueLimits, RefusedError, ServerLimits, address_of

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

API = "/gradio_api/"
ALLOWED_PATHS = {
    "/", "/config", "/config/", "/favicon.ico", "/healthz", "/manifest.json", "/pwa_icon",
    "/robots.txt", "/theme.css",
}  # fmt: skip
OPEN_FOLDERS = ("/assets/", "/static/", "/svelte/", "/pwa_icon/")
OPEN_API = {
    "app_id", "call", "cancel", "component_server", "heartbeat", "info", "mcp", "queue", "reset",
    "run", "startup-events", "theme.css", "upload", "upload_progress",
}  # fmt: skip

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", b"object-src 'none'; base-uri 'self'"),
)
# Of a body that is refused, so that the answer is read.
_DRAINED_BYTES = 64_000_000
_DRAINED_S = 5.0

_CLOSED = "There is nothing for visitors at this address; open the page itself."
_TOO_LARGE = "What was sent is larger than {limit:.1f} MB; send a smaller file."
_TOO_SLOW = "What was sent did not arrive within {limit:.0f} seconds; send it again."
_TOO_MANY = "Too many requests at once from your address; try again in a moment."


class RequestGuard:
    """Middleware around Gradio.

    Args:
        app: Gradio, or what stands before it.
        jobs: Who may join the queue.
        limits: How much is taken on.
        files: The folder whose files may be fetched, as Gradio names it.
    """

    def __init__(self, app: Any, *, jobs: QueueLimits, limits: ServerLimits, files: str) -> None:
        self._app, self._jobs, self._limits, self._files = app, jobs, limits, files
        self._requests: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or refuse it with one sentence."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(_Visit(scope, receive, send, self._limits))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, visit: _Visit) -> None:
        who = address_of(visit.scope)
        with ExitStack() as stack:
            try:
                check_route_allowed(visit.path, self._files)
                visit.check_declared()
                stack.enter_context(self._counted(who, visit))
                await self._pass(who, visit, stack)
            except RefusedError as refusal:
                visit.refusal = refusal
            except Exception:
                if visit.refusal is None:
                    raise
            if visit.refusal is not None:
                await visit.answer(visit.refusal)

    async def _pass(self, who: str, visit: _Visit, stack: ExitStack) -> None:
        """Hand a request on; one that joins the queue is read before."""
        receive: Receive = visit.receive
        if visit.joins:
            body = await visit.body()
            receive = _again(body, visit.receive)
            stack.enter_context(self._jobs.admitted(who, visit.path, body))
        if listener := visit.listener:
            stack.enter_context(self._jobs.heard(listener))
        await self._app(visit.scope, receive, visit.send)

    @contextmanager
    def _counted(self, who: str, visit: _Visit) -> Iterator[None]:
        """Count a request while it is served, and its body until all of it has come.

        Raises:
            RefusedError: The address has too many.
        """
        if not who:
            yield
            return
        own = (self._requests, "requests"), (self._bodies, "bodies")
        if any(counter[who] >= getattr(self._limits, name) for counter, name in own):
            raise RefusedError(429, _TOO_MANY, wait_s=10)
        self._requests[who] += 1
        if visit.scope["method"] == "POST":
            self._bodies[who] += 1
            visit.on_whole = lambda: _less(self._bodies, who)
        try:
            yield
        finally:
            _less(self._requests, who)
            visit.whole()


class _Visit:
    """One request: what has come of it, and what has been answered.

    Attributes:
        path: Without the prefix that a proxy may have added.
        refusal: Why it is not served; None: it is.
        on_whole: Called once, when the body has come or nobody waits for it any more.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: ServerLimits) -> None:
        self.scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self.path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        self.refusal: RefusedError | None = None
        self.on_whole: Callable[[], None] | None = None
        self._answered = self._whole = False
        self._came = 0
        self._until_s = asyncio.get_running_loop().time() + limits.body_s

    @property
    def joins(self) -> bool:
        """Whether it asks for a job."""
        posts = self.scope["method"] == "POST"
        return posts and self.path.startswith((API + "queue/join", API + "call/", API + "mcp"))

    @property
    def listener(self) -> str:
        """The session or job whose news it asks for; empty: of none."""
        if self.scope["method"] != "GET":
            return ""
        if self.path == API + "queue/data":
            asked = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
            return asked.get("session_hash", [""])[0]
        return self.path.rpartition("/")[2] if self.path.startswith(API + "call/") else ""

    def check_declared(self) -> None:
        """Refuse a body that says beforehand how large it is.

        Raises:
            RefusedError: It is too large.
        """
        for name, value in self.scope["headers"]:
            if name != b"content-length" or not value.isdigit():
                continue
            if int(value) > self._limits.body_bytes:
                raise self._too_large()

    def _too_large(self) -> RefusedError:
        return RefusedError(413, _TOO_LARGE.format(limit=self._limits.body_bytes / 1e6))

    async def receive(self) -> Message:
        """What comes next.

        Raises:
            RefusedError: It is too much, or too slow; Gradio may make something else of this.
        """
        if self._whole:
            return await self._receive()
        try:
            left_s = self._until_s - asyncio.get_running_loop().time()
            message = await asyncio.wait_for(self._receive(), left_s)
        except TimeoutError:
            self.refusal = RefusedError(408, _TOO_SLOW.format(limit=self._limits.body_s))
            raise self.refusal from None
        self._came += len(message.get("body", b""))
        if not message.get("more_body"):
            self.whole()
        if self._came > self._limits.body_bytes:
            self.refusal = self._too_large()
            raise self.refusal
        return message

    def whole(self) -> None:
        """The body has come, or nobody waits for it."""
        self._whole = True
        if self.on_whole is not None:
            self.on_whole()
            self.on_whole = None

    async def body(self) -> bytes:
        """All of it.

        Raises:
            RefusedError: As `receive`.
        """
        parts = []
        while not self._whole:
            parts.append((await self.receive()).get("body", b""))
        return b"".join(parts)

    async def send(self, message: Message) -> None:
        """Answer for Gradio, with headers of ours; what is refused, Gradio does not answer."""
        if message["type"] == "http.response.start" and self.refusal is None:
            self._answered = True
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        if self._answered:
            await self._send(message)

    async def answer(self, refusal: RefusedError) -> None:
        """Say why it is refused, and close the connection."""
        if self._answered:
            return
        said = json.dumps({"detail": refusal.sentence, "error": refusal.sentence}).encode()
        again = [(b"retry-after", b"%d" % refusal.wait_s)] if refusal.wait_s else []
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(said)),
            (b"connection", b"close"),
            *again,
            *_HEADERS,
        ]
        start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": said, "more_body": True})
        if refusal.status != 408:
            await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        """Throw away what is still on its way: who is cut off while sending reads no answer."""
        drained = 0
        try:
            async with asyncio.timeout(_DRAINED_S):
                while not self._whole and drained < _DRAINED_BYTES:
                    message = await self._receive()
                    drained += len(message.get("body", b""))
                    self._whole = not message.get("more_body")
        except TimeoutError:
            return


def check_route_allowed(path: str, files: str) -> None:
    """Let only those in who want something that is open.

    Args:
        path: Of the address, percent signs resolved.
        files: The folder whose files may be fetched.

    Raises:
        RefusedError: It is closed.
    """
    if not _is_open(path, files):
        raise RefusedError(403, _CLOSED)


def _is_open(path: str, files: str) -> bool:
    if any(part in ("..", ".") for part in path.replace("\\", "/").split("/")):
        return False
    if path.startswith(API + "file="):
        return path.startswith(f"{API}file={files}/")
    if path.startswith(API):
        return path.removeprefix(API).partition("/")[0] in OPEN_API
    return path in ALLOWED_PATHS or path.startswith(OPEN_FOLDERS)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, once more; then whatever comes."""
    whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return whole.pop() if whole else await receive()

    return read


def _less(counter: Counter[str], who: str) -> None:
    counter[who] -= 1
    if counter[who] <= 0:
        del counter[who]
