"""What musiclstm exports is what can be imported, and every name explains itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import musiclstm
from musiclstm import errors

ROOT = Path(__file__).parents[1]
PUBLIC = [name for name in musiclstm.__all__ if not name.startswith("__")]
# Bound by importing the package's own modules; not part of what it promises.
MODULES = {module.name for module in pkgutil.iter_modules(musiclstm.__path__)}
# What its own lines need.
NEEDED = {"Any", "TYPE_CHECKING", "import_module"}


def test_exports_equal_what_can_be_imported() -> None:
    found = {name for name in dir(musiclstm) if not name.startswith("_") and name not in MODULES}
    assert found - NEEDED == set(PUBLIC)
    assert all(hasattr(musiclstm, name) for name in musiclstm.__all__)
    assert "__version__" in musiclstm.__all__


def test_a_name_that_is_not_there_is_refused_as_usual() -> None:
    with pytest.raises(AttributeError, match=r"^module 'musiclstm' has no attribute 'Kazoo'$"):
        _ = musiclstm.Kazoo
    with pytest.raises(ImportError, match="cannot import name 'Kazoo'"):
        exec("from musiclstm import Kazoo")


def test_the_type_checker_is_told_of_the_same_names() -> None:
    tree = ast.parse(inspect.getsource(musiclstm))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    told = {alias.name for node in block.body for alias in node.names}
    assert told == set(PUBLIC)


def in_a_fresh_process(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout


def test_reading_midi_needs_neither_torch_nor_transformers() -> None:
    heavy = "{'torch', 'transformers', 'miditok', 'huggingface_hub'}"
    code = f"import musiclstm.midi.sandbox, sys; print(sorted({heavy} & set(sys.modules)))"
    assert in_a_fresh_process(code) == "[]\n"


def test_asking_for_the_network_introduces_it_to_transformers() -> None:
    code = (
        "from musiclstm import MusicLSTMConfig; from transformers import AutoModelForCausalLM; "
        "config = MusicLSTMConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1); "
        "print(type(AutoModelForCausalLM.from_config(config)).__name__)"
    )
    assert in_a_fresh_process(code) == "MusicLSTMForCausalLM\n"


def test_exports_are_sorted_and_named_once() -> None:
    assert sorted(set(musiclstm.__all__)) == list(musiclstm.__all__)


def test_a_star_brings_exactly_the_exports() -> None:
    room: dict[str, object] = {}
    exec("from musiclstm import *", room)
    assert {name for name in room if name != "__builtins__"} == set(musiclstm.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_of_its_own(name) -> None:
    thing = getattr(musiclstm, name)
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert text
    assert text.strip()
    assert not text.startswith(f"{name}(")  # what @dataclass writes where there is none


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_method_has_a_docstring(name) -> None:
    thing = getattr(musiclstm, name)
    if not inspect.isclass(thing):
        return
    silent = [
        each
        for each, value in vars(thing).items()
        if not each.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
        and not inspect.getdoc(value)
    ]
    assert silent == []


@pytest.mark.parametrize("name", sorted(MODULES - {"__main__"}))
def test_every_module_says_what_lives_in_it(name) -> None:
    assert (importlib.import_module(f"musiclstm.{name}").__doc__ or "").strip()


@pytest.mark.parametrize("name", PUBLIC)
def test_options_are_keyword_only_after_the_first_argument(name) -> None:
    thing = getattr(musiclstm, name)
    if not inspect.isfunction(thing):
        return
    positional = [
        parameter
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    assert len(positional) <= 1


def test_every_error_is_one_of_ours_and_no_key_error() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    assert len(kinds) >= 8
    for kind in kinds:
        assert issubclass(kind, musiclstm.MusicLSTMError)
        assert not issubclass(kind, KeyError)  # they print quotes
        assert getattr(musiclstm, kind.__name__) is kind


def test_the_version_is_a_version() -> None:
    parts = musiclstm.__version__.split(".")
    assert len(parts) == 3
    assert all(part.isdigit() for part in parts)
