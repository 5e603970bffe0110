"""Access to the parts of Gradio that are not public; no other module may use them.

Written for Gradio 6.31. `tests/page/server/test_gradio_private.py` checks each part on a real
queue; run it first after an update of Gradio.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import gradio as gr
from gradio.utils import get_upload_folder

GRADIO_VERSION = "6.31"  # the version that the contract test holds for


class QueuedJob(NamedTuple):
    """A job of the queue, running or waiting.

    Attributes:
        id: Of the job.
        session: Session hash of the client that receives its messages.
        scope: ASGI scope of the request that added it.
        concurrency_id: Of its function.
        queued_s: When it was added, by `time.monotonic`.
    """

    id: str
    session: str
    scope: Any
    concurrency_id: str
    queued_s: float


class GradioQueue:
    """The queue of a page.

    Args:
        demo: The page; its queue is replaced when it launches.
    """

    def __init__(self, demo: gr.Blocks) -> None:
        self._demo = demo

    def jobs(self) -> list[QueuedJob]:
        """Return all jobs that run or wait."""
        events: Any = list(self._demo._queue.event_ids_to_events.values())
        return [
            QueuedJob(
                event._id, event.session_hash, event.request.scope, event.fn.concurrency_id,
                event.enqueue_time,
            )
            for event in events
        ]  # fmt: skip

    @property
    def num_running(self) -> int:
        """Number of jobs that have started."""
        return sum(job is not None for job in self._demo._queue.active_jobs)

    def num_waiting(self, concurrency_id: str) -> int:
        """Return the number of jobs with this concurrency id that have not started."""
        found = self._demo._queue.event_queue_per_concurrency_id.get(concurrency_id)
        return len(found.queue) if found else 0

    def num_unread(self) -> dict[str, int]:
        """Return the number of messages that wait for their client, by session."""
        messages = self._demo._queue.pending_messages_per_session
        return {session: unread.qsize() for session, unread in list(messages.items())}

    def discard_messages(self, session: str) -> None:
        """Delete the messages of a session."""
        self._demo._queue.pending_messages_per_session.pop(session, None)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job; its generator is closed."""
        await self._demo._queue.clean_events(event_id=job_id)

    def concurrency_id_of(self, function: int | str) -> str | None:
        """Return the concurrency id of a function, by its number or API name; None: unknown."""
        functions = self._demo.fns
        if isinstance(function, int):
            found = functions.get(function)
        else:
            found = next((fn for fn in functions.values() if fn.api_name == function), None)
        return None if found is None else str(found.concurrency_id)


def event_data(event: gr.EventData) -> dict[str, Any]:
    """Return all fields of an event; a client may send anything, so none may be expected."""
    return event._data if isinstance(event._data, dict) else {}


def upload_folder() -> str:
    """Return the folder from which Gradio serves uploads and results."""
    return get_upload_folder()


def force_exit(demo: gr.Blocks, *, after_s: float) -> None:
    """Make the web server close connections that are still open after some seconds."""
    if demo.server is not None:
        threading.Timer(after_s, setattr, (demo.server, "force_exit", True)).start()
