"""What `--data` may name, and what it may not."""

from __future__ import annotations

import json
import re
import struct
import zipfile

import pytest

from musiclstm.errors import CorpusError
from tests.training.conftest import write_piece
from training.data.corpus import find_sources, read_corpus
from training.data.sources import members, parse


def pack(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refusal(*paths) -> str:
    """The one sentence with which these are refused."""
    with pytest.raises(CorpusError) as caught:
        read_corpus(paths, workers=1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Weights.


def test_a_weight_stands_behind_the_path(scales, tmp_path):
    write_piece(tmp_path / "other" / "a.mid", first_pitch=30)
    corpus = read_corpus([f"{scales}=2.5", tmp_path / "other"], workers=1)
    assert {(p.corpus, p.weight) for p in corpus.pieces} == {(scales.name, 2.5), ("other", 1.0)}
    assert set(corpus.weights("train")) == {2.5, 1.0}
    assert len(corpus.weights("train")) == len(corpus.tokens("train"))
    assert [row["weight"] for row in corpus.summary()] == [2.5, 1.0]


def test_a_weight_does_not_change_what_was_read(scales, monkeypatch):
    plain = read_corpus([scales], workers=1)
    monkeypatch.setattr("training.data.tokenize.encode", lambda *_: pytest.fail("read again"))
    heavy = read_corpus([f"{scales}=3"], workers=1)
    assert [p.split for p in heavy.pieces] == [p.split for p in plain.pieces]


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path):
    write_piece(tmp_path / "key=4" / "a.mid")
    (given,) = parse([tmp_path / "key=4"])
    assert given.weight == 1
    (given,) = parse([f"{tmp_path / 'key=4'}=4"])
    assert given.weight == 4


@pytest.mark.parametrize("weight", ["two", "", "0", "-1", "nan", "inf", "1e9", "1;2"])
def test_a_weight_that_is_no_number_is_one_sentence(scales, weight):
    assert refusal(f"{scales}={weight}") == (
        f"The weight of {scales.name!r} is {weight!r}; it must be a number above 0 and at most "
        f"100, such as {scales.name}=2."
    )


def test_nothing_after_data_is_one_sentence(scales):
    expected = "--data names nothing; name a folder, a zip or a data set of the Hub."
    assert refusal("", " ") == expected
    assert len(parse([scales, ""])) == 1  # a comma too many


# Paths.


def test_a_missing_path_is_one_sentence(tmp_path):
    expected = "There is no 'nowhere' at the path given; check --data."
    assert refusal(tmp_path / "nowhere") == expected
    assert refusal(f"{tmp_path / 'nowhere'}=2") == expected


def test_files_come_in_the_order_of_their_paths(tmp_path):
    for name in ("b.mid", "a/z.mid", "a/b/c.mid", "c/a.mid", "a.mid"):
        write_piece(tmp_path / name)
    found = [s.container.relative_to(tmp_path).as_posix() for s in find_sources([tmp_path])]
    assert found == ["a/b/c.mid", "a/z.mid", "a.mid", "b.mid", "c/a.mid"]


def test_a_link_to_a_folder_is_not_followed(tmp_path):
    write_piece(tmp_path / "in" / "a.mid")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone.mid").symlink_to(tmp_path / "nowhere.mid")
    assert [source.name for source in find_sources([tmp_path])] == ["a.mid"]


def test_a_folder_that_cannot_be_searched_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()

    def refuse(_folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("training.data.sources.os.scandir", refuse)
    monkeypatch.setattr("training.data.tables.is_table", lambda _: False)
    assert refusal(tmp_path / "closed") == (
        "The folder 'closed' cannot be searched (Permission denied); let yourself read it, or "
        "leave it out of --data."
    )


@pytest.mark.parametrize(
    "text", ["{", "[1]", '{"pieces": [{"name": "a.mid"}]}', '{"pieces": 3}', "\x00"]
)
def test_a_damaged_manifest_is_one_sentence(tmp_path, text):
    write_piece(tmp_path / "mine" / "a.mid")
    (tmp_path / "mine" / "MANIFEST.json").write_text(text)
    sentence = refusal(tmp_path)
    assert sentence.startswith("MANIFEST.json in 'mine' is not a manifest (")
    assert sentence.endswith(
        '); expected JSON with "pieces", a list of {"file": …, "split": …}. Mend it, or take it '
        "away."
    )


def test_a_changed_manifest_is_noticed(scales, tmp_path):
    for file in sorted(scales.glob("*.mid"))[:3]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    manifest = tmp_path / "MANIFEST.json"
    for split in ("test", "train"):
        pieces = [{"file": f"scale-{n:02d}.mid", "split": split} for n in range(3)]
        manifest.write_text(json.dumps({"pieces": pieces, "note": split}))
        corpus = read_corpus([tmp_path], workers=1)
        assert {piece.split for piece in corpus.pieces} == {split}


# Zips.


def test_a_damaged_zip_is_one_sentence(tmp_path, scales):
    (tmp_path / "text.zip").write_text("hello")
    sentence = refusal(tmp_path / "text.zip")
    assert sentence == "'text.zip' is not a readable zip: File is not a zip file; pack it again."
    data = pack(tmp_path / "x.zip", {"a.mid": b"x" * 100}).read_bytes()
    (tmp_path / "x.zip").write_bytes(data[:-30])
    assert "'x.zip' is not a readable zip" in refusal(tmp_path / "x.zip")


def test_a_zip_that_is_a_device_is_one_sentence(tmp_path):
    (tmp_path / "x.zip").symlink_to("/dev/null")
    with pytest.raises(CorpusError) as caught:
        members(tmp_path / "x.zip")
    assert str(caught.value) == (
        "'x.zip' is not a readable zip: it is not a regular file; pack it again."
    )


@pytest.mark.parametrize(
    "member", ["../a.mid", "/etc/a.mid", "in/../../a.mid", r"..\a.mid", r"C:\a.mid", "../notes.txt"]
)
def test_a_zip_that_escapes_is_one_sentence(tmp_path, member):
    pack(tmp_path / "x.zip", {"good.mid": b"", member: b""})
    assert refusal(tmp_path) == (
        f"'x.zip' holds {member!r}, a path that leads out of it; pack it again from inside its "
        "folder."
    )


def test_an_encrypted_zip_is_one_sentence(tmp_path):
    path = pack(tmp_path / "x.zip", {"a.mid": b"music"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # what a zip with a password says in its directory
    path.write_bytes(data)
    assert refusal(path) == "'x.zip' is encrypted; pack it again without a password."


def test_a_zip_bomb_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("training.data.sources.RATIO_FROM", 1_000_000)
    path = pack(tmp_path / "x.zip", {f"{n}.mid": bytes(1_000_000) for n in range(3)})
    sentence = refusal(path)
    assert sentence.startswith("'x.zip' looks like a zip bomb: ")
    assert sentence.endswith(
        " bytes would become 3,000,000; unpack it yourself, if you trust it, and name the folder."
    )
    monkeypatch.setattr("training.data.sources.MAX_UNPACKED", 2_999_999)
    assert refusal(path) == (
        "'x.zip' looks like a zip bomb: its files are 3,000,000 bytes long, and at most 2,999,999 "
        "can be read; unpack it yourself, if you trust it, and name the folder."
    )


def test_a_zip_whose_files_overlap_is_one_sentence(tmp_path):
    path = pack(tmp_path / "x.zip", {f"{n}.mid": bytes(range(256)) * 8 for n in range(4)})
    data = bytearray(path.read_bytes())
    at = -1
    for _ in range(4):  # each claims to be as long, packed, as the whole
        at = data.index(b"PK\x01\x02", at + 1)
        data[at + 20 : at + 24] = struct.pack("<I", len(data) // 2)
    path.write_bytes(data)
    assert "'x.zip' looks like a zip bomb: its files overlap;" in refusal(path)


def test_a_member_that_is_larger_than_it_says_is_cut_off(tmp_path, scales):
    """The archive lies; what is read stays within what it claims."""
    good = (scales / "scale-01.mid").read_bytes()
    path = pack(tmp_path / "x.zip", {"a.mid": bytes(5_000_000), "good.mid": good})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 50)
    path.write_bytes(data)
    corpus = read_corpus([path], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["good.mid"]
    assert corpus.skipped[0].reason.startswith("it cannot be read (Bad CRC-32")


def test_a_zip_of_too_many_files_is_one_sentence(tmp_path, monkeypatch):
    pack(tmp_path / "x.zip", {f"{number}.mid": b"" for number in range(3)})
    monkeypatch.setattr("training.data.sources.MAX_MEMBERS", 2)
    assert refusal(tmp_path) == "'x.zip' holds 3 files, more than 2; split it up."
    monkeypatch.setattr("training.data.sources.MAX_MEMBERS", 0)
    assert re.fullmatch(
        r"'x\.zip' has a directory of \d+ bytes, too long for 0 files; split it up\.",
        refusal(tmp_path),
    )


def test_a_member_packed_in_a_strange_way_is_told(tmp_path, scales):
    good = (scales / "scale-01.mid").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.mid", good, zipfile.ZIP_LZMA)  # may ask for gigabytes to unpack
        archive.writestr("b.mid", good, zipfile.ZIP_BZIP2)
    corpus = read_corpus([tmp_path], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["b.mid"]
    reason = "it cannot be read (it is packed by a method that is not read here)."
    assert corpus.skipped[0].reason == reason


@pytest.mark.parametrize("at", range(40, 60, 3))
def test_a_damaged_member_is_told_and_the_others_are_read(tmp_path, scales, at):
    files = {file.name: file.read_bytes() for file in sorted(scales.glob("*.mid"))[:2]}
    path = pack(tmp_path / "x.zip", files)
    data = bytearray(path.read_bytes())
    data[at + 20] ^= 0xFF
    path.write_bytes(data)
    corpus = read_corpus([path], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["scale-01.mid"]
    assert corpus.skipped[0].reason.startswith("it cannot be read (")


def test_what_a_mac_adds_to_a_zip_is_not_music(tmp_path, scales):
    good = (scales / "scale-01.mid").read_bytes()
    pack(tmp_path / "x.zip", {"a.mid": good, "__MACOSX/._a.mid": b"junk"})
    assert [source.name for source in find_sources([tmp_path])] == ["a.mid"]


def test_a_split_of_a_manifest_may_have_its_other_name_and_no_unknown_one(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"x")
    manifest = tmp_path / "MANIFEST.json"
    manifest.write_text('{"pieces": [{"file": "a.mid", "split": "validation"}]}')
    assert [source.split for source in find_sources([tmp_path])] == ["valid"]
    manifest.write_text('{"pieces": [{"file": "a.mid", "split": "held out"}], "more": 1}')
    with pytest.raises(CorpusError) as refused:
        find_sources([tmp_path])
    assert str(refused.value) == (
        f"MANIFEST.json in {tmp_path.name!r} puts 'a.mid' into the split 'held out'; it must be "
        "train, valid or test."
    )
