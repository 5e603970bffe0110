"""What becomes of an archive: names that are read, names that are skipped, or one sentence."""

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
# As training.data.corpus reports them.
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)
_REFUSAL = re.compile(r"'x\.zip' (?:is|holds|has|looks) .+; (?:pack|unpack|split) .+\.")


class Outcome(NamedTuple):
    """What became of an archive.

    Args:
        good: Names of files that were read.
        skipped: Names of files that were not, each with its own reason.
        refusal: Why none was; empty if they were looked at.
    """

    good: list[str]
    skipped: list[str]
    refusal: str


def unpack(archive: Archive, folder: Path) -> Outcome:
    """Read an archive that is written into an empty folder."""
    path = folder / "x.zip"
    path.write_bytes(archive.data)
    found = Outcome([], [], "")
    try:
        for source in find_sources([path]):
            (found.good if _is_read(source) else found.skipped).append(source.name)
    except CorpusError as error:
        return found._replace(refusal=str(error))
    return found


def archive_faults(archive: Archive, found: Outcome) -> Iterator[str]:
    """What should have become of it, and did not."""
    if bool(found.refusal) is not archive.refused:
        yield f"{archive}: refused: {found.refusal or 'no'}"
    if found.refusal and not _REFUSAL.fullmatch(found.refusal):
        yield f"{archive}: no clear sentence: {found.refusal}"
    if sorted(found.good) != sorted(archive.good):
        yield f"{archive}: read {found.good}"
    if sorted(found.skipped) != sorted(archive.skipped):
        yield f"{archive}: skipped {found.skipped}"


def _is_read(source: MidiSource) -> bool:
    try:
        read_midi(source.read(LIMITS.bytes), name=source.name, limits=LIMITS)
    except (ScoreError, *_UNREADABLE):
        return False
    return True
