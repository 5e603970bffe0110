"""Packed weights in the cache: equal to packed ones, checked, and limited in number."""

from __future__ import annotations

import os

import numpy as np
import pytest

from musiclstm.core import native, pack_cache
from musiclstm.core.network import PackedWeights
from musiclstm.core.pack_cache import MAX_FILES, CachedWeights

PACKED = PackedWeights(
    {"layers": 2, "size": 8},
    {"weights": np.arange(12, dtype=np.int8).reshape(3, 4), "scales": np.ones(3, np.float32)},
    7,
)
CACHED = CachedWeights(PACKED, {"fingerprint": "abc", "num_parameters": 12})
KEY = pack_cache.key_of(b"weights", b"config")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_what_was_written_is_read(folder) -> None:
    assert pack_cache.read(KEY) is None
    pack_cache.write(KEY, CACHED)
    found = pack_cache.read(KEY)
    assert found is not None
    assert (found.facts, found.packed.sizes, found.packed.tokens) == (
        *(CACHED.facts, PACKED.sizes),
        PACKED.tokens,
    )
    assert found.packed.arrays.keys() == PACKED.arrays.keys()
    for name, array in found.packed.arrays.items():
        assert array.dtype == PACKED.arrays[name].dtype
        np.testing.assert_array_equal(array, PACKED.arrays[name])
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]


def test_the_key_changes_with_each_content() -> None:
    keys = {
        pack_cache.key_of(*each) for each in ((b"a", b"b"), (b"ab", b""), (b"a", b"c"), (b"a",))
    }
    assert len(keys) == 4
    assert pack_cache.read(pack_cache.key_of(b"other")) is None


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"]
)
def test_a_damaged_file_is_ignored_and_written_again(damage, folder) -> None:
    pack_cache.write(KEY, CACHED)
    (file,) = folder.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert pack_cache.read(KEY) is None
    pack_cache.write(KEY, CACHED)
    assert pack_cache.read(KEY) is not None


def test_a_folder_that_others_can_write_to_is_not_used(folder) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    pack_cache.write(KEY, CACHED)
    assert list(folder.iterdir()) == []
    assert pack_cache.read(KEY) is None


def test_the_oldest_files_are_deleted(folder) -> None:
    keys = [pack_cache.key_of(bytes([number])) for number in range(MAX_FILES + 2)]
    for age, key in enumerate(reversed(keys)):
        pack_cache.write(key, CACHED)
        for path in folder.glob(f"{key}-*"):
            os.utime(path, (1_000 + age, 1_000 + age))
    assert len(list(folder.iterdir())) == MAX_FILES
    assert pack_cache.read(keys[0]) is not None
    assert pack_cache.read(keys[-1]) is None
