"""Tokens that are kept on the disk."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from musiclstm.errors import CorpusError
from training.data.token_cache import PieceSubset, TokenCache, load_rows, save_rows

FILES = {bytes([n]) * 32: np.arange(n, 3 * n, dtype=np.uint16) for n in range(1, 6)}


def fill(folder, files=FILES) -> None:
    with TokenCache(folder) as store:
        for digest, ids in files.items():
            store.add(digest, ids, len(ids) // 2, {"name": digest.hex()[:2]})


def contents(folder):
    """What can still be found, by digest."""
    with TokenCache(folder) as store:
        entries = {digest: store.find(digest) for digest in FILES}
        found = {digest: entry for digest, entry in entries.items() if entry is not None}
        ids = store.mapped(found.values())
        return {digest: ids[i].tolist() for i, digest in enumerate(found)}


def whole():
    return {digest: ids.tolist() for digest, ids in FILES.items()}


def test_what_was_added_is_found_by_the_next_process(tmp_path):
    fill(tmp_path)
    assert contents(tmp_path) == whole()
    with TokenCache(tmp_path) as store:
        entry = store.find(b"\3" * 32)
        assert entry is not None
        assert entry.notes == 3
        assert store.metadata(entry) == {"name": "03"}
        assert store.find(b"\x63" * 32) is None


def test_what_was_added_is_found_by_the_same_process(tmp_path):
    with TokenCache(tmp_path) as store:
        store.add(b"a" * 32, np.array([4, 5], np.uint16), 1, {})
        entry = store.find(b"a" * 32)
        assert entry is not None
        assert store.mapped([entry])[0].tolist() == [4, 5]


def test_two_stores_in_one_folder_do_not_harm_each_other(tmp_path):
    first, second = TokenCache(tmp_path), TokenCache(tmp_path)
    with first, second:
        for digest, ids in FILES.items():  # in turn, the same files and others
            first.add(digest, ids, 1, {})
            second.add(digest, ids, 1, {})
            second.add(digest[:31] + b"x", ids[::-1], 1, {})
    assert contents(tmp_path) == whole()
    with TokenCache(tmp_path) as store:
        entry = store.find(b"\2" * 31 + b"x")
        assert entry is not None
        assert store.mapped([entry])[0].tolist() == [5, 4, 3, 2]


@pytest.mark.parametrize("suffix", [".tokens", ".index"])
def test_a_shard_that_breaks_off_is_good_as_far_as_it_goes(tmp_path, suffix):
    fill(tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    data = path.read_bytes()
    seen = set()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        found = contents(tmp_path)
        assert list(found.items()) == list(whole().items())[: len(found)]
        seen.add(len(found))
    assert seen == set(range(len(FILES)))


@pytest.mark.parametrize("suffix", [".tokens", ".index"])
def test_a_damaged_byte_costs_one_piece_and_no_more(tmp_path, suffix):
    fill(tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    data = path.read_bytes()
    for at in range(0, len(data), 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :])
        found = contents(tmp_path)
        assert len(found) >= len(FILES) - 2  # a lost line break joins two lines
        assert all(whole()[digest] == piece for digest, piece in found.items())
        assert found != whole()


def test_a_damaged_piece_is_found_in_another_shard(tmp_path):
    fill(tmp_path)
    fill(tmp_path)
    for path in tmp_path.glob("*.tokens"):
        path.write_bytes(b"\xff" * path.stat().st_size)
        assert contents(tmp_path) == whole()
        break


def test_pieces_are_mapped_and_not_loaded(tmp_path):
    fill(tmp_path)
    with TokenCache(tmp_path) as store:
        ids = store.mapped([store.find(digest) for digest in FILES])
    base = ids[1]
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not base.flags.writeable
    assert [piece.tolist() for piece in ids[1:3]] == list(whole().values())[1:3]


def test_mapped_pieces_travel_to_another_process_as_names(tmp_path):
    many = {bytes([n]) * 32: np.full(10_000, n, np.uint16) for n in range(5)}
    fill(tmp_path, many)
    with TokenCache(tmp_path) as store:
        ids = store.mapped([store.find(digest) for digest in many])
    assert ids[4][0] == 4
    data = pickle.dumps(ids)
    assert len(data) < 5_000
    assert [piece.tolist() for piece in pickle.loads(data)] == [p.tolist() for p in many.values()]


def test_chosen_pieces_keep_their_own_order():
    pieces = [np.array([n]) for n in range(5)]
    chosen = PieceSubset(pieces, [3, 1, 3])
    assert [int(piece[0]) for piece in chosen] == [3, 1, 3]
    assert [int(piece[0]) for piece in chosen[1:]] == [1, 3]
    assert not PieceSubset(pieces, [])


def test_rows_are_kept_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "rows.jsonl"
    assert load_rows(path) is None
    rows = [["a", None, 3], ["ü", "x", 4]]
    save_rows(path, rows)
    assert load_rows(path) == rows
    assert list(path.parent.iterdir()) == [path]
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at])
        assert load_rows(path) is None
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :])
        assert load_rows(path) is None


@pytest.mark.parametrize("write", [fill, lambda folder: save_rows(folder / "x.jsonl", [["a", 3]])])
def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path, write):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(CorpusError) as caught:
        write(tmp_path / "cache" / "tokens")
    assert str(caught.value) == (
        "What was read cannot be kept in 'cache' (Not a directory); make room there, or name "
        "another folder in MUSICLSTM_CACHE."
    )
