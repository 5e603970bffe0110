"""Contract with Gradio's private parts, on a real queue."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from page.server.gradio_private import (
    GRADIO_VERSION,
    GradioQueue,
    event_data,
    force_exit,
    upload_folder,
)
from tests.page.server.waiting import TIMEOUT_S, until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio.queueing")


class Work:
    """A job that runs until it is released."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.closed = 0

    def __call__(self) -> Iterator[str]:
        try:
            while not self.release.wait(0.02):
                yield "running"
            yield "done"
        finally:
            self.closed += 1


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def loops() -> list[asyncio.AbstractEventLoop]:
    """The event loop of the server, once it runs."""
    return []


@pytest.fixture
def demo(
    work: Work,
    loops: list[asyncio.AbstractEventLoop],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[gr.Blocks]:
    @asynccontextmanager
    async def note_loop(_app: Any) -> AsyncIterator[None]:
        loops.append(asyncio.get_running_loop())
        yield

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    with gr.Blocks(analytics_enabled=False) as demo:
        shown = gr.Textbox()
        button = gr.Button()
        button.click(work.__call__, None, shown, api_name="compose", concurrency_id="work")
        button.click(lambda: "", None, shown, api_name="choose")
    demo.queue(default_concurrency_limit=1).launch(
        prevent_thread_lock=True, quiet=True, ssr_mode=False, app_kwargs={"lifespan": note_loop}
    )
    yield demo
    work.release.set()
    demo.close(verbose=False)


def join(demo: gr.Blocks, session: str) -> None:
    """Add a job, as the page does."""
    request = {"fn_index": 0, "data": [], "session_hash": session}
    url = f"{demo.local_url}gradio_api/queue/join"
    httpx.post(url, json=request, timeout=60).raise_for_status()


def test_gradio_has_the_version_that_the_adapter_was_written_for() -> None:
    assert gr.__version__.startswith(GRADIO_VERSION + "."), "run this file, then raise the version"


def test_the_adapter_reads_and_changes_a_real_queue(
    demo: gr.Blocks, work: Work, loops: list[asyncio.AbstractEventLoop]
) -> None:
    queue = GradioQueue(demo)
    assert (queue.jobs(), queue.num_running, queue.num_waiting("work")) == ([], 0, 0)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: join(demo, name), ["one", "two"]))
    until(lambda: (queue.num_running, queue.num_waiting("work")) == (1, 1))
    jobs = queue.jobs()
    assert {job.session for job in jobs} == {"one", "two"}
    assert {job.concurrency_id for job in jobs} == {"work"}
    assert len({job.id for job in jobs}) == 2
    assert jobs[0].scope["client"][0] == "127.0.0.1"
    assert jobs[0].queued_s > 0
    assert queue.num_waiting("none such") == 0
    until(lambda: any(queue.num_unread().values()))
    running = next(name for name, unread in queue.num_unread().items() if unread > 1)
    queue.discard_messages(running)
    assert queue.num_unread().get(running, 0) <= 1  # the job may have sent another one
    for job in jobs:
        asyncio.run_coroutine_threadsafe(queue.cancel(job.id), loops[-1]).result(TIMEOUT_S)
    until(lambda: queue.jobs() == [])
    assert work.closed == 1


def test_functions_are_found_by_number_and_by_name(demo: gr.Blocks) -> None:
    queue = GradioQueue(demo)
    assert queue.concurrency_id_of(0) == queue.concurrency_id_of("compose") == "work"
    assert queue.concurrency_id_of("choose") not in (None, "work")
    assert queue.concurrency_id_of(99) is queue.concurrency_id_of("none such") is None


def test_the_fields_of_an_event_are_a_dictionary_whatever_the_client_sends() -> None:
    assert event_data(gr.EventData(None, {"bar": 3})) == {"bar": 3}
    for sent in (None, [], "text", 3):
        assert event_data(gr.EventData(None, sent)) == {}


def test_uploads_are_in_the_configured_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    assert Path(upload_folder()) == tmp_path


def test_the_web_server_can_be_made_to_exit(demo: gr.Blocks) -> None:
    assert demo.server is not None
    assert demo.server.force_exit is False
    force_exit(demo, after_s=0.01)
    until(lambda: demo.server is not None and bool(demo.server.force_exit))


def test_no_other_module_uses_private_parts_of_gradio() -> None:
    pattern = re.compile(r"\b(demo|event)\._|\bdemo\.fns\b|force_exit\b|gradio\.utils")
    root = Path(__file__).parents[3]
    files = {*root.glob("page/**/*.py"), root / "app.py"}
    files -= {root / "page" / "server" / "gradio_private.py"}
    found = {
        f"{file.name}: {match[0]}"
        for file in files
        for match in pattern.finditer(file.read_text(encoding="utf-8"))
    }
    assert found == {"lifecycle.py: force_exit"}  # imported from the adapter
