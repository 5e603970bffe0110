"""Users of a page without sound."""

from __future__ import annotations

from typing import Any

import pytest

from musiclstm import Composer
from page.ui.events import EventListeners
from tests.page.session_driver import SessionDriver, build_events


@pytest.fixture(autouse=True)
def _without_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/page/playback and tests/browser render audio; here it would only take time."""
    monkeypatch.setenv("MUSICLSTM_SOUNDFONT", "/nowhere.sf2")


@pytest.fixture(scope="session")
def events(tiny_composer: Composer) -> EventListeners:
    return build_events(tiny_composer)


@pytest.fixture
def ann(events: EventListeners) -> SessionDriver:
    """A user with a new session."""
    return SessionDriver(events)


@pytest.fixture
def bob(events: EventListeners) -> SessionDriver:
    """Another user of the same page."""
    return SessionDriver(events)


@pytest.fixture
def slow(watched: Any) -> SessionDriver:
    """A user of a page whose composer the test can slow down."""
    return SessionDriver(build_events(watched))
