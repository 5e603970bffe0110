"""Cleaner of the folder for uploads and downloads: files are deleted by age and by total size.

Gradio's own cleaner leaves the parts of interrupted uploads, and it can end during an upload.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple


class _File(NamedTuple):
    modified_s: float  # first, so that the oldest sorts first
    path: Path
    size: int


class TempCleaner(threading.Thread):
    """Thread that deletes old files of a folder.

    Args:
        folder: Cleaned with its subfolders.
        max_age_s: Files that were not written to for longer are deleted.
        max_bytes: Above this size, the oldest files are deleted earlier.
        every_s: Seconds between two runs.

    Raises:
        ValueError: A number is 0 or less.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_age_s: float = 900.0,
        max_bytes: int = 500_000_000,
        every_s: float = 60.0,
    ) -> None:
        numbers = {"max_age_s": max_age_s, "max_bytes": max_bytes, "every_s": every_s}
        for name, value in numbers.items():
            if value <= 0:
                raise ValueError(f"{name} must be more than 0, got {value}.")
        super().__init__(name="temp-cleaner", daemon=True)
        self.folder, self.max_age_s, self.max_bytes = folder, max_age_s, max_bytes
        self._every_s = every_s
        self._closed = threading.Event()

    def run(self) -> None:
        """Clean until `close`."""
        while not self._closed.wait(self._every_s):
            self.clean()

    def close(self) -> None:
        """Stop the thread after its current run."""
        self._closed.set()
        if self.is_alive():
            self.join()

    def clean(self, *, now_s: float | None = None) -> None:
        """Delete files once; files that cannot be deleted are left for the next run.

        Args:
            now_s: Seconds since 1970. None: now.
        """
        oldest_s = (time.time() if now_s is None else now_s) - self.max_age_s
        files = sorted(_files_in(self.folder))
        left = sum(file.size for file in files)
        for file in files:
            if file.modified_s < oldest_s or left > self.max_bytes:
                with suppress(OSError):
                    file.path.unlink(missing_ok=True)
                    left -= file.size
        _remove_empty_folders(self.folder, before_s=oldest_s)


@contextmanager
def temp_dir() -> Iterator[Path]:
    """Create a folder for Gradio's files, clean it while the block lasts, and delete it afterwards.

    It is created in GRADIO_TEMP_DIR, or in the system's temporary folder. Build the page within
    the block.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    if before is not None:
        Path(before).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="musiclstm-page-", dir=before)).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    cleaner = TempCleaner(folder)
    cleaner.start()
    try:
        yield folder
    finally:
        cleaner.close()
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def _files_in(folder: Path) -> Iterator[_File]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):  # deleted meanwhile
                status = path.lstat()
                yield _File(status.st_mtime, path, status.st_size)


def _remove_empty_folders(folder: Path, *, before_s: float) -> None:
    """Remove empty subfolders that were not changed lately, the innermost first."""
    for parent, _, _ in os.walk(folder, topdown=False):
        path = Path(parent)
        with suppress(OSError):  # not empty, or deleted meanwhile
            if path != folder and path.lstat().st_mtime < before_s:
                path.rmdir()
