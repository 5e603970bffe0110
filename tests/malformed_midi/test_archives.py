"""Any archive is safe to train on: read, skipped and reported, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.malformed_midi.archive_cases import ARCHIVES, Archive
from tests.malformed_midi.run_archive import Outcome, archive_faults, unpack
from training.data.corpus import read_corpus


@pytest.mark.parametrize("archive", ARCHIVES, ids=str)
def test_every_named_archive_is_read_skipped_or_refused_as_written(
    archive: Archive, tmp_path: Path
) -> None:
    assert list(archive_faults(archive, unpack(archive, tmp_path))) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["x.zip"]  # nothing is unpacked


def test_every_skipped_file_is_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))
    (archive,) = (each for each in ARCHIVES if each.case == "hostile uploads")
    (tmp_path / "x.zip").write_bytes(archive.data)
    corpus = read_corpus([tmp_path / "x.zip"], workers=1)
    assert [piece.name for piece in corpus.pieces] == ["zz.mid"]
    assert sorted(each.name for each in corpus.skipped) == sorted(archive.skipped)
    assert all(each.reason.endswith(".") for each in corpus.skipped)


def test_there_are_many_named_archives_and_each_is_another() -> None:
    assert len(ARCHIVES) >= 25
    assert len({archive.data for archive in ARCHIVES}) == len(ARCHIVES)


def test_what_should_not_have_become_of_an_archive_is_noticed() -> None:
    archive = Archive("mine", b"", good=("a.mid",))
    assert not list(archive_faults(archive, Outcome(["a.mid"], [], "")))
    assert list(archive_faults(archive, Outcome([], ["a.mid"], "")))
    assert list(archive_faults(archive, Outcome(["a.mid"], [], "'x.zip' is odd; pack it again.")))
    refused = Archive("mine", b"", refused=True)
    assert list(archive_faults(refused, Outcome([], [], "")))
    assert list(archive_faults(refused, Outcome([], [], "Error -3")))
