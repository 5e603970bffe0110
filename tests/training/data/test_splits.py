"""Which files belong to a split, and in which order they are taken."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from musiclstm.errors import CorpusError
from training.data.corpus import read_corpus
from training.data.sources import MidiSource
from training.data.splits import in_turn, require_split, sources_of_split


def source(corpus, name):
    return MidiSource(name, corpus, Path("x"), None, "test", None)


def names(sources):
    return [(each.corpus, each.name) for each in sources]


def test_corpora_take_turns_until_they_run_out():
    files = [source("big", f"{n}.mid") for n in range(9)] + [source("small", "a.mid")]
    found = names(in_turn(files, 7))
    assert [corpus for corpus, _ in found] == ["big", "small", *8 * ["big"]]
    assert sorted(found) == sorted(names(files))


def test_the_order_depends_on_the_seed_and_not_on_the_order_of_the_files():
    files = [source("one", f"{n}.mid") for n in range(20)]
    assert names(in_turn(files, 7)) == names(in_turn(files[::-1], 7))
    assert names(in_turn(files, 7)) != names(in_turn(files, 8))


def test_fewer_files_of_a_corpus_keep_their_order():
    files = [source("one", f"{n}.mid") for n in range(20)]
    first = list(islice(in_turn(files, 7), 10))
    assert names(in_turn(first, 7)) == names(first)


def test_a_manifest_names_the_splits_and_no_file_is_read(scales, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.mid").write_bytes(b"no music")
    pieces = [{"file": f"{n}.mid", "split": "test" if n else "train"} for n in range(3)]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"pieces": pieces}))
    found = sources_of_split([tmp_path], "test")
    assert [each.name for each in found] == ["1.mid", "2.mid"]


def test_without_a_manifest_the_split_is_that_of_the_corpus(scales):
    expected = [piece.name for piece in read_corpus([scales], workers=1).pieces
                if piece.split == "test"]  # fmt: skip
    assert [each.name for each in sources_of_split([scales], "test", workers=1)] == expected


def test_a_split_without_pieces_is_refused():
    require_split(["test", "train"], "test")
    with pytest.raises(CorpusError, match="None of 2 pieces belongs to the split 'valid'"):
        require_split(["test", "train"], "valid")
