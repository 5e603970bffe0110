"""The page's server around Gradio: middleware, `/healthz`, trusted proxies, graceful shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from musiclstm import __version__
from page.server.deadlines import DEADLINES
from page.server.gradio_private import GradioQueue, force_exit, upload_folder
from page.server.middleware import RequestGuard
from page.server.queue_limits import QueueLimits, ServerLimits

SHUTDOWN_S = 3.0  # running jobs may take so long to end
_PRIVATE_NETWORKS = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"


def app_options(
    demo: gr.Blocks, *, model: str = "", limits: ServerLimits | None = None
) -> dict[str, Any]:
    """Return options for `demo.launch(app_kwargs=…)`: middleware, health route, job watch.

    Args:
        demo: The page, with its queue.
        model: Name of the model, for `/healthz`.
        limits: Limits of the server. None: the defaults of `ServerLimits`.
    """
    limits = limits or ServerLimits()
    jobs = QueueLimits(GradioQueue(demo), limits)

    @asynccontextmanager
    async def watch_jobs(_app: Any) -> AsyncIterator[None]:
        watch = asyncio.create_task(jobs.watch())
        yield
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch

    return {
        "docs_url": None,
        "redoc_url": None,
        "openapi_url": None,
        "routes": [_health_route(jobs, model)],
        "middleware": [Middleware(RequestGuard, jobs=jobs, limits=limits, files=upload_folder())],
        "lifespan": watch_jobs,
    }


def _health_route(jobs: QueueLimits, model: str) -> Route:
    """Create `/healthz`: the state of the server in a few numbers; 503 while it is closing."""
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


def trust_proxy() -> None:
    """Trust client addresses from proxies in private networks.

    FORWARDED_ALLOW_IPS, if set, names the trusted proxies instead.
    """
    os.environ.setdefault("FORWARDED_ALLOW_IPS", _PRIVATE_NETWORKS)


def serve_until_signal(demo: gr.Blocks) -> None:
    """Serve until SIGTERM or SIGINT, then close. Call it in the main thread."""
    signalled = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: signalled.set())
    while demo.is_running and not signalled.wait(0.5):
        pass
    close(demo)


def close(demo: gr.Blocks) -> None:
    """Stop all jobs with a sentence, then the server; jobs that do not end in time are cut off."""
    DEADLINES.close()
    queue = GradioQueue(demo)
    until_s = time.monotonic() + SHUTDOWN_S
    while queue.jobs() and time.monotonic() < until_s:
        time.sleep(0.05)
    force_exit(demo, after_s=1.0)
    demo.close(verbose=False)
