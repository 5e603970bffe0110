"""Untrusted text reaches HTML only through `escape`; the other values in HTML are listed here.

`gr.HTML` inserts its value unescaped, so a track name could contain a script.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "page"
TAG = re.compile(r"</?[a-zA-Z]")
UNSAFE_SCRIPT = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|document\.write|\beval\("
    r"|new Function|srcdoc"
)

# Numbers, constants, and HTML of which every part was escaped before.
SAFE_VALUES = {
    "strips.py": {
        "start", "bars", "items", "str(is_chosen).lower()", "0 if is_chosen else -1", "strip.take",
        "letter", "strip.picture", "_WIDTH", "_HEIGHT", "path",
    },
    "html.py": {
        "x", "y", "width", "part", "_LOGO", "items", "more", "text", "known", "action", "kind",
        "trouble", "len(lines)", "number", "mark", "name", "made_s", "', '.join(facts)",
    },
}  # fmt: skip


def unescaped(source: str) -> Iterator[str]:
    """Yield the values without `escape` in f-strings that contain tags."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        fixed = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        for part in node.values:
            if TAG.search(fixed) and isinstance(part, ast.FormattedValue):
                called = part.value.func if isinstance(part.value, ast.Call) else None
                if not (isinstance(called, ast.Name) and called.id == "escape"):
                    yield ast.unparse(part.value)


def test_html_contains_no_unescaped_values_but_the_listed_ones() -> None:
    found = {
        file.name: values
        for file in PAGE.rglob("*.py")
        if (values := set(unescaped(file.read_text(encoding="utf-8"))))
    }
    assert found == SAFE_VALUES


def test_scripts_never_parse_text_as_html() -> None:
    files = [*PAGE.rglob("*.js"), *PAGE.rglob("ui/*.py")]
    assert len(files) > 10
    assert [file for file in files if UNSAFE_SCRIPT.search(file.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('gr.HTML(f"<b>{track.name}</b>")', ["track.name"]),
        ('f"<i>{escape(name)}</i>"', []),
        ('f"<i>{escape(a) + b}</i>"', ["escape(a) + b"]),
        ('f"{name} < {other}"', []),
        ('f"</p>{name!r:>3}"', ["name"]),
    ],
)
def test_the_check_finds_unescaped_values(source: str, found: list[str]) -> None:
    assert list(unescaped(source)) == found
