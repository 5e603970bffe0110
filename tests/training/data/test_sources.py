"""Entries of `--data`: weights, paths, manifests and zips."""

from __future__ import annotations

import json
import struct
import zipfile

import pytest

from musiclstm.errors import CorpusError
from tests.training.conftest import write_piece
from training.data.corpus import find_sources, read_corpus
from training.data.sources import members, parse_entries


def pack(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def refusal(*paths) -> str:
    """The error message, which must be one line."""
    with pytest.raises(CorpusError) as caught:
        read_corpus(paths, workers=1)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Weights.


def test_a_weight_follows_the_path(scales, tmp_path):
    write_piece(tmp_path / "other" / "a.mid", first_pitch=30)
    corpus = read_corpus([f"{scales}=2.5", tmp_path / "other"], workers=1)
    assert {(p.corpus, p.weight) for p in corpus.pieces} == {(scales.name, 2.5), ("other", 1.0)}
    assert len(corpus.weights("train")) == len(corpus.tokens("train"))
    assert set(corpus.weights("train")) == {2.5, 1.0}
    assert [row["weight"] for row in corpus.summary()] == [2.5, 1.0]


def test_a_folder_with_an_equals_sign_is_a_folder(tmp_path):
    write_piece(tmp_path / "key=4" / "a.mid")
    paths = tmp_path / "key=4", f"{tmp_path / 'key=4'}=4"
    assert [entry.weight for path in paths for entry in parse_entries([path])] == [1, 4]


@pytest.mark.parametrize("weight", ["two", "", "0", "-1", "nan", "inf", "1e9"])
def test_an_invalid_weight_is_refused(scales, weight):
    message = refusal(f"{scales}={weight}")
    assert f"The weight of {scales.name!r} is {weight!r}" in message
    assert "above 0 and at most 100" in message


def test_empty_entries_are_ignored_unless_there_is_no_other(scales):
    assert "--data names nothing" in refusal("", " ")
    assert len(parse_entries([scales, ""])) == 1  # a comma too many


# Paths.


def test_a_missing_path_is_refused(tmp_path):
    for path in (tmp_path / "nowhere", f"{tmp_path / 'nowhere'}=2"):
        assert "no 'nowhere' at the path given" in refusal(path)


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


def test_a_folder_that_cannot_be_searched_is_refused(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()

    def refuse(_folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("training.data.sources.os.scandir", refuse)
    monkeypatch.setattr("training.data.tables.is_table", lambda _: False)
    assert "'closed' cannot be searched (Permission denied)" in refusal(tmp_path / "closed")


# Manifests.


@pytest.mark.parametrize("text", ["{", "[1]", '{"pieces": [{"name": "a.mid"}]}', '{"pieces": 3}'])
def test_a_damaged_manifest_is_refused(tmp_path, text):
    write_piece(tmp_path / "mine" / "a.mid")
    (tmp_path / "mine" / "MANIFEST.json").write_text(text)
    message = refusal(tmp_path)
    assert "MANIFEST.json in 'mine' is not a manifest (" in message
    assert '{"file": …, "split": …}' in message


def test_a_changed_manifest_is_noticed(scales, tmp_path):
    for file in sorted(scales.glob("*.mid"))[:3]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for split in ("test", "train"):
        pieces = [{"file": f"scale-{n:02d}.mid", "split": split} for n in range(3)]
        content = {"pieces": pieces, "note": split}
        (tmp_path / "MANIFEST.json").write_text(json.dumps(content))
        corpus = read_corpus([tmp_path], workers=1)
        assert {piece.split for piece in corpus.pieces} == {split}


def test_a_manifest_may_use_other_names_of_the_splits_but_no_unknown_one(tmp_path):
    (tmp_path / "a.mid").write_bytes(b"x")
    manifest = tmp_path / "MANIFEST.json"
    manifest.write_text('{"pieces": [{"file": "a.mid", "split": "validation"}]}')
    assert [source.split for source in find_sources([tmp_path])] == ["valid"]
    manifest.write_text('{"pieces": [{"file": "a.mid", "split": "held out"}], "more": 1}')
    with pytest.raises(CorpusError, match=r"'a.mid'.*'held out'.*train, valid or test"):
        find_sources([tmp_path])


# Zips.


def test_a_damaged_zip_is_refused(tmp_path):
    (tmp_path / "text.zip").write_text("hello")
    assert "'text.zip' is not a readable zip" in refusal(tmp_path / "text.zip")
    data = pack(tmp_path / "x.zip", {"a.mid": b"x" * 100}).read_bytes()
    (tmp_path / "x.zip").write_bytes(data[:-30])
    assert "'x.zip' is not a readable zip" in refusal(tmp_path / "x.zip")


def test_a_zip_that_is_a_device_is_refused(tmp_path):
    (tmp_path / "x.zip").symlink_to("/dev/null")
    with pytest.raises(CorpusError, match="not a regular file"):
        members(tmp_path / "x.zip")


@pytest.mark.parametrize(
    "member", ["../a.mid", "/etc/a.mid", "in/../../a.mid", r"..\a.mid", r"C:\a.mid", "../notes.txt"]
)
def test_a_zip_with_a_path_outside_is_refused(tmp_path, member):
    pack(tmp_path / "x.zip", {"good.mid": b"", member: b""})
    assert f"'x.zip' holds {member!r}, a path outside the archive" in refusal(tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path):
    path = pack(tmp_path / "x.zip", {"a.mid": b"music"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # the flag of a password in the directory
    path.write_bytes(data)
    assert "'x.zip' is encrypted" in refusal(path)


def test_a_zip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("training.data.sources.RATIO_CHECKED_FROM", 1_000_000)
    path = pack(tmp_path / "x.zip", {f"{n}.mid": bytes(1_000_000) for n in range(3)})
    assert "bytes would become 3,000,000; unpack it yourself" in refusal(path)
    monkeypatch.setattr("training.data.sources.MAX_UNPACKED_BYTES", 2_999_999)
    assert "3,000,000 bytes long, and at most 2,999,999 can be read" in refusal(path)


def test_a_zip_whose_files_overlap_is_refused(tmp_path):
    path = pack(tmp_path / "x.zip", {f"{n}.mid": bytes(range(256)) * 8 for n in range(4)})
    data = bytearray(path.read_bytes())
    offset = -1
    for _ in range(4):  # each claims a packed size of half the archive
        offset = data.index(b"PK\x01\x02", offset + 1)
        data[offset + 20 : offset + 24] = struct.pack("<I", len(data) // 2)
    path.write_bytes(data)
    assert "'x.zip' looks like a zip bomb: its files overlap;" in refusal(path)


def test_a_zip_of_too_many_files_is_refused(tmp_path, monkeypatch):
    pack(tmp_path / "x.zip", {f"{number}.mid": b"" for number in range(3)})
    monkeypatch.setattr("training.data.sources.MAX_MEMBERS", 2)
    assert "'x.zip' holds 3 files, more than 2" in refusal(tmp_path)
    monkeypatch.setattr("training.data.sources.MAX_MEMBERS", 0)
    assert "too long for 0 files" in refusal(tmp_path)


@pytest.mark.parametrize("kind", ["declared size", "compression", "damage"])
def test_an_unreadable_member_is_reported_and_the_others_are_read(tmp_path, scales, kind):
    good = (scales / "scale-01.mid").read_bytes()
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        method = zipfile.ZIP_LZMA if kind == "compression" else None  # may need gigabytes
        archive.writestr("a.mid", bytes(5_000_000) if kind == "declared size" else good, method)
        archive.writestr("good.mid", good, zipfile.ZIP_BZIP2)
    data = bytearray(path.read_bytes())
    if kind == "declared size":
        offset = data.index(b"PK\x01\x02") + 24
        data[offset : offset + 4] = struct.pack("<I", 50)
    elif kind == "damage":
        data[70] ^= 0xFF
    path.write_bytes(data)
    corpus = read_corpus([path], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["good.mid"]
    assert corpus.skipped[0].name == "a.mid"
    assert "cannot be read (" in corpus.skipped[0].reason


def test_resource_forks_of_macos_are_ignored(tmp_path, scales):
    good = (scales / "scale-01.mid").read_bytes()
    pack(tmp_path / "x.zip", {"a.mid": good, "__MACOSX/._a.mid": b"junk"})
    assert [source.name for source in find_sources([tmp_path])] == ["a.mid"]


# Names.


def test_midi_files_of_any_name_are_found_in_folders_and_zips(tmp_path):
    names = ["a.mid", "b.MIDI", "c.kar", "d.smf", "e.rmi", "f", ".mid"]
    folder = tmp_path / "songs"
    write_piece(folder / "a.mid", first_pitch=40)
    data = (folder / "a.mid").read_bytes()
    for name in names[1:]:
        (folder / name).write_bytes(data)
    (folder / "README").write_text("Not music")
    (folder / "empty").write_bytes(b"")
    (folder / "notes.txt").write_bytes(data)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    archive = pack(tmp_path / "packed.zip", files | {"__MACOSX/._a.mid": data})
    for path in (folder, archive):
        (entry,) = parse_entries([path])
        assert {source.name for source in entry.sources()} == {*names}
        assert {source.read(10_000) for source in entry.sources()} == {data}
    assert members(archive) == [name for name in files if name in names]
