"""Gradio's queue as the guard sees it: who has how many jobs, who may join, who has gone.

A job that nobody listens to is ended, and so is one whose turn has lasted too long. Knows
addresses, jobs and numbers; nothing of music. The one file that looks into Gradio's queue.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import gradio as gr

from page.server.deadlines import CLOSING, TURNS

WORK = "work"  # the concurrency id of everything that composes

_BUSY = "Everybody composes just now and {waiting} are waiting; try again in a minute."
_ENOUGH = "You have {jobs} jobs here already; wait for one of them to end, then press again."


class RefusedError(Exception):
    """A request that is not served.

    Args:
        status: Of the HTTP answer.
        sentence: What is wrong and what to do.
        wait_s: When to try again, in seconds; 0: never.
    """

    def __init__(self, status: int, sentence: str, *, wait_s: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.wait_s = status, sentence, wait_s


@dataclass(frozen=True)
class ServerLimits:
    """How much the server takes on.

    Args:
        body_bytes: Of one request; somewhat more than the largest file, for what is around it.
        body_s: Until all of it must have come, in seconds.
        requests: Of one address at once, streams counted.
        bodies: Of those, how many may still be on their way in.
        work: Jobs of one address that compose, running and waiting. One more than run at once:
            then somebody else waits for at most one job to end.
        jobs: Of one address, of any kind.
        waiting: Jobs that compose and have not begun, of all addresses.
        unheard_s: How long a job goes on, and its result is kept, without anybody listening.
        unread: Messages that wait for their listener; with more the job ends.
    """

    body_bytes: int = 2_100_000
    body_s: float = 30.0
    requests: int = 100
    bodies: int = 20
    work: int = 3
    jobs: int = 12
    waiting: int = 20
    unheard_s: float = 30.0
    unread: int = 300

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be more than 0, got {value}.")


def address_of(scope: Any) -> str:
    """Whom a request counts for; empty: this machine or a proxy, for which nothing is counted.

    Whether a proxy's word is taken for the address, uvicorn has decided (FORWARDED_ALLOW_IPS); one
    that gives no word may speak for anybody. Of IPv6 the network counts, for a whole one belongs
    to one household.
    """
    host = (scope.get("client") or ("",))[0]
    try:
        found = ip_address(host)
    except ValueError:
        return host or "unknown"
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    proxies = _networks(os.environ.get("FORWARDED_ALLOW_IPS", ""))
    if found.is_loopback or any(found in network for network in proxies):
        return ""
    return str(found if found.version == 4 else ip_network(f"{found}/64", strict=False))


@cache
def _networks(listed: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Those of a list with commas; what is none, such as a name or *, is left out."""
    found = []
    for each in listed.split(","):
        with suppress(ValueError):
            found.append(ip_network(each.strip()))
    return tuple(found)


class QueueLimits:
    """The jobs of a page.

    Args:
        demo: The page.
        limits: How much it takes on.
    """

    def __init__(self, demo: gr.Blocks, limits: ServerLimits) -> None:
        self._demo, self._limits = demo, limits
        self._joining: Counter[tuple[str, bool]] = Counter()
        self._heard: Counter[str] = Counter()
        self._left: dict[str, float] = {}

    # ----------------------------------------------------------------------------------- numbers

    @property
    def running(self) -> int:
        """Jobs of any kind that have begun."""
        return sum(job is not None for job in self._demo._queue.active_jobs)

    @property
    def waiting(self) -> int:
        """Jobs that compose and have not begun."""
        found = self._demo._queue.event_queue_per_concurrency_id.get(WORK)
        return len(found.queue) if found else 0

    def _events(self) -> list[Any]:
        return list(self._demo._queue.event_ids_to_events.values())

    # ----------------------------------------------------------------------------------- joining

    @contextmanager
    def admitted(self, who: str, path: str, body: bytes) -> Iterator[None]:
        """Room for a job while it joins the queue.

        Args:
            who: From `address_of`.
            path: Where it asks to join.
            body: What it asks for.

        Raises:
            RefusedError: There is no room, for it or for anybody.
        """
        work = self._composes(path, body)
        self._check(who, work=work)
        self._joining[who, work] += 1
        try:
            yield
        finally:
            self._joining[who, work] -= 1
            self._joining += Counter()  # leaves out the zeros

    def _check(self, who: str, *, work: bool) -> None:
        if TURNS.closed:
            raise RefusedError(503, CLOSING, wait_s=60)
        if work and self.waiting >= self._limits.waiting:
            raise RefusedError(503, _BUSY.format(waiting=self.waiting), wait_s=60)
        own = [event for event in self._events() if address_of(event.request.scope) == who]
        composing = sum(event.fn.concurrency_id == WORK for event in own) + self._joining[who, True]
        jobs = len(own) + self._joining[who, True] + self._joining[who, False]
        if who and work and composing >= self._limits.work:
            raise RefusedError(429, _ENOUGH.format(jobs=composing), wait_s=10)
        if who and jobs >= self._limits.jobs:
            raise RefusedError(429, _ENOUGH.format(jobs=jobs), wait_s=10)

    def _composes(self, path: str, body: bytes) -> bool:
        """Whether a job of that kind composes; of one that is none Gradio says so itself."""
        fns = self._demo.fns
        kind, _, name = path.removeprefix("/gradio_api/").rstrip("/").partition("/")
        if kind == "call":
            named = [fn for fn in fns.values() if fn.api_name == name.rpartition("/")[2]]
        elif kind == "mcp":
            return _field(body, "method") == "tools/call"
        else:
            number = _field(body, "fn_index")
            named = [fns[number]] if isinstance(number, int) and number in fns else []
        return any(fn.concurrency_id == WORK for fn in named)

    # ----------------------------------------------------------------------------------- leaving

    @contextmanager
    def heard(self, listener: str) -> Iterator[None]:
        """Somebody listens: to a session, or to one job by its id."""
        self._heard[listener] += 1
        try:
            yield
        finally:
            self._heard[listener] -= 1
            self._heard += Counter()  # leaves out the zeros

    async def watch(self, *, every_s: float = 2.0) -> None:
        """Sweep again and again, in the loop that Gradio's queue runs in."""
        while True:
            await asyncio.sleep(every_s)
            await self.sweep()

    async def sweep(self, *, now_s: float | None = None) -> None:
        """End jobs without a listener and those that have had their time; forget their results.

        Args:
            now_s: By the clock of `time.monotonic`. None: now.
        """
        now_s = time.monotonic() if now_s is None else now_s
        TURNS.sweep(waiting=self.waiting, now_s=now_s)
        for event in self._events():
            if self._is_lost(event, now_s):
                await self._demo._queue.clean_events(event_id=event._id)
        self._forget(now_s)

    def _is_lost(self, event: Any, now_s: float) -> bool:
        unread = self._demo._queue.pending_messages_per_session.get(event.session_hash)
        if unread is not None and unread.qsize() > self._limits.unread:
            return True
        heard = event._id in self._heard or event.session_hash in self._heard
        return not heard and now_s - event.enqueue_time > self._limits.unheard_s

    def _forget(self, now_s: float) -> None:
        """Drop what nobody has come for."""
        kept = self._demo._queue.pending_messages_per_session
        busy = {event.session_hash for event in self._events()} | set(self._heard)
        left = {name for name, unread in list(kept.items()) if unread.qsize() and name not in busy}
        self._left = {name: self._left.get(name, now_s) for name in left}
        for name, since_s in self._left.items():
            if now_s - since_s > self._limits.unheard_s:
                kept.pop(name, None)


def _field(body: bytes, name: str) -> Any:
    """A field of a JSON object; None where it is none."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return read.get(name) if isinstance(read, dict) else None
