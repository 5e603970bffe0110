"""What is staged is an allow-list and a pin, and the Hub can read its settings."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import RepoCard
from packaging.requirements import Requirement

from hub.revisions import Pin
from hub.space_files import CPU_INDEX, PYTHON_VERSION, pins, readme, requirements, stage
from musiclstm.errors import PublishError

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIN = Pin("ann/waltzes", COMMIT, ("config.json", "model.safetensors", "miditok_remi.json"))
WRITTEN = {"README.md", "requirements.txt", "space.py"}


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    stage(folder, PIN, title="Waltzes")
    return folder


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A checkout in small, with much that a Space must not have."""
    kept = """LICENSE packages.txt app.py page/__init__.py page/ui/layout.py page/inner/part.py
        page/ui/page.css page/playback/static/player.js musiclstm/__init__.py musiclstm/py.typed
        musiclstm/core/step.c musiclstm/core/step.h musiclstm/examples/waltz.mid"""
    left = """.env .git/config .gitignore CHANGELOG.md README.md Makefile notes.py page/.env
        page/secret.txt page/__pycache__/layout.cpython-311.pyc musiclstm/core/step.o
        musiclstm/token
        musiclstm/pretrained/model.safetensors musiclstm/pretrained/README.md
        musiclstm/examples/private.txt docs/a.md tests/test_a.py training/finetune.py hub/space.py
        runs/a/model.safetensors"""
    root = tmp_path / "checkout"
    for name in (kept + " " + left).split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copyfile(ROOT / name, root / name)
    return root


def test_nothing_is_staged_but_the_allow_list(checkout, tmp_path):
    found = stage(tmp_path / "space", PIN, title="Waltzes", source=checkout)
    assert {path.as_posix() for path in found} == WRITTEN | {
        "LICENSE",
        "packages.txt",
        "app.py",
        "page/__init__.py",
        "page/ui/layout.py",
        "page/inner/part.py",
        "page/ui/page.css",
        "page/playback/static/player.js",
        "musiclstm/__init__.py",
        "musiclstm/core/step.c",
        "musiclstm/core/step.h",
        "musiclstm/py.typed",
        "musiclstm/examples/waltz.mid",
    }
    assert (tmp_path / "space" / "page" / "page.css").read_text() == "page/ui/page.css"


def test_what_the_packages_carry_is_staged_save_for_the_weights(staged):
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    wanted = {
        path.relative_to(ROOT)
        for package in ("musiclstm", "page")
        for pattern in ["**/*.py", *data[package]]
        for path in (ROOT / package).glob(pattern)
        if path.is_file() and "pretrained" not in path.parts
    }
    assert [path for path in wanted if not (staged / path).is_file()] == []
    assert not (staged / "musiclstm" / "pretrained").exists()


def test_what_is_staged_is_small_and_holds_no_path_of_this_machine(staged):
    texts = {path: path.read_bytes() for path in staged.rglob("*") if path.is_file()}
    assert sum(map(len, texts.values())) < 2_000_000
    assert [path.name for path, text in texts.items() if str(ROOT).encode() in text] == []


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(PublishError, match=r"here is no app\.py and no packages\.txt and no page"):
        stage(tmp_path / "space", PIN, title="Waltzes", source=tmp_path)


# -- The model ------------------------------------------------------------------------------------


def test_the_app_starts_with_the_pinned_commit_on_the_address_of_a_space(staged):
    names: dict[str, object] = {"__name__": "looked_at"}
    text = (staged / "space.py").read_text().replace("from app import main", "")
    exec(text, names)
    told = names["PINNED"]
    assert told == [
        *("--model", "ann/waltzes", "--revision", COMMIT),
        *("--host", "0.0.0.0", "--port", "7860"),
    ]


# -- The settings ---------------------------------------------------------------------------------


def test_the_hub_reads_the_settings(staged):
    settings = RepoCard.load(staged / "README.md", repo_type="space").data.to_dict()
    tags = settings.pop("tags")
    assert "musiclstm" in tags
    assert settings == {
        "title": "Waltzes",
        "emoji": "🎹",
        "colorFrom": "indigo",
        "colorTo": "pink",
        "sdk": "gradio",
        "sdk_version": pins()["gradio"],
        "python_version": "3.11",
        "app_file": "space.py",
        "license": "apache-2.0",
        "short_description": "Drop a MIDI file and hear it go on",
        "models": ["ann/waltzes"],
        "suggested_hardware": "cpu-basic",
        "preload_from_hub": [
            f"ann/waltzes config.json,model.safetensors,miditok_remi.json {COMMIT}",
        ],
    }
    assert len(settings["short_description"]) <= 60  # the Hub refuses longer ones


@pytest.mark.parametrize(
    "title", ["a: b", "'", '"', "- x", "# $model", "a ---", "yes", "1.0", "Ünï ♪"]
)
def test_any_title_comes_back_as_it_was(title):
    assert RepoCard(readme(PIN, title=title)).data.title == title


def test_python_is_the_version_that_the_project_is_written_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["mypy"]["python_version"] == PYTHON_VERSION
    assert (
        f"{PYTHON_VERSION}.0" in Requirement("x" + project["project"]["requires-python"]).specifier
    )


# -- The packages ---------------------------------------------------------------------------------


def required(platform: str) -> dict[str, str]:
    lines = [line for line in requirements().splitlines() if not line.startswith(("#", "-"))]
    each = [Requirement(line) for line in lines]
    here = [
        one for one in each if not one.marker or one.marker.evaluate({"sys_platform": platform})
    ]
    assert len({one.name for one in here}) == len(here)
    return {one.name: str(one.specifier) for one in here}


def test_a_space_gets_what_the_page_needs_and_nothing_for_training():
    pinned = pins()
    assert required("darwin") == {
        name: f"=={pinned[name]}"
        for name in (
            *("gradio", "huggingface_hub", "miditok", "music21", "numpy", "pyfluidsynth"),
            *("safetensors", "soundfile", "symusic", "torch", "transformers"),
        )
    }


def test_on_linux_torch_is_the_build_for_the_cpu():
    assert required("linux") == required("darwin") | {"torch": f"=={pins()['torch']}+cpu"}
    assert f"--extra-index-url {CPU_INDEX}" in requirements().splitlines()
    assert f'"{CPU_INDEX}"' in (ROOT / "scripts" / "pytorch_index.sh").read_text()


def test_every_address_among_the_packages_is_public():
    assert re.findall(r"\w+://[^/\s]+", requirements()) == ["https://download.pytorch.org"]


def test_a_package_without_a_pin_is_refused(checkout):
    text = (checkout / "requirements.txt").read_text()
    (checkout / "requirements.txt").write_text(text.replace("symusic==", "symusic>="))
    with pytest.raises(PublishError, match="has no line 'symusic==…'"):
        requirements(checkout)
