"""The newest version of the changelog is the version of the package."""

from __future__ import annotations

import re
from pathlib import Path

import musiclstm

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"
VERSION_HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", re.MULTILINE)


def test_the_newest_version_is_the_one_of_the_package() -> None:
    assert VERSION_HEADING.findall(CHANGELOG.read_text())[0] == musiclstm.__version__


def test_there_is_a_place_for_what_is_not_released_yet() -> None:
    headings = [line for line in CHANGELOG.read_text().splitlines() if line.startswith("## ")]
    assert headings[0] == "## [Unreleased]"
