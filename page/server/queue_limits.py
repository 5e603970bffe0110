"""Limits on jobs in Gradio's queue, by client address; jobs without a listener are cancelled."""

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

from page.server.deadlines import CLOSING, DEADLINES
from page.server.gradio_private import GradioQueue, QueuedJob

COMPOSE_ID = "work"  # concurrency id of every function that composes

_QUEUE_FULL = "The queue is full, {waiting} are waiting; try again in a minute."
_TOO_MANY_JOBS = "You have {jobs} jobs here already; wait for one of them to end, then try again."


class RefusedError(Exception):
    """A request that is refused.

    Args:
        status: HTTP status code.
        sentence: What is wrong and what to do.
        wait_s: When to try again, in seconds; 0: never.
    """

    def __init__(self, status: int, sentence: str, *, wait_s: int = 0) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.wait_s = status, sentence, wait_s


@dataclass(frozen=True)
class ServerLimits:
    """Limits of the server.

    Args:
        body_bytes: Size of one request; somewhat more than the largest file, for its headers.
        body_s: Seconds within which the whole body must arrive.
        requests: Requests of one address at once, streams included.
        bodies: Requests of one address whose bodies are still arriving.
        work: Composing jobs of one address, running and waiting. With one more than run at once,
            others wait for at most one job.
        jobs: Jobs of one address, of any kind.
        waiting: Composing jobs that wait, of all addresses.
        unheard_s: Seconds that a job runs, and its result is kept, without a listening client.
        unread: Messages that may wait for their client; with more the job is cancelled.
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
    """Return the address that a request counts for; empty: not counted.

    This machine and trusted proxies are not counted: a proxy that names no client may stand for
    any. uvicorn decides which proxies are trusted (FORWARDED_ALLOW_IPS). For IPv6 the /64 network
    counts, because one household has a whole one.
    """
    host = (scope.get("client") or ("",))[0]
    try:
        found = ip_address(host)
    except ValueError:
        return host or "unknown"
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or found
    proxies = _parse_networks(os.environ.get("FORWARDED_ALLOW_IPS", ""))
    if found.is_loopback or any(found in network for network in proxies):
        return ""
    return str(found if found.version == 4 else ip_network(f"{found}/64", strict=False))


@cache
def _parse_networks(listed: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks of a comma-separated list; other entries, such as names or *, are skipped."""
    found = []
    for each in listed.split(","):
        with suppress(ValueError):
            found.append(ip_network(each.strip()))
    return tuple(found)


class QueueLimits:
    """Admission of jobs to the queue, and their cancellation.

    Args:
        queue: The queue of the page.
        limits: Limits of the server.
    """

    def __init__(self, queue: GradioQueue, limits: ServerLimits) -> None:
        self._queue, self._limits = queue, limits
        self._joining: Counter[tuple[str, bool]] = Counter()  # (address, composes)
        self._listening: Counter[str] = Counter()
        self._unread_since: dict[str, float] = {}  # session -> seconds

    @property
    def num_running(self) -> int:
        """Number of jobs of any kind that have started."""
        return self._queue.num_running

    @property
    def num_waiting(self) -> int:
        """Number of composing jobs that have not started."""
        return self._queue.num_waiting(COMPOSE_ID)

    # ----------------------------------------------------------------------------------- admission

    @contextmanager
    def admit(self, address: str, path: str, body: bytes) -> Iterator[None]:
        """Count a job while it joins the queue.

        Args:
            address: From `address_of`.
            path: Of the request.
            body: Of the request.

        Raises:
            RefusedError: A limit is reached, or the server is closing.
        """
        composes = self._composes(path, body)
        self._check(address, composes=composes)
        self._joining[address, composes] += 1
        try:
            yield
        finally:
            self._joining[address, composes] -= 1
            self._joining += Counter()  # drops zeros

    def _check(self, address: str, *, composes: bool) -> None:
        if DEADLINES.closed:
            raise RefusedError(503, CLOSING, wait_s=60)
        if composes and self.num_waiting >= self._limits.waiting:
            raise RefusedError(503, _QUEUE_FULL.format(waiting=self.num_waiting), wait_s=60)
        if not address:
            return
        own = [job for job in self._queue.jobs() if address_of(job.scope) == address]
        joining = {kind: self._joining[address, kind] for kind in (True, False)}
        composing = sum(job.concurrency_id == COMPOSE_ID for job in own) + joining[True]
        if composes and composing >= self._limits.work:
            raise RefusedError(429, _TOO_MANY_JOBS.format(jobs=composing), wait_s=10)
        jobs = len(own) + sum(joining.values())
        if jobs >= self._limits.jobs:
            raise RefusedError(429, _TOO_MANY_JOBS.format(jobs=jobs), wait_s=10)

    def _composes(self, path: str, body: bytes) -> bool:
        """Whether a request asks for a composing job; Gradio itself refuses an invalid one."""
        kind, _, name = path.removeprefix("/gradio_api/").rstrip("/").partition("/")
        if kind == "mcp":
            return _json_field(body, "method") == "tools/call"
        if kind == "call":
            return self._queue.concurrency_id_of(name.rpartition("/")[2]) == COMPOSE_ID
        number = _json_field(body, "fn_index")
        return isinstance(number, int) and self._queue.concurrency_id_of(number) == COMPOSE_ID

    # -------------------------------------------------------------------------------- cancellation

    @contextmanager
    def listening(self, client: str) -> Iterator[None]:
        """Note that a client listens to a session, or to one job by its id."""
        self._listening[client] += 1
        try:
            yield
        finally:
            self._listening[client] -= 1
            self._listening += Counter()  # drops zeros

    async def watch(self, *, every_s: float = 2.0) -> None:
        """Call `reap` repeatedly, in the event loop of Gradio's queue."""
        while True:
            await asyncio.sleep(every_s)
            await self.reap()

    async def reap(self, *, now_s: float | None = None) -> None:
        """Cancel jobs without a listener, stop those over their time, discard unread results.

        Args:
            now_s: By `time.monotonic`. None: now.
        """
        now_s = time.monotonic() if now_s is None else now_s
        DEADLINES.expire(num_waiting=self.num_waiting, now_s=now_s)
        unread = self._queue.num_unread()
        for job in self._queue.jobs():
            if self._is_abandoned(job, unread.get(job.session, 0), now_s):
                await self._queue.cancel(job.id)
        self._discard_unread(now_s)

    def _is_abandoned(self, job: QueuedJob, num_unread: int, now_s: float) -> bool:
        if num_unread > self._limits.unread:
            return True
        listening = job.id in self._listening or job.session in self._listening
        return not listening and now_s - job.queued_s > self._limits.unheard_s

    def _discard_unread(self, now_s: float) -> None:
        """Discard messages that no client has requested for some time."""
        active = {job.session for job in self._queue.jobs()} | set(self._listening)
        unread = [name for name, count in self._queue.num_unread().items() if count]
        self._unread_since = {
            name: self._unread_since.get(name, now_s) for name in unread if name not in active
        }
        for name, since_s in self._unread_since.items():
            if now_s - since_s > self._limits.unheard_s:
                self._queue.discard_messages(name)


def _json_field(body: bytes, name: str) -> Any:
    """Field of a JSON object; None if the body is not one."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed.get(name) if isinstance(parsed, dict) else None
