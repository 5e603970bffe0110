"""What comes from outside reaches HTML only through `escape`; all else in HTML is listed here.

Gradio puts the value of a `gr.HTML` into the page as it is: a track's name would run there.
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

# What is put into HTML as it is, because it is made here: numbers, constants, and HTML of which
# every part was escaped before.
MADE_HERE = {
    "cards.py": {
        "drawn", "surprise", "known_as", "picture", "words", "_WIDTH", "_HEIGHT",
        "''.join(strokes)",
    },
    "words.py": {
        "x", "y", "width", "part", "_MARK", "empty", "items", "said", "known", "doing", "kind",
        "letter", "seed", "len(lines)", "number", "here", "name", "', '.join(facts)",
    },
}  # fmt: skip


def unescaped(source: str) -> Iterator[str]:
    """What f-strings with tags in them take in without `escape`."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        fixed = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        for part in node.values:
            if TAG.search(fixed) and isinstance(part, ast.FormattedValue):
                called = part.value.func if isinstance(part.value, ast.Call) else None
                if not (isinstance(called, ast.Name) and called.id == "escape"):
                    yield ast.unparse(part.value)


@pytest.mark.parametrize("file", sorted(PAGE.glob("*.py")), ids=lambda file: file.name)
def test_html_takes_in_nothing_unescaped(file: Path) -> None:
    found = set(unescaped(file.read_text(encoding="utf-8")))
    assert found - MADE_HERE.get(file.name, set()) == set()


@pytest.mark.parametrize("file", sorted(PAGE.rglob("*.js")), ids=lambda file: file.name)
def test_scripts_make_no_html_of_text(file: Path) -> None:
    assert UNSAFE_SCRIPT.findall(file.read_text(encoding="utf-8")) == []


def test_the_list_holds_nothing_that_is_gone() -> None:
    for name, known in MADE_HERE.items():
        assert known - set(unescaped((PAGE / name).read_text(encoding="utf-8"))) == set()


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
def test_the_check_itself(source: str, found: list[str]) -> None:
    assert list(unescaped(source)) == found
