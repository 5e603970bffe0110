"""Allowed imports, one row for each package or module; an import that has no row fails.

Imports count wherever they stand: in a function, or for the type checker only. Where another cut is
better, change the rows and the code in one commit and say why.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# Packages and modules of musiclstm -> what they may import. `errors` is open to all but `model`,
# whose four files travel to the Hub beside the weights and import nothing else of ours.
TRAVELLING = "model"
ALLOWED_IMPORTS: dict[str, set[str]] = {
    "_lazy": set(),
    "errors": set(),
    "examples": set(),
    "model": {"_lazy"},
    "model.hub_download": set(),
    "model.checkpoint_files": {"model", "model.hub_download", "tokens"},
    "model.stored_weights": {"model", "model.checkpoint_files"},
    "model.checkpoint": {"model", "model.checkpoint_files", "model.stored_weights", "tokens"},
    "midi": {"_lazy", "core"},
    "tokens": {"midi", "model"},
    "memorization": {"midi", "model", "tokens"},
    "core": {"model"},
    "audio": {"midi"},
    "export": {"midi"},
    "notebook": {"audio", "export", "midi"},
    "generation": {
        *("_lazy", "audio", "core", "examples", "memorization", "midi", "model", "notebook"),
        "tokens",
    },
    "cli": {"audio", "export", "generation", "midi", "model.checkpoint_files", "tokens"},
    "__main__": {"cli"},
}

# Around musiclstm, of which they import what a package's `__init__` exports: package -> the other
# packages that it may import, or the one module of them.
PACKAGES: dict[str, set[str]] = {
    "app": {"page"},
    "training": {"hub.publish"},
    "hub": set(),
    "benchmarks": {"training", "hub.static_page"},
    "page": set(),
}

# Libraries that a package or module must not import.
EXTRAS = {"gradio", "accelerate", "datasets", "matplotlib", "miditok", "tensorboard"}
MIDI = {"symusic", "miditok", "pretty_midi", "mido"}
NETWORK = {"torch", "transformers", "huggingface_hub"}
FORBIDDEN_LIBRARIES: dict[str, set[str]] = {
    "musiclstm": EXTRAS,
    "musiclstm.model": EXTRAS | MIDI,
    "musiclstm.midi": EXTRAS | NETWORK,
    "musiclstm.tokens": EXTRAS | NETWORK,
    "musiclstm.model.checkpoint_files": EXTRAS | MIDI | NETWORK,
    "musiclstm.model.stored_weights": EXTRAS | MIDI | NETWORK,
    "musiclstm.memorization": EXTRAS | MIDI | NETWORK,
    "musiclstm.core": EXTRAS | MIDI | NETWORK,
    "musiclstm.audio": EXTRAS | NETWORK,
    "musiclstm.export": EXTRAS | NETWORK,
    "musiclstm.generation": EXTRAS | NETWORK,
    "musiclstm.generation.decoding": EXTRAS | MIDI | NETWORK,
    "musiclstm.generation.decoding.logits_processors": EXTRAS | MIDI,
    "musiclstm.cli": EXTRAS | MIDI | NETWORK,
    "app": MIDI | NETWORK | {"fluidsynth"},
    "page": MIDI | NETWORK | {"fluidsynth"},
    "page.session": MIDI | NETWORK | {"fluidsynth", "gradio"},
    "training": {"gradio"},
    "hub": {"gradio"},
}


class Import(NamedTuple):
    """One import: the module that asks, what it names (dotted), and where that is written."""

    importer: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}, imports {self.name}"


# -- Reading -------------------------------------------------------------------------------------


def imports_of(source: str, *, module: str, is_package: bool = False) -> Iterator[Import]:
    """Every import of a module as a dotted name; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(module, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = _origin(node, module, is_package)
            yield from (Import(module, f"{parent}.{each.name}", node.lineno) for each in node.names)


def _origin(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    package = parts[: len(parts) - node.level + is_package]
    return ".".join([*package, node.module] if node.module else package)


def project_imports() -> list[Import]:
    files = [*ROOT.glob("musiclstm/**/*.py"), *ROOT.glob("app.py")]
    files += [file for package in PACKAGES for file in ROOT.glob(f"{package}/**/*.py")]
    return [each for file in sorted(files) for each in _imports_of_file(file)]


def _imports_of_file(file: Path) -> Iterator[Import]:
    parts = file.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    return imports_of(file.read_text(encoding="utf-8"), module=module, is_package=is_package)


def exported_names() -> dict[str, set[str]]:
    """Return `__all__` of musiclstm and of each of its packages, by dotted name."""
    inits = [ROOT / "musiclstm" / "__init__.py", *ROOT.glob("musiclstm/*/__init__.py")]
    names = {".".join(init.parent.relative_to(ROOT).parts): _all_of(init) for init in inits}
    errors = ast.parse((ROOT / "musiclstm" / "errors.py").read_text(encoding="utf-8"))
    public = {node.name for node in errors.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return names | {"musiclstm.errors": public}


def _all_of(init: Path) -> set[str]:
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


# -- Judging -------------------------------------------------------------------------------------


def complaint(each: Import, exported: dict[str, set[str]]) -> str | None:
    """Why this import is not allowed; None where it is."""
    package, target = each.importer.split(".")[0], each.name.split(".")
    if target[0] in _forbidden_libraries(each.importer):
        return f"{each}: {target[0]} is not allowed there."
    if target[0] == "musiclstm":
        return _inside(each) if package == "musiclstm" else _from_outside(each, exported)
    allowed = PACKAGES.get(package, set()) | {package}
    named = {".".join(target[:length]) for length in (1, 2)}
    if target[0] in PACKAGES and not named & allowed:
        return f"{each}: {package} may not import {target[0]}."
    return None


def _forbidden_libraries(importer: str) -> set[str]:
    """The row of the module, else of the package that is nearest to it."""
    parts = importer.split(".")
    names = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((FORBIDDEN_LIBRARIES[name] for name in names if name in FORBIDDEN_LIBRARIES), set())


def row_of(name: str) -> str:
    """The row of a dotted name of musiclstm: of its own, else of its package."""
    own = ".".join(name.split(".")[1:3])
    return own if own in ALLOWED_IMPORTS else own.split(".")[0]


def _inside(each: Import) -> str | None:
    if each.importer == f"musiclstm.{TRAVELLING}":
        return None  # the package exports names of all its modules
    importer, target = row_of(each.importer), row_of(each.name)
    if importer == "" or (target == "__version__" and importer != TRAVELLING):
        return None  # the package itself exports names of all modules
    if importer not in ALLOWED_IMPORTS:
        return f"{each}: {importer!r} has no row."
    allowed = ALLOWED_IMPORTS[importer] | {importer}
    if importer != TRAVELLING:
        allowed = allowed | {"errors"}
    return None if target in allowed else f"{each}: {importer} may not import {target}."


def _from_outside(each: Import, exported: dict[str, set[str]]) -> str | None:
    package, _, name = each.name.rpartition(".")
    if each.name in exported or name in exported.get(package, {"__version__"}):
        return None
    return f"{each}: {package} does not export {name}."


# -- The project ---------------------------------------------------------------------------------


def test_every_import_is_allowed() -> None:
    exported = exported_names()
    complaints = (complaint(each, exported) for each in project_imports())
    assert "\n".join(filter(None, complaints)) == ""


def test_every_module_has_a_row_and_every_row_a_module() -> None:
    modules = {file.stem for file in ROOT.glob("musiclstm/*.py")} - {"__init__"}
    packages = {file.parent.name for file in ROOT.glob("musiclstm/*/__init__.py")}
    assert {row for row in ALLOWED_IMPORTS if "." not in row} == modules | packages
    single = [row.replace(".", "/") for row in ALLOWED_IMPORTS if "." in row]
    assert [row for row in single if not (ROOT / f"musiclstm/{row}.py").exists()] == []


def test_no_import_is_circular() -> None:
    done: set[str] = set()
    while ready := {row for row in set(ALLOWED_IMPORTS) - done if ALLOWED_IMPORTS[row] <= done}:
        done |= ready
    assert set(ALLOWED_IMPORTS) - done == set()


def test_every_allowed_import_is_used() -> None:
    inside = [each for each in project_imports() if each.importer.startswith("musiclstm.")]
    used = {(row_of(each.importer), row_of(each.name)) for each in inside}
    rows = {(row, each) for row, allowed in ALLOWED_IMPORTS.items() for each in allowed}
    assert rows - used == set()


def test_what_travels_to_the_hub_needs_no_other_library_than_transformers_brings() -> None:
    brought = {"torch", "transformers", "huggingface_hub", "numpy", "musiclstm"}
    needed = {
        each.name.split(".")[0] for each in project_imports() if row_of(each.importer) == TRAVELLING
    }
    assert needed - brought - set(sys.stdlib_module_names) == set()


# -- The checker itself --------------------------------------------------------------------------

FORBIDDEN = {
    "musiclstm.tokens.encoding": [
        "from musiclstm.generation.composer import Composer",
        "from ..generation.composer import Composer",
        "from .. import generation",
        "import musiclstm.generation.composition",
        "def late():\n    from musiclstm.generation import recipe",
        "if TYPE_CHECKING:\n    from musiclstm.generation.pipeline import Pipeline",
        "import miditok",
    ],
    "musiclstm.generation.decoding.sampling": ["import transformers", "from symusic import Score"],
    "musiclstm.generation.composer": [
        *("from musiclstm.cli import main", "import gradio as gr", "import torch"),
    ],
    "musiclstm.model.modeling_musiclstm": [
        "from ..errors import ScoreError",
        "from .. import __version__",
        "from musiclstm.tokens import MusicTokenizer",
        "import symusic",
    ],
    "musiclstm.core.step": ["import torch", "from musiclstm.generation.decoding import rows"],
    "musiclstm.midi.reader": ["import training.data.corpus", "from musiclstm.tokens import DRUMS"],
    "musiclstm.other": ["from musiclstm.generation.decoding.sampling import Sampling"],
    "app": [
        "from musiclstm import Kazoo",
        "from musiclstm.generation import Kazoo",
        "from musiclstm.generation.composer import Composer",
        "from musiclstm.generation.decoding.sampling import _top_p",
        "from musiclstm._lazy import lazy_imports",
        "import symusic",
        "from training.data import corpus",
    ],
    "page.session.history": ["import gradio"],
    "training.finetune": ["import hub.space", "from app import build_demo", "import benchmarks"],
}
ALLOWED = {
    "musiclstm": ["from musiclstm.generation import Composer", "from .errors import ScoreError"],
    "musiclstm.generation.decoding.sampling": ["import numpy", "from ...errors import ScoreError"],
    "musiclstm.model.modeling_musiclstm": [
        "from .configuration_musiclstm import MusicLSTMConfig",
        "import transformers",
    ],
    "musiclstm.cli": ["from musiclstm import __version__"],
    "app": [
        "from musiclstm import Composer",
        "from musiclstm.errors import ScoreError",
        "from musiclstm.generation import Composer",
        "import gradio",
        "import musiclstm",
    ],
    "training.finetune": [
        "from training.data.corpus import read_corpus",
        "from . import arguments",
        "from hub.publish import publish",
    ],
    "benchmarks.quality.int8": ["from training.evaluation.bits_per_note import measure_bits"],
}
EXPORTED = {
    "musiclstm": {"Composer"},
    "musiclstm.generation": {"Composer"},
    "musiclstm.errors": {"ScoreError"},
}


def cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(module, source) for module, sources in table.items() for source in sources]


@pytest.mark.parametrize(("module", "source"), cases(FORBIDDEN))
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    complaints = [complaint(each, EXPORTED) for each in imports_of(source, module=module)]
    assert [why for why in complaints if why]


@pytest.mark.parametrize(("module", "source"), cases(ALLOWED))
def test_an_allowed_import_is_not_found(module: str, source: str) -> None:
    is_package = module == "musiclstm"
    found = list(imports_of(source, module=module, is_package=is_package))
    assert found
    assert [complaint(each, EXPORTED) for each in found] == [None] * len(found)


def test_a_complaint_says_where_and_why() -> None:
    (each,) = imports_of("\nimport musiclstm.cli", module="musiclstm.midi.reader")
    assert complaint(each, EXPORTED) == (
        "musiclstm.midi.reader, line 2, imports musiclstm.cli: midi may not import cli."
    )
