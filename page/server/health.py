"""`/healthz`: whether the server is well, in a few numbers, for whoever watches over it.

Knows the queue's numbers; nothing of visitors, and no path of this machine.
"""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from musiclstm import __version__
from page.server.deadlines import TURNS
from page.server.queue_limits import QueueLimits


class Health:
    """What is told of a server.

    Args:
        jobs: Its jobs.
        model: The name of the model that composes; empty: it has none.
    """

    def __init__(self, jobs: QueueLimits, model: str) -> None:
        self._jobs, self._model = jobs, model
        self._began_s = time.monotonic()

    def report(self) -> dict[str, Any]:
        """The numbers; `ok` is false once the server is about to close."""
        return {
            "ok": not TURNS.closed,
            "version": __version__,
            "model": self._model,
            "running": self._jobs.running,
            "waiting": self._jobs.waiting,
            "uptime_s": round(time.monotonic() - self._began_s, 1),
        }

    async def answer(self, _request: Request) -> JSONResponse:
        """The same over HTTP; 503 when it is not well."""
        report = self.report()
        headers = {"cache-control": "no-store"}
        return JSONResponse(report, 200 if report["ok"] else 503, headers)

    @property
    def route(self) -> Route:
        """Where it is asked."""
        return Route("/healthz", self.answer)
