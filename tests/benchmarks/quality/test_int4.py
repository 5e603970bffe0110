"""Bits per note of weights with four bits."""

from __future__ import annotations

import json

import numpy as np

from benchmarks.quality import int4


def test_bits_of_all_variants_are_reported(data, tiny_checkpoint, tmp_path):
    place = tmp_path / "int4.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--pieces", "1"]
    assert int4.main([*arguments, "--json", str(place)]) == 0
    bits = json.loads(place.read_text())["bits per note"]
    assert len(bits) == 3
    assert min(bits.values()) > 0


def test_values_have_fifteen_levels_in_each_group():
    matrix = np.random.default_rng(0).standard_normal((3, 70)).astype(np.float32)
    plain, searched = (int4.rounded(matrix, search=search) for search in (False, True))
    for found in (plain, searched):
        assert found.shape == matrix.shape
        assert all(len(np.unique(row[:32])) <= 15 for row in found)
    assert ((searched - matrix) ** 2).sum() < ((plain - matrix) ** 2).sum()
