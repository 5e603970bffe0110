"""The page served with its middleware, for tests over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

import app
from page.server.deadlines import DEADLINES
from page.server.queue_limits import ServerLimits


@dataclass
class Server:
    url: str
    demo: gr.Blocks
    folder: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def served(composer: Any, folder: Path, limits: ServerLimits | None = None) -> Iterator[Server]:
    """Serve the page without a SoundFont, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        patch.setenv("MUSICLSTM_SOUNDFONT", "/nowhere.sf2")
        demo = app.build_demo(composer)
        url = app.serve(demo, host="127.0.0.1", port=None, model="toy", limits=limits)
        try:
            yield Server(url.rstrip("/"), demo, folder.resolve())
        finally:
            demo.close(verbose=False)
            DEADLINES.closed = False
