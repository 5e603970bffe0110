"""The environments of the version matrix; none is built here."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def matrix():
    spec = importlib.util.spec_from_file_location("matrix", ROOT / "scripts/version_matrix.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_oldest_environment_pins_every_lower_bound(matrix):
    project = {
        "name": "musiclstm",
        "dependencies": ["numpy>=2.0", "symusic >= 0.6,<1"],
        "optional-dependencies": {"page": ["musiclstm[sound]", "gradio[mcp]>=6.31,<7"]},
    }
    bounds = matrix.lower_bounds(project, ["page"])
    assert bounds == {"numpy": "2.0", "symusic": "0.6", "gradio": "6.31"}
    assert matrix.constraints("oldest", bounds, {"numpy": "2.3"}) == [
        *("numpy==2.3", "symusic==0.6.*", "gradio==6.31.*"),
    ]
    assert matrix.constraints("newest", bounds, {}) == []


def test_a_requirement_without_a_lower_bound_is_refused(matrix):
    project = {"name": "musiclstm", "dependencies": ["numpy"]}
    with pytest.raises(ValueError, match="'numpy' has no lower bound"):
        matrix.lower_bounds(project, [])


def test_the_requirements_of_the_project_have_lower_bounds(matrix):
    bounds = matrix.lower_bounds(PROJECT, PROJECT["optional-dependencies"])
    assert {"torch", "transformers", "numpy", "symusic"} <= set(bounds)
    assert set(matrix.EXTRAS) <= set(PROJECT["optional-dependencies"])


def test_the_tests_exist(matrix):
    assert [test for test in matrix.TESTS if not (ROOT / test).is_file()] == []


def test_documents_and_card_name_the_versions_of_transformers(matrix):
    oldest = matrix.lower_bounds(PROJECT, ["torch"])["transformers"]
    for file in ("docs/transformers.md", "hub/templates/transformers.md"):
        assert oldest in re.findall(r"5\.\d+", (ROOT / file).read_text()), file


def test_the_environments_have_what_the_tests_need(matrix):
    texts = [(ROOT / path).read_text() for path in matrix.TESTS]
    needed = {name for name in ("hypothesis", "miditok") if any(f"from {name}" in t for t in texts)}
    if "\ntimeout = " in (ROOT / "pyproject.toml").read_text():
        needed.add("pytest-timeout")
    assert needed <= set(matrix.TEST_TOOLS)
