"""Values from a browser, converted without raising."""

from __future__ import annotations

from typing import Any


def parse_number(value: Any) -> Any:
    """The number that a text says; whatever else it is, unchanged."""
    try:
        return float(value) if isinstance(value, str) and value.strip() else value
    except ValueError:
        return value


def parse_programs(muted: Any) -> tuple[int, ...]:
    """The whole numbers of a list; nothing where it is none."""
    listed = muted if isinstance(muted, list) else []
    return tuple(each for each in listed[:129] if isinstance(each, int))


def parse_seconds(place: Any) -> float:
    """Seconds from the beginning, 0 where it says none."""
    return float(place) if isinstance(place, int | float) and 0 < place < float("inf") else 0.0
