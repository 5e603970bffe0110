"""Values of arguments, read from text."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")


def meter(text: str) -> tuple[int, int]:
    """Read `3/4`."""
    return _parse(text, "a meter such as 3/4", lambda: _pair(text, "/"))


def programs(text: str) -> list[int]:
    """Read `0,violin,drums`."""
    from musiclstm.generation.instrument_names import read_programs

    try:
        return read_programs(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def pitch_range(text: str) -> tuple[int, tuple[int, int]]:
    """Read `40:55-88` or `violin:55-88`: program, lowest and highest pitch."""
    program, _, ends = text.partition(":")
    expected = "an instrument and its pitches such as 40:55-88"
    pitches = _parse(text, expected, lambda: _pair(ends, "-"))
    (number,) = programs(program.replace(",", " "))
    return number, pitches


def two_numbers(text: str) -> tuple[int, int]:
    """Read `4-16`."""
    return _parse(text, "two numbers such as 4-16", lambda: _pair(text, "-"))


def bar_range(text: str) -> tuple[int, int]:
    """Read `5-8`, or `5` for one bar."""
    return _parse(
        text, "bars such as 5-8 or 5", lambda: _pair(text if "-" in text else f"{text}-{text}", "-")
    )


def part_names(text: str) -> list[str]:
    """Read names or numbers that are separated by commas."""
    return text.split(",")


def _pair(text: str, separator: str) -> tuple[int, int]:
    low, high = text.split(separator)
    return int(low), int(high)


def _parse(text: str, expected: str, read: Callable[[], _Value]) -> _Value:
    try:
        return read()
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}") from error
