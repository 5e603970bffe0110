"""The cleaner of the folder for uploads and downloads."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from page.server.temp_cleanup import TempCleaner, temp_dir

NOW_S = 1_000_000.0


def create_file(folder: Path, name: str, *, age_s: float, size: int = 10) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def test_old_files_and_empty_folders_are_deleted(tmp_path: Path) -> None:
    old = create_file(tmp_path, "a/b/old.mid", age_s=101)
    young = create_file(tmp_path, "c/young.mid", age_s=99)
    partial = create_file(tmp_path, "tmpx1y2", age_s=500, size=0)
    cleaner = TempCleaner(tmp_path, max_age_s=100)
    for _ in range(3):  # each run deletes the innermost empty folders
        cleaner.clean(now_s=NOW_S)
        for parent, _, _ in os.walk(tmp_path, topdown=False):
            os.utime(parent, (0, 0))
    assert [path.exists() for path in (old, young, partial)] == [False, True, False]
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_above_the_size_limit_the_oldest_files_are_deleted(tmp_path: Path) -> None:
    files = [create_file(tmp_path, f"{age}.wav", age_s=age, size=40) for age in (50, 40, 30, 20)]
    TempCleaner(tmp_path, max_age_s=100, max_bytes=100).clean(now_s=NOW_S)
    assert [path.exists() for path in files] == [False, False, True, True]


def test_a_link_is_deleted_and_its_target_is_kept(tmp_path: Path) -> None:
    outside = create_file(tmp_path, "outside/kept.txt", age_s=0)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "file").symlink_to(outside)
    (folder / "folder").symlink_to(outside.parent)
    TempCleaner(folder, max_age_s=1).clean(now_s=time.time() + 100)
    assert outside.exists()
    assert not (folder / "file").is_symlink()


def test_a_file_that_cannot_be_deleted_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, other = (create_file(tmp_path, name, age_s=500) for name in ("a", "b"))
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == locked:
            raise PermissionError
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    TempCleaner(tmp_path, max_age_s=100).clean(now_s=NOW_S)
    assert locked.exists()
    assert not other.exists()


def test_a_missing_folder_needs_no_cleaning(tmp_path: Path) -> None:
    TempCleaner(tmp_path / "missing").clean()


def test_the_thread_cleans_while_others_write_and_delete(tmp_path: Path) -> None:
    cleaner = TempCleaner(tmp_path, max_age_s=1e-6, every_s=0.001)
    cleaner.start()

    def write(name: str) -> None:
        for number in range(100):
            path = tmp_path / f"{name}-{number}"
            path.write_bytes(b"x")
            path.unlink(missing_ok=True) if number % 2 else None

    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert cleaner.is_alive()
    until_s = time.monotonic() + 60
    while any(tmp_path.iterdir()) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
    cleaner.close()
    assert not cleaner.is_alive()


@pytest.mark.parametrize("name", ["max_age_s", "max_bytes", "every_s"])
def test_a_negative_number_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} .*-1"):
        TempCleaner(tmp_path, **{name: -1})


def test_the_temporary_folder_is_in_the_configured_one_and_deleted_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tmp_path / "not" / "there yet"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(parent))
    kept = create_file(tmp_path, "kept.txt", age_s=10_000)
    with suppress(KeyError), temp_dir() as folder:
        assert folder.parent == parent.resolve()
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        create_file(folder, "upload.mid", age_s=0)
        raise KeyError
    assert not folder.exists()
    assert kept.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == str(parent)
    assert "temp-cleaner" not in [thread.name for thread in threading.enumerate()]


def test_without_a_configured_folder_the_system_s_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temp_dir() as folder:
        assert folder.parent == tmp_path.resolve()
    assert "GRADIO_TEMP_DIR" not in os.environ
