"""Fixtures shared by the page's tests with and without a browser."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from musiclstm import Composer, Composition


class WatchedComposer:
    """A composer that a test can slow down or pause.

    Attributes:
        pause_s: Seconds to wait after each bar.
        held_at: The bar before which it waits until this is None again.
        bars: Bars composed since the last piece began.
        ended: Set when that piece is complete or its generator is closed.
    """

    def __init__(self, composer: Composer) -> None:
        self._composer = composer
        self.bars = 0
        self.ended = threading.Event()
        self.reset()

    def reset(self) -> None:
        self.pause_s = 0.0
        self.held_at: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._composer, name)

    def stream(self, **options: Any) -> Iterator[Composition]:
        return self._watched(self._composer.stream(**options), lambda draft: draft)

    def stream_many(self, count: int, **options: Any) -> Iterator[tuple[int, Composition]]:
        drafts = self._composer.stream_many(count, **options)
        return self._watched(drafts, lambda draft: draft[1])

    def _watched(self, drafts: Iterator[Any], piece_of: Callable[[Any], Composition]) -> Any:
        self.bars = 0
        self.ended.clear()
        try:
            for draft in drafts:
                while self.held_at == piece_of(draft).bars:
                    time.sleep(0.02)
                self.bars = piece_of(draft).bars
                time.sleep(self.pause_s)
                yield draft
        finally:
            self.ended.set()


@pytest.fixture(scope="session")
def shared_composer(tiny_composer: Composer) -> WatchedComposer:
    return WatchedComposer(tiny_composer)


@pytest.fixture
def watched(shared_composer: WatchedComposer) -> Iterator[WatchedComposer]:
    """The composer of the served page, reset after each test."""
    yield shared_composer
    shared_composer.reset()


@pytest.fixture(scope="session")
def page_url(
    shared_composer: WatchedComposer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of a page, served as `app.main` serves it."""
    import app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        demo = app.build_demo(shared_composer)  # type: ignore[arg-type]
        yield app.serve(demo, host="127.0.0.1", port=None)
        demo.close()


@pytest.fixture(scope="session")
def midi_file(
    invented: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """Write MIDI files: `midi_file("name.mid", bars=4, tracks=["Name"])`."""
    folder = tmp_path_factory.mktemp("midi")

    def write(name: str, *, tracks: tuple[str, ...] = ("Piano",), **options: Any) -> Path:
        score = invented(programs=range(len(tracks)), **options)
        for track, own in zip(score.tracks, tracks, strict=True):
            track.name = own
        path = folder / name
        path.write_bytes(score.dumps_midi())
        return path

    return write
