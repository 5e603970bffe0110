"""Graceful shutdown of a server process."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common.app_server import run_app
from benchmarks.common.http_client import PageClient
from page.server.deadlines import CLOSING


def page_folders(folder: Path) -> list[Path]:
    """The page's folders; Gradio creates another one beside them."""
    return list(folder.glob("musiclstm-page-*"))


@pytest.mark.slow
def test_a_terminated_server_informs_its_users_and_leaves_no_files(tiny_checkpoint: Path) -> None:
    results: list[Any] = []
    with run_app(str(tiny_checkpoint)) as server:
        ann = PageClient(server.url)
        ann.set("Endless, until you press Stop", True)
        ann.set("SoundFont", None)
        assert ann.upload("motif.mid", b"no music").ended
        assert page_folders(server.folder)
        press = threading.Thread(target=lambda: results.append(ann.run()))
        press.start()
        while ann.http.get("/healthz").json()["running"] == 0:
            time.sleep(0.05)
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0
        press.join(timeout=60)
        assert page_folders(server.folder) == []
        assert server.count_files() == (0, 0)
    assert CLOSING in (results[0].error, *results[0].warnings)  # before its first bar, or after
