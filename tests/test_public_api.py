"""The names that musiclstm and its packages export, their docstrings, and old names."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import musiclstm
from musiclstm import errors

ROOT = Path(__file__).parents[1]
PUBLIC = [name for name in musiclstm.__all__ if not name.startswith("__")]
PACKAGES = sorted(
    ".".join(init.parent.relative_to(ROOT).parts) for init in ROOT.glob("musiclstm/**/__init__.py")
)
OLD_NAMES = {
    "Limits": "MidiLimits",
    "Passage": "GeneratedBar",
    "SeedReport": "MidiSummary",
    "bundled_seeds": "example_files",
}
OLD_METHODS = {
    "takes": "compose_many",
    "stream_takes": "stream_many",
    "endless": "stream_endless",
    "follow": "reproduce",
    "constraints_of": "default_constraints",
}


@pytest.mark.parametrize("name", PACKAGES)
def test_exports_equal_what_can_be_imported(name: str) -> None:
    package = importlib.import_module(name)
    exported = list(getattr(package, "__all__", []))
    assert [each for each in exported if not hasattr(package, each)] == []
    assert len(set(exported)) == len(exported)
    if hasattr(package, "lazy_imports"):
        names = {each for each in dir(package) if not each.startswith("_")} | {"__version__"}
        modules = {each for each in names if inspect.ismodule(getattr(package, each, None))}
        extra = names - set(exported) - modules
        assert extra <= {"TYPE_CHECKING", "__version__", "lazy_imports"}


@pytest.mark.parametrize("name", PACKAGES)
def test_names_for_the_type_checker_equal_the_exports(name: str) -> None:
    package = importlib.import_module(name)
    blocks = [node for node in ast.parse(inspect.getsource(package)).body if type(node) is ast.If]
    if blocks:
        imports = [node for node in blocks[0].body if isinstance(node, ast.ImportFrom)]
        names = {alias.asname or alias.name for node in imports for alias in node.names}
        assert names == set(package.__all__) - {"__version__"}


def test_star_import_binds_exactly_the_exports() -> None:
    namespace: dict[str, object] = {}
    exec("from musiclstm import *", namespace)
    assert namespace.keys() - {"__builtins__"} == set(musiclstm.__all__)


def test_unknown_name_raises_the_usual_error() -> None:
    with pytest.raises(AttributeError, match=r"^module 'musiclstm' has no attribute 'Kazoo'$"):
        _ = musiclstm.Kazoo
    with pytest.raises(ImportError, match="cannot import name 'Kazoo'"):
        exec("from musiclstm import Kazoo")


# Old names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), OLD_NAMES.items())
def test_old_export_warns_and_returns_the_new_one(old: str, new: str) -> None:
    with pytest.warns(
        DeprecationWarning, match=rf"musiclstm\.{old} is now musiclstm\.{new};.*0\.4"
    ):
        found = getattr(musiclstm, old)
    assert found is getattr(musiclstm, new)
    assert old not in musiclstm.__all__


@pytest.mark.parametrize(("old", "new"), OLD_METHODS.items())
def test_old_method_warns_and_calls_the_new_one(old: str, new: str) -> None:
    composer = musiclstm.Composer
    method = getattr(composer, old)
    assert method.__wrapped__ is getattr(composer, new)
    with pytest.warns(DeprecationWarning, match=f"{old} is now {new};"), pytest.raises(TypeError):
        method()  # without self


# Imports ------------------------------------------------------------------------------------------


def run_python(code: str) -> str:
    """Run code in a fresh process and return what it prints."""
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout


def test_reading_midi_imports_neither_torch_nor_transformers() -> None:
    heavy = "{'torch', 'transformers', 'miditok', 'huggingface_hub'}"
    code = f"import musiclstm.midi.sandbox, sys; print(sorted({heavy} & set(sys.modules)))"
    assert run_python(code) == "[]\n"


def test_importing_the_config_registers_the_network_with_transformers() -> None:
    code = (
        "from musiclstm import MusicLSTMConfig; from transformers import AutoModelForCausalLM; "
        "config = MusicLSTMConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1); "
        "print(type(AutoModelForCausalLM.from_config(config)).__name__)"
    )
    assert run_python(code) == "MusicLSTMForCausalLM\n"


# Docstrings and signatures ------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_and_its_public_methods_have_docstrings(name: str) -> None:
    thing = getattr(musiclstm, name)
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    assert (text or "").strip()
    assert not text.startswith(f"{name}(")  # what @dataclass writes where there is none
    methods = vars(thing).items() if inspect.isclass(thing) else ()
    kinds = (property, classmethod)
    assert not [
        each
        for each, value in methods
        if not each.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, kinds))
        and not inspect.getdoc(value)
    ]


def test_every_module_has_a_docstring() -> None:
    files = ROOT.glob("musiclstm/**/*.py")
    assert not [file for file in files if not ast.get_docstring(ast.parse(file.read_text("utf-8")))]


def test_functions_take_options_by_keyword_after_the_first_argument() -> None:
    functions = [thing for name in PUBLIC if inspect.isfunction(thing := getattr(musiclstm, name))]
    assert functions
    for function in functions:
        kinds = [each.kind for each in inspect.signature(function).parameters.values()]
        assert set(kinds[1:]) <= {inspect.Parameter.KEYWORD_ONLY}, function


def test_every_error_is_exported_and_derives_from_the_base_class() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    assert len(kinds) >= 8
    for kind in kinds:
        assert issubclass(kind, musiclstm.MusicLSTMError)
        assert not issubclass(kind, KeyError)  # its message would be quoted
        assert getattr(musiclstm, kind.__name__) is kind


def test_version_has_three_numbers() -> None:
    assert [part.isdigit() for part in musiclstm.__version__.split(".")] == [True] * 3
