"""The index finds copies, names them, and reads nothing but its own files."""

from __future__ import annotations

import io

import numpy as np
import pytest

from benchmarks.quality.passage_matching import PassageIndex
from musiclstm.errors import CheckpointError
from musiclstm.memorization import GUARANTEED, SHORTEST, LongestCopy, MemorizationIndex
from musiclstm.memorization import PitchedNotes as Notes


def line(piece, program, begin, count):
    """Some notes of one program."""
    return piece[piece.program == program][begin : begin + count]


def join(*parts):
    return Notes.from_columns(
        *(np.concatenate([getattr(p, c) for p in parts]) for c in ("onset", "program", "pitch"))
    )


def moved(notes, *, to, up=0, program=0):
    onset = notes.onset - notes.onset[:1] + to
    return Notes.from_columns(onset, np.full(len(notes), program), notes.pitch + up)


def planted(host, copy, at, *, up):
    """A line of the host, with a copy between two of its notes."""
    before, after = host[:at], host[at:]
    middle = moved(copy, to=before.onset[-1] + 7, up=up)
    return join(before, middle, moved(after, to=middle.onset[-1] + 5))


@pytest.mark.parametrize("count", [GUARANTEED, 25, 31, 60, SHORTEST])
def test_a_planted_copy_is_found_in_every_transposition(index, random_piece, count):
    rng = np.random.default_rng(count)
    for trial in range(40):
        seed, program = int(rng.integers(20)), int(rng.choice([0, 40]))
        piece = random_piece(seed)
        size = int((piece.program == program).sum())
        copy = line(piece, program, int(rng.integers(size - count)), count)
        music = planted(
            line(random_piece(500 + trial), 0, 0, 300), copy, 100, up=int(rng.integers(-30, 30))
        )
        found = index.longest(music, shortest=min(count, GUARANTEED))
        assert count <= found.notes <= count + 6
        assert found.source == seed


def test_lengths_equal_those_of_an_exact_search_or_are_a_little_longer(index, random_piece):
    rng = np.random.default_rng(0)
    others = [random_piece(seed).steps() for seed in range(20)]
    music = [
        planted(
            line(random_piece(700 + n), 0, 0, 200),
            line(random_piece(n), 0, int(rng.integers(200)), int(rng.integers(16, 80))),
            90,
            up=3,
        )
        for n in range(20)
    ]
    exact = [each.notes for each in PassageIndex(music, others).longest()]
    found = [index.longest(each).notes for each in music]
    excess = np.array(found) - exact
    assert excess.min() == 0
    assert excess.max() <= 4
    assert (excess == 0).sum() >= 12


def test_unrelated_music_and_another_instrument_order_are_not_flagged(index, random_piece):
    assert all(index.longest(random_piece(seed)).notes == 0 for seed in range(200, 260))
    halves = random_piece(3)[random_piece(3).program == 0][:40]
    programs = np.repeat([0, 41], 20)
    parts = Notes.from_columns(halves.onset, programs, halves.pitch)
    assert index.longest(parts).notes == 20


def test_repeated_notes_and_scales_are_no_copies():
    scale = Notes.from_columns(
        np.arange(60) * 24, np.zeros(60, np.int64), 40 + np.tile([0, 2, 4, 5, 7, 9], 10)
    )
    same = Notes.from_columns(np.arange(60) * 24, *np.array([[0] * 60, [60] * 60]))
    index = MemorizationIndex.build([("a", same), ("b", scale)], [])
    assert index.longest(same).notes == 0
    assert index.longest(scale).notes == 60


def test_the_percentile_is_the_share_of_shorter_held_out_passages(random_piece):
    pieces = [("a.mid, random", random_piece(1))]
    # Half of the held-out pieces are that piece, so half of the excerpts are copies.
    held_out = [random_piece(1 if n % 2 else 50 + n) for n in range(20)]
    index = MemorizationIndex.build(pieces, held_out)
    assert index.percentile(SHORTEST, 100) == pytest.approx(50, abs=2)
    assert index.percentile(1_000, 100) == 100
    assert index.percentile(0, 100) == 0
    assert MemorizationIndex.build(pieces, []).percentile(20, 100) is None


def test_the_longest_copy_names_the_piece_as_plain_text(random_piece):
    index = MemorizationIndex.build([("a\x1b[2J\n<b>.mid, songs", random_piece(1))], [])
    found = index.longest_copy(line(random_piece(1), 0, 0, 50))
    assert (found.notes, found.piece) == (50, "a[2J <b>.mid, songs")
    assert str(found) == (
        "longest passage shared with a training piece: 50 notes (a[2J <b>.mid, songs)"
    )
    none = index.longest_copy(line(random_piece(2), 0, 0, 50))
    assert none == LongestCopy(0, None, None)
    assert str(none) == "no passage of 16 notes is shared with a training piece"
    assert str(LongestCopy(27, "a.mid, songs", 98.6)) == (
        "longest passage shared with a training piece: 27 notes (a.mid, songs), "
        "longer than in 99 % of unseen music of this length"
    )


def test_music_without_notes_has_no_copies(index):
    empty = Notes(*np.zeros((3, 0), np.int64))
    assert index.longest_copy(empty).notes == 0
    assert MemorizationIndex.build([], []).longest(empty).notes == 0
    assert MemorizationIndex.build([("empty", empty)], []).longest(empty).notes == 0


def test_an_index_of_a_base_keeps_its_pieces_once(index, random_piece):
    new = [("again.mid", random_piece(3)), ("new.mid", random_piece(70))]
    both = MemorizationIndex.build(new, [], base=index)
    assert both.names == [*index.names, "new.mid"]
    for seed, name in ((5, "piece-5.mid, random"), (70, "new.mid")):
        assert both.longest_copy(random_piece(seed)).piece == name


# The file.


def test_a_file_holds_the_whole_index(index, random_piece, tmp_path):
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    index.save(one)
    read = MemorizationIndex.load(one)
    read.save(two)
    assert one.read_bytes() == two.read_bytes()
    assert read.longest_copy(random_piece(4)) == index.longest_copy(random_piece(4))


def changed(data: bytes, **values) -> bytes:
    with np.load(io.BytesIO(data)) as arrays:
        kept = {**arrays, **values}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **kept)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"PK\x01\x02", b"PK\x01\x03"),
        lambda data: changed(data, symbols=np.zeros(3, np.float32)),
        lambda data: changed(data, symbols=np.full(10, 200, np.uint8)),
        lambda data: changed(data, lengths=np.array([5], np.int32)),
        lambda data: changed(data, held_out=np.zeros(3, np.int32)),
        lambda data: changed(data, names=np.frombuffer(b'{"format": 1, "names": [1]}', np.uint8)),
        lambda data: changed(data, names=np.frombuffer(b"[]", np.uint8)),
        lambda data: changed(data, names=np.array([{}], object)),
    ],
)
def test_a_broken_file_is_refused_by_one_sentence(index, tmp_path, damage):
    path = tmp_path / "memorization_index.npz"
    index.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match="is not an index of training pieces; build it again"):
        MemorizationIndex.load(path)


def test_a_file_that_would_fill_the_memory_is_refused(index, tmp_path, monkeypatch):
    path = tmp_path / "memorization_index.npz"
    index.save(path)
    monkeypatch.setattr("musiclstm.memorization.index._MAX_BYTES", 1_000)
    with pytest.raises(CheckpointError, match="is not an index"):
        MemorizationIndex.load(path)
