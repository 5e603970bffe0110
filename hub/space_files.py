"""Files of a Space: the page and the library from an allow-list, and a model pinned to a commit."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from string import Template
from typing import Any

from huggingface_hub import SpaceCardData

from hub.revisions import PinnedModel
from hub.static_page import build
from musiclstm.errors import PublishError

ROOT = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent / "templates"
APP_FILE = "space.py"
REQUIREMENTS_FILE = "requirements.txt"
PYTHON_VERSION = "3.11"  # the version that requirements.txt was tested with

# Without the bundled weights: a Space loads the pinned model.
ALLOWED = (
    "LICENSE",
    "packages.txt",
    "app.py",
    "page/**/*.py",
    "page/**/*.css",
    "page/**/*.js",
    "musiclstm/**/*.py",
    "musiclstm/py.typed",
    "musiclstm/core/*.c",
    "musiclstm/core/*.h",
    "musiclstm/examples/*.mid",
    "musiclstm/pretrained/bar_score.json",  # of models without their own
)
_STATIC = Path("page/static")  # the page without a server, which `stage_static` builds
_REQUIRED = ("app.py", "packages.txt", "page/ui/layout.py", "musiclstm/core/step.c")
_EXTRAS = (
    "page",
    "sound",
    "notation",
)  # of pyproject.toml


def stage(folder: Path, model: PinnedModel, *, title: str, source: Path = ROOT) -> list[Path]:
    """Write the files of a Space into a folder.

    Args:
        folder: Created if it does not exist.
        model: The model that the page loads.
        title: Title of the Space.
        source: A checkout of this project.

    Returns:
        Sorted paths of the files, relative to the folder.

    Raises:
        PublishError: The source is not a complete checkout, or requirements.txt lacks a package.
    """
    missing = [name for name in _REQUIRED if not (source / name).is_file()]
    if missing:
        raise PublishError(
            f"A Space needs a complete checkout of the project, and {source} has no "
            f"{' and no '.join(missing)}; run this command in a clone of the repository."
        )
    for path in _allowed_files(source):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target)
    for name, text in _generated_files(model, title, source).items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def stage_static(folder: Path, model: PinnedModel, *, title: str) -> None:
    """Write the files of a Space with the page without a server into a folder.

    Args:
        folder: Created if it does not exist.
        model: Its weights are packed into the Space.
        title: Title of the Space.

    Raises:
        PublishError: A tool that builds the page is missing.
        CheckpointError: The model cannot be downloaded or read.
    """
    build(folder, model.name, model.revision)
    shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
    text = _fill_template(
        "space_static.md",
        metadata=_static_settings(model, title).to_yaml(),
        title=title,
        model=model.name,
        revision=model.revision,
        short=model.revision[:7],
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _allowed_files(source: Path) -> Iterable[Path]:
    found = {path for pattern in ALLOWED for path in source.glob(pattern) if path.is_file()}
    relative = {path.relative_to(source) for path in found}
    return sorted(path for path in relative if not path.is_relative_to(_STATIC))


def _generated_files(model: PinnedModel, title: str, source: Path) -> dict[str, str]:
    return {
        REQUIREMENTS_FILE: requirements(source),
        APP_FILE: _fill_template(
            "space_app.txt", model=repr(model.name), revision=repr(model.revision)
        ),
        "README.md": readme(model, title=title, source=source),
    }


def _fill_template(template: str, **values: str) -> str:
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(values)


# -- Python packages -------------------------------------------------------------------------------


def requirements(source: Path = ROOT) -> str:
    """Return requirements.txt of the Space: the packages of the page."""
    versions = pinned_versions(source)
    lines = [_requirement(name, versions) for name in _page_packages(source)]
    return "\n".join(["# Packages of the page, in tested versions.", *lines]) + "\n"


def pinned_versions(source: Path = ROOT) -> dict[str, str]:
    """Return package -> version from requirements.txt."""
    text = (source / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE))


def _page_packages(source: Path) -> list[str]:
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][e] for e in _EXTRAS)]
    names = {re.split(r"[^\w.-]", line)[0] for group in groups for line in group}
    return sorted(names - {project["name"]})  # an extra may name other extras of the project


def _requirement(name: str, versions: dict[str, str]) -> str:
    if name not in versions:
        raise PublishError(
            f"requirements.txt has no line '{name}==…', which the page needs; add one."
        )
    return f"{name}=={versions[name]}"


# -- README.md -------------------------------------------------------------------------------------


def readme(model: PinnedModel, *, title: str, source: Path = ROOT) -> str:
    """Return README.md of the Space: settings for the Hub and a description."""
    return _fill_template(
        "space.md",
        metadata=_settings(model, title, gradio=pinned_versions(source)["gradio"]).to_yaml(),
        title=title,
        model=model.name,
        revision=model.revision,
        short=model.revision[:7],
    )


def _settings(model: PinnedModel, title: str, *, gradio: str) -> SpaceCardData:
    return SpaceCardData(
        **_common_settings(model, title),
        sdk="gradio",
        sdk_version=gradio,
        python_version=PYTHON_VERSION,
        app_file=APP_FILE,
        suggested_hardware="cpu-basic",
        preload_from_hub=[f"{model.name} {','.join(model.files)} {model.revision}"],
    )


def _static_settings(model: PinnedModel, title: str) -> SpaceCardData:
    return SpaceCardData(**_common_settings(model, title), sdk="static", app_file="index.html")


def _common_settings(model: PinnedModel, title: str) -> dict[str, Any]:
    return {
        "title": title,
        "license": "apache-2.0",
        "models": [model.name],
        "tags": ["music", "midi", "music-generation", "lstm", "musiclstm"],
        "emoji": "🎹",
        "colorFrom": "indigo",
        "colorTo": "pink",
        "short_description": "Continue a MIDI file bar by bar",
    }
