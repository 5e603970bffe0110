"""The files of the set-up agree with each other: pins, ranges, marks, commands."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("-"))
    return dict(pairs)


def ranges() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    requirements = [Requirement(line) for group in groups for line in group]
    return [requirement for requirement in requirements if requirement.name != PROJECT["name"]]


@pytest.mark.parametrize("requirement", ranges(), ids=lambda requirement: requirement.name)
def test_what_is_tested_lies_within_what_is_promised(requirement: Requirement) -> None:
    pinned = pins("requirements.txt") | pins("requirements-dev.txt")
    assert requirement.specifier.contains(pinned[requirement.name])


def test_nothing_is_pinned_that_the_project_does_not_ask_for() -> None:
    pinned = pins("requirements.txt") | pins("requirements-dev.txt")
    assert set(pinned) == {requirement.name for requirement in ranges()}


def test_the_space_installs_the_system_packages_of_the_script() -> None:
    script = (ROOT / "scripts" / "system_packages.sh").read_text()
    assert [
        name for name in (ROOT / "packages.txt").read_text().split() if name not in script
    ] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")
def test_make_help_names_every_command() -> None:
    answer = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = [line.split()[1] for line in answer.stdout.splitlines() if line.startswith("  make ")]
    assert named == [
        *("help", "install", "check", "fix", "test", "test-all"),
        *("card", "wasm", "demo", "static", "smoke"),
    ]


def test_the_system_script_refuses_what_it_does_not_know() -> None:
    script = ROOT / "scripts" / "system_packages.sh"
    answer = subprocess.run([script, "drums"], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == "error: 'drums' is none of python, sound, speed, browser.\n"
