"""Read an archive as training data and check which files are read, skipped or refused."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from musiclstm.errors import CorpusError, ScoreError
from musiclstm.midi.reader import MidiLimits, read_midi
from tests.malformed_midi.archive_cases import Archive
from training.data.corpus import find_sources
from training.data.sources import MidiSource

LIMITS = MidiLimits.training()
# As in training.data.corpus.
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)
_MESSAGE = re.compile(r"'x\.zip' (?:is|holds|has|looks) .+; (?:pack|unpack|split) .+\.")


class ArchiveResult(NamedTuple):
    """Result of one archive.

    Args:
        good: Names of files that were read.
        skipped: Names of files that were skipped.
        error: Message if the whole archive was refused, else empty.
    """

    good: list[str]
    skipped: list[str]
    error: str


def read_archive(archive: Archive, folder: Path) -> ArchiveResult:
    """Write an archive into an empty folder and read it."""
    path = folder / "x.zip"
    path.write_bytes(archive.data)
    result = ArchiveResult([], [], "")
    try:
        for source in find_sources([path]):
            (result.good if _is_read(source) else result.skipped).append(source.name)
    except CorpusError as error:
        return result._replace(error=str(error))
    return result


def archive_faults(archive: Archive, result: ArchiveResult) -> Iterator[str]:
    """Yield the differences from the expected result."""
    if bool(result.error) is not archive.refused:
        yield f"{archive}: refused: {result.error or 'no'}"
    if result.error and not _MESSAGE.fullmatch(result.error):
        yield f"{archive}: not a clear message: {result.error}"
    if sorted(result.good) != sorted(archive.good):
        yield f"{archive}: read {result.good}"
    if sorted(result.skipped) != sorted(archive.skipped):
        yield f"{archive}: skipped {result.skipped}"


def _is_read(source: MidiSource) -> bool:
    try:
        read_midi(source.read(LIMITS.bytes), name=source.name, limits=LIMITS)
    except (ScoreError, *_UNREADABLE):
        return False
    return True
