"""The wheel holds the library alone, and works where there is no checkout."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
NETWORK_FILES = ("nmp.onnx", "LICENSE", "NOTICE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source / file)
    for package in ("musiclstm", "training", "page"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, source / package, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", out, source], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_musiclstm_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"musiclstm"}
    needed = {"py.typed", "core/step.c", "core/core.wasm"}
    needed |= {"examples/fur_elise.mid", "pretrained/model.safetensors"}
    needed |= {f"audio/transcription/basic_pitch/{name}" for name in NETWORK_FILES}
    assert {f"musiclstm/{name}" for name in needed} <= set(names)


def test_an_installed_wheel_composes_a_bar_with_its_declared_dependencies(
    wheel: Path, tmp_path: Path
) -> None:
    python, site = environment_of(wheel, tmp_path / "environment")
    command = ["-m", "musiclstm", "compose", "--bars", "1", "--seed", "7", "--out", "a.mid"]
    run(python, *command, folder=tmp_path)
    assert (tmp_path / "a.mid").read_bytes().startswith(b"MThd")
    found = run(python, "-c", "import musiclstm; print(musiclstm.__file__)", folder=tmp_path)
    assert Path(found.strip()).is_relative_to(site)
    ask = (
        "from importlib.util import find_spec\n"
        "assert find_spec('torch') is None\n"
        "import musiclstm\n"
        "try: musiclstm.MusicLSTMForCausalLM\n"
        "except musiclstm.MusicLSTMError as error: print(error)"
    )
    assert "pip install 'musiclstm[torch]'" in run(python, "-c", ask, folder=tmp_path)


def environment_of(wheel: Path, folder: Path) -> tuple[Path, Path]:
    """Return the Python and the packages of an environment with the wheel and its dependencies.

    The dependencies are links to those of this environment, so nothing is downloaded.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    site = Path(run(python, "-c", where, folder=folder).strip())
    zipfile.ZipFile(wheel).extractall(site)
    (metadata,) = site.glob("*.dist-info/METADATA")
    declared = email.message_from_string(metadata.read_text()).get_all("Requires-Dist", [])
    for package in closure(declared):
        files = distribution(package).files or []
        for name in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            if not (site / name).exists():
                (site / name).symlink_to(Path(str(distribution(package).locate_file(name))))
    return python, site


def closure(declared: Iterable[str]) -> set[str]:
    """Return the names of packages and of all that they need, without extras."""
    found: set[str] = set()
    open_ = list(declared)
    while open_:
        requirement = Requirement(open_.pop())
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and requirement.name not in found:
            found.add(requirement.name)
            open_ += distribution(requirement.name).requires or []
    return found


def run(python: Path, *arguments: str, folder: Path) -> str:
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, *arguments], check=True, cwd=folder, env=bare, stdout=subprocess.PIPE, text=True
    )
    return done.stdout
