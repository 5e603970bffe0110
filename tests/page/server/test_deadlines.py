"""Deadlines of generation jobs."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from page.server.deadlines import (
    CLOSING,
    MAX_ENDLESS_S,
    MAX_JOB_S,
    MIN_ENDLESS_S,
    ClosingError,
    Deadlines,
    JobDeadline,
)


@pytest.fixture
def deadlines() -> Deadlines:
    return Deadlines()


def reason_after(
    deadlines: Deadlines, seconds: float, *, endless: bool = False, num_waiting: int = 0
) -> str:
    """Why a new job is stopped after some seconds."""
    job = JobDeadline()
    job.endless = endless
    deadlines.add(job)
    deadlines.expire(num_waiting=num_waiting, now_s=job.started_s + seconds)
    assert job.stopped.is_set() == bool(job.reason)
    return job.reason


def test_a_job_is_stopped_after_five_minutes(deadlines: Deadlines) -> None:
    assert reason_after(deadlines, MAX_JOB_S, num_waiting=20) == ""
    assert "longer than 5 minutes" in reason_after(deadlines, MAX_JOB_S + 1)


def test_an_endless_job_has_longer_unless_others_wait(deadlines: Deadlines) -> None:
    assert reason_after(deadlines, MAX_ENDLESS_S, endless=True) == ""
    assert "after 30 minutes" in reason_after(deadlines, MAX_ENDLESS_S + 1, endless=True)
    assert reason_after(deadlines, MIN_ENDLESS_S, endless=True, num_waiting=1) == ""
    others = reason_after(deadlines, MIN_ENDLESS_S + 1, endless=True, num_waiting=1)
    assert others.startswith("Others are waiting")


def test_the_first_reason_is_kept() -> None:
    job = JobDeadline()
    job.stop("First.")
    job.stop("Second.")
    assert job.reason == "First."


def test_a_job_is_forgotten_after_an_error_too(deadlines: Deadlines) -> None:
    with suppress(KeyError), deadlines.track() as job:
        assert len(deadlines) == 1
        raise KeyError
    assert len(deadlines) == 0
    deadlines.expire(num_waiting=0, now_s=job.started_s + MAX_JOB_S + 1)
    assert not job.stopped.is_set()


def test_closing_stops_all_jobs_and_refuses_new_ones(deadlines: Deadlines) -> None:
    with deadlines.track() as job:
        deadlines.close()
        assert (job.reason, job.aborted) == (CLOSING, True)
        with pytest.raises(ClosingError, match="about to close"):
            deadlines.add(JobDeadline())
        assert len(deadlines) == 1


def test_jobs_start_and_end_while_others_expire(deadlines: Deadlines) -> None:
    def start_and_end() -> None:
        for _ in range(500):
            with deadlines.track():
                pass

    threads = [threading.Thread(target=start_and_end) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        deadlines.expire(num_waiting=0)
    assert len(deadlines) == 0
