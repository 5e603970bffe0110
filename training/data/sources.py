"""Find the MIDI files and recordings that `--data` names, before they are read.

Folders, zips and single files are searched here; tables and data sets of the Hub in `tables.py`. A
zip is read member by member without unpacking it; archives that look malicious are refused.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from musiclstm.errors import CorpusError
from musiclstm.midi import (
    MIDI_ENDINGS,
    RECORDING_ENDINGS,
    clean_text,
    has_midi_ending,
    has_no_ending,
    is_midi_header,
)
from training.data.splits import SPLIT_NAMES, SPLITS

SUFFIXES = MIDI_ENDINGS
MAX_MEMBERS = 200_000
MAX_UNPACKED_BYTES = 50_000_000_000  # of all members of a zip
MAX_RATIO = 200  # MIDI packs to a third or a tenth, a zip bomb to a thousandth
RATIO_CHECKED_FROM = 100_000_000  # bytes; smaller archives do no harm
MAX_WEIGHT = 100.0
_MAX_NAME = 255
_MANIFEST = "MANIFEST.json"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_MAX_ENTRY_BYTES = 512  # in the directory of a zip for one member, on average


class RowReader(Protocol):
    """A table whose rows hold MIDI bytes."""

    def read(self, row: int, limit: int) -> bytes:
        """Return at most `limit` + 1 bytes of a row."""
        ...


@dataclass(frozen=True, slots=True)
class MidiSource:
    """A MIDI file of a corpus that has not been read yet.

    Attributes:
        name: File name.
        corpus: Name of the zip, folder or data set that contains the file.
        container: Path of the zip or table, or of the file itself.
        member: Name inside a zip, row number inside a table; None for a file.
        split: Split that the manifest or table names.
        licence: Licence that the manifest or table names.
        rows: The table, for a row of a table.
    """

    name: str
    corpus: str
    container: Path
    member: str | None
    split: str | None
    licence: str | None
    rows: RowReader | None = None

    def read(self, limit: int) -> bytes:
        """Return at most `limit` + 1 bytes, regardless of the sizes that an archive declares."""
        if self.member is None:
            with self.container.open("rb") as file:
                return file.read(limit + 1)
        if self.rows is not None:
            return self.rows.read(int(self.member), limit)
        archive = _archive(self.container)
        if archive.getinfo(self.member).compress_type not in _METHODS:
            raise NotImplementedError("its compression method is not supported")
        with archive.open(self.member) as file:
            return file.read(limit + 1)


class CorpusOrigin(Protocol):
    """What one entry of `--data` names: files on the disk or a table."""

    def identify(self) -> tuple[str, int | None]:
        """Return a hash that changes with the content, and the number of files if it is known."""
        ...

    def sources(self) -> Iterator[MidiSource]:
        """Yield every file, always in the same order. Rows of a table are best read at once."""
        ...


@dataclass(frozen=True)
class DataEntry:
    """One entry of `--data`.

    Attributes:
        origin: What it names.
        weight: How many times an epoch shows each of its pieces, on average.
    """

    origin: CorpusOrigin
    weight: float

    def sources(self) -> Iterator[MidiSource]:
        """Yield every file; names and licences are one line of plain text."""
        for source in self.origin.sources():
            name, corpus = _clean_name(source.name), _clean_name(source.corpus)
            licence = source.licence and _clean_name(source.licence)
            yield replace(source, name=name, corpus=corpus, licence=licence)


@functools.lru_cache(maxsize=1024)  # the names of corpora repeat
def _clean_name(name: str) -> str:
    return clean_text(name, max_length=_MAX_NAME) or "unnamed"


# Entries of --data.


def parse_entries(paths: Sequence[str | Path]) -> list[DataEntry]:
    """Parse the entries of `--data`, each `path` or `path=weight`.

    A path is a folder, a zip, a MIDI file, a table (.parquet, .arrow), a folder of tables, or a
    data set of the Hub: `user/name`, `hub:user/name`, or `stream:user/name`, which stores nothing
    on the disk; `:config` and `@revision` may follow.

    Raises:
        CorpusError: A path is missing, a weight is invalid, or the Hub has no such data set.
    """
    entries = [_parse_entry(str(path)) for path in paths if str(path).strip()]
    if not entries:
        raise CorpusError("--data names nothing; name a folder, a zip or a data set of the Hub.")
    return entries


def _parse_entry(text: str) -> DataEntry:
    path, equals, weight = text.rpartition("=")
    if not equals or Path(text).exists():
        return DataEntry(_origin(text), 1.0)
    return DataEntry(_origin(path), _parse_weight(weight, path))


def _parse_weight(text: str, path: str) -> float:
    with contextlib.suppress(ValueError):
        weight = float(text)
        if math.isfinite(weight) and 0 < weight <= MAX_WEIGHT:
            return weight
    raise CorpusError(
        f"The weight of {_last_name(path)!r} is {text!r}; it must be a number above 0 and at most "
        f"{MAX_WEIGHT:g}, such as {_last_name(path)}=2."
    )


def _last_name(path: str) -> str:
    return Path(path).name or path


def _origin(text: str) -> CorpusOrigin:
    from training.data import tables  # imports MidiSource

    path = Path(text)
    if re.match(r"(hub|stream):", text):
        return tables.from_hub(text)
    if not path.exists():
        if tables.HUB_ID.fullmatch(text):
            return tables.from_hub(text)
        raise CorpusError(f"There is no {_last_name(text)!r} at the path given; check --data.")
    return tables.from_disk(path) if tables.is_table(path) else FileTree(path)


def round_robin(sources: Sequence[MidiSource], seed: int) -> Iterator[MidiSource]:
    """Yield one file of each corpus in turn, so that every corpus has an equal share.

    A corpus that runs out is skipped. Within a corpus the order is a hash of seed and file name: it
    does not depend on the other files, and the first n files are part of the first n + 1.
    """
    by_corpus: dict[str, list[MidiSource]] = defaultdict(list)
    for source in sorted(sources, key=lambda source: _random_key(source, seed)):
        by_corpus[source.corpus].append(source)
    rounds = zip_longest(*(by_corpus[name] for name in sorted(by_corpus)))
    return (source for each in rounds for source in each if source is not None)


def _random_key(source: MidiSource, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{source.corpus}\n{source.name}".encode()).digest()


# Folders, zips and files.


class FileTree:
    """A file, or a folder that is searched recursively, including the zips in it.

    Recordings are used where there are no MIDI files.

    A `MANIFEST.json` beside the files may give `split` and `licence`.
    """

    def __init__(self, path: Path) -> None:
        """Store an existing path."""
        self._path = path

    def identify(self) -> tuple[str, int]:
        """Return a hash of names, sizes and times of all files, and the number of files."""
        digest, count = hashlib.sha256(os.fsencode(self._path.resolve())), 0
        folders: dict[Path, None] = {}
        for path in self._files():
            folders[path.parent] = None
            digest.update(_stamp(path))
            count += len(members(path)) if _is_zip(path) else 1
        for folder in folders:
            if (folder / _MANIFEST).is_file():
                digest.update(_stamp(folder / _MANIFEST))
        return digest.hexdigest(), count

    def sources(self) -> Iterator[MidiSource]:
        """Yield every file in the order of its path."""
        for path in self._files():
            manifest = _manifest(path.parent)
            if not _is_zip(path):
                yield _source(path.name, path.parent.name, path, None, manifest)
                continue
            for member in members(path):
                name = PurePosixPath(member).name
                yield _source(name, path.stem, path, member, manifest)

    def _files(self) -> Iterator[Path]:
        files = iter([self._path]) if self._path.is_file() else _search(self._path)
        recordings, is_score = [], False
        for path in files:
            if _is_zip(path) or _is_midi_file(path):
                is_score = True
                yield path
            elif path.name.lower().endswith(RECORDING_ENDINGS):
                recordings.append(path)
        if not is_score:  # beside MIDI files they are mostly renderings of them
            yield from recordings


def _search(folder: Path) -> Iterator[Path]:
    """Yield every file below a folder in order; one folder is in memory at a time."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((e.name, e.is_dir(follow_symlinks=False), e.is_file()) for e in found)
    except OSError as error:
        raise CorpusError(
            f"The folder {folder.name!r} cannot be searched ({error.strerror}); change its "
            "permissions, or leave it out of --data."
        ) from error
    for name, is_folder, is_file in entries:
        if is_folder:
            yield from _search(folder / name)
        elif is_file:
            yield folder / name


def _is_midi_file(path: Path) -> bool:
    """Return whether a file is MIDI by its ending or, without one, by its first bytes."""
    if not has_no_ending(path.name):
        return has_midi_ending(path.name)
    try:
        with path.open("rb") as file:
            return is_midi_header(file.read(4))
    except OSError:
        return False


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _stamp(path: Path) -> bytes:
    status = path.stat()
    return f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")


def _source(
    name: str, corpus: str, container: Path, member: str | None, manifest: dict[str, Any]
) -> MidiSource:
    entry = manifest.get(name, {})
    split, licence = entry.get("split"), entry.get("licence")
    return MidiSource(
        name=name,
        corpus=corpus,
        container=container,
        member=member,
        split=None if split is None else SPLIT_NAMES[split],
        licence=licence or manifest.get("", {}).get("licence"),
    )


def _manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the entries of `MANIFEST.json` by file name; the empty name stands for all files."""
    path = folder / _MANIFEST
    return _read_manifest(path, path.stat().st_mtime_ns) if path.is_file() else {}


@functools.lru_cache(maxsize=4)
def _read_manifest(path: Path, _modified_ns: int) -> dict[str, dict[str, Any]]:
    manifest = f"{_MANIFEST} in {path.parent.resolve().name!r}"
    try:
        content = json.loads(path.read_bytes())
        entries = {str(piece["file"]): dict(piece) for piece in content.get("pieces", [])}
        entries[""] = {"licence": content.get("licence")}
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise CorpusError(
            f"{manifest} is not a manifest ({error}); expected JSON with "
            '"pieces", a list of {"file": …, "split": …}. Correct it or remove it.'
        ) from error
    for name, entry in entries.items():
        split = entry.get("split")
        if split is not None and str(split) not in SPLIT_NAMES:
            raise CorpusError(
                f"{manifest} puts {name!r} into the split {split!r}; it must be "
                f"{', '.join(SPLITS[:-1])} or {SPLITS[-1]}."
            )
    return entries


# Zips.


def members(path: Path) -> list[str]:
    """Return the names of the MIDI files in a zip.

    Raises:
        CorpusError: The zip cannot be opened, is encrypted, or looks malicious.
    """
    try:
        _check_directory_size(path)
        found = [info for info in _archive(path).infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise CorpusError(
            f"{path.name!r} is not a readable zip: {error}; pack it again."
        ) from error
    if len(found) > MAX_MEMBERS:
        raise CorpusError(
            f"{path.name!r} holds {len(found):,} files, more than {MAX_MEMBERS:,}; split it up."
        )
    for info in found:
        _check_member_path(path, info.filename)
    midi = [info for info in found if _is_midi(path, info)]
    _check_sizes(path, midi)
    if any(info.flag_bits & 0x1 for info in midi):
        raise CorpusError(f"{path.name!r} is encrypted; pack it again without a password.")
    return [info.filename for info in midi]


def _is_midi(archive: Path, info: zipfile.ZipInfo) -> bool:
    """Return whether a member is MIDI, as `_is_midi_file` does; packed bytes are read safely."""
    path = PurePosixPath(info.filename)
    if "__MACOSX" in path.parts or not has_no_ending(path.name):
        return has_midi_ending(path.name) and "__MACOSX" not in path.parts
    if info.flag_bits & 0x1 or info.compress_type not in _METHODS:
        return False
    try:
        with _archive(archive).open(info) as file:
            return is_midi_header(file.read(4))
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError):
        return False


def _check_member_path(path: Path, member: str) -> None:
    target = PurePosixPath(member.replace("\\", "/"))
    if target.is_absolute() or ".." in target.parts or re.match(r"[A-Za-z]:", member):
        raise CorpusError(
            f"{path.name!r} holds {member[:80]!r}, a path outside the archive; pack it again from "
            "inside its folder."
        )


def _check_sizes(path: Path, found: Sequence[zipfile.ZipInfo]) -> None:
    packed, unpacked = (sum(getattr(i, s) for i in found) for s in ("compress_size", "file_size"))
    if packed > path.stat().st_size:
        reason = "its files overlap"
    elif unpacked > MAX_UNPACKED_BYTES:
        reason = (
            f"its files are {unpacked:,} bytes long, and at most {MAX_UNPACKED_BYTES:,} can be read"
        )
    elif unpacked > max(RATIO_CHECKED_FROM, MAX_RATIO * packed):
        reason = f"{packed:,} bytes would become {unpacked:,}"
    else:
        return
    raise CorpusError(
        f"{path.name!r} looks like a zip bomb: {reason}; unpack it yourself, if you trust it, and "
        "name the folder."
    )


def _check_directory_size(path: Path) -> None:
    """Refuse a zip whose directory, which zipfile loads into memory, is too large."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 66_000))
        tail = file.read()
    at, at64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    length = struct.unpack_from("<I", tail, at + 12)[0] if at >= 0 else 0
    if length == 0xFFFF_FFFF and at64 >= 0:
        length = struct.unpack_from("<Q", tail, at64 + 40)[0]
    if length > MAX_MEMBERS * _MAX_ENTRY_BYTES:
        raise CorpusError(
            f"{path.name!r} has a directory of {length:,} bytes, too long for {MAX_MEMBERS:,} "
            "files; split it up."
        )


def _archive(path: Path) -> zipfile.ZipFile:
    status = path.stat()
    return _open_archive(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1)  # its directory is read once
def _open_archive(path: Path, _size: int, _modified_ns: int) -> zipfile.ZipFile:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is not a regular file")
    return zipfile.ZipFile(path)


def close_archives() -> None:
    """Close the zip that is still open."""
    _open_archive.cache_clear()
