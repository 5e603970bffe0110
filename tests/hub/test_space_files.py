"""Staged files of a Space: allow-list, pinned model, settings for the Hub, requirements."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest
from huggingface_hub import RepoCard
from packaging.requirements import Requirement

from hub.revisions import PinnedModel
from hub.space_files import (
    PYTHON_VERSION,
    pinned_versions,
    readme,
    requirements,
    stage,
)
from musiclstm.errors import PublishError

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = PinnedModel(
    "ann/waltzes", COMMIT, ("config.json", "model.safetensors", "miditok_remi.json")
)
GENERATED = {"README.md", "requirements.txt", "space.py"}


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("space")
    stage(folder, MODEL, title="Waltzes")
    return folder


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A small checkout, with files that a Space must not contain."""
    allowed = """LICENSE packages.txt app.py page/__init__.py page/ui/layout.py page/inner/part.py
        page/ui/page.css page/playback/static/player.js musiclstm/__init__.py musiclstm/py.typed
        musiclstm/core/step.c musiclstm/core/step.h musiclstm/examples/waltz.mid"""
    other = """.env .git/config .gitignore CHANGELOG.md README.md Makefile notes.py page/.env
        page/secret.txt page/__pycache__/layout.cpython-311.pyc musiclstm/core/step.o
        musiclstm/token
        musiclstm/pretrained/model.safetensors musiclstm/pretrained/README.md
        musiclstm/examples/private.txt docs/a.md tests/test_a.py training/finetune.py hub/space.py
        runs/a/model.safetensors"""
    root = tmp_path / "checkout"
    for name in (allowed + " " + other).split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copyfile(ROOT / name, root / name)
    return root


def test_only_allowed_files_are_staged(checkout, tmp_path):
    found = stage(tmp_path / "space", MODEL, title="Waltzes", source=checkout)
    assert {path.as_posix() for path in found} == GENERATED | {
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
    assert (tmp_path / "space" / "page" / "ui" / "page.css").read_text() == "page/ui/page.css"


def test_the_whole_page_and_library_are_staged_without_the_weights(staged):
    wanted = {
        path.relative_to(ROOT)
        for package in ("musiclstm", "page")
        for path in (ROOT / package).rglob("*")
        if path.is_file()
        and not path.is_relative_to(ROOT / "page" / "static")  # the page without a server
        # A Space has no extra `transcribe`.
        and not {"pretrained", "__pycache__", "wasm32", "basic_pitch"} & {*path.parts}
        and not path.name.endswith((".d.ts", ".wasm"))  # a Space has a compiler
    }
    assert [path for path in wanted if not (staged / path).is_file()] == []
    pretrained = staged / "musiclstm" / "pretrained"
    assert [path.name for path in pretrained.iterdir()] == ["bar_score.json"]


def test_the_staged_files_are_small_and_contain_no_local_path(staged):
    texts = {path: path.read_bytes() for path in staged.rglob("*") if path.is_file()}
    assert sum(map(len, texts.values())) < 2_000_000
    assert [path.name for path, text in texts.items() if str(ROOT).encode() in text] == []


def test_a_folder_that_is_not_a_checkout_is_refused(tmp_path):
    with pytest.raises(PublishError, match=r"has no app\.py and no packages\.txt and no page"):
        stage(tmp_path / "space", MODEL, title="Waltzes", source=tmp_path)


# -- space.py -------------------------------------------------------------------------------------


def test_the_app_starts_with_the_pinned_commit_at_the_address_of_a_space(staged):
    names: dict[str, object] = {"__name__": "read"}
    text = (staged / "space.py").read_text().replace("from app import main", "")
    exec(text, names)
    assert names["PINNED"] == [
        *("--model", "ann/waltzes", "--revision", COMMIT),
        *("--host", "0.0.0.0", "--port", "7860"),
    ]


# -- README.md ------------------------------------------------------------------------------------


def test_the_hub_can_read_the_settings(staged):
    settings = RepoCard.load(staged / "README.md", repo_type="space").data.to_dict()
    tags = settings.pop("tags")
    assert "musiclstm" in tags
    assert settings == {
        "title": "Waltzes",
        "emoji": "🎹",
        "colorFrom": "indigo",
        "colorTo": "pink",
        "sdk": "gradio",
        "sdk_version": pinned_versions()["gradio"],
        "python_version": "3.11",
        "app_file": "space.py",
        "license": "apache-2.0",
        "short_description": "Continue a MIDI file bar by bar",
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
def test_any_title_is_preserved(title):
    assert RepoCard(readme(MODEL, title=title)).data.title == title


def test_the_python_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["mypy"]["python_version"] == PYTHON_VERSION
    assert (
        f"{PYTHON_VERSION}.0" in Requirement("x" + project["project"]["requires-python"]).specifier
    )


# -- requirements.txt -----------------------------------------------------------------------------


def test_a_space_gets_the_packages_of_the_page_and_neither_torch_nor_those_for_training():
    lines = [line for line in requirements().splitlines() if not line.startswith("#")]
    names = {
        *("gradio", "huggingface_hub", "music21", "numpy", "pyfluidsynth"),
        *("safetensors", "soundfile", "symusic"),
    }
    assert lines == sorted(f"{name}=={pinned_versions()[name]}" for name in names)


def test_a_package_without_a_pin_is_refused(checkout):
    text = (checkout / "requirements.txt").read_text()
    (checkout / "requirements.txt").write_text(text.replace("symusic==", "symusic>="))
    with pytest.raises(PublishError, match="has no line 'symusic==…'"):
        requirements(checkout)
