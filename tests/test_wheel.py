"""The wheel holds the library alone, and works where there is no checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


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
    needed = {"py.typed", "core/step.c", "examples/fur_elise.mid", "pretrained/model.safetensors"}
    assert {f"musiclstm/{name}" for name in needed} <= set(names)


def test_an_installed_wheel_composes_a_bar_without_the_checkout(
    wheel: Path, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    answer = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True)
    site = Path(answer.stdout.strip())
    zipfile.ZipFile(wheel).extractall(site)
    # What the library depends on is taken from this environment.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    command = [python, "-m", "musiclstm", "compose", "--bars", "1", "--seed", "7", "--out", "a.mid"]
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(command, check=True, cwd=tmp_path, env=bare)
    assert (tmp_path / "a.mid").read_bytes().startswith(b"MThd")
    find = "import musiclstm; print(musiclstm.__file__)"
    found = subprocess.run(
        [python, "-c", find], check=True, cwd=tmp_path, env=bare, capture_output=True, text=True
    )
    assert Path(found.stdout.strip()).is_relative_to(site)
