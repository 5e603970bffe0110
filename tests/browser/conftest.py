"""A served page and browsers that open it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from musiclstm import MusicLSTMError
from musiclstm.audio.soundfonts import find_soundfont
from tests.browser.chromium import chromium
from tests.browser.page_driver import PageDriver
from tests.page.fixtures import midi_file, page_url, shared_composer, watched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["midi_file", "page_url", "shared_composer", "watched"]


@pytest.fixture(scope="module")  # playwright runs one browser at a time
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Browser, page_url: str) -> Iterator[Callable[..., PageDriver]]:
    """Open the page in a browser context of its own."""
    contexts = []

    def open_page(**options: Any) -> PageDriver:
        contexts.append(browser.new_context(**options))
        return PageDriver(contexts[-1], page_url)

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def _sound() -> None:
    """Skip the test where there is no synthesizer or SoundFont."""
    pytest.importorskip("fluidsynth", reason="libfluidsynth is not installed", exc_type=ImportError)
    try:
        find_soundfont()
    except MusicLSTMError as error:
        pytest.skip(str(error))
