"""The player on this machine's own address, and a Chromium to look at it with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import chromium
from tests.browser.player.player_demo_app import Stage, build, serve, tones

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")  # not longer: only one can run at a time
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


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
