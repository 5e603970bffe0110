"""What a server of the page needs around it: its guard, its health, and a good end.

Knows Gradio as a server; nothing of what stands on the page.
"""

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
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from page.server.deadlines import TURNS
from page.server.health import Health
from page.server.middleware import RequestGuard
from page.server.queue_limits import QueueLimits, ServerLimits

FAREWELL_S = 3.0  # so long running jobs may take to end
_PRIVATE = "127.0.0.1,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"


def app_options(
    demo: gr.Blocks, *, model: str = "", limits: ServerLimits | None = None
) -> dict[str, Any]:
    """Guard, health and the watch over jobs, for `demo.launch(app_kwargs=…)`.

    Args:
        demo: The page, with its queue.
        model: The name of the model that composes.
        limits: How much the server takes on. None: as `ServerLimits` has it.
    """
    limits = limits or ServerLimits()
    jobs = QueueLimits(demo, limits)

    @asynccontextmanager
    async def watched(_app: Any) -> AsyncIterator[None]:
        watch = asyncio.create_task(jobs.watch())
        yield
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch

    return {
        "docs_url": None,
        "redoc_url": None,
        "openapi_url": None,
        "routes": [Health(jobs, model).route],
        "middleware": [
            Middleware(RequestGuard, jobs=jobs, limits=limits, files=get_upload_folder())
        ],
        "lifespan": watched,
    }


def trust_proxy() -> None:
    """Take the word of a proxy in this machine's private network for who a visitor is.

    FORWARDED_ALLOW_IPS, where it is set, says better which proxies may be believed.
    """
    os.environ.setdefault("FORWARDED_ALLOW_IPS", _PRIVATE)


def serve_until_signal(demo: gr.Blocks) -> None:
    """Serve until somebody ends the process (SIGTERM, SIGINT), then let visitors know and close.

    To be called in the main thread.
    """
    asked = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: asked.set())
    while demo.is_running and not asked.wait(0.5):
        pass
    close(demo)


def close(demo: gr.Blocks) -> None:
    """End all jobs with a sentence, then the server; whoever does not end in time is cut off."""
    TURNS.close()
    until_s = time.monotonic() + FAREWELL_S
    while demo._queue.event_ids_to_events and time.monotonic() < until_s:
        time.sleep(0.05)
    if demo.server is not None:
        threading.Timer(1.0, setattr, (demo.server, "force_exit", True)).start()
    demo.close(verbose=False)
