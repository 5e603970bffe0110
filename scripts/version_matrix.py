"""Run a small set of tests with the oldest and with the newest versions that pyproject.toml allows.

    python scripts/version_matrix.py --folder /tmp/matrix

Each environment is a new virtual environment in the folder. The oldest one takes every
direct requirement from the series of its lower bound (of `numpy>=2.0` 2.0.x); in the newest one pip
chooses. Run this before a release.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ("sound", "torch", "notation", "wasm")
TEST_TOOLS = ("pytest", "pytest-timeout", "hypothesis", "miditok", "accelerate")
"""Of the extra `dev`; accelerate is for offloaded weights."""

TESTS = (
    "tests/model/test_modeling.py",
    "tests/model/test_checkpoint.py",
    "tests/model/test_stored_weights.py",
    "tests/tokens/test_tokenizer.py",
    "tests/midi/test_reader.py",
    "tests/generation/test_composer.py",
    "tests/audio/test_rendering.py",
    "tests/cli/test_commands.py",
    "tests/export/test_musicxml.py",
)
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?\s*>=\s*([\w.]+)")


def lower_bounds(project: Mapping[str, Any], extras: Iterable[str]) -> dict[str, str]:
    """Return name and lower bound of each direct requirement.

    Args:
        project: The table `project` of a pyproject.toml.
        extras: Names of the extras whose requirements count too.

    Raises:
        ValueError: A requirement has no lower bound.
    """
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    bounds = {}
    for requirement in wanted:
        if requirement.startswith(f"{project['name']}["):
            continue  # an extra of extras
        found = _REQUIREMENT.match(requirement)
        if found is None:
            raise ValueError(f"{requirement!r} has no lower bound; write it as name>=version.")
        bounds[found[1]] = found[2]
    return bounds


def constraints(name: str, bounds: Mapping[str, str], pins: Mapping[str, str]) -> list[str]:
    """Return the lines of a constraints file.

    Args:
        name: Of the environment, `oldest` or `newest`.
        bounds: From `lower_bounds`.
        pins: Versions that are taken in both environments.
    """
    series = {each: f"{bound}.*" for each, bound in bounds.items()}
    versions = {**series, **pins} if name == "oldest" else pins
    return [f"{each}=={version}" for each, version in versions.items()]


def main(argv: Sequence[str] | None = None) -> int:
    """Build the environments, run the tests in each, and print a table; 1 if any fails."""
    options = _parser().parse_args(argv)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = lower_bounds(project, options.extras)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="musiclstm-versions-"))
    results = {}
    for name in options.only or ("oldest", "newest"):
        results[name] = _run(name, folder / name, bounds, options)
    print("\n| environment | result |")
    print("|---|---|")
    for name, result in results.items():
        print(f"| {name} | {result} |")
    return int(any(result != "passed" for result in results.values()))


def _run(name: str, folder: Path, bounds: Mapping[str, str], options: argparse.Namespace) -> str:
    """Return `passed`, or what failed."""
    print(f"\n{name}: {folder}", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    file = folder / "constraints.txt"
    lines = constraints(name, bounds, dict(options.pin))
    file.write_text("\n".join([*lines, ""]), encoding="ascii")
    package = f"{ROOT}[{','.join(options.extras)}]"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    steps: list[tuple[str, Callable[[], list[Any]]]] = [
        ("install", lambda: [*pip, "install", "-c", file, *options.pip, package, *TEST_TOOLS]),
        ("check", lambda: [*pip, "check"]),
        ("versions", lambda: [python, "-c", _versions_code(bounds)]),
        ("tests", lambda: [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options.tests]),
    ]
    for step, command in steps:
        if subprocess.run(list(map(str, command())), cwd=ROOT, check=False).returncode:
            return f"failed: {step}"
    return "passed"


def _versions_code(bounds: Mapping[str, str]) -> str:
    names = sorted(bounds)
    return (
        "from importlib.metadata import version; "
        f"print(', '.join(f'{{each}} {{version(each)}}' for each in {names!r}))"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to build (default: a temporary folder)")
    parser.add_argument(
        "--only", action="append", choices=["oldest", "newest"], help="one environment"
    )
    parser.add_argument(
        "--extras",
        type=lambda text: text.split(","),
        default=list(EXTRAS),
        help="of pyproject.toml",
    )
    parser.add_argument(
        "--pip", type=str.split, default=[], metavar="OPTIONS", help="more options of pip install"
    )
    parser.add_argument(
        "--pin",
        type=lambda text: tuple(text.split("==")),
        action="append",
        default=[],
        metavar="torch==2.13.0",
        help="take this version in both environments",
    )
    parser.add_argument("tests", nargs="*", default=list(TESTS), help="test files")
    return parser


if __name__ == "__main__":
    sys.exit(main())
