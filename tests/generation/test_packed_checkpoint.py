"""Checkpoints packed for the core: from the cache and from the files alike."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from musiclstm import CheckpointError
from musiclstm.core import native
from musiclstm.generation import packed_checkpoint
from musiclstm.generation.packed_checkpoint import load_packed
from musiclstm.model import save_checkpoint


@pytest.fixture(autouse=True)
def folder(tiny_checkpoint, tmp_path, monkeypatch):
    """A copy of the toy that a test may change, and an empty cache."""
    monkeypatch.setenv(native.CACHE_VARIABLE, str(tmp_path / "cache"))
    return shutil.copytree(tiny_checkpoint, tmp_path / "toy")


def no_packing(*_: object) -> None:
    raise AssertionError("this was packed again")


def test_a_second_load_comes_from_the_cache_and_is_equal(folder, monkeypatch) -> None:
    first = load_packed(folder)
    monkeypatch.setattr(packed_checkpoint, "pack", no_packing)
    again = load_packed(folder)
    for name in ("folder", "num_parameters", "fingerprint"):
        assert getattr(again, name) == getattr(first, name)
    assert vars(again.config) == vars(first.config)
    assert (again.weights.sizes, again.weights.tokens) == (
        first.weights.sizes,
        first.weights.tokens,
    )
    for name, array in again.weights.arrays.items():
        np.testing.assert_array_equal(array, first.weights.arrays[name])


def test_other_weights_are_packed_again(folder, tiny_network, tiny_tokenizer) -> None:
    first = load_packed(folder)
    other = tiny_network(seed=1, hidden_size=32, num_hidden_layers=2)
    save_checkpoint(folder, other, tiny_tokenizer)
    assert load_packed(folder).fingerprint != first.fingerprint


def test_damaged_weights_are_refused_although_the_cache_has_the_whole_ones(folder) -> None:
    load_packed(folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_packed(folder)


def test_it_loads_without_a_cache(folder, monkeypatch) -> None:
    monkeypatch.setattr(native, "cache_folder", lambda _: None)
    assert load_packed(folder).fingerprint == load_packed(folder).fingerprint
