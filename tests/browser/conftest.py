"""The page on this machine's own address, composed for by the toy, and visitors for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from musiclstm import Composer, Composition, MusicLSTMError
from musiclstm.audio.soundfonts import find_soundfont
from tests.browser.chromium import chromium
from tests.browser.session_driver import Visitor

if TYPE_CHECKING:
    from playwright.sync_api import Browser


class WatchedComposer:
    """A composer that can be slowed down or held, and tells how far its last piece came.

    Attributes:
        pause_s: How long to wait after each bar.
        held_at: The bar before which it waits until this is None again.
        bars: Composed since the last piece began.
        ended: Set when that piece is complete, or nobody wants more of it.
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
def _shared_watched(tiny_composer: Composer) -> WatchedComposer:
    return WatchedComposer(tiny_composer)


@pytest.fixture
def watched(_shared_watched: WatchedComposer) -> Iterator[WatchedComposer]:
    """The composer of the served page; its pace is put back after each test."""
    yield _shared_watched
    _shared_watched.reset()


@pytest.fixture(scope="session")
def page_url(
    _shared_watched: WatchedComposer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the page is served as `main` would serve it."""
    import app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        demo = app.build_demo(_shared_watched)
        yield app.serve(demo, host="127.0.0.1", port=None)
        demo.close()


@pytest.fixture(scope="session")
def midi_file(
    invented: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Path]:
    """A maker of MIDI files: `midi_file("name.mid", bars=4, tracks=["Name"])`."""
    folder = tmp_path_factory.mktemp("midi")

    def write(name: str, *, tracks: tuple[str, ...] = ("Piano",), **options: Any) -> Path:
        score = invented(programs=range(len(tracks)), **options)
        for track, own in zip(score.tracks, tracks, strict=True):
            track.name = own
        path = folder / name
        path.write_bytes(score.dumps_midi())
        return path

    return write


@pytest.fixture(scope="module")  # not longer: only one can run at a time
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, page_url: str) -> Iterator[Callable[..., Visitor]]:
    """A maker of visitors, each with a browser of its own and the page open."""
    contexts = []

    def open_page(**options: Any) -> Visitor:
        contexts.append(browser.new_context(**options))
        return Visitor(contexts[-1], page_url)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def _sound() -> None:
    """Whether there is a synthesizer to listen to."""
    pytest.importorskip("fluidsynth", reason="libfluidsynth is not installed", exc_type=ImportError)
    try:
        find_soundfont()
    except MusicLSTMError as error:
        pytest.skip(str(error))
