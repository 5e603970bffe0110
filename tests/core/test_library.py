"""The functions of core.h from Python."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from musiclstm.core import library as module
from musiclstm.core import native
from musiclstm.core.library import MESSAGES, SIGNATURES, NativeLibrary, check, load_library
from musiclstm.errors import CoreMissingError

HEADER = re.sub(r"/\*.*?\*/", "", Path(native.__file__).with_name("core.h").read_text(), flags=re.S)
KINDS = {"int32_t": "int32", "int64_t": "int64", "uint32_t": "uint32", "void": "void"}


def kind_of(declaration: str) -> str:
    """The kind of a type with or without a name."""
    if "*" in declaration:
        return "pointer"
    words = [word for word in declaration.split() if word != "const"]
    return KINDS.get(words[0], words[0])


@pytest.fixture
def compiled() -> NativeLibrary:
    loaded = native.load()
    if loaded is None:
        pytest.skip("this machine cannot build the compiled core")
    return NativeLibrary(loaded)


@pytest.fixture
def choice(monkeypatch):
    """Set how the core is run."""
    cached = (load_library.cache_clear, native.load.cache_clear)

    def choose(value: str) -> None:
        monkeypatch.setenv(native.KERNEL_VARIABLE, value)
        for clear in cached:
            clear()

    yield choose
    for clear in cached:
        clear()


def test_signatures_are_those_of_the_header() -> None:
    found = {}
    for result, name, listed in re.findall(r"^(\w+ \**)(\w+)\(([^)]*)\);", HEADER, flags=re.M):
        arguments = [] if listed == "void" else [kind_of(each) for each in listed.split(",")]
        found[name] = " ".join([kind_of(result), *arguments])
    assert found == SIGNATURES


def test_every_error_code_has_a_sentence() -> None:
    codes = {int(code) for code in re.findall(r"\bCORE_\w+ = (-\d+)", HEADER)}
    assert len(codes) > 10
    assert set(MESSAGES) == codes


def test_results_are_returned_and_error_codes_raised() -> None:
    assert [check(0), check(7)] == [0, 7]
    with pytest.raises(IndexError, match="vocabulary"):
        check(-1)
    with pytest.raises(ValueError, match="0 to 191"):
        check(-6)


def test_a_function_that_is_missing_fails_only_when_called(compiled, monkeypatch) -> None:
    monkeypatch.setitem(SIGNATURES, "no_such_function", "int32")
    assert compiled.call("self_check") == 0
    with pytest.raises(AttributeError, match="no_such_function"):
        compiled.call("no_such_function")


def test_addresses_are_those_of_the_data(compiled) -> None:
    array = compiled.zeros((2, 3), np.float32)
    assert array.shape == (2, 3)
    assert array.dtype == np.float32
    assert not array.any()
    assert compiled.visible(array) is array
    assert compiled.address(array) == array.ctypes.data
    assert compiled.address(array[1:]) == array.ctypes.data + 12
    assert compiled.address(None) == 0


def test_the_library_is_loaded_once(choice, compiled) -> None:
    choice("native")
    assert isinstance(load_library(), NativeLibrary)
    assert load_library() is load_library()


def test_a_switched_off_core_is_reported(choice) -> None:
    choice("off")
    with pytest.raises(CoreMissingError, match="unset"):
        load_library()
    assert not module.is_available()


def test_an_unknown_choice_is_refused(choice) -> None:
    choice("gpu")
    with pytest.raises(CoreMissingError, match="any, native, wasm, off; got 'gpu'"):
        load_library()


def test_without_any_way_to_run_the_core_the_error_says_what_to_install(
    choice, monkeypatch
) -> None:
    choice("any")
    monkeypatch.setattr(module, "_libraries", lambda: iter(()))
    with pytest.raises(CoreMissingError, match=r"C compiler.*pip install musiclstm\[wasm\]"):
        load_library()
