"""The page without a server, built once, and a Chromium that opens it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hub.static_page import build, serving
from musiclstm.errors import PublishError
from tests.browser.chromium import chromium
from tests.browser.static.static_page import StaticPage

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")  # not longer: only one can run at a time
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def built_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("chromium") is None and shutil.which("chromium-browser") is None:
        pytest.skip("Chromium is not installed; install it with: apt install chromium")
    folder = tmp_path_factory.mktemp("static")
    try:
        build(folder)
    except PublishError as error:
        pytest.skip(str(error))
    return folder


@pytest.fixture(scope="session")
def static_url(built_page: Path) -> Iterator[str]:
    with serving(built_page) as url:
        yield url


@pytest.fixture
def visit(browser: Browser, static_url: str) -> Iterator[Callable[..., StaticPage]]:
    """Open the page in a browser context of its own."""
    pages: list[StaticPage] = []

    def open_page(fragment: str = "", **options: Any) -> StaticPage:
        pages.append(StaticPage(browser.new_context(**options), static_url + fragment))
        return pages[-1]

    yield open_page
    for page in pages:
        page.context.close()
        assert page.errors == []
