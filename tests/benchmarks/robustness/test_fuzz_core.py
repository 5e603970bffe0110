"""Fuzzing the core finds no fault, and finds one that is put in."""

from __future__ import annotations

import re
import shutil

import pytest

from benchmarks.robustness import fuzz_core

needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")


def test_the_driver_calls_every_function_with_arguments() -> None:
    header = re.sub(r"/\*.*?\*/", "", (fuzz_core.CORE / "core.h").read_text(), flags=re.S)
    names = set(re.findall(r"^\w+ \**(\w+)\((?!void\))", header, flags=re.M))
    called = set(re.findall(r"\w+(?=\()", fuzz_core.DRIVER.read_text()))
    assert names - called == {"random_uniform"}  # sampling calls it


@needs_clang
@pytest.mark.slow
def test_fuzzing_finds_no_fault(tmp_path, capsys) -> None:
    assert fuzz_core.main(["--minutes", "0.5", "--corpus", str(tmp_path)]) == 0
    assert "no fault" in capsys.readouterr().out


@needs_clang
@pytest.mark.slow
def test_a_missing_check_is_found(tmp_path, monkeypatch, capsys) -> None:
    core = tmp_path / "core"
    shutil.copytree(fuzz_core.CORE, core)
    source = core / "sequence.c"
    check = "if (ids[i] < 0 || ids[i] >= table->size) return CORE_BAD_TOKEN;"
    text = source.read_text()
    assert check in text
    source.write_text(text.replace(check, ";"))
    monkeypatch.setattr(fuzz_core, "CORE", core)
    assert fuzz_core.main(["--minutes", "1"]) == 1
    assert "SUMMARY" in capsys.readouterr().out


def test_without_clang_the_error_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setenv("CLANG", "no-such-compiler")
    assert fuzz_core.main([]) == 1
    assert "apt-get install clang" in capsys.readouterr().err
