"""Any archive is safe to train on: files are read, or skipped and reported, or all are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.malformed_midi.archive_cases import ARCHIVES, Archive
from tests.malformed_midi.run_archive import ArchiveResult, archive_faults, read_archive
from training.data.corpus import read_corpus


@pytest.mark.parametrize("archive", ARCHIVES, ids=str)
def test_every_archive_gives_the_expected_result(archive: Archive, tmp_path: Path) -> None:
    assert list(archive_faults(archive, read_archive(archive, tmp_path))) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["x.zip"]  # nothing is unpacked


def test_every_skipped_file_is_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))
    (archive,) = (each for each in ARCHIVES if each.case == "malformed files")
    (tmp_path / "x.zip").write_bytes(archive.data)
    corpus = read_corpus([tmp_path / "x.zip"], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["zz.mid"]
    assert sorted(each.name for each in corpus.skipped) == sorted(archive.skipped)
    assert all(each.reason.endswith(".") for each in corpus.skipped)


def test_the_archives_are_many_and_different() -> None:
    assert len(ARCHIVES) >= 25
    assert len({archive.data for archive in ARCHIVES}) == len(ARCHIVES)


def test_an_unexpected_result_of_an_archive_is_a_fault() -> None:
    archive = Archive("mine", b"", good=("a.mid",))
    assert not list(archive_faults(archive, ArchiveResult(["a.mid"], [], "")))
    assert list(archive_faults(archive, ArchiveResult([], ["a.mid"], "")))
    assert list(
        archive_faults(archive, ArchiveResult(["a.mid"], [], "'x.zip' is odd; pack it again."))
    )
    refused = Archive("mine", b"", refused=True)
    assert list(archive_faults(refused, ArchiveResult([], [], "")))
    assert list(archive_faults(refused, ArchiveResult([], [], "Error -3")))
