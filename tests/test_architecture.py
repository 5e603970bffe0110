"""Who may import whom. The picture is `ARROWS`; an import that is not drawn there fails.

Where a better cut shows itself, change the picture and the code in one commit and say why. Imports
count wherever they stand: in a function, or for the type checker only.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

# Inside musiclstm: room -> the rooms it may look into. `errors` is open to all but the two rooms
# that travel to the Hub beside the weights, where nothing else of ours exists.
TRAVELLERS = {"configuration", "modeling"}
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "configuration": set(),
    "modeling": {"configuration"},
    "kernel": set(),
    "recall": {"configuration", "kernel", "modeling", "sampling"},
    "decoding": {"modeling", "kernel", "recall", "sampling"},
    "tokenization": {"analysis"},
    "constraints": {"tokenization"},
    "anatomy": {"tokenization"},
    "capacity": set(),
    "vocabulary": {"anatomy", "capacity", "tokenization"},
    "rules": {"anatomy", "vocabulary", "constraints", "tokenization"},
    "grammar": {"rules", "vocabulary", "anatomy", "capacity", "constraints", "tokenization"},
    "sampling": {"kernel"},
    "surprise": set(),
    "planning": {"constraints", "grammar", "sampling", "surprise", "tokenization"},
    "generation": {"sampling", "grammar", "decoding"},
    "processors": {"constraints", "grammar", "planning", "sampling", "surprise", "tokenization"},
    "download": set(),
    "checkpoint": {"configuration", "download", "modeling", "tokenization"},
    "analysis": set(),
    "instruments": set(),
    "midievents": set(),
    "midifile": {"midievents"},
    "report": {"analysis", "instruments"},
    "cleaning": {"report"},
    "intake": {"analysis", "cleaning", "midifile", "report"},
    "helper_process": {"intake"},
    "helper": {"helper_process", "intake"},
    "audio": set(),
    "mix": {"instruments"},
    "events": {"analysis", "instruments", "mix"},
    "soundfont": set(),
    "synthesizer": {"events", "instruments", "mix", "soundfont"},
    "limiter": {"audio"},
    "rendering": {"analysis", "audio", "events", "mix", "soundfont", "synthesizer"},
    "streaming": {
        "analysis",
        "audio",
        "events",
        "limiter",
        "mix",
        "rendering",
        "synthesizer",
    },
    "parts": {"analysis", "instruments"},
    "rhythm": set(),
    "notation": {"analysis", "instruments", "rhythm"},
    "pianoroll": {"analysis"},
    "seeds": set(),
    "novelty": set(),
    "ranking": {"novelty"},
    "selection": set(),
    "inscription": set(),
    "jsonfields": set(),
    "recipe": {"constraints", "inscription", "jsonfields", "sampling", "selection", "surprise"},
    "casting": {"constraints", "tokenization"},
    "certainty": {"tokenization"},
    "composition": {
        "analysis",
        "constraints",
        "decoding",
        "inscription",
        "recipe",
        "sampling",
        "splicing",
        "surprise",
        "tokenization",
    },
    "prompts": {
        "analysis",
        "composition",
        "constraints",
        "intake",
        "recipe",
        "seeds",
        "selection",
        "splicing",
        "tokenization",
    },
    "workshop": {
        "analysis",
        "casting",
        "certainty",
        "composition",
        "constraints",
        "decoding",
        "generation",
        "instruments",
        "planning",
        "prompts",
        "recipe",
        "sampling",
        "splicing",
        "surprise",
        "tokenization",
    },
    "composer": {
        "analysis",
        "checkpoint",
        "composition",
        "constraints",
        "decoding",
        "generation",
        "modeling",
        "prompts",
        "ranking",
        "recipe",
        "sampling",
        "selection",
        "surprise",
        "tokenization",
        "workshop",
    },
    "splicing": {"analysis", "tokenization"},
    "cli": {
        "composer",
        "recipe",
        "composition",
        "constraints",
        "surprise",
        "checkpoint",
        "rendering",
        "audio",
        "intake",
        "seeds",
        "sampling",
        "tokenization",
        "pianoroll",
    },
    "__main__": {"cli"},
}

# Around musiclstm, which they use through its public names: house -> the other houses it may use,
# or the one room of them.
HOUSES: dict[str, set[str]] = {
    "app": {"page"},
    "training": {"hub.publish"},
    "hub": set(),
    "benchmarks": {"training"},
    "page": set(),
}

# What a room must not know, so that it stays what its docstring says.
EXTRAS = {"gradio", "accelerate", "datasets", "matplotlib", "tensorboard"}  # not with the library
MIDI = {"symusic", "miditok", "pretty_midi", "mido"}
FOREIGN: dict[str, set[str]] = {
    **{f"musiclstm.{room}": EXTRAS for room in ARROWS},
    "musiclstm.kernel": EXTRAS | MIDI | {"transformers", "torch"},
    "musiclstm.sampling": EXTRAS | MIDI | {"transformers", "torch"},
    "musiclstm.surprise": EXTRAS | MIDI | {"transformers", "torch", "numpy"},
    "musiclstm.generation": EXTRAS | MIDI,
    "app": MIDI | {"fluidsynth"},
    "page": MIDI | {"fluidsynth"},
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
    files += [file for house in HOUSES for file in ROOT.glob(f"{house}/**/*.py")]
    return [each for file in sorted(files) for each in _imports_of_file(file)]


def _imports_of_file(file: Path) -> Iterator[Import]:
    parts = file.relative_to(ROOT).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    module = ".".join(parts[:-1] if is_package else parts)
    return imports_of(file.read_text(encoding="utf-8"), module=module, is_package=is_package)


def public_names() -> set[str]:
    """What musiclstm exports, and the names of its modules."""
    modules = {file.stem for file in ROOT.glob("musiclstm/*.py")}
    packages = {file.parent.name for file in ROOT.glob("musiclstm/*/__init__.py")}
    return {name for name in modules | packages if not name.startswith("_")} | _exported()


def _exported() -> set[str]:
    tree = ast.parse((ROOT / "musiclstm" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


# -- Judging -------------------------------------------------------------------------------------


def complaint(each: Import, public: set[str]) -> str | None:
    """Why this import may not be; None where it may."""
    house, target = each.importer.split(".")[0], each.name.split(".")
    if target[0] in _forbidden_libraries(each.importer):
        return f"{each}: {target[0]} is not for it to know."
    if target[0] == "musiclstm":
        return _inside(each) if house == "musiclstm" else _from_outside(each, public)
    drawn = {".".join(target[:length]) for length in (1, 2)} & (HOUSES.get(house, set()) | {house})
    if target[0] in HOUSES and not drawn:
        return f"{each}: no arrow from {house} to {target[0]} is drawn."
    return None


def _forbidden_libraries(importer: str) -> set[str]:
    room = ".".join(importer.split(".")[:2])
    return FOREIGN.get(room, FOREIGN.get(room.split(".")[0], set()))


def _inside(each: Import) -> str | None:
    room, target = (*each.importer.split("."), "")[1], (*each.name.split("."), "")[1]
    if room == "" or (target == "__version__" and room not in TRAVELLERS):
        return None  # the front door opens every room; every room may say which version it is
    if room not in ARROWS:
        return f"{each}: the room {room!r} is not in the picture; draw it."
    allowed = ARROWS[room] | {room} | (set() if room in TRAVELLERS else {"errors"})
    return None if target in allowed else f"{each}: no arrow from {room} to {target} is drawn."


def _from_outside(each: Import, public: set[str]) -> str | None:
    _, *names = each.name.split(".")
    if any(name.startswith("_") and name != "__version__" for name in names):
        return f"{each}: that name is private."
    if names and names[0] not in public | {"__version__"}:
        return f"{each}: musiclstm does not export {names[0]}."
    return None


# -- The project ---------------------------------------------------------------------------------


def test_every_import_follows_an_arrow() -> None:
    public = public_names()
    complaints = (complaint(each, public) for each in project_imports())
    assert "\n".join(filter(None, complaints)) == ""


def test_every_room_is_in_the_picture() -> None:
    rooms = {file.stem for file in ROOT.glob("musiclstm/*.py")} - {"__init__"}
    rooms |= {file.parent.name for file in ROOT.glob("musiclstm/*/__init__.py")}
    assert rooms - set(ARROWS) == set()


def test_the_picture_has_no_circles() -> None:
    seen: set[str] = set()
    while ready := {room for room in set(ARROWS) - seen if ARROWS[room] <= seen}:
        seen |= ready
    assert set(ARROWS) - seen == set()


def test_what_travels_to_the_hub_needs_no_other_library_than_transformers_brings() -> None:
    brought = {"torch", "transformers", "huggingface_hub", "musiclstm"} | sys.stdlib_module_names
    needed = {
        each.name.split(".")[0]
        for each in project_imports()
        if each.importer in {f"musiclstm.{room}" for room in TRAVELLERS}
    }
    assert needed - brought == set()


# -- The checker itself --------------------------------------------------------------------------

FORBIDDEN = {
    "musiclstm.sampling": [
        "from musiclstm.modeling import MusicLSTMForCausalLM",
        "from .modeling import MusicLSTMForCausalLM",
        "from . import modeling",
        "import musiclstm.modeling",
        "def late():\n    from musiclstm import modeling",
        "if TYPE_CHECKING:\n    from musiclstm.modeling import LSTMState",
        "from musiclstm import Composer",
        "import transformers",
    ],
    "musiclstm.modeling": ["from .errors import ScoreError", "from . import __version__"],
    "musiclstm.generation": ["from symusic import Score"],
    "musiclstm.rendering": ["import gradio as gr", "import training.corpus"],
    "musiclstm.seeds.tunes": ["from ..composer import Composer"],
    "musiclstm.cellar": ["from musiclstm.sampling import Sampling"],
    "app": [
        "from musiclstm import Kazoo",
        "from musiclstm.sampling import _top_p",
        "from musiclstm._secret import open_sesame",
        "import symusic",
        "from training import corpus",
    ],
    "training.finetune": ["import hub.space", "from app import build_demo", "import benchmarks"],
}
ALLOWED = {
    "musiclstm": ["from musiclstm.composer import Composer", "from .errors import ScoreError"],
    "musiclstm.sampling": ["import numpy", "from .errors import MusicLSTMError"],
    "musiclstm.modeling": ["from .configuration import MusicLSTMConfig", "import transformers"],
    "musiclstm.seeds.tunes": ["from . import waltz", "from musiclstm.seeds.waltz import bars"],
    "musiclstm.cli": ["from musiclstm import __version__"],
    "app": ["from musiclstm import Composer, rendering", "import gradio", "import musiclstm"],
    "training.finetune": [
        "from training.corpus import read",
        "from . import corpus",
        "from hub.publish import publish",
    ],
    "benchmarks.quality": ["from training.metrics import held_out"],
}
PUBLIC = {"Composer", "composer", "sampling", "rendering"}


def cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(module, source) for module, sources in table.items() for source in sources]


@pytest.mark.parametrize(("module", "source"), cases(FORBIDDEN))
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    complaints = [complaint(each, PUBLIC) for each in imports_of(source, module=module)]
    assert [why for why in complaints if why]


@pytest.mark.parametrize(("module", "source"), cases(ALLOWED))
def test_an_arrow_that_is_drawn_may_be_used(module: str, source: str) -> None:
    is_package = module == "musiclstm"
    found = list(imports_of(source, module=module, is_package=is_package))
    assert found
    assert [complaint(each, PUBLIC) for each in found] == [None] * len(found)


def test_a_complaint_says_where_and_why() -> None:
    (each,) = imports_of("\nimport musiclstm.modeling", module="musiclstm.sampling")
    assert complaint(each, PUBLIC) == (
        "musiclstm.sampling, line 2, imports musiclstm.modeling:"
        " no arrow from sampling to modeling is drawn."
    )
