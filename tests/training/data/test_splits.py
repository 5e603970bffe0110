"""Splits of pieces, and the files of a split."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from musiclstm.errors import CorpusError
from training.data.corpus import read_corpus, sources_of_split
from training.data.sources import MidiSource, round_robin
from training.data.splits import (
    assign_splits,
    evenly_spaced,
    half_of,
    hash_fraction,
    require_split,
    split_at,
)


def groups_of(split, count):
    """Names that their hash alone puts into a split."""
    names = (str(number) for number in itertools.count())
    matching = (name for name in names if split_at(hash_fraction(name)) == split)
    return list(itertools.islice(matching, count))


def test_a_twentieth_of_the_pieces_goes_to_each_held_out_split():
    splits = list(assign_splits([str(number) for number in range(10_000)], []).values())
    assert splits.count("test") == pytest.approx(500, abs=100)
    assert splits.count("valid") == pytest.approx(500, abs=100)


def test_an_empty_split_gets_the_nearest_training_pieces():
    groups = sorted(groups_of("train", 20), key=hash_fraction)
    few, many = assign_splits(groups[:19], []), assign_splits(groups, [])
    assert {group for group in few if few[group] != "train"} == {groups[0]}
    assert few[groups[0]] == "valid"
    assert (many[groups[0]], many[groups[1]]) == ("valid", "test")
    assert list(many.values()).count("train") == 18


def test_no_piece_moves_into_a_split_that_a_manifest_fills():
    groups = groups_of("train", 20)
    assert set(assign_splits(groups, ["valid", "test"]).values()) == {"train"}
    assert list(assign_splits(groups, ["valid"]).values()).count("test") == 1


def test_the_train_split_is_never_empty():
    (test,), (valid,), train = groups_of("test", 1), groups_of("valid", 1), groups_of("train", 2)
    assert assign_splits([], []) == {}
    assert assign_splits([test], []) == {test: "train"}
    assert assign_splits([test], ["train"]) == {test: "test"}
    assert assign_splits([test, valid], []) == {test: "test", valid: "train"}
    assert sorted(assign_splits(train, []).values()) == ["train", "valid"]


def test_half_of_the_pieces_of_each_split_is_in_each_half():
    names = [f"songs/{number}.mid" for number in range(4_000)]
    for split in ("train", "test"):
        halves = [half_of(name) for name in names if split_at(hash_fraction(name)) == split]
        assert sum(halves) == pytest.approx(len(halves) / 2, abs=2 * len(halves) ** 0.5)
    assert {half_of(name) for name in names} == {0, 1}


def test_an_empty_split_is_refused():
    require_split(["test", "train"], "test")
    with pytest.raises(CorpusError, match="None of 2 pieces belongs to the split 'valid'"):
        require_split(["test", "train"], "valid")


def test_evenly_spaced_items_include_the_first_and_the_last():
    assert evenly_spaced(range(9), 3) == [0, 4, 8]
    assert evenly_spaced("abc", None) == evenly_spaced("abc", 7) == ["a", "b", "c"]


def test_a_manifest_names_the_splits_without_reading_files(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.mid").write_bytes(b"no music")
    pieces = [{"file": f"{n}.mid", "split": "test" if n else "train"} for n in range(3)]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"pieces": pieces}))
    assert [each.name for each in sources_of_split([tmp_path], "test")] == ["1.mid", "2.mid"]


def test_without_a_manifest_the_split_is_that_of_the_corpus(scales):
    pieces = read_corpus([scales], workers=1).pieces
    expected = [piece.name for piece in pieces if piece.split == "test"]
    assert [each.name for each in sources_of_split([scales], "test", workers=1)] == expected


# Order of the files of a split.


def files(corpus, count):
    return [MidiSource(f"{n}.mid", corpus, Path("x"), None, "test", None) for n in range(count)]


def test_corpora_alternate_until_they_run_out():
    sources = files("big", 9) + files("small", 1)
    found = list(round_robin(sources, 7))
    assert [source.corpus for source in found] == ["big", "small", *8 * ["big"]]
    assert {source.name for source in found} == {source.name for source in sources}


def test_the_order_depends_on_the_seed_and_not_on_other_files():
    sources = files("one", 20)
    order = list(round_robin(sources, 7))
    assert order == list(round_robin(sources[::-1], 7)) != list(round_robin(sources, 8))
    assert order[:10] == list(round_robin(order[:10], 7))
