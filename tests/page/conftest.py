"""The player on this machine's own address, and a Chromium to look at it with."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.page.demo import Stage, build, serve, tones

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--metrics-recording-only",
    "--mute-audio",
    "--no-first-run",
    # As strict as browsers are: what sounds here sounds because somebody pressed something.
    "--autoplay-policy=user-gesture-required",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")  # not longer: only one driver can run at a time
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("Chromium is not installed; install it with: apt install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _shared_stage() -> Stage:
    return Stage(tones)


@pytest.fixture
def stage(_shared_stage: Stage) -> Iterator[Stage]:
    """What the served page plays; it is put back after each test."""
    _shared_stage.reset()
    yield _shared_stage
    _shared_stage.reset()


@pytest.fixture(scope="session")
def player_url(_shared_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        demo = build(_shared_stage)
        yield serve(demo)
        demo.close()
