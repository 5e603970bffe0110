"""Untrusted values in error messages."""

from __future__ import annotations

import pytest

from musiclstm.errors import shorten


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n\u202eb", r"'a\n\u202eb'"),
        (3.5, "3.5"),
        ("x" * 38, "'" + "x" * 38 + "'"),
        ("x" * 39, "'" + "x" * 36 + "..."),
    ],
)
def test_a_value_becomes_at_most_40_ascii_characters(value: object, text: str) -> None:
    assert shorten(value) == text
