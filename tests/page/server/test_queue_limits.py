"""Admission of jobs to the queue and their cancellation, with a queue of plain records."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from typing import Any

import pytest

from page.server.deadlines import CLOSING, DEADLINES
from page.server.gradio_private import QueuedJob
from page.server.queue_limits import COMPOSE_ID, QueueLimits, RefusedError, ServerLimits

CLIENT, OTHER = "203.0.113.7", "203.0.113.8"
JOIN = "/gradio_api/queue/join"
COMPOSE, CHOOSE = 1, 2
IDS = {COMPOSE: COMPOSE_ID, CHOOSE: "quick", "continue": COMPOSE_ID, "choose": "quick"}
LIMITS = ServerLimits(work=2, jobs=4, waiting=3, unheard_s=10, unread=5)


class FakeQueue:
    """Stands in for `GradioQueue`."""

    def __init__(self) -> None:
        self.queued: list[QueuedJob] = []
        self.unread: dict[str, int] = {}
        self.cancelled: list[str] = []
        self.num_running = self.waiting = 0

    def add(self, name: str, address: str, *, work: bool = True, age_s: float = 0.0) -> None:
        scope, queued_s = {"client": (address, 1)}, time.monotonic() - age_s
        concurrency_id = COMPOSE_ID if work else "quick"
        self.queued.append(QueuedJob(name, f"session {name}", scope, concurrency_id, queued_s))

    def jobs(self) -> list[QueuedJob]:
        return self.queued

    def num_waiting(self, concurrency_id: str) -> int:
        return self.waiting if concurrency_id == COMPOSE_ID else 0

    def num_unread(self) -> dict[str, int]:
        return dict(self.unread)

    def discard_messages(self, session: str) -> None:
        self.unread.pop(session, None)

    def concurrency_id_of(self, function: int | str) -> str | None:
        return IDS.get(function)

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def limits(queue: Any) -> QueueLimits:
    return QueueLimits(queue, LIMITS)


def body_for(function: Any) -> bytes:
    return json.dumps({"fn_index": function, "data": []}).encode()


def refusal(limits: QueueLimits, address: str, function: Any = COMPOSE) -> str:
    """The refusal of a job; empty if it is admitted."""
    try:
        with limits.admit(address, JOIN, body_for(function)):
            return ""
    except RefusedError as error:
        return f"{error.status} {error.sentence}"


def test_one_address_has_a_limited_number_of_composing_jobs(
    limits: QueueLimits, queue: FakeQueue
) -> None:
    queue.add("a", CLIENT)
    with limits.admit(CLIENT, JOIN, body_for(COMPOSE)):  # a job that is joining counts too
        assert refusal(limits, CLIENT).startswith("429")
    assert refusal(limits, CLIENT) == ""
    queue.add("b", CLIENT)
    assert refusal(limits, CLIENT).startswith("429 You have 2 jobs")
    assert refusal(limits, CLIENT, CHOOSE) == ""
    assert refusal(limits, OTHER) == ""


def test_one_address_has_a_limited_number_of_jobs_of_any_kind(
    limits: QueueLimits, queue: FakeQueue
) -> None:
    for name in "abcd":
        queue.add(name, CLIENT, work=False)
    assert refusal(limits, CLIENT, CHOOSE).startswith("429 You have 4 jobs")


def test_an_ipv6_network_counts_as_one_address(limits: QueueLimits, queue: FakeQueue) -> None:
    queue.add("a", "2001:db8::1")
    queue.add("b", "2001:db8::2")
    assert refusal(limits, "2001:db8::/64").startswith("429")


def test_this_machine_is_not_limited(limits: QueueLimits, queue: FakeQueue) -> None:
    for number in range(9):
        queue.add(str(number), "127.0.0.1")
    assert refusal(limits, "") == ""


def test_a_full_queue_refuses_every_composing_job(limits: QueueLimits, queue: FakeQueue) -> None:
    queue.waiting = 2
    assert refusal(limits, CLIENT) == ""
    queue.waiting = 3
    assert refusal(limits, CLIENT).startswith("503 The queue is full, 3 are waiting")
    assert refusal(limits, "").startswith("503")
    assert refusal(limits, CLIENT, CHOOSE) == ""


def test_a_closing_server_refuses_jobs(
    limits: QueueLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DEADLINES, "closed", True)
    assert refusal(limits, CLIENT) == f"503 {CLOSING}"


@pytest.mark.parametrize(
    ("path", "body", "composes"),
    [
        (JOIN, body_for(COMPOSE), True), (JOIN + "/", body_for(COMPOSE), True),
        (JOIN, body_for(CHOOSE), False), (JOIN, body_for("continue"), False),
        (JOIN, body_for(99), False), (JOIN, b"{", False), (JOIN, b"[" * 100_000, False),
        (JOIN, b"[1]", False), (JOIN, b"\xff", False),
        ("/gradio_api/call/continue/", b"", True), ("/gradio_api/call/v2/continue", b"", True),
        ("/gradio_api/call/choose", b"", False),
        ("/gradio_api/mcp/", b'{"method": "tools/call"}', True),
        ("/gradio_api/mcp", b'{"method": "initialize"}', False),
    ],
)  # fmt: skip
def test_composing_jobs_are_recognized_by_their_request(
    limits: QueueLimits, queue: FakeQueue, path: str, body: bytes, composes: bool
) -> None:
    queue.waiting = 3
    try:
        with limits.admit(CLIENT, path, body):
            assert not composes
    except RefusedError:
        assert composes


# -- Cancellation ----------------------------------------------------------------------------------


def reap(limits: QueueLimits, times: Iterable[float] = (0.0,)) -> None:
    for after_s in times:
        asyncio.run(limits.reap(now_s=time.monotonic() + after_s))


def test_a_job_without_a_listener_is_cancelled(limits: QueueLimits, queue: FakeQueue) -> None:
    for name in ("young", "old", "by session", "by id"):
        queue.add(name, CLIENT, age_s=0 if name == "young" else 11)
    with limits.listening("session by session"), limits.listening("by id"):
        reap(limits)
    assert queue.cancelled == ["old"]
    reap(limits)
    assert queue.cancelled == ["old", "old", "by session", "by id"]


def test_a_job_whose_client_does_not_read_is_cancelled(
    limits: QueueLimits, queue: FakeQueue
) -> None:
    for name, unread in (("reads", 5), ("sleeps", 6)):
        queue.add(name, CLIENT)
        queue.unread[f"session {name}"] = unread
    with limits.listening("session reads"), limits.listening("session sleeps"):
        reap(limits)
    assert queue.cancelled == ["sleeps"]


def test_unread_results_are_discarded_after_some_time(
    limits: QueueLimits, queue: FakeQueue
) -> None:
    queue.add("running", CLIENT)
    queue.unread = {"session running": 1, "gone": 1, "read": 0, "listening": 1}
    with limits.listening("listening"):
        reap(limits, [0, 9])
        assert "gone" in queue.unread
        reap(limits, [11])
    assert list(queue.unread) == ["session running", "read", "listening"]


def test_a_client_that_returns_in_time_finds_its_results(
    limits: QueueLimits, queue: FakeQueue
) -> None:
    queue.unread["late"] = 1
    reap(limits, [0])
    with limits.listening("late"):
        reap(limits, [9])
    reap(limits, [11, 20])
    assert "late" in queue.unread
    reap(limits, [22])
    assert queue.unread == {}


def test_jobs_over_their_time_are_stopped(limits: QueueLimits) -> None:
    with DEADLINES.track() as job:
        reap(limits, [100_000])
        assert job.reason
