"""`/healthz`: the state of the server in a few numbers, for monitoring."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from musiclstm import __version__
from page.server.deadlines import DEADLINES
from page.server.queue_limits import QueueLimits


def health_route(jobs: QueueLimits, model: str) -> Route:
    """Create the route; it answers 503 while the server is closing.

    Args:
        jobs: The jobs to count.
        model: Name of the model; empty if it has none.
    """
    started_s = time.monotonic()

    async def answer(_request: Request) -> JSONResponse:
        report: dict[str, Any] = {
            "ok": not DEADLINES.closed,
            "version": __version__,
            "model": model,
            "running": jobs.num_running,
            "waiting": jobs.num_waiting,
            "uptime_s": round(time.monotonic() - started_s, 1),
        }
        status = 200 if report["ok"] else 503
        return JSONResponse(report, status, {"cache-control": "no-store"})

    return Route("/healthz", answer)
