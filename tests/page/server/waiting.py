"""Waiting for a condition, with a limit that holds on a busy machine."""

from __future__ import annotations

import time
from collections.abc import Callable

TIMEOUT_S = 60.0


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    end_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)
