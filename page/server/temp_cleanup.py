"""The folder for uploads and downloads: nothing stays long in it, and it never fills the disk.

Knows files, their age and their size; not who wrote them. Gradio's own clean-up forgets the halves
of uploads that were given up, and may end without a word while others upload.
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

OLDEST_S = 900.0
MOST_BYTES = 500_000_000
EVERY_S = 60.0


class _File(NamedTuple):
    changed_s: float  # first, so that the oldest sorts first
    path: Path
    size: int


class TempCleaner(threading.Thread):
    """Cleans a folder from time to time, whatever happens in it meanwhile.

    Args:
        folder: It and all below it.
        oldest_s: A file that was not written to for longer goes, in seconds.
        most_bytes: When there is more than this, the oldest files go before their time.
        every_s: Between two rounds, in seconds.

    Raises:
        ValueError: A number is 0 or less.
    """

    def __init__(
        self,
        folder: Path,
        *,
        oldest_s: float = OLDEST_S,
        most_bytes: int = MOST_BYTES,
        every_s: float = EVERY_S,
    ) -> None:
        for name, value in {
            "oldest_s": oldest_s,
            "most_bytes": most_bytes,
            "every_s": every_s,
        }.items():
            if value <= 0:
                raise ValueError(f"{name} must be more than 0, got {value}.")
        super().__init__(name="janitor", daemon=True)
        self.folder, self.oldest_s, self.most_bytes = folder, oldest_s, most_bytes
        self._every_s = every_s
        self._closed = threading.Event()

    def run(self) -> None:
        """Clean until `close`."""
        while not self._closed.wait(self._every_s):
            self.clean()

    def close(self) -> None:
        """End after the round that goes on, if any."""
        self._closed.set()
        if self.is_alive():
            self.join()

    def clean(self, *, now_s: float | None = None) -> None:
        """One round. What cannot be removed is left for the next one.

        Args:
            now_s: Seconds since 1970. None: now.
        """
        oldest_s = (time.time() if now_s is None else now_s) - self.oldest_s
        files = sorted(_files_in(self.folder))
        left = sum(file.size for file in files)
        for file in files:
            if file.changed_s < oldest_s or left > self.most_bytes:
                with suppress(OSError):
                    file.path.unlink(missing_ok=True)
                    left -= file.size
        _remove_empty(self.folder, before_s=oldest_s)


@contextmanager
def temp_dir() -> Iterator[Path]:
    """A folder that Gradio writes to, kept clean while the block lasts and gone afterwards.

    It lies in the one that GRADIO_TEMP_DIR names, or with the system's other temporary files; the
    page has to be built within the block.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    if before is not None:
        Path(before).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="musiclstm-page-", dir=before)).resolve()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    janitor = TempCleaner(folder)
    janitor.start()
    try:
        yield folder
    finally:
        janitor.close()
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before


def _files_in(folder: Path) -> Iterator[_File]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            with suppress(OSError):  # somebody else has removed it
                status = path.lstat()
                yield _File(status.st_mtime, path, status.st_size)


def _remove_empty(folder: Path, *, before_s: float) -> None:
    """Folders without anything in them that nobody has touched lately, the inner ones first."""
    for place, _, _ in os.walk(folder, topdown=False):
        path = Path(place)
        with suppress(OSError):  # it is not empty, or gone
            if path != folder and path.lstat().st_mtime < before_s:
                path.rmdir()
