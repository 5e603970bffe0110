"""Deadlines of generation jobs.

A job over its time is asked to stop, as is an endless job while others wait, and every job when the
server closes. Each gets a sentence for its user.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from musiclstm import MusicLSTMError

MAX_JOB_S = 300.0  # usual jobs take seconds
MAX_ENDLESS_S = 1_800.0
MIN_ENDLESS_S = 180.0  # an endless job runs this long even while others wait

TOO_LONG = "This took longer than {minutes:.0f} minutes and was stopped; what is composed stays."
ENDLESS_OVER = "Endless music stops after {minutes:.0f} minutes; press Continue from here for more."
OTHERS_WAIT = (
    "Others are waiting, so endless music stops here; press Continue from here to join the queue."
)
CLOSING = "The server is about to close; save your music and come back in a minute."


class ClosingError(MusicLSTMError):
    """The server is closing and starts no new jobs."""


class JobDeadline:
    """State of one job, from its start.

    Attributes:
        stopped: Set: compose no more bars, and finish what is there.
        endless: Whether the job has no end of its own.
        reason: Why the server stopped the job, in one sentence; empty if it did not.
        aborted: Whether the audio of what is composed is dropped too.
        started_s: By `time.monotonic`.
    """

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.endless = False
        self.reason = ""
        self.aborted = False
        self.started_s = time.monotonic()

    def stop(self, reason: str) -> None:
        """Ask the job to finish what is there; the first reason is kept."""
        self.reason = self.reason or reason
        self.stopped.set()

    def expiry_reason(self, *, now_s: float, num_waiting: int) -> str:
        """Return why the job has to stop now; empty: it may continue.

        Args:
            now_s: By `time.monotonic`.
            num_waiting: Number of other jobs that wait.
        """
        elapsed_s = now_s - self.started_s
        if not self.endless:
            return TOO_LONG.format(minutes=MAX_JOB_S / 60) if elapsed_s > MAX_JOB_S else ""
        if elapsed_s > MAX_ENDLESS_S:
            return ENDLESS_OVER.format(minutes=MAX_ENDLESS_S / 60)
        return OTHERS_WAIT if num_waiting and elapsed_s > MIN_ENDLESS_S else ""


class Deadlines:
    """The running jobs of a process.

    Attributes:
        closed: Whether new jobs are refused.
    """

    def __init__(self) -> None:
        self.closed = False
        self._jobs: set[JobDeadline] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: JobDeadline) -> None:
        """Start the time of a job.

        Raises:
            ClosingError: The server is closing.
        """
        with self._lock:
            if self.closed:
                raise ClosingError(CLOSING)
            job.started_s = time.monotonic()
            self._jobs.add(job)

    def remove(self, job: JobDeadline) -> None:
        """Forget a job that has ended."""
        with self._lock:
            self._jobs.discard(job)

    @contextmanager
    def track(self) -> Iterator[JobDeadline]:
        """Create a job that lasts as long as the block.

        Raises:
            ClosingError: The server is closing.
        """
        job = JobDeadline()
        self.add(job)
        try:
            yield job
        finally:
            self.remove(job)

    def expire(self, *, num_waiting: int, now_s: float | None = None) -> None:
        """Stop the jobs that are over their time.

        Args:
            num_waiting: Number of other jobs that wait.
            now_s: By `time.monotonic`. None: now.
        """
        now_s = time.monotonic() if now_s is None else now_s
        for job in self._snapshot():
            if reason := job.expiry_reason(now_s=now_s, num_waiting=num_waiting):
                job.stop(reason)

    def close(self) -> None:
        """Stop all jobs and refuse new ones."""
        with self._lock:
            self.closed = True
        for job in self._snapshot():
            job.aborted = True
            job.stop(CLOSING)

    def _snapshot(self) -> list[JobDeadline]:
        with self._lock:
            return list(self._jobs)


DEADLINES = Deadlines()
