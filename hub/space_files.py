"""The folder that becomes a Space: the page, the library, and one model pinned to a commit.

Copies an allow-list out of the checkout and writes what only a Space needs. Asks no Hub, starts
nothing and sends nothing.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Iterable
from pathlib import Path
from string import Template

from huggingface_hub import SpaceCardData

from hub.revisions import Pin
from musiclstm.errors import PublishError

ROOT = Path(__file__).parents[1]
TEMPLATES = Path(__file__).parent / "templates"
APP_FILE = "space.py"
REQUIREMENTS_FILE = "requirements.txt"
PYTHON_VERSION = "3.11"  # the one that the pins were tested with
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

# All that is copied. The bundled weights are not: a Space plays the model it names.
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
)
_NEEDED = ("app.py", "packages.txt", "page/ui/layout.py", "musiclstm/core/step.c")
_EXTRAS = ("app", "notation")  # of pyproject.toml: what the page imports besides the library


def stage(folder: Path, pin: Pin, *, title: str, source: Path = ROOT) -> list[Path]:
    """Write a Space into a folder.

    Args:
        folder: Where to; made if it is not there.
        pin: The model that it plays.
        title: What it is called.
        source: The project's checkout.

    Returns:
        The paths written, relative to the folder and sorted.

    Raises:
        PublishError: The source is no checkout of the project, or a package has no pin.
    """
    missing = [name for name in _NEEDED if not (source / name).is_file()]
    if missing:
        raise PublishError(
            f"A Space is made from a checkout of the project, but here is no "
            f"{' and no '.join(missing)}; run this command in a whole checkout."
        )
    for path in _allowed(source):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target)
    for name, text in _written(pin, title, source).items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _allowed(source: Path) -> Iterable[Path]:
    found = {path for pattern in ALLOWED for path in source.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(source) for path in found)


def _written(pin: Pin, title: str, source: Path) -> dict[str, str]:
    return {
        REQUIREMENTS_FILE: requirements(source),
        APP_FILE: _filled("space_app.txt", model=repr(pin.model), revision=repr(pin.revision)),
        "README.md": readme(pin, title=title, source=source),
    }


def _filled(template: str, **words: str) -> str:
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)


# Python packages ----------------------------------------------------------------------------------


def requirements(source: Path = ROOT) -> str:
    """What the page needs, pinned to the versions of requirements.txt, with PyTorch for the CPU.

    The package index gives Linux a PyTorch with gigabytes of CUDA; the build named `+cpu` is on
    PyTorch's own index. Other systems have no build of that name, and no CUDA in theirs.
    """
    pinned = pins(source)
    lines = [line for name in _needed_packages(source) for line in _requirement(name, pinned)]
    head = ["# What the page needs, as it was tested.", f"--extra-index-url {CPU_INDEX}"]
    return "\n".join([*head, *lines]) + "\n"


def pins(source: Path = ROOT) -> dict[str, str]:
    """Package -> version, as requirements.txt has them."""
    text = (source / "requirements.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.+]+)", text, re.MULTILINE))


def _needed_packages(source: Path) -> list[str]:
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *(project["optional-dependencies"][e] for e in _EXTRAS)]
    return sorted({re.split(r"[^\w.-]", line)[0] for group in groups for line in group})


def _requirement(name: str, pinned: dict[str, str]) -> list[str]:
    if name not in pinned:
        raise PublishError(
            f"requirements.txt has no line '{name}==…', but the page needs {name}; pin it there."
        )
    version = pinned[name]
    if name != "torch":
        return [f"{name}=={version}"]
    return [
        f'torch=={version}+cpu; sys_platform == "linux"',
        f'torch=={version}; sys_platform != "linux"',
    ]


# The card -----------------------------------------------------------------------------------------


def readme(pin: Pin, *, title: str, source: Path = ROOT) -> str:
    """The Space's README.md: its settings for the Hub, and a few words for people."""
    return _filled(
        "space.md",
        metadata=_settings(pin, title, gradio=pins(source)["gradio"]).to_yaml(),
        title=title,
        model=pin.model,
        revision=pin.revision,
        short=pin.revision[:7],
    )


def _settings(pin: Pin, title: str, *, gradio: str) -> SpaceCardData:
    return SpaceCardData(
        title=title,
        sdk="gradio",
        sdk_version=gradio,
        python_version=PYTHON_VERSION,
        app_file=APP_FILE,
        license="apache-2.0",
        models=[pin.model],
        tags=["music", "midi", "music-generation", "lstm", "musiclstm"],
        emoji="🎹",
        colorFrom="indigo",
        colorTo="pink",
        short_description="Drop a MIDI file and hear it go on",
        suggested_hardware="cpu-basic",
        preload_from_hub=[f"{pin.model} {','.join(pin.files)} {pin.revision}"],
    )
