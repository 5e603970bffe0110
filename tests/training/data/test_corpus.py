"""Reading folders and zips."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from symusic import Note, Score, Tempo, Track

from musiclstm.errors import CorpusError
from musiclstm.midi.reader import read_midi
from musiclstm.tokens import MusicTokenizer
from tests.training.conftest import write_piece
from training.data import corpus as corpus_module
from training.data import tokenize
from training.data.corpus import (
    REASONS,
    Skipped,
    _place,
    _split,
    _split_at,
    find_sources,
    read_corpus,
)
from training.data.piece_stats import Survey, survey
from training.data.token_cache import TokenCache


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
    assert reasons["b-same.mid"] == "the same bytes as a file before it."
    assert reasons["c-text.mid"].startswith("'c-text.mid' is not a MIDI file")
    assert reasons["d-empty.mid"].startswith("'d-empty.mid' is empty (0 bytes);")


def test_a_piece_has_its_split_in_whatever_company_it_is_read(scales, tmp_path):
    for number in range(13, 61):
        write_piece(tmp_path / f"other-{number}.mid", bars=number)
    alone, others = splits(read_corpus([scales], workers=1)), read_corpus([tmp_path], workers=1)
    counts = [list(alone.values()).count(name) for name in ("train", "valid", "test")]
    assert counts == [10, 1, 1]
    assert set(splits(others).values()) == {"train", "valid", "test"}
    assert splits(read_corpus([tmp_path, scales], workers=1)) == splits(others) | alone


def test_copies_up_to_transposition_are_in_one_split(tmp_path):
    for bars in range(10, 41):
        for up in range(3):
            write_piece(tmp_path / f"{bars}-{up}.mid", bars=bars, first_pitch=50 + up)
    found = splits(read_corpus([tmp_path], workers=1))
    assert set(found.values()) == {"train", "valid", "test"}
    for bars in range(10, 41):
        assert len({found[f"{bars}-{up}.mid"] for up in range(3)}) == 1


def numbers(split, count):
    """Texts that their hash alone would put into a split."""
    texts = (str(number) for number in itertools.count())
    return list(itertools.islice((t for t in texts if _split_at(_place(t)) == split), count))


def test_the_share_of_every_split_is_that_of_its_chance():
    found = list(_split([str(number) for number in range(10_000)], []).values())
    assert found.count("test") == pytest.approx(500, abs=100)
    assert found.count("valid") == pytest.approx(500, abs=100)


def test_where_a_split_would_be_empty_the_nearest_pieces_of_train_go_there():
    kin = numbers("train", 20)
    nearest = sorted(kin, key=_place)
    few, many = _split(kin[:19], []), _split(kin, [])
    assert {own: split for own, split in few.items() if split != "train"} == {
        min(few, key=_place): "valid"
    }
    assert {own: split for own, split in many.items() if split != "train"} == {
        nearest[0]: "valid",
        nearest[1]: "test",
    }


def test_a_manifest_that_holds_pieces_out_is_enough():
    kin = numbers("train", 20)
    assert set(_split(kin, ["valid", "test"]).values()) == {"train"}
    assert sorted(_split(kin, ["valid"]).values()).count("test") == 1


def test_there_is_always_something_to_train_on():
    (test,), (valid,), train = numbers("test", 1), numbers("valid", 1), numbers("train", 2)
    assert _split([], []) == {}
    assert _split(train[:1], []) == {train[0]: "train"}
    assert _split([test], []) == {test: "train"}
    assert _split([test], ["train"]) == {test: "test"}
    assert _split([test, valid], []) == {test: "test", valid: "train"}
    assert _split([test, train[0]], []) == {test: "test", train[0]: "train"}
    assert sorted(_split(train, []).values()) == ["train", "valid"]


def test_a_piece_whose_facts_got_lost_is_split_by_its_bytes(scales, monkeypatch):
    monkeypatch.setattr(corpus_module, "_told_at", lambda *_: {})
    corpus = read_corpus([scales], workers=1)
    kin = {
        p.name: hashlib.sha256((scales / p.name).read_bytes()).hexdigest() for p in corpus.pieces
    }
    by_bytes = _split(kin.values(), [])
    assert splits(corpus) == {name: by_bytes[own] for name, own in kin.items()}


# What is left out where one asks.


def left_out_of(folder, *reasons):
    corpus = read_corpus([folder], workers=1, leave_out=reasons)
    return {skipped.name: skipped.reason for skipped in corpus.skipped}


@pytest.fixture
def doubtful(tmp_path):
    """A good piece, a copy of it, a short one and one that is not on a beat grid."""
    folder = tmp_path / "doubtful"
    write_piece(folder / "a-good.mid", bars=12)
    write_piece(folder / "b-copy.mid", bars=12, first_pitch=65)
    write_piece(folder / "c-short.mid", bars=2, leap=5)
    loose, chance = Score(480), np.random.default_rng(3)
    loose.tempos.append(Tempo(0, 120))
    track = Track("Any", 0, False)
    for number, time in enumerate(np.sort(chance.integers(0, 96_000, 200)).tolist()):
        track.notes.append(Note(time, 200, 50 + number % 30, 80))
    loose.tracks.append(track)
    (folder / "d-loose.mid").write_bytes(loose.dumps_midi())
    return folder


def test_nothing_that_can_be_used_is_left_out_unless_asked(doubtful):
    assert left_out_of(doubtful) == {}


@pytest.mark.parametrize(
    ("reason", "name", "sentence"),
    [
        ("short", "c-short.mid", "it is too short: 8 notes in 4.0 seconds."),
        (
            "free",
            "d-loose.mid",
            "it is not on a beat grid: its notes meet the beats no better than by chance.",
        ),
        ("duplicate", "b-copy.mid", "it has the notes of 'a-good.mid', up to transposition."),
    ],
)
def test_pieces_are_left_out_for_the_reasons_asked_for(doubtful, reason, name, sentence):
    assert left_out_of(doubtful, reason) == {name: sentence}


def test_all_reasons_together_leave_the_good_piece(doubtful):
    corpus = read_corpus([doubtful], workers=1, leave_out=REASONS)
    assert splits(corpus) == {"a-good.mid": "train"}


def test_the_copy_of_a_piece_of_the_same_name_is_left_out(tmp_path):
    for folder, pitch in (("a", 50), ("b", 55)):
        write_piece(tmp_path / folder / "x.mid", bars=12, first_pitch=pitch)
    assert list(left_out_of(tmp_path, "duplicate")) == ["x.mid"]


def test_an_unknown_reason_is_one_sentence(tmp_path):
    sentence = (
        "There is no reason 'long' to leave a piece out; known to --leave_out are short, free, "
        "duplicate."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        read_corpus([tmp_path], leave_out=("short", "long"))


# Names as strangers give them.


def test_names_that_are_no_text_are_cleaned(tmp_path):
    folder = tmp_path / os.fsdecode(b"mus\xe9e\x1b[2J")
    write_piece(folder / "a\nb\x1b[31m.mid", bars=12)
    write_piece(folder / os.fsdecode(b"\xe9t\xe9.mid"), bars=20)
    (folder / os.fsdecode(b"\xe9\x07broken.mid")).write_text("no music")
    (tmp_path / "MANIFEST.json").write_text("{}")
    corpus = read_corpus([tmp_path], workers=1)
    assert corpus.summary()[0]["name"] == "muse[2J"
    assert {piece.name for piece in corpus.pieces} == {"a b[31m.mid", "t.mid"}
    (broken,) = corpus.skipped
    assert broken.name == "broken.mid"
    assert broken.reason.startswith("'broken.mid' is not a MIDI file")
    json.dumps(corpus.summary(), ensure_ascii=False).encode("utf-8")
    assert {source.name for source in find_sources([tmp_path])} == {
        "a b[31m.mid",
        "t.mid",
        "broken.mid",
    }


def test_names_of_an_old_cache_are_cleaned_too(tmp_path, monkeypatch):
    folder = tmp_path / "in\x1b"
    write_piece(folder / "a\x07.mid", bars=12)
    (folder / "b\x07.mid").write_text("no music")
    with monkeypatch.context() as before:
        before.setattr(corpus_module, "_cleaned", lambda source: source)
        before.setattr(corpus_module, "_clean_name", str)
        old = read_corpus([folder], workers=1)
    assert old.pieces[0].name == "a\x07.mid"
    monkeypatch.setattr("training.data.sources.Source.read", lambda *_: pytest.fail("read again"))
    new = read_corpus([folder], workers=1)
    assert [(piece.name, piece.corpus) for piece in new.pieces] == [("a.mid", "in")]
    assert new.skipped[0].reason.startswith("'b.mid' is not a MIDI file")


def test_a_broken_file_that_moved_is_told_by_its_cleaned_name(tmp_path):
    for name, shown in (("one\x1b.mid", "one.mid"), ("x\\two\x1b.mid", "two.mid")):
        (tmp_path / name).write_text("no music")
        corpus = read_corpus([tmp_path / name], workers=1, allow_empty=True)
        assert corpus.skipped[0].reason.startswith(f"'{shown}' is not a MIDI file")


def test_a_name_of_nothing_but_dirt_is_still_a_name(tmp_path):
    write_piece(tmp_path / os.fsdecode(b"\xe9\xe9") / "a.mid")
    assert read_corpus([tmp_path], workers=1).pieces[0].corpus == "unnamed"


# Whether two corpora are the same.


def test_the_fingerprint_is_that_of_pieces_splits_and_weights(scales, tmp_path):
    def fingerprint(*entries):
        return read_corpus([*entries], workers=1).fingerprint

    renamed, held = tmp_path / "renamed", tmp_path / "held"
    shutil.copytree(scales, renamed)
    (renamed / "scale-00.mid").rename(renamed / "zz-first.mid")
    (renamed / "broken.mid").write_text("no music")
    shutil.copytree(scales, held)
    manifest = {"pieces": [{"file": "scale-00.mid", "split": "valid"}]}
    (held / "MANIFEST.json").write_text(json.dumps(manifest))
    write_piece(tmp_path / "more" / "more.mid", bars=9)
    plain = fingerprint(scales)
    assert re.fullmatch("[0-9a-f]{64}", plain)
    assert fingerprint(scales) == fingerprint(renamed) == plain
    others = fingerprint(held), fingerprint(f"{scales}=2"), fingerprint(scales, tmp_path / "more")
    assert len({plain, *others}) == 4


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
    monkeypatch.setattr("training.data.sources.Source.read", lambda *_: pytest.fail("read again"))
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


def test_notes_count_for_the_program_of_their_block():
    names = (
        "Bar_None TimeSig_4/4 Program_0 Position_0 Pitch_60 Duration_1.0.12 Pitch_64 "
        "Duration_1.0.12 Program_40 Program_40 Position_0 Pitch_50 Duration_1.0.12 Program_-1 "
        "Position_0 PitchDrum_36 Duration_1.0.12 Bar_None TimeSig_4/4 Program_0 Position_0 "
        "Pitch_62 Duration_1.0.12"
    )
    ids = [MusicTokenizer.ids[name] for name in names.split()]
    assert tokenize.notes_by_program(np.array(ids, np.uint16)) == {0: 3, 40: 1, -1: 1}


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
    score = tokenizer.decode(corpus.tokens("train")[0])
    assert score.note_num() == next(p for p in corpus.pieces if p.split == "train").notes


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda folder: folder / "nowhere",
            "There is no 'nowhere' at the path given; check --data.",
        ),
        (
            lambda folder: folder,
            "No MIDI file under 'empty'; expected files that end in .mid, .midi, .kar, or zips of "
            "them.",
        ),
    ],
)
def test_nothing_to_read_is_one_sentence(tmp_path, make, sentence):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError) as caught:
        read_corpus([make(tmp_path / "empty")], workers=1)
    assert str(caught.value) == sentence


def test_a_corpus_of_broken_files_names_the_first(tmp_path):
    for name in ("x.mid", "y.mid"):
        (tmp_path / name).write_text("hello")
    with pytest.raises(CorpusError) as caught:
        read_corpus([tmp_path], workers=1)
    sentence = (
        "None of 2 MIDI files can be used; the first one, 'x.mid': 'x.mid' is not a MIDI file"
    )
    assert str(caught.value).startswith(sentence)


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
    names, real = [], tokenize.encode

    def encode(job):
        names.append(job.name)
        return real(job)

    monkeypatch.setattr(tokenize, "encode", encode)
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
    counted = tokenize.encode

    def interrupted(job):
        if len(encoded) == 7:
            raise KeyboardInterrupt
        return counted(job)

    monkeypatch.setattr(tokenize, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_corpus([scales], workers=1)
    monkeypatch.setattr(tokenize, "encode", counted)
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
        assert [tokenize.result() for tokenize in readings] == [expected] * 4
    assert _read_ids(scales, tmp_path / "shared") == expected


def _read_ids(scales, cache):
    return ids(read_corpus([scales], workers=1, cache=cache))


def test_a_worker_that_is_killed_is_one_sentence_and_nothing_is_lost(scales, monkeypatch):
    monkeypatch.setattr(tokenize, "_BATCH_FILES", 1)
    monkeypatch.setattr(tokenize, "_BATCHES_A_WORKER", 1)
    monkeypatch.setattr(tokenize, "encode", _die_of_the_ninth)
    with pytest.raises(CorpusError) as caught:
        read_corpus([scales], workers=2)
    assert re.fullmatch(
        r"A process that read MIDI was killed at 'scale-\d\d\.mid' or soon after it, most likely "
        r"for want of memory; run again with fewer --workers, what was read is kept\.",
        str(caught.value),
    )
    (index,) = cached(".index")
    assert index.read_bytes().count(b"\n") >= 4


_encode = tokenize.encode


def _die_of_the_ninth(job):
    if job.name == "scale-09.mid":
        os._exit(9)
    return _encode(job)


def test_a_hole_in_a_library_costs_one_file(scales, monkeypatch):
    def encode(self, score):
        if len(score.tracks) == 2:
            raise KeyError("TimeSig_5/3")
        return real(self, score)

    real = MusicTokenizer.encode
    monkeypatch.setattr(MusicTokenizer, "encode", encode)
    corpus = read_corpus([scales], workers=1)
    assert len(corpus.pieces) == 8
    assert {skipped.reason for skipped in corpus.skipped} == {
        "it cannot be written as tokens (KeyError: 'TimeSig_5/3')."
    }


def test_tokens_that_get_lost_while_others_are_read_are_told(tmp_path, monkeypatch):
    write_piece(tmp_path / "a.mid")
    monkeypatch.setattr(TokenCache, "known", lambda *_: None)
    corpus = read_corpus([tmp_path], workers=1, allow_empty=True)
    assert corpus.skipped == [Skipped("a.mid", "its tokens were lost; run again.")]


def test_a_file_whose_reason_got_lost_is_told_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "a.mid").write_text("no music")
    monkeypatch.setattr(TokenCache, "told", lambda *_: {})
    corpus = read_corpus([tmp_path], workers=1, allow_empty=True)
    assert corpus.skipped == [Skipped("a.mid", "it cannot be used.")]


def test_the_facts_of_a_piece_are_those_of_its_score(scales):
    corpus = read_corpus([scales], workers=1)
    for piece in corpus.pieces:
        data = (scales / piece.name).read_bytes()
        score, report = read_midi(data, name=piece.name)
        expected = survey(score, report, kept_notes=piece.notes)
        assert Survey.from_facts(piece.facts) == expected
