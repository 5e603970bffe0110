"""What the janitor takes away, what it leaves, and that it goes on."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from page.server.temp_cleanup import TempCleaner, temp_dir

NOW_S = 1_000_000.0


def file_in(folder: Path, name: str, *, age_s: float, size: int = 10) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, (NOW_S - age_s, NOW_S - age_s))
    return path


def grow_old(folder: Path) -> None:
    """Let all folders look as if nobody had touched them for long."""
    for place, _, _ in os.walk(folder, topdown=False):
        os.utime(place, (0, 0))


def test_old_files_go_and_young_ones_stay(tmp_path: Path) -> None:
    old = file_in(tmp_path, "a/old.mid", age_s=101)
    young = file_in(tmp_path, "a/young.mid", age_s=99)
    partial = file_in(tmp_path, "tmpx1y2", age_s=500, size=0)
    TempCleaner(tmp_path, oldest_s=100).clean(now_s=NOW_S)
    assert not old.exists()
    assert not partial.exists()
    assert young.exists()


def test_more_than_the_quota_goes_oldest_first(tmp_path: Path) -> None:
    files = [file_in(tmp_path, f"{age}.wav", age_s=age, size=40) for age in (50, 40, 30, 20)]
    TempCleaner(tmp_path, oldest_s=100, most_bytes=100).clean(now_s=NOW_S)
    assert [path.exists() for path in files] == [False, False, True, True]


def test_empty_folders_go_and_its_own_stays(tmp_path: Path) -> None:
    file_in(tmp_path, "a/b/old.mid", age_s=500)
    file_in(tmp_path, "c/young.mid", age_s=0)
    janitor = TempCleaner(tmp_path, oldest_s=100)
    janitor.clean(now_s=NOW_S)
    for _ in range(2):  # each round takes the innermost ones
        grow_old(tmp_path)
        janitor.clean(now_s=NOW_S)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    janitor.clean(now_s=time.time() + 1_000)
    assert tmp_path.exists()


def test_a_link_goes_and_what_it_names_stays(tmp_path: Path) -> None:
    outside = file_in(tmp_path, "outside/kept.txt", age_s=0)
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "way").symlink_to(outside.parent)
    TempCleaner(folder, oldest_s=1).clean(now_s=time.time() + 100)
    assert outside.exists()
    assert not (folder / "link").is_symlink()


def test_what_cannot_be_removed_does_not_keep_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, other = (file_in(tmp_path, name, age_s=500) for name in ("a", "b"))
    unlink = Path.unlink

    def refusing(path: Path, missing_ok: bool = False) -> None:
        if path == stuck:
            raise PermissionError
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refusing)
    TempCleaner(tmp_path, oldest_s=100).clean(now_s=NOW_S)
    assert stuck.exists()
    assert not other.exists()


def test_a_folder_that_is_gone_is_clean(tmp_path: Path) -> None:
    TempCleaner(tmp_path / "gone").clean()


def test_it_cleans_by_itself_while_others_write_and_remove(tmp_path: Path) -> None:
    janitor = TempCleaner(tmp_path, oldest_s=1e-6, every_s=0.001)
    janitor.start()

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
    assert janitor.is_alive()
    until_s = time.monotonic() + 60
    while any(tmp_path.iterdir()) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert list(tmp_path.iterdir()) == []
    janitor.close()
    assert not janitor.is_alive()


@pytest.mark.parametrize("name", ["oldest_s", "most_bytes", "every_s"])
def test_a_number_that_means_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be more than 0, got -1"):
        TempCleaner(tmp_path, **{name: -1})


def test_an_own_folder_lies_in_the_named_one_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "not" / "there yet"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(named))
    kept = file_in(tmp_path, "kept.txt", age_s=10_000)
    with suppress(KeyError), temp_dir() as folder:
        assert folder.parent == named.resolve()
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        file_in(folder, "upload.mid", age_s=0)
        raise KeyError
    assert not folder.exists()
    assert kept.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == str(named)
    assert "janitor" not in [thread.name for thread in threading.enumerate()]


def test_without_a_named_one_it_lies_where_temporary_files_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temp_dir() as folder:
        assert folder.parent == tmp_path.resolve()
    assert "GRADIO_TEMP_DIR" not in os.environ
