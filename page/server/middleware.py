"""ASGI middleware before Gradio: allow-listed routes and limits of requests.

Routes that are not listed here are refused, so a route that a newer Gradio adds stays closed.
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
ALLOWED_FOLDERS = ("/assets/", "/static/", "/svelte/", "/pwa_icon/")
ALLOWED_API = {
    "app_id", "call", "cancel", "component_server", "heartbeat", "info", "mcp", "queue", "reset",
    "run", "startup-events", "theme.css", "upload", "upload_progress",
}  # fmt: skip

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", b"object-src 'none'; base-uri 'self'"),
)
# Of a refused body: a client that is still sending would not read the answer.
_DRAINED_BYTES = 64_000_000
_DRAINED_S = 5.0

_NOT_ALLOWED = "This address is not available; open the page itself."
_TOO_LARGE = "The request is larger than {limit:.1f} MB; send a smaller file."
_TOO_SLOW = "The request did not arrive within {limit:.0f} seconds; send it again."
_TOO_MANY = "Too many requests at once from your address; try again in a moment."


class RequestGuard:
    """ASGI middleware that refuses requests before Gradio reads them.

    Args:
        app: The next ASGI application.
        jobs: Admits jobs to the queue.
        limits: Limits of the server.
        files: The folder whose files Gradio may serve.
    """

    def __init__(self, app: Any, *, jobs: QueueLimits, limits: ServerLimits, files: str) -> None:
        self._app, self._jobs, self._limits, self._files = app, jobs, limits, files
        self._requests: Counter[str] = Counter()
        self._bodies: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it with one sentence."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._handle(_Request(scope, receive, send, self._limits))
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _handle(self, request: _Request) -> None:
        address = address_of(request.scope)
        with ExitStack() as stack:
            try:
                check_route_allowed(request.path, self._files)
                request.check_content_length()
                stack.enter_context(self._counted(address, request))
                await self._forward(address, request, stack)
            except RefusedError as refusal:
                request.refusal = refusal
            except Exception:
                if request.refusal is None:
                    raise
            if request.refusal is not None:
                await request.answer(request.refusal)

    async def _forward(self, address: str, request: _Request, stack: ExitStack) -> None:
        """Pass a request on; the body of one that adds a job is read first."""
        receive: Receive = request.receive
        if request.adds_job:
            body = await request.body()
            receive = _replay(body, request.receive)
            stack.enter_context(self._jobs.admit(address, request.path, body))
        if client := request.listening_client:
            stack.enter_context(self._jobs.listening(client))
        await self._app(request.scope, receive, request.send)

    @contextmanager
    def _counted(self, address: str, request: _Request) -> Iterator[None]:
        """Count a request until it is answered, and its body until it has arrived.

        Raises:
            RefusedError: The address has too many.
        """
        if not address:
            yield
            return
        limits = self._limits
        if self._requests[address] >= limits.requests or self._bodies[address] >= limits.bodies:
            raise RefusedError(429, _TOO_MANY, wait_s=10)
        self._requests[address] += 1
        if request.scope["method"] == "POST":
            self._bodies[address] += 1
            request.on_body_end = lambda: _decrement(self._bodies, address)
        try:
            yield
        finally:
            _decrement(self._requests, address)
            request.end_body()


class _Request:
    """One HTTP request with its limits and its answer.

    Attributes:
        path: Without the prefix that a proxy may have added.
        refusal: Why it is refused. None: it is not.
        on_body_end: Called once, when the body has arrived or is abandoned.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: ServerLimits) -> None:
        self.scope, self._receive, self._send, self._limits = scope, receive, send, limits
        self.path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        self.refusal: RefusedError | None = None
        self.on_body_end: Callable[[], None] | None = None
        self._answered = self._body_ended = False
        self._num_bytes = 0
        self._until_s = asyncio.get_running_loop().time() + limits.body_s

    @property
    def adds_job(self) -> bool:
        """Whether it adds a job to the queue."""
        is_post = self.scope["method"] == "POST"
        return is_post and self.path.startswith((API + "queue/join", API + "call/", API + "mcp"))

    @property
    def listening_client(self) -> str:
        """Session or job whose messages it requests; empty: none."""
        if self.scope["method"] != "GET":
            return ""
        if self.path == API + "queue/data":
            query = parse_qs(self.scope.get("query_string", b"").decode("latin-1"))
            return query.get("session_hash", [""])[0]
        return self.path.rpartition("/")[2] if self.path.startswith(API + "call/") else ""

    def check_content_length(self) -> None:
        """Check the declared size of the body.

        Raises:
            RefusedError: It is too large.
        """
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit():
                self._check_size(int(value))

    def _check_size(self, num_bytes: int) -> None:
        if num_bytes > self._limits.body_bytes:
            sentence = _TOO_LARGE.format(limit=self._limits.body_bytes / 1e6)
            self.refusal = RefusedError(413, sentence)
            raise self.refusal

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            RefusedError: The body is too large or too slow. Gradio may convert this error.
        """
        if self._body_ended:
            return await self._receive()
        try:
            left_s = self._until_s - asyncio.get_running_loop().time()
            message = await asyncio.wait_for(self._receive(), left_s)
        except TimeoutError:
            self.refusal = RefusedError(408, _TOO_SLOW.format(limit=self._limits.body_s))
            raise self.refusal from None
        self._num_bytes += len(message.get("body", b""))
        if not message.get("more_body"):
            self.end_body()
        self._check_size(self._num_bytes)
        return message

    def end_body(self) -> None:
        """Note that the body has arrived or is abandoned."""
        self._body_ended = True
        if self.on_body_end is not None:
            self.on_body_end()
            self.on_body_end = None

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            RefusedError: As in `receive`.
        """
        parts = []
        while not self._body_ended:
            parts.append((await self.receive()).get("body", b""))
        return b"".join(parts)

    async def send(self, message: Message) -> None:
        """Send Gradio's answer with our headers; drop it if the request is refused."""
        if message["type"] == "http.response.start" and self.refusal is None:
            self._answered = True
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        if self._answered:
            await self._send(message)

    async def answer(self, refusal: RefusedError) -> None:
        """Send the refusal as JSON and close the connection."""
        if self._answered:
            return
        content = json.dumps({"detail": refusal.sentence, "error": refusal.sentence}).encode()
        retry = [(b"retry-after", b"%d" % refusal.wait_s)] if refusal.wait_s else []
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"connection", b"close"),
            *retry,
            *_HEADERS,
        ]
        start = {"type": "http.response.start", "status": refusal.status, "headers": headers}
        await self._send(start)
        await self._send({"type": "http.response.body", "body": content, "more_body": True})
        if refusal.status != 408:
            await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _drain(self) -> None:
        """Discard the rest of the body: a client that is cut off while sending reads no answer."""
        drained = 0
        try:
            async with asyncio.timeout(_DRAINED_S):
                while not self._body_ended and drained < _DRAINED_BYTES:
                    message = await self._receive()
                    drained += len(message.get("body", b""))
                    self._body_ended = not message.get("more_body")
        except TimeoutError:
            return


def check_route_allowed(path: str, files: str) -> None:
    """Check a path against the allow-list.

    Args:
        path: Of the URL, percent signs resolved.
        files: The folder whose files may be served.

    Raises:
        RefusedError: It is not allowed.
    """
    if not _is_allowed(path, files):
        raise RefusedError(403, _NOT_ALLOWED)


def _is_allowed(path: str, files: str) -> bool:
    if any(part in ("..", ".") for part in path.replace("\\", "/").split("/")):
        return False
    if path.startswith(API + "file="):
        return path.startswith(f"{API}file={files}/")
    if path.startswith(API):
        return path.removeprefix(API).partition("/")[0] in ALLOWED_API
    return path in ALLOWED_PATHS or path.startswith(ALLOWED_FOLDERS)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a body that was already read as one message, then pass on the rest."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return messages.pop() if messages else await receive()

    return read


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
