"""Reading folders and zips into a corpus, and the cache behind it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
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
from training.data.corpus import REASONS, Skipped, find_sources, read_corpus
from training.data.piece_stats import PieceStats, piece_stats
from training.data.splits import assign_splits
from training.data.token_cache import TokenCache


def splits(corpus):
    return {piece.name: piece.split for piece in corpus.pieces}


def ids(corpus):
    return [
        piece.tolist() for split in ("train", "valid", "test") for piece in corpus.tokens(split)
    ]


def test_folders_are_searched_recursively_including_zips(scales, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    files = sorted(scales.glob("*.mid"))
    (tmp_path / "a" / "b" / "deep.MID").write_bytes(files[0].read_bytes())
    with zipfile.ZipFile(tmp_path / "a" / "more.zip", "w") as archive:
        archive.write(files[1], "inside/packed.midi")
        archive.writestr("readme.txt", "no music")
    corpus = read_corpus([tmp_path], workers=1)
    assert sorted(piece.name for piece in corpus.pieces) == ["deep.MID", "packed.midi"]


def test_pieces_have_the_notes_and_statistics_of_their_files(scales):
    corpus = read_corpus([scales], workers=1)
    notes = {piece.name: piece.notes for piece in corpus.pieces}
    assert (notes["scale-00.mid"], notes["scale-01.mid"]) == (3 * 4 * 2, 4 * 4)
    score = MusicTokenizer().decode(corpus.tokens("train")[0])
    assert score.note_num() == next(p for p in corpus.pieces if p.split == "train").notes
    for piece in corpus.pieces:
        score, summary = read_midi((scales / piece.name).read_bytes(), name=piece.name)
        expected = piece_stats(score, summary, token_notes=piece.notes)
        assert PieceStats.from_dict(piece.stats) == expected


def test_broken_and_repeated_files_are_reported_and_left_out(scales, tmp_path):
    good = sorted(scales.glob("*.mid"))[0].read_bytes()
    (tmp_path / "a-good.mid").write_bytes(good)
    (tmp_path / "b-same.mid").write_bytes(good)
    (tmp_path / "c-text.mid").write_text("Dear all, this is not music.")
    (tmp_path / "d-empty.mid").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("packed.mid", good[:-9])
        broken = archive.getinfo("packed.mid").header_offset + 70
    data = bytearray((tmp_path / "e.zip").read_bytes())
    data[broken] ^= 0xFF  # its checksum does not match
    (tmp_path / "e.zip").write_bytes(data)
    corpus = read_corpus([tmp_path], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["a-good.mid"]
    reasons = {skipped.name: skipped.reason for skipped in corpus.skipped}
    assert set(reasons) == {"b-same.mid", "c-text.mid", "d-empty.mid", "packed.mid"}
    assert "the same bytes" in reasons["b-same.mid"]
    assert "'c-text.mid' is not a MIDI file" in reasons["c-text.mid"]
    assert "'d-empty.mid' is empty" in reasons["d-empty.mid"]
    assert "cannot be read" in reasons["packed.mid"]


def test_the_split_of_a_piece_does_not_depend_on_other_pieces(scales, tmp_path):
    for number in range(13, 61):
        write_piece(tmp_path / f"other-{number}.mid", bars=number)
    alone, others = splits(read_corpus([scales], workers=1)), read_corpus([tmp_path], workers=1)
    counts = [list(alone.values()).count(name) for name in ("train", "valid", "test")]
    assert counts == [10, 1, 1]
    assert set(splits(others).values()) == {"train", "valid", "test"}
    assert splits(read_corpus([tmp_path, scales], workers=1)) == splits(others) | alone


def test_transposed_copies_are_in_one_split(tmp_path):
    for bars in range(10, 41):
        for up in range(2):
            write_piece(tmp_path / f"{bars}-{up}.mid", bars=bars, first_pitch=50 + up)
    found = splits(read_corpus([tmp_path], workers=1))
    assert set(found.values()) == {"train", "valid", "test"}
    assert all(found[f"{bars}-0.mid"] == found[f"{bars}-1.mid"] for bars in range(10, 41))


def test_a_piece_without_statistics_is_split_by_its_bytes(scales, monkeypatch):
    monkeypatch.setattr(corpus_module, "_cached_stats", lambda *_: {})
    corpus = read_corpus([scales], workers=1)
    digests = {
        p.name: hashlib.sha256((scales / p.name).read_bytes()).hexdigest() for p in corpus.pieces
    }
    by_bytes = assign_splits(digests.values(), [])
    assert splits(corpus) == {name: by_bytes[digest] for name, digest in digests.items()}


def test_a_manifest_gives_splits_and_licence(scales, tmp_path):
    files = sorted(scales.glob("*.mid"))[:3]
    for file in files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    pairs = zip(files, ("test", "valid", "train"), strict=True)
    pieces = [{"file": file.name, "split": split} for file, split in pairs]
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"licence": "CC0-1.0", "pieces": pieces}))
    corpus = read_corpus([tmp_path], workers=1)
    assert list(splits(corpus).values()) == ["test", "valid", "train"]
    assert {piece.licence for piece in corpus.pieces} == {"CC0-1.0"}


def test_the_fingerprint_depends_on_pieces_splits_and_weights_alone(scales, tmp_path):
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
    assert fingerprint(scales) == fingerprint(renamed) == plain
    others = fingerprint(held), fingerprint(f"{scales}=2"), fingerprint(scales, tmp_path / "more")
    assert len({plain, *others}) == 4


def test_notes_are_counted_by_the_program_of_their_block():
    names = (
        "Bar_None TimeSig_4/4 Program_0 Position_0 Pitch_60 Duration_1.0.12 Pitch_64 "
        "Duration_1.0.12 Program_40 Program_40 Position_0 Pitch_50 Duration_1.0.12 Program_-1 "
        "Position_0 PitchDrum_36 Duration_1.0.12 Bar_None TimeSig_4/4 Program_0 Position_0 "
        "Pitch_62 Duration_1.0.12"
    )
    tokens = [MusicTokenizer.ids[name] for name in names.split()]
    assert tokenize.notes_by_program(np.array(tokens, np.uint16)) == {0: 3, 40: 1, -1: 1}


def test_programs_of_too_few_pieces_are_ignored(scales, tmp_path):
    pieces = [("piano", 0, range(40)), ("solo", 73, range(3)), ("rare", 20, range(8))]
    for name, program, numbers in pieces:
        for number in numbers:
            write_piece(tmp_path / f"{name}-{number:02d}.mid", program=program, bars=4 + number)
    assert read_corpus([scales], workers=1).programs() == [-1, 0]
    assert read_corpus([tmp_path], workers=1).programs() == [0, 20]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: (folder / "nowhere",), "no 'nowhere' at the path given"),
        (lambda folder: (folder,), "No MIDI file under 'empty'"),
        (
            lambda folder: [
                (folder / n).write_text("hello") and folder for n in ("x.mid", "y.mid")
            ],
            "None of 2 MIDI files can be used; the first one, 'x.mid': 'x.mid' is not a MIDI file",
        ),
    ],
)
def test_a_corpus_without_usable_files_is_refused(tmp_path, make, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=re.escape(words)):
        read_corpus(make(tmp_path / "empty")[:1], workers=1)


# Pieces that are left out on request.


@pytest.fixture
def doubtful(tmp_path):
    """A good piece, a copy of it, a short one and one that does not follow a beat grid."""
    folder = tmp_path / "doubtful"
    write_piece(folder / "a-good.mid", bars=12)
    write_piece(folder / "b-copy" / "a-good.mid", bars=12, first_pitch=65)
    write_piece(folder / "c-short.mid", bars=2, leap=5)
    loose, chance = Score(480), np.random.default_rng(3)
    loose.tempos.append(Tempo(0, 120))
    track = Track("Any", 0, False)
    for number, time in enumerate(np.sort(chance.integers(0, 96_000, 200)).tolist()):
        track.notes.append(Note(time, 200, 50 + number % 30, 80))
    loose.tracks.append(track)
    (folder / "d-loose.mid").write_bytes(loose.dumps_midi())
    return folder


@pytest.mark.parametrize(
    ("reasons", "left_out"),
    [
        ((), {}),
        (("short",), {"c-short.mid": "8 notes in 4.0 seconds"}),
        (("free",), {"d-loose.mid": "not on a beat grid"}),
        (("duplicate",), {"a-good.mid": "the notes of 'a-good.mid', up to transposition"}),
    ],
)
def test_pieces_are_left_out_for_the_given_reasons(doubtful, reasons, left_out):
    found = read_corpus([doubtful], workers=1, leave_out=reasons).skipped
    assert [skipped.name for skipped in found] == list(left_out)
    assert all(left_out[skipped.name] in skipped.reason for skipped in found)


def test_all_reasons_together_leave_the_good_piece(doubtful):
    corpus = read_corpus([doubtful], workers=1, leave_out=REASONS)
    assert splits(corpus) == {"a-good.mid": "train"}


def test_an_unknown_reason_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'long'.*short, free, duplicate"):
        read_corpus([tmp_path], leave_out=("short", "long"))


# File names.


def test_names_become_one_line_of_plain_text(tmp_path):
    folder = tmp_path / os.fsdecode(b"mus\xe9e\x1b[2J")
    write_piece(folder / "a\nb\x1b[31m.mid", bars=12)
    write_piece(folder / os.fsdecode(b"\xe9t\xe9.mid"), bars=20)
    (folder / os.fsdecode(b"\xe9\x07broken.mid")).write_text("no music")
    corpus = read_corpus([tmp_path], workers=1)
    names = {"a b[31m.mid", "t.mid"}
    assert {piece.name for piece in corpus.pieces} == names
    (broken,) = corpus.skipped
    assert broken.name == "broken.mid"
    assert "'broken.mid' is not a MIDI file" in broken.reason
    assert corpus.summary()[0]["name"] == "muse[2J"
    json.dumps(corpus.summary(), ensure_ascii=False).encode("utf-8")
    assert {source.name for source in find_sources([tmp_path])} == names | {"broken.mid"}
    write_piece(tmp_path / "other" / os.fsdecode(b"\xe9\xe9") / "a.mid")
    assert read_corpus([tmp_path / "other"], workers=1).pieces[0].corpus == "unnamed"


def test_a_broken_file_that_moved_is_reported_by_its_new_name(tmp_path, encoded):
    for name, shown in (("one\x1b.mid", "one.mid"), ("x\\two\x1b.mid", "two.mid")):
        (tmp_path / name).write_text("no music")
        corpus = read_corpus([tmp_path / name], workers=1, allow_empty=True)
        assert corpus.skipped[0].reason.startswith(f"'{shown}' is not a MIDI file")
    assert encoded == ["one.mid"]


# The cache.


@pytest.fixture
def encoded(monkeypatch):
    """Names of the files that are converted in this process."""
    names, real = [], tokenize.encode

    def encode(job):
        names.append(job.name)
        return real(job)

    monkeypatch.setattr(tokenize, "encode", encode)
    return names


def test_an_unchanged_source_is_not_opened_again(scales, monkeypatch):
    first = read_corpus([scales], workers=1)
    message = "opened again"
    monkeypatch.setattr("training.data.sources.MidiSource.read", lambda *_: pytest.fail(message))
    second = read_corpus([scales], workers=1)
    assert second.pieces == first.pieces
    assert ids(second) == ids(first)


def test_two_processes_read_the_same_as_one(scales, tmp_path):
    one = read_corpus([scales], workers=1, cache=tmp_path / "one")
    two = read_corpus([scales], workers=2, cache=tmp_path / "two")
    assert one.pieces == two.pieces
    assert ids(one) == ids(two)


def test_only_new_and_changed_files_are_converted(scales, tmp_path, encoded):
    read_corpus([scales], workers=1)
    for file in scales.glob("*.mid"):
        (tmp_path / f"moved-{file.name}").write_bytes(file.read_bytes())
    path = write_piece(tmp_path / "more.mid", first_pitch=20, bars=4)
    encoded.clear()
    assert len(read_corpus([tmp_path], workers=1).pieces) == 13
    write_piece(path, first_pitch=20, bars=5)
    assert 20 in [piece.notes for piece in read_corpus([tmp_path], workers=1).pieces]
    assert encoded == ["more.mid", "more.mid"]


def test_an_interrupted_reading_continues_where_it_stopped(scales, monkeypatch, encoded):
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
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_cache_is_detected_and_rebuilt(scales, suffix, damage):
    before = read_corpus([scales], workers=1)
    expected = ids(before)
    (path,) = Path(os.environ["MUSICLSTM_CACHE"]).glob(f"*/*{suffix}")
    data = path.read_bytes()
    half = len(data) // 2
    path.unlink()  # a new file, because the old one is mapped
    if damage != "missing":
        flipped = data[:half] + bytes([data[half] ^ 4]) + data[half + 1 :]
        path.write_bytes(data[:half] if damage == "truncated" else flipped)
    after = read_corpus([scales], workers=1)
    assert ids(after) == expected
    assert after.pieces == before.pieces or suffix == ".index"  # it holds the old statistics
    assert all(piece.stats for piece in after.pieces)


def test_a_killed_worker_is_reported_and_finished_files_are_cached(scales, monkeypatch):
    monkeypatch.setattr(tokenize, "_BATCH_FILES", 1)
    monkeypatch.setattr(tokenize, "_BATCHES_PER_WORKER", 1)
    monkeypatch.setattr(tokenize, "encode", _die_at_the_ninth)
    with pytest.raises(CorpusError, match=r"was killed at 'scale-\d\d\.mid'.*fewer --workers"):
        read_corpus([scales], workers=2)
    (index,) = Path(os.environ["MUSICLSTM_CACHE"]).glob("*/*.index")
    assert index.read_bytes().count(b"\n") >= 4


_encode = tokenize.encode


def _die_at_the_ninth(job):
    if job.name == "scale-09.mid":
        os._exit(9)
    return _encode(job)


def test_an_unexpected_exception_skips_one_file(scales, monkeypatch):
    def encode(self, score):
        if len(score.tracks) == 2:
            raise KeyError("TimeSig_5/3")
        return real(self, score)

    real = MusicTokenizer.encode
    monkeypatch.setattr(MusicTokenizer, "encode", encode)
    corpus = read_corpus([scales], workers=1)
    assert len(corpus.pieces) == 8
    assert all("KeyError: 'TimeSig_5/3'" in skipped.reason for skipped in corpus.skipped)


@pytest.mark.parametrize(
    ("method", "value", "reason"),
    [("known", None, "its tokens were lost; run again."), ("metadata", {}, "it cannot be used.")],
)
def test_files_whose_cache_entry_disappears_are_reported(
    tmp_path, monkeypatch, method, value, reason
):
    (tmp_path / "a.mid").write_text("no music")
    monkeypatch.setattr(TokenCache, method, lambda *_: value)
    corpus = read_corpus([tmp_path], workers=1, allow_empty=True)
    assert corpus.skipped == [Skipped("a.mid", reason)]
