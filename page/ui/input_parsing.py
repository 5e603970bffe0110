"""Conversion of untrusted browser values; none of these functions raises."""

from __future__ import annotations

from typing import Any


def parse_number(value: Any) -> Any:
    """Return the number that a text contains, and every other value unchanged."""
    try:
        return float(value) if isinstance(value, str) and value.strip() else value
    except ValueError:
        return value


def parse_integer(value: Any) -> int:
    """Return an integer unchanged and 0 for every other value."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def parse_tracks(value: Any) -> tuple[int, ...]:
    """Return the indices in a list, at most 1,024; () for every other value."""
    listed = value if isinstance(value, list) else []
    return tuple(each for each in listed[:1024] if parse_integer(each) == each and each >= 0)


def parse_bars(data: dict[str, Any]) -> tuple[int, int] | None:
    """Return the bars of an event `bars`; None: none is selected."""
    first, last = parse_integer(data.get("first")), parse_integer(data.get("last"))
    return (first, last) if 0 < first <= last else None


def parse_seconds(value: Any) -> float:
    """Return a positive finite number as float and 0.0 for every other value."""
    return float(value) if isinstance(value, int | float) and 0 < value < float("inf") else 0.0
