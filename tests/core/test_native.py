"""Building the compiled core: once, whole or not at all, and what happens where it fails."""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from musiclstm.core import native
from musiclstm.core.library import SIGNATURES

# Loaded from its path, so that a child imports neither torch nor musiclstm and starts at once.
LOAD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("native", sys.argv[1])
native = sys.modules["native"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)
print("none" if native.load() is None else "loaded")
"""
WRONG = "int self_check(void) { return 1; }"
CRASHING = "int self_check(void) { __builtin_trap(); }"


@pytest.fixture
def cache(monkeypatch, tmp_path) -> Path:
    """An empty cache folder, and a `load` that has not been called yet."""
    if sys.platform == "win32":
        pytest.skip("the core is not built on Windows")
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv(native.KERNEL_VARIABLE, raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(native.tempfile, "tempdir", str(tmp_path))
    cached = (native.load.cache_clear, native._folder_of_this_process.cache_clear)
    for clear in cached:
        clear()
    yield tmp_path / "cache" / "kernels"
    for clear in cached:
        clear()


@pytest.fixture
def compiler() -> str:
    """A compiler that works."""
    found = next(filter(None, map(shutil.which, native._COMPILERS)), None)
    if found is None or native.load() is None:
        pytest.skip("this machine cannot build the compiled core")
    return found


@pytest.fixture
def script(monkeypatch, tmp_path) -> Callable[[str], Path]:
    """Replace every compiler by a shell script."""

    def write(body: str) -> Path:
        folder = tmp_path / "compilers"
        folder.mkdir(exist_ok=True)
        path = folder / "cc"
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("CC", str(path))
        return path

    return write


def other_source(compiler: str, folder: Path, source: str) -> str:
    """The body of a script that compiles another source instead."""
    file = folder / "other.c"
    file.write_text(source, encoding="utf-8")
    out = 'for last; do :; done; exec {} -shared -fPIC {} -o "$last"'
    return out.format(shlex.quote(compiler), shlex.quote(str(file)))


def load_in_another_process(*, wait: bool = True) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, "-c", LOAD, native.__file__],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if wait:
        child.wait()
    return child


def libraries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.so"))


def test_the_library_is_built_once_and_nothing_else_is_left(
    compiler, cache, script, tmp_path
) -> None:
    log = tmp_path / "log"
    script(f'echo built >> {log}; exec {compiler} "$@" -O0')
    assert native.load() is not None
    assert native.load() is native.load()
    assert len(log.read_text().split()) == 1
    assert [path.name for path in cache.iterdir()] == [path.name for path in libraries(cache)]
    native.load.cache_clear()
    assert native.load() is not None
    with load_in_another_process() as child:
        assert child.stdout.read() == "loaded\n"
    assert len(log.read_text().split()) == 1
    assert len(libraries(cache)) == 1


def test_all_sources_are_in_the_library(compiler) -> None:
    library = native.load()
    assert [name for name in SIGNATURES if not hasattr(library, name)] == []
    assert library.self_check() == 0


def test_two_processes_may_build_at_once(compiler, cache, script, tmp_path) -> None:
    log = tmp_path / "log"
    # Each waits for the other, so that both build.
    wait = f"echo built >> {log}; while [ $(wc -l < {log}) -lt 2 ]; do sleep 0.01; done"
    script(f'{wait}; exec {compiler} "$@" -O0')
    children = [load_in_another_process(wait=False) for _ in range(2)]
    assert [child.communicate()[0] for child in children] == ["loaded\n", "loaded\n"]
    assert len(log.read_text().split()) == 2
    assert len(list(cache.iterdir())) == 1


def test_another_source_header_compiler_or_processor_is_another_library(
    cache, monkeypatch, tmp_path
) -> None:
    names = [native._identity("/bin/cc"), native._identity("/bin/gcc")]
    monkeypatch.setattr(native, "_processor", lambda: "flags: none")
    names.append(native._identity("/bin/cc"))
    for file in native._sources("*.[ch]"):
        shutil.copy(file, tmp_path)
    monkeypatch.setattr(native, "_FOLDER", tmp_path)
    assert native._identity("/bin/cc") == names[-1]
    for file in ("step.c", "step.h"):
        with (tmp_path / file).open("a", encoding="utf-8") as source:
            source.write("/* */")
        names.append(native._identity("/bin/cc"))
    assert len(set(names)) == 5


def test_a_compiler_that_knows_only_the_other_flag_is_used(
    compiler, cache, script, tmp_path
) -> None:
    log = tmp_path / "log"
    refuse = 'case "$*" in *-march=native*) exit 1;; esac'
    script(f'{refuse}; echo "$@" >> {log}; exec {compiler} "$@" -O0 -march=native')
    native.load()  # whether it succeeds depends on the real compiler
    assert "-mcpu=native" in log.read_text().split()


# No library ---------------------------------------------------------------------------------------


@pytest.fixture
def no_library(cache, caplog) -> Callable[[str], None]:
    """Assert that nothing is loaded, and that the log says why."""

    def check(reason: str) -> None:
        with caplog.at_level(logging.INFO, logger="musiclstm.core.native"):
            assert native.load() is None
        assert reason in caplog.text
        assert caplog.text.count("cannot be compiled") == bool(reason)
        assert not libraries(cache)

    return check


def test_the_switch_turns_it_off(no_library, cache, monkeypatch) -> None:
    monkeypatch.setenv(native.KERNEL_VARIABLE, "off")
    no_library("")
    assert not cache.exists()


def test_nothing_is_built_on_windows(cache, monkeypatch) -> None:
    monkeypatch.setattr(native.sys, "platform", "win32")
    assert native.load() is None
    assert not cache.exists()


def test_no_compiler_gives_no_library(no_library, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    no_library("there is no C compiler")


def test_a_compiler_that_fails_gives_no_library(no_library, script) -> None:
    script("echo 'no such processor' >&2; exit 1")
    no_library("returned non-zero exit status 1")


def test_a_compiler_that_writes_nothing_gives_no_library(no_library, script) -> None:
    script("exit 0")
    no_library("returned non-zero exit status")


def test_a_compiler_that_does_not_end_is_stopped(no_library, script, monkeypatch) -> None:
    script("exec sleep 600")
    monkeypatch.setattr(native, "_TIMEOUT_S", 0.2)
    no_library("timed out")


def test_a_compiler_that_is_not_a_program_gives_no_library(no_library, script) -> None:
    script("").write_bytes(b"\x7fELF, but no more of it")
    no_library("cannot be compiled")


@pytest.mark.parametrize("source", [WRONG, CRASHING], ids=["wrong", "crashing"])
def test_a_library_that_fails_its_check_is_not_kept(
    source, compiler, no_library, script, tmp_path
) -> None:
    script(other_source(compiler, tmp_path, source))
    no_library("died with" if source == CRASHING else "returned non-zero exit status 1")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720], ids=oct)
def test_a_cache_that_others_may_write_to_is_not_used(mode, compiler, cache) -> None:
    cache.mkdir(parents=True)
    cache.chmod(mode)
    folder = native._private_folder()
    assert folder not in (cache, *cache.parents)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert native._private_folder() == folder  # one for the process, not one for each call
    folder.rmdir()


def test_a_cache_that_is_a_file_is_not_used(compiler, cache, script) -> None:
    script(f'exec {compiler} "$@" -O0')
    cache.parent.write_text("not a folder", encoding="utf-8")
    folder = native._private_folder()
    assert native.load() is not None
    assert [path.parent for path in libraries(folder)] == [folder]
    shutil.rmtree(folder)


def test_a_cache_that_cannot_be_written_is_not_used(cache, monkeypatch) -> None:
    cache.mkdir(parents=True, mode=0o500)
    real = os.access  # an administrator may write everywhere, so the answer is given here
    monkeypatch.setattr(native.os, "access", lambda path, mode: path != cache and real(path, mode))
    folder = native._private_folder()
    assert folder != cache
    folder.rmdir()


def test_no_place_to_write_gives_no_library(no_library, cache, monkeypatch) -> None:
    cache.parent.write_text("not a folder", encoding="utf-8")
    monkeypatch.setattr(native.tempfile, "tempdir", str(cache / "nowhere"))
    no_library("cannot be compiled")


def no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")  # as in some containers


def test_a_user_without_a_home_folder_builds_into_a_temporary_one(cache, monkeypatch) -> None:
    monkeypatch.delenv(native.CACHE_VARIABLE)
    monkeypatch.setattr(native.Path, "home", no_home)
    folder = native._private_folder()
    assert folder.parent == Path(native.tempfile.tempdir)
    folder.rmdir()


def test_a_named_cache_needs_no_home_folder(cache, monkeypatch) -> None:
    monkeypatch.setattr(native.Path, "home", no_home)
    assert native._private_folder() == cache


@pytest.mark.parametrize("left", [0, 8_192], ids="{} bytes left".format)
def test_a_damaged_library_in_the_cache_is_built_again(left, compiler, cache, script) -> None:
    script(f'exec {compiler} "$@" -O0')
    with load_in_another_process() as child:
        assert child.stdout.read() == "loaded\n"
    (broken,) = libraries(cache)
    broken.write_bytes(broken.read_bytes()[:left])
    with load_in_another_process() as child:  # a damaged one may end it by a signal
        assert (child.returncode, child.stdout.read()) == (0, "loaded\n")
