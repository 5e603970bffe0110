"""Token ids that are cached on the disk."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from musiclstm.errors import CorpusError
from training.data.token_cache import PieceSubset, TokenCache, load_rows, save_rows

FILES = {bytes([n]) * 32: np.arange(n, 3 * n, dtype=np.uint16) for n in range(1, 6)}
IDS = {digest: ids.tolist() for digest, ids in FILES.items()}


def fill(folder, files=FILES) -> None:
    with TokenCache(folder) as cache:
        for digest, ids in files.items():
            cache.add(digest, ids, len(ids) // 2, {"name": digest.hex()[:2]})


def contents(folder):
    """Token ids of the valid entries by digest."""
    with TokenCache(folder) as cache:
        entries = {digest: cache.find(digest) for digest in FILES}
        found = {digest: entry for digest, entry in entries.items() if entry is not None}
        ids = cache.mapped(found.values())
        return {digest: ids[i].tolist() for i, digest in enumerate(found)}


def test_added_files_are_found_by_the_same_and_the_next_process(tmp_path):
    fill(tmp_path)
    assert contents(tmp_path) == IDS
    with TokenCache(tmp_path) as cache:
        entry = cache.find(b"\3" * 32)
        assert (entry.notes, cache.metadata(entry)) == (3, {"name": "03"})
        assert cache.find(b"\x63" * 32) is None
        cache.add(b"a" * 32, np.array([4, 5], np.uint16), 1, {})
        assert cache.mapped([cache.find(b"a" * 32)])[0].tolist() == [4, 5]


def test_two_processes_may_write_to_one_folder(tmp_path):
    first, second = TokenCache(tmp_path), TokenCache(tmp_path)
    with first, second:
        for digest, ids in FILES.items():
            first.add(digest, ids, 1, {})
            second.add(digest, ids, 1, {})
            second.add(digest[:31] + b"x", ids[::-1], 1, {})
    assert contents(tmp_path) == IDS
    with TokenCache(tmp_path) as cache:
        entry = cache.find(b"\2" * 31 + b"x")
        assert cache.mapped([entry])[0].tolist() == [5, 4, 3, 2]


@pytest.mark.parametrize("suffix", [".tokens", ".index"])
def test_a_truncated_shard_keeps_its_complete_pieces(tmp_path, suffix):
    fill(tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    data = path.read_bytes()
    sizes = set()
    for length in range(0, len(data), 5):
        path.write_bytes(data[:length])
        found = contents(tmp_path)
        assert list(found.items()) == list(IDS.items())[: len(found)]
        sizes.add(len(found))
    assert sizes == set(range(len(FILES)))


@pytest.mark.parametrize("suffix", [".tokens", ".index"])
def test_a_flipped_bit_loses_at_most_two_pieces_and_falsifies_none(tmp_path, suffix):
    fill(tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    data = path.read_bytes()
    for offset in range(0, len(data), 11):
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :])
        found = contents(tmp_path)
        assert len(FILES) - 2 <= len(found) < len(FILES)  # a lost line break joins two lines
        assert all(IDS[digest] == piece for digest, piece in found.items())


def test_a_damaged_piece_is_found_in_another_shard(tmp_path):
    fill(tmp_path)
    fill(tmp_path)
    path = next(tmp_path.glob("*.tokens"))
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert contents(tmp_path) == IDS


def test_pieces_are_mapped_and_pickled_without_their_tokens(tmp_path):
    fill(tmp_path, {bytes([n]) * 32: np.full(10_000, n, np.uint16) for n in range(5)})
    with TokenCache(tmp_path) as cache:
        ids = cache.mapped([cache.find(bytes([n]) * 32) for n in range(5)])
    base = ids[1]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not base.flags.writeable
    assert [piece[0] for piece in ids[1:3]] == [1, 2]
    data = pickle.dumps(ids)
    assert len(data) < 5_000
    assert [piece[0] for piece in pickle.loads(data)] == list(range(5))


def test_a_subset_has_the_order_of_its_indices():
    pieces = [np.array([n]) for n in range(5)]
    subset = PieceSubset(pieces, [3, 1, 3])
    assert [int(piece[0]) for piece in subset] == [3, 1, 3]
    assert [int(piece[0]) for piece in subset[1:]] == [1, 3]
    assert not PieceSubset(pieces, [])


def test_damaged_rows_are_not_loaded(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    assert load_rows(path) is None
    rows = [["a", None, 3], ["ü", "x", 4]]
    save_rows(path, rows)
    assert load_rows(path) == rows
    assert list(path.parent.iterdir()) == [path]
    data = path.read_bytes()
    for offset in range(len(data)):
        path.write_bytes(data[:offset])
        assert load_rows(path) is None
        path.write_bytes(data[:offset] + bytes([data[offset] ^ 0x01]) + data[offset + 1 :])
        assert load_rows(path) is None


@pytest.mark.parametrize("write", [fill, lambda folder: save_rows(folder / "x.jsonl", [["a", 3]])])
def test_an_unwritable_cache_is_reported_with_its_variable(tmp_path, write):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(CorpusError, match=r"'cache'.*Not a directory.*MUSICLSTM_CACHE"):
        write(tmp_path / "cache" / "tokens")
