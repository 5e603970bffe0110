"""No version with a known hole: floors, and the public list of holes where it can be reached."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]

# The first version without the hole that is named.
FLOORS = {
    "gradio": "6.20",  # reads and fetches outside its folders
    "python-multipart": "0.0.27",  # bodies that keep the parser busy
    "starlette": "0.47.2",  # large files that stop the event loop
    "symusic": "0.6.0",  # crashes on hostile MIDI files
    "torch": "2.6",  # torch.load runs code
    "transformers": "5",
}


@pytest.mark.parametrize("name", FLOORS)
def test_what_is_installed_has_no_hole_that_we_know_of(name: str) -> None:
    assert Version(version(name)) >= Version(FLOORS[name])


def test_what_we_ask_for_has_none_either() -> None:
    pinned = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if re.match("[a-z]", line, re.IGNORECASE):
            asked = Requirement(line)
            (only,) = asked.specifier
            assert only.operator == "==", f"{line} is not pinned"
            pinned[asked.name.lower()] = only.version
    for name, floor in FLOORS.items():
        if name in pinned:
            assert Version(pinned[name]) >= Version(floor)


@pytest.mark.network
def test_no_hole_is_known_in_what_is_pinned() -> None:
    """Through pip-audit, which needs its database; without either this says so and is skipped."""
    pytest.importorskip("pip_audit", reason="pip-audit is missing: pip install pip-audit")
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(ROOT / "requirements.txt")]
    command += ["--format", "json", "--progress-spinner", "off", "--disable-pip", "--no-deps"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if not done.stdout.startswith("{"):
        pytest.skip(f"pip-audit reached no database: {done.stderr.strip()[-200:]}")
    listed = json.loads(done.stdout)["dependencies"]
    holes = {each["name"]: each["vulns"] for each in listed if "vulns" in each}
    assert {name: found for name, found in holes.items() if found} == {}
    if len(holes) < len(listed):
        unknown = sorted(each["name"] for each in listed if "vulns" not in each)
        pytest.skip(f"pip-audit's database does not answer for {', '.join(unknown)}")
