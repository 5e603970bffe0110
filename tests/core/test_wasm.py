"""The core as WebAssembly: the build, its memory, and the same bits as native code."""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import subprocess
import threading
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from musiclstm.core import native
from musiclstm.core.features import FeatureRows
from musiclstm.core.library import SIGNATURES, Library, NativeLibrary, load_library
from musiclstm.model.step_features import FeatureArrays, TokenTable
from musiclstm.tokens.vocabulary import TOKEN_NAMES

pytest.importorskip("wasmtime")

import wasmtime

from musiclstm.core import wasm
from musiclstm.core.wasm import FreeList, WasmLibrary

ROOT = Path(__file__).parents[2]
TABLE = TokenTable(TOKEN_NAMES)


def build(target: Path) -> bytes:
    """Run the build script."""
    script = ROOT / "scripts" / "build_wasm.sh"
    subprocess.run([script, target], check=True, capture_output=True)
    return target.read_bytes()


def clang_version() -> str:
    """The version of the clang that the build script runs; empty without clang or wasm-ld."""
    clang, linker = os.environ.get("CLANG", "clang"), os.environ.get("WASM_LD", "wasm-ld")
    if not (shutil.which(clang) and shutil.which(linker)):
        return ""
    text = subprocess.run([clang, "--version"], check=True, capture_output=True, text=True).stdout
    return re.search(r"version (\S+)", text)[1]


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> bytes:
    """The core, built from the sources where that is possible."""
    if clang_version():
        return build(tmp_path_factory.mktemp("wasm") / "core.wasm")
    if not wasm.FILE.is_file():
        pytest.skip("core.wasm is not built")
    return wasm.FILE.read_bytes()


@pytest.fixture
def library(module) -> WasmLibrary:
    return WasmLibrary(module)


def compiled_by(compiler: str, folder: Path, *flags: str) -> NativeLibrary:
    """The core, compiled by one compiler."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    path = folder / f"{compiler}.so"
    command = [compiler, *native._FLAGS, *flags, *native._sources("*.c"), "-o", path]
    subprocess.run(command, check=True, capture_output=True)
    return NativeLibrary(ctypes.CDLL(str(path)))


# The file -----------------------------------------------------------------------------------------


@pytest.mark.skipif(not clang_version(), reason="needs clang and lld")
def test_two_builds_are_equal(module, tmp_path) -> None:
    (tmp_path / "a folder").mkdir()
    assert build(tmp_path / "a folder" / "core.wasm") == module


def test_the_shipped_file_is_a_build_of_the_sources(module) -> None:
    if not wasm.FILE.is_file():
        pytest.skip("core.wasm is not built")
    if not clang_version() or clang_version().encode() not in wasm.FILE.read_bytes():
        pytest.skip("this clang is not the one that built core.wasm")
    assert wasm.FILE.read_bytes() == module, "run: make wasm"


def test_the_file_is_small(module) -> None:
    assert len(module) <= 100_000


def test_every_function_is_exported_and_nothing_is_imported(library, module) -> None:
    found = wasmtime.Module(wasmtime.Engine(), module)
    assert not found.imports
    names = {export.name for export in found.exports}
    assert names == {*SIGNATURES, "memory", "__heap_base"}


# Memory -------------------------------------------------------------------------------------------


def test_arrays_are_views_of_the_linear_memory(library) -> None:
    array = library.zeros((3, 4), np.int16)
    array[:] = np.arange(12).reshape(3, 4)
    assert library.visible(array) is array
    assert library.address(array) % 64 == 0
    assert library.address(array[1:]) == library.address(array) + 8
    assert library.address(None) == 0
    copy = library.visible(np.arange(5.0))
    np.testing.assert_array_equal(copy, np.arange(5.0))
    assert library.address(copy) != library.address(array)
    with pytest.raises(ValueError, match="zeros"):
        library.address(np.zeros(3))


def test_arrays_stay_valid_when_the_memory_grows(library) -> None:
    array = library.zeros(1_000, np.int64)
    array[:] = np.arange(1_000)
    before = array.ctypes.data
    large = [library.zeros(50_000_000, np.uint8) for _ in range(4)]
    assert not any(each.any() for each in large)
    assert array.ctypes.data == before
    np.testing.assert_array_equal(array, np.arange(1_000))
    table = library.zeros(library.call("token_table_bytes"), np.uint8)
    columns = [library.zeros(3, np.int32) for _ in range(3)]
    addresses = [library.address(each) for each in (table, *columns)]
    assert library.call("token_table_fill", addresses[0], 3, *addresses[1:], 2) == 0
    assert table.any()


def test_memory_of_collected_arrays_is_used_again(library) -> None:
    keep = library.zeros(1_000, np.uint8)
    for _ in range(20):
        part = library.zeros(10_000_000, np.uint8)[5:]
        part[:] = 7
        del part
    assert library._size < 50_000_000
    assert not keep.any()
    assert not library.zeros(10_000_000, np.uint8).any()


def test_a_part_keeps_its_memory(library) -> None:
    part = library.zeros(100, np.uint8)[10:20]
    part[:] = 3
    others = [library.zeros(100, np.uint8) for _ in range(50)]
    for other in others:
        other[:] = 9
    assert (part == 3).all()


def test_too_much_memory_is_refused(library) -> None:
    with pytest.raises(MemoryError, match="cannot get"):
        library.zeros(1 << 33, np.uint8)
    assert not library.zeros(1_000, np.uint8).any()


def test_addresses_above_two_gigabytes_are_reached(library) -> None:
    large = library._free
    end = 5 << 29
    library._linear_memory.grow(library._store, (end - library._size) // 65_536)
    large._blocks = [(end - (1 << 24), 1 << 24)]
    library._size = end
    table = library.zeros(library.call("token_table_bytes"), np.uint8)
    columns = [library.zeros(3, np.int32) for _ in range(3)]
    assert library.address(table) > 1 << 31
    addresses = [library.address(each) for each in (table, *columns)]
    assert library.call("token_table_fill", addresses[0], 3, *addresses[1:], 2) == 0
    assert table.any()


def test_the_free_list_joins_neighbours() -> None:
    rng = random.Random(1)
    free, taken = FreeList(64, 64_064), []
    for _ in range(3_000):
        if taken and rng.random() < 0.5:
            free.give_back(*taken.pop(rng.randrange(len(taken))))
        else:
            size = rng.randrange(1, 2_000)
            offset = free.take(size)
            if offset is not None:
                taken.append((offset, size))
        blocks = sorted([*free._blocks, *taken])
        assert blocks[0][0] == 64
        assert sum(size for _, size in blocks) == 64_000
        assert all(sum(one) == other[0] for one, other in pairwise(blocks))
    for block in taken:
        free.give_back(*block)
    assert free._blocks == [(64, 64_000)]
    assert free.take(64_001) is None


# Calls --------------------------------------------------------------------------------------------


def test_the_products_are_correct(library) -> None:
    assert library.call("self_check") == 0


def test_a_missing_function_fails_when_called(library) -> None:
    with pytest.raises(AttributeError, match="no_such_function"):
        library.call("no_such_function")


def test_threads_may_call_at_once(library) -> None:
    table = library.zeros(library.call("token_table_bytes"), np.uint8)
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            ids = np.random.default_rng(seed).integers(0, len(TABLE), (1, 300))
            expected = None
            for _ in range(5):
                found = FeatureRows(TABLE, 1, library=library).read(ids).candidates
                assert expected is None or (found == expected).all()
                expected = found
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not table.any()


def test_it_is_chosen_where_there_is_no_compiler(library, module, monkeypatch, tmp_path) -> None:
    (tmp_path / "core.wasm").write_bytes(module)
    monkeypatch.setattr(wasm, "FILE", tmp_path / "core.wasm")
    monkeypatch.delenv(native.KERNEL_VARIABLE, raising=False)
    monkeypatch.setattr(native, "load", lambda: None)
    cached = (load_library.cache_clear, wasm.load.cache_clear)
    for clear in cached:
        clear()
    try:
        assert isinstance(load_library(), WasmLibrary)
    finally:
        for clear in cached:
            clear()


# The same bits ------------------------------------------------------------------------------------


def features_of(library: Library, ids: np.ndarray) -> list[bytes]:
    rows = FeatureRows(TABLE, len(ids), library=library)
    parts = [rows.read(ids[:, at : at + 500]) for at in range(0, ids.shape[1], 500)]
    return [getattr(part, field.name).tobytes() for part in parts for field in fields(part)]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_features_equal_those_of_native_code(library, compiler, tmp_path) -> None:
    compiled = compiled_by(compiler, tmp_path, "-march=native")
    ids = np.random.default_rng(3).integers(0, len(TABLE), (4, 2_500))
    assert features_of(library, ids) == features_of(compiled, ids)


def test_features_are_written_into_arrays_of_other_memory(library) -> None:
    ids = np.random.default_rng(4).integers(0, len(TABLE), (2, 300))
    own, out = FeatureRows(TABLE, 2, library=library).read(ids), FeatureArrays.empty(2, 300)
    assert FeatureRows(TABLE, 2, library=library).read(ids, out=out) is out
    for field in fields(out):
        np.testing.assert_array_equal(getattr(out, field.name), getattr(own, field.name))


def test_rows_are_selected_and_replaced(library) -> None:
    ids = np.random.default_rng(5).integers(0, len(TABLE), (2, 200))
    rows = FeatureRows(TABLE, 2, library=library)
    rows.read(ids)
    chosen = rows.select([1, 0, 1])
    more = np.random.default_rng(6).integers(0, len(TABLE), (1, 50))
    read = chosen.read(more.repeat(3, 0)).candidates
    np.testing.assert_array_equal(read[[1, 0]], rows.read(more.repeat(2, 0)).candidates)
    np.testing.assert_array_equal(read[2], read[0])
