"""Who may join the queue, and which jobs are ended, by a queue made of plain records."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from page.server.deadlines import CLOSING, TURNS
from page.server.queue_limits import QueueLimits, RefusedError, ServerLimits

FAR, OTHER = "203.0.113.7", "203.0.113.8"
JOIN = "/gradio_api/queue/join"
COMPOSE, CHOOSE = 1, 2
LIMITS = ServerLimits(work=2, jobs=4, waiting=3, unheard_s=10, unread=5)


class Queue:
    """What of Gradio's queue is looked at."""

    def __init__(self) -> None:
        self.event_ids_to_events: dict[str, Any] = {}
        self.active_jobs: list[Any] = [None, None]
        self.event_queue_per_concurrency_id: dict[str, Any] = {}
        self.pending_messages_per_session: dict[str, Any] = {}
        self.cleaned: list[str] = []

    def add(self, name: str, who: str, *, work: bool = True, age_s: float = 0.0) -> None:
        self.event_ids_to_events[name] = SimpleNamespace(
            _id=name,
            session_hash=f"session of {name}",
            enqueue_time=time.monotonic() - age_s,
            fn=SimpleNamespace(concurrency_id="work" if work else "quick"),
            request=SimpleNamespace(scope={"client": (who, 1)}),
        )

    def waits(self, count: int) -> None:
        waiting = SimpleNamespace(queue=[None] * count)
        self.event_queue_per_concurrency_id["work"] = waiting

    def says(self, session: str, messages: int) -> None:
        unread = asyncio.Queue[Any]()
        for number in range(messages):
            unread.put_nowait(number)
        self.pending_messages_per_session[session] = unread

    async def clean_events(self, *, event_id: str) -> None:
        self.cleaned.append(event_id)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def jobs(queue: Queue) -> QueueLimits:
    fns = {
        COMPOSE: SimpleNamespace(concurrency_id="work", api_name="continue"),
        CHOOSE: SimpleNamespace(concurrency_id="quick", api_name="choose"),
    }
    demo: Any = SimpleNamespace(_queue=queue, fns=fns)
    return QueueLimits(demo, LIMITS)


def asking_for(fn: Any) -> bytes:
    return json.dumps({"fn_index": fn, "data": []}).encode()


def joins(jobs: QueueLimits, who: str, body: bytes | None = None, path: str = JOIN) -> str:
    """The refusal; empty: there is room."""
    try:
        with jobs.admitted(who, path, asking_for(COMPOSE) if body is None else body):
            return ""
    except RefusedError as refusal:
        return f"{refusal.status} {refusal.sentence}"


def test_one_address_has_only_so_many_pieces_in_the_making(jobs: QueueLimits, queue: Queue) -> None:
    queue.add("a", FAR)
    assert joins(jobs, FAR) == ""
    queue.add("b", FAR)
    assert joins(jobs, FAR).startswith("429 You have 2 jobs here already")
    assert joins(jobs, FAR, asking_for(CHOOSE)) == ""
    assert joins(jobs, OTHER) == ""


def test_one_address_has_only_so_many_jobs_of_any_kind(jobs: QueueLimits, queue: Queue) -> None:
    for name in "abcd":
        queue.add(name, FAR, work=False)
    assert joins(jobs, FAR, asking_for(CHOOSE)).startswith("429 You have 4 jobs")


def test_jobs_that_are_just_joining_count_as_well(jobs: QueueLimits, queue: Queue) -> None:
    queue.add("a", FAR)
    with jobs.admitted(FAR, JOIN, asking_for(COMPOSE)):
        assert joins(jobs, FAR).startswith("429")
        assert joins(jobs, OTHER) == ""
    assert joins(jobs, FAR) == ""


def test_a_network_of_ipv6_is_one_address(jobs: QueueLimits, queue: Queue) -> None:
    queue.add("a", "2001:db8::1")
    queue.add("b", "2001:db8::2")
    assert joins(jobs, "2001:db8::/64").startswith("429")


def test_this_machine_itself_may_have_more(jobs: QueueLimits, queue: Queue) -> None:
    for number in range(9):
        queue.add(str(number), "127.0.0.1")
    assert joins(jobs, "") == ""


def test_beyond_the_queue_everybody_is_told_at_once(jobs: QueueLimits, queue: Queue) -> None:
    queue.waits(2)
    assert joins(jobs, FAR) == ""
    queue.waits(3)
    assert joins(jobs, FAR).startswith("503 Everybody composes just now and 3 are waiting")
    assert joins(jobs, "").startswith("503")
    assert joins(jobs, FAR, asking_for(CHOOSE)) == ""


def test_nothing_begins_while_the_server_closes(
    jobs: QueueLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TURNS, "closed", True)
    assert joins(jobs, FAR) == f"503 {CLOSING}"


@pytest.mark.parametrize(
    ("path", "body", "composes"),
    [
        (JOIN, asking_for(COMPOSE), True), (JOIN, asking_for(CHOOSE), False),
        (JOIN, asking_for("1"), False), (JOIN, asking_for(99), False), (JOIN, b"{", False),
        (JOIN, b"[" * 100_000, False), (JOIN, b"[1]", False), (JOIN, b"\xff", False),
        (JOIN + "/", asking_for(COMPOSE), True),
        ("/gradio_api/call/continue", b"{}", True), ("/gradio_api/call/continue/", b"", True),
        ("/gradio_api/call/v2/continue", b"", True), ("/gradio_api/call/choose", b"", False),
        ("/gradio_api/mcp/", b'{"method": "tools/call"}', True),
        ("/gradio_api/mcp", b'{"method": "initialize"}', False),
    ],
)  # fmt: skip
def test_what_composes_is_known_by_what_is_asked_for(
    jobs: QueueLimits, queue: Queue, path: str, body: bytes, composes: bool
) -> None:
    queue.waits(3)
    assert joins(jobs, FAR, body, path).startswith("503") == composes


def test_the_numbers(jobs: QueueLimits, queue: Queue) -> None:
    assert (jobs.running, jobs.waiting) == (0, 0)
    queue.active_jobs = [["event"], None]
    queue.waits(2)
    assert (jobs.running, jobs.waiting) == (1, 2)


# -- Nobody listens --------------------------------------------------------------------------------


def swept(jobs: QueueLimits, times: Iterable[float] = (0.0,)) -> None:
    for after_s in times:
        asyncio.run(jobs.sweep(now_s=time.monotonic() + after_s))


def test_a_job_that_nobody_listens_to_is_ended(jobs: QueueLimits, queue: Queue) -> None:
    for name in ("young", "old", "heard", "by id"):
        queue.add(name, FAR, age_s=0 if name == "young" else 11)
    with jobs.heard("session of heard"), jobs.heard("by id"):
        swept(jobs)
    assert queue.cleaned == ["old"]
    swept(jobs)
    assert queue.cleaned == ["old", "old", "heard", "by id"]


def test_a_job_whose_listener_does_not_read_is_ended(jobs: QueueLimits, queue: Queue) -> None:
    for name, unread in (("reads", 5), ("sleeps", 6)):
        queue.add(name, FAR)
        queue.says(f"session of {name}", unread)
    with jobs.heard("session of reads"), jobs.heard("session of sleeps"):
        swept(jobs)
    assert queue.cleaned == ["sleeps"]


def test_results_that_nobody_comes_for_are_forgotten(jobs: QueueLimits, queue: Queue) -> None:
    queue.add("running", FAR)
    queue.says("session of running", 1)
    queue.says("gone", 1)
    queue.says("read", 0)
    queue.says("heard", 1)
    with jobs.heard("heard"):
        swept(jobs, [0, 9])
        assert "gone" in queue.pending_messages_per_session
        swept(jobs, [11])
    assert list(queue.pending_messages_per_session) == ["session of running", "read", "heard"]


def test_who_comes_back_in_time_finds_the_results(jobs: QueueLimits, queue: Queue) -> None:
    queue.says("late", 1)
    swept(jobs, [0])
    with jobs.heard("late"):
        swept(jobs, [9])
    swept(jobs, [11, 20])
    assert "late" in queue.pending_messages_per_session
    swept(jobs, [22])
    assert queue.pending_messages_per_session == {}


def test_turns_are_swept_with_the_jobs(jobs: QueueLimits, monkeypatch: pytest.MonkeyPatch) -> None:
    with TURNS.one() as turn:
        swept(jobs, [100_000])
        assert turn.why
