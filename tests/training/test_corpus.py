"""Reading folders and zips."""

from __future__ import annotations

import json
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from musiclstm.errors import CorpusError
from musiclstm.intake import read_midi
from musiclstm.tokenization import MusicTokenizer
from training import reading
from training.corpus import read_corpus
from training.survey import Survey, survey

from .conftest import write_piece


def splits(corpus):
    return {piece.name: piece.split for piece in corpus.pieces}


def test_a_folder_is_searched_to_the_bottom_and_zips_in_it_too(scales, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    files = sorted(scales.glob("*.mid"))
    (tmp_path / "a" / "b" / "deep.MID").write_bytes(files[0].read_bytes())
    with zipfile.ZipFile(tmp_path / "a" / "more.zip", "w") as archive:
        archive.write(files[1], "inside/packed.midi")
        archive.writestr("readme.txt", "no music")
    corpus = read_corpus([tmp_path], workers=1)
    assert sorted(piece.name for piece in corpus.pieces) == ["deep.MID", "packed.midi"]


def test_every_piece_has_as_many_notes_as_its_file(scales):
    corpus = read_corpus([scales], workers=1)
    notes = {piece.name: piece.notes for piece in corpus.pieces}
    assert notes["scale-00.mid"] == 3 * 4 * 2
    assert notes["scale-01.mid"] == 4 * 4


def test_broken_and_repeated_files_are_told_and_left_out(scales, tmp_path):
    good = sorted(scales.glob("*.mid"))[0].read_bytes()
    (tmp_path / "a-good.mid").write_bytes(good)
    (tmp_path / "b-same.mid").write_bytes(good)
    (tmp_path / "c-text.mid").write_text("Dear all, this is not music.")
    (tmp_path / "d-empty.mid").write_bytes(b"")
    corpus = read_corpus([tmp_path], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["a-good.mid"]
    reasons = {skipped.name: skipped.reason for skipped in corpus.skipped}
    assert set(reasons) == {"b-same.mid", "c-text.mid", "d-empty.mid"}
    assert "same bytes" in reasons["b-same.mid"]
    assert "not a MIDI file" in reasons["c-text.mid"]
    assert "empty" in reasons["d-empty.mid"]


def test_pieces_are_split_once_and_for_all(scales):
    first, second = read_corpus([scales], workers=1), read_corpus([scales], workers=1)
    assert splits(first) == splits(second)
    counts = [list(splits(first).values()).count(name) for name in ("train", "valid", "test")]
    assert counts == [10, 1, 1]


def test_a_manifest_says_which_piece_is_held_out(scales, tmp_path):
    files = sorted(scales.glob("*.mid"))[:3]
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "MANIFEST.json").write_text(
        json.dumps(
            {
                "licence": "CC0-1.0",
                "pieces": [
                    {"file": file.name, "split": split}
                    for file, split in zip(files, ("test", "valid", "train"), strict=True)
                ],
            }
        )
    )
    corpus = read_corpus([tmp_path], workers=1)
    assert list(splits(corpus).values()) == ["test", "valid", "train"]
    assert {piece.licence for piece in corpus.pieces} == {"CC0-1.0"}


def test_what_was_read_once_comes_from_the_cache(scales, monkeypatch):
    first = read_corpus([scales], workers=1)
    monkeypatch.setattr("training.sources.Source.read", lambda *_: pytest.fail("read again"))
    second = read_corpus([scales], workers=1)
    assert second.pieces == first.pieces
    for a, b in zip(first.tokens("train"), second.tokens("train"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_processes_read_the_same_as_one(scales, tmp_path):
    one = read_corpus([scales], workers=1, cache=tmp_path / "one")
    two = read_corpus([scales], workers=2, cache=tmp_path / "two")
    assert one.pieces == two.pieces
    for split in ("train", "valid", "test"):
        for a, b in zip(one.tokens(split), two.tokens(split), strict=True):
            np.testing.assert_array_equal(a, b)


def test_programs_are_those_that_play_in_enough_pieces(scales, tmp_path):
    pieces = [("piano", 0, range(40)), ("solo", 73, range(3)), ("rare", 20, range(8))]
    for name, program, numbers in pieces:
        for number in numbers:
            path = write_piece(
                tmp_path / f"{name}-{number:02d}.mid", program=program, bars=4 + number
            )
            assert path.exists()
    assert read_corpus([scales], workers=1).programs() == [-1, 0]
    assert read_corpus([tmp_path], workers=1).programs() == [0, 20]


def test_tokens_decode_to_the_notes_of_the_file(scales):
    corpus = read_corpus([scales], workers=1)
    tokenizer = MusicTokenizer()
    score = tokenizer.decode(tokenizer.compress(corpus.tokens("train")[0]))
    assert score.note_num() == next(p for p in corpus.pieces if p.split == "train").notes


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda folder: folder / "nowhere", "There is no 'nowhere'"),
        (lambda folder: folder, "No MIDI file under"),
    ],
)
def test_nothing_to_read_is_one_sentence(tmp_path, make, sentence):
    with pytest.raises(CorpusError, match=sentence):
        read_corpus([make(tmp_path)], workers=1)


def test_a_corpus_of_broken_files_names_the_first(tmp_path):
    (tmp_path / "x.mid").write_text("hello")
    with pytest.raises(CorpusError, match=r"None of 1 MIDI files can be used.*x\.mid"):
        read_corpus([tmp_path], workers=1)


def test_a_file_that_cannot_be_read_is_told_and_left_out(scales, tmp_path):
    files = sorted(scales.glob("*.mid"))[:2]
    packed = tmp_path / "x.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in files:
            archive.write(file, file.name)
        broken = archive.getinfo(files[0].name).header_offset + 40
    data = bytearray(packed.read_bytes())
    data[broken + 30] ^= 0xFF  # its checksum no longer fits
    packed.write_bytes(data)
    corpus = read_corpus([tmp_path], workers=1)
    assert [piece.name for piece in corpus.pieces] == [files[1].name]
    assert corpus.skipped[0].reason.startswith("it cannot be read (")


# A cache that is shared, interrupted or damaged.


@pytest.fixture
def encoded(monkeypatch):
    """Names of the files that are turned into tokens in this process."""
    names, real = [], reading.encode

    def encode(job):
        names.append(job.name)
        return real(job)

    monkeypatch.setattr(reading, "encode", encode)
    return names


def ids(corpus):
    return [
        piece.tolist() for split in ("train", "valid", "test") for piece in corpus.tokens(split)
    ]


def cached(suffix):
    return sorted(Path(os.environ["MUSICLSTM_CACHE"]).glob(f"*/*{suffix}"))


def test_a_file_that_moved_is_not_read_again(scales, tmp_path, encoded):
    read_corpus([scales], workers=1)
    for file in scales.glob("*.mid"):
        (tmp_path / f"new-{file.name}").write_bytes(file.read_bytes())
    write_piece(tmp_path / "more.mid", first_pitch=20)
    encoded.clear()
    assert len(read_corpus([tmp_path], workers=1).pieces) == 13
    assert encoded == ["more.mid"]


def test_a_broken_file_that_moved_is_told_by_its_new_name(tmp_path, encoded):
    for name in ("one.mid", "two.mid"):
        (tmp_path / name).write_text("no music")
        corpus = read_corpus([tmp_path / name], workers=1, allow_empty=True)
        assert corpus.skipped[0].reason.startswith(f"'{name}' is not a MIDI file")
    assert encoded == ["one.mid"]


def test_a_changed_file_is_read_again(tmp_path, encoded):
    path = write_piece(tmp_path / "a.mid", bars=4)
    assert read_corpus([tmp_path], workers=1).pieces[0].notes == 16
    write_piece(path, bars=5)
    assert read_corpus([tmp_path], workers=1).pieces[0].notes == 20
    assert encoded == ["a.mid", "a.mid"]


def test_an_interrupted_reading_goes_on_where_it_stopped(scales, monkeypatch, encoded):
    counted = reading.encode

    def interrupted(job):
        if len(encoded) == 7:
            raise KeyboardInterrupt
        return counted(job)

    monkeypatch.setattr(reading, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_corpus([scales], workers=1)
    monkeypatch.setattr(reading, "encode", counted)
    assert len(read_corpus([scales], workers=1).pieces) == 12
    assert len(encoded) == len(set(encoded)) == 12


@pytest.mark.parametrize("suffix", [".tokens", ".index", ".jsonl"])
@pytest.mark.parametrize("damage", ["cut", "turned", "gone"])
def test_a_damaged_cache_is_noticed_and_built_anew(scales, suffix, damage):
    before = read_corpus([scales], workers=1)
    expected = ids(before)
    (path,) = cached(suffix)
    data = path.read_bytes()
    half = len(data) // 2
    if damage == "gone":
        path.unlink()
    else:  # a new file: what is mapped stays
        path.unlink()
        turned = data[:half] + bytes([data[half] ^ 4]) + data[half + 1 :]
        path.write_bytes(data[:half] if damage == "cut" else turned)
    after = read_corpus([scales], workers=1)
    assert ids(after) == expected
    assert after.pieces == before.pieces or suffix == ".index"  # their facts were in it
    assert [dict(p.facts) for p in after.pieces if not p.facts] == []


def test_two_processes_may_read_at_once(scales, tmp_path):
    with ProcessPoolExecutor(2) as pool:
        readings = [pool.submit(_read_ids, scales, tmp_path / "shared") for _ in range(4)]
        expected = ids(read_corpus([scales], workers=1, cache=tmp_path / "own"))
        assert [reading.result() for reading in readings] == [expected] * 4
    assert _read_ids(scales, tmp_path / "shared") == expected


def _read_ids(scales, cache):
    return ids(read_corpus([scales], workers=1, cache=cache))


def test_a_worker_that_is_killed_is_one_sentence_and_nothing_is_lost(scales, monkeypatch):
    monkeypatch.setattr(reading, "_BATCH_FILES", 1)
    monkeypatch.setattr(reading, "_BATCHES_A_WORKER", 1)
    monkeypatch.setattr(reading, "encode", _die_of_the_ninth)
    with pytest.raises(CorpusError) as caught:
        read_corpus([scales], workers=2)
    assert str(caught.value).startswith("A process that read MIDI was killed at 'scale-")
    assert str(caught.value).endswith("run again with fewer --workers, what was read is kept.")
    (index,) = cached(".index")
    assert index.read_bytes().count(b"\n") >= 4


_encode = reading.encode


def _die_of_the_ninth(job):
    if job.name == "scale-09.mid":
        os._exit(9)
    return _encode(job)


def test_a_hole_in_a_library_costs_one_file(scales, monkeypatch):
    def encode_base(self, score):
        if len(score.tracks) == 2:
            raise KeyError("TimeSig_5/3")
        return real(self, score)

    real = MusicTokenizer.encode_base
    monkeypatch.setattr(MusicTokenizer, "encode_base", encode_base)
    corpus = read_corpus([scales], workers=1)
    assert len(corpus.pieces) == 8
    assert {skipped.reason for skipped in corpus.skipped} == {
        "it cannot be written as tokens (KeyError: 'TimeSig_5/3')."
    }


def test_the_facts_of_a_piece_are_those_of_its_score(scales):
    corpus = read_corpus([scales], workers=1)
    for piece in corpus.pieces:
        data = (scales / piece.name).read_bytes()
        score, report = read_midi(data, name=piece.name)
        expected = survey(score, report, kept_notes=piece.notes)
        assert Survey.from_facts(piece.facts) == expected
