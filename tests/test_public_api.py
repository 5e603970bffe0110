"""What musiclstm exports is what can be imported, and every name explains itself."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest

import musiclstm
from musiclstm import errors

PUBLIC = [name for name in musiclstm.__all__ if not name.startswith("__")]
# Bound by importing the package's own modules; not part of what it promises.
MODULES = {module.name for module in pkgutil.iter_modules(musiclstm.__path__)}
# Needed to introduce the network to transformers.
INTRODUCED = {"AutoConfig", "AutoModel", "AutoModelForCausalLM"}


def test_exports_equal_what_can_be_imported() -> None:
    found = {name for name in vars(musiclstm) if not name.startswith("_") and name not in MODULES}
    assert found - INTRODUCED == set(PUBLIC)
    assert "__version__" in musiclstm.__all__


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
