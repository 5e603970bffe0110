"""A reverse proxy that serves a page under a path, as nginx does."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}


@contextmanager
def reverse_proxy(target: str, prefix: str, *, strips: bool = True) -> Iterator[str]:
    """Serve `target` under a path.

    Args:
        target: URL of the page.
        prefix: Path, such as `/music`; other paths are not found.
        strips: Whether the prefix is removed from the paths that are passed on.

    Yields:
        URL of the page behind the proxy.
    """

    class Handler(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            if not self.path.startswith(prefix + "/"):
                self.send_error(404)
                return
            connection = http.client.HTTPConnection(str(urlsplit(target).netloc), timeout=60)
            try:
                connection.request(self.command, self._path(), self._body(), self._headers())
                self._answer(connection.getresponse())
            except (BrokenPipeError, ConnectionResetError):
                pass  # the browser has closed a stream
            finally:
                connection.close()

        do_GET = do_POST = do_HEAD = _pass_on  # noqa: N815

        def _path(self) -> str:
            return self.path.removeprefix(prefix) if strips else self.path

        def _body(self) -> bytes | None:
            length = self.headers.get("content-length")
            return None if length is None else self.rfile.read(int(length))

        def _headers(self) -> dict[str, str]:
            kept = {n: v for n, v in self.headers.items() if n.lower() not in _HOP_BY_HOP}
            host = self.headers["host"]
            return kept | {"x-forwarded-host": host, "x-forwarded-proto": "http"}

        def _answer(self, answer: http.client.HTTPResponse) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _HOP_BY_HOP:
                    self.send_header(name, value)
            self.end_headers()
            while part := answer.read1(65_536):
                self.wfile.write(part)
                self.wfile.flush()

        def log_message(self, *_args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
