"""The fixture `hub`: a fake Hub on this machine, for a test and the processes that it starts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub import fake_hub

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Ignore a deprecation warning that the client of the Hub causes."""
    ignored = pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
    for item in items:
        if "hub" in getattr(item, "fixturenames", ()):
            item.add_marker(ignored)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[fake_hub.Hub]:
    """An empty fake Hub with the user ann logged in.

    huggingface_hub reads its environment when it is imported, so its constants are patched too.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with fake_hub.running() as running:
        home = tmp_path / "hf_home"
        for name, value in _environment(running, home).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        template = running.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))
        wait = time.sleep  # the client waits for seconds before a retry
        monkeypatch.setattr(time, "sleep", lambda seconds: wait(min(seconds, 0.01)))
        yield running
        close_session()
        assert running.leaks == []


def _environment(hub: fake_hub.Hub, home: Path) -> dict[str, str]:
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": fake_hub.TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }


@pytest.fixture
def child_environment(hub) -> dict[str, str]:
    """Environment of a process that uses the fake Hub."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}
