"""The demo page of the player, and a Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.chromium import chromium
from tests.browser.player.player_demo_app import DemoPiece, build, serve, tones

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")  # not longer: only one can run at a time
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def _shared_piece() -> DemoPiece:
    return DemoPiece(tones)


@pytest.fixture
def piece(_shared_piece: DemoPiece) -> Iterator[DemoPiece]:
    """The piece of the page; it is reset for each test."""
    _shared_piece.reset()
    yield _shared_piece
    _shared_piece.reset()


@pytest.fixture(scope="session")
def player_url(_shared_piece: DemoPiece, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        demo = build(_shared_piece)
        yield serve(demo)
        demo.close()
