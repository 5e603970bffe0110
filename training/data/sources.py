"""Where pieces come from: what `--data` names, and every MIDI file in it, not yet read.

Folders, zips and single files here; tables and data sets of the Hub in `tables.py`. A zip is read
in place, member by member; nothing is unpacked, and one that looks built to do harm is refused.
Knows neither tokens nor the cache.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from musiclstm.errors import CorpusError
from training.pretraining.encoded_corpora import SPLITS

SUFFIXES = (".mid", ".midi", ".kar")
SPLIT_NAMES = {  # what others call them
    **{name: name for name in SPLITS},
    **dict.fromkeys(("validation", "val", "dev"), "valid"),
    **dict.fromkeys(("training",), "train"),
    **dict.fromkeys(("testing",), "test"),
}
MAX_MEMBERS = 200_000
MAX_UNPACKED = 50_000_000_000  # bytes of all members of a zip
MAX_RATIO = 200  # MIDI packs to a third or a tenth, a bomb to a thousandth
RATIO_FROM = 100_000_000  # bytes; less does no harm
MAX_WEIGHT = 100.0
_MANIFEST = "MANIFEST.json"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_LONGEST_ENTRY = 512  # bytes of a zip's directory for one member, on the average


class Rows(Protocol):
    """A table, one of whose rows a source is."""

    def read(self, row: int, limit: int) -> bytes:
        """At most `limit` + 1 bytes of a row."""
        ...


@dataclass(frozen=True, slots=True)
class MidiSource:
    """One file of the corpus before it is read.

    Attributes:
        name: Of the file.
        corpus: Name of the zip, folder or data set it lies in.
        container: The zip, the table, or the file itself.
        member: Its name inside a zip, its number inside a table.
        split: As its manifest or table says.
        licence: As its manifest or table says.
        rows: The table.
    """

    name: str
    corpus: str
    container: Path
    member: str | None
    split: str | None
    licence: str | None
    rows: Rows | None = None

    def read(self, limit: int) -> bytes:
        """At most `limit` + 1 bytes, whatever sizes the archive declares."""
        if self.member is None:
            with self.container.open("rb") as file:
                return file.read(limit + 1)
        if self.rows is not None:
            return self.rows.read(int(self.member), limit)
        archive = _archive(self.container)
        if archive.getinfo(self.member).compress_type not in _METHODS:
            raise NotImplementedError("it is packed by a method that is not read here")
        with archive.open(self.member) as file:
            return file.read(limit + 1)


class CorpusOrigin(Protocol):
    """What one entry of `--data` names."""

    def survey(self) -> tuple[str, int | None]:
        """What changes when anything in it changes, and how many files it has, if that is known."""
        ...

    def sources(self) -> Iterator[MidiSource]:
        """Every file, always in the same order; those of a table are best read at once."""
        ...


@dataclass(frozen=True)
class Given:
    """One entry of `--data`: what it names, and how often an epoch shows its pieces."""

    origin: CorpusOrigin
    weight: float


# What --data says.


def parse(paths: Sequence[str | Path]) -> list[Given]:
    """What the entries of `--data` name, each `place` or `place=weight`.

    A place is a folder, a zip, a MIDI file, a table (.parquet, .arrow), a folder of tables, or a
    data set of the Hub: `user/name`, `hub:user/name`, or `stream:user/name`, which keeps nothing
    of it on the disk; `:config` and `@revision` may follow.

    Raises:
        CorpusError: A path is missing, a weight is no number, or the Hub has no such data set.
    """
    given = [_given(str(path)) for path in paths if str(path).strip()]
    if not given:
        raise CorpusError("--data names nothing; name a folder, a zip or a data set of the Hub.")
    return given


def _given(text: str) -> Given:
    place, equals, weight = text.rpartition("=")
    if not equals or Path(text).exists():
        return Given(_origin(text), 1.0)
    return Given(_origin(place), _weight(weight, place))


def _weight(text: str, place: str) -> float:
    with contextlib.suppress(ValueError):
        weight = float(text)
        if math.isfinite(weight) and 0 < weight <= MAX_WEIGHT:
            return weight
    raise CorpusError(
        f"The weight of {_shown(place)!r} is {text!r}; it must be a number above 0 and at most "
        f"{MAX_WEIGHT:g}, such as {_shown(place)}=2."
    )


def _shown(place: str) -> str:
    return Path(place).name or place


def _origin(place: str) -> CorpusOrigin:
    from training.data import tables  # knows Source

    path = Path(place)
    if re.match(r"(hub|stream):", place):
        return tables.from_hub(place)
    if not path.exists():
        if tables.HUB_ID.fullmatch(place):
            return tables.from_hub(place)
        raise CorpusError(f"There is no {_shown(place)!r} at the path given; check --data.")
    return tables.from_disk(path) if tables.is_table(path) else Files(path)


# Folders, zips and files.


class Files:
    """A file, or a folder searched to the bottom, zips in it too.

    A `MANIFEST.json` beside the files may give `split` and `licence`.
    """

    def __init__(self, path: Path) -> None:
        """Take a path that exists."""
        self._path = path

    def survey(self) -> tuple[str, int]:
        """Names, sizes and times of all files; nothing but the directories of zips is read."""
        digest, count = hashlib.sha256(os.fsencode(self._path.resolve())), 0
        folders: dict[Path, None] = {}
        for path in self._walk():
            folders[path.parent] = None
            digest.update(_stamp(path))
            count += sum(1 for _ in members(path)) if _is_zip(path) else 1
        for folder in folders:
            if (folder / _MANIFEST).is_file():
                digest.update(_stamp(folder / _MANIFEST))
        return digest.hexdigest(), count

    def sources(self) -> Iterator[MidiSource]:
        """Every file in the order of its path."""
        for path in self._walk():
            manifest = _manifest(path.parent)
            if not _is_zip(path):
                yield _source(path.name, path.parent.name, path, None, manifest)
                continue
            for member in members(path):
                name = PurePosixPath(member).name
                yield _source(name, path.stem, path, member, manifest)

    def _walk(self) -> Iterator[Path]:
        wanted = (*SUFFIXES, ".zip")
        files = iter([self._path]) if self._path.is_file() else _walk(self._path)
        return (path for path in files if path.suffix.lower() in wanted)


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below, in order; one folder is held in memory at a time."""
    try:
        with os.scandir(folder) as found:
            entries = sorted((e.name, e.is_dir(follow_symlinks=False), e.is_file()) for e in found)
    except OSError as error:
        raise CorpusError(
            f"The folder {folder.name!r} cannot be searched ({error.strerror}); let yourself read "
            "it, or leave it out of --data."
        ) from error
    for name, is_folder, is_file in entries:
        if is_folder:
            yield from _walk(folder / name)
        elif is_file:
            yield folder / name


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
    """What `MANIFEST.json` says of each file; under the empty name, of all."""
    path = folder / _MANIFEST
    return _read_manifest(path, path.stat().st_mtime_ns) if path.is_file() else {}


@functools.lru_cache(maxsize=4)
def _read_manifest(path: Path, _changed: int) -> dict[str, dict[str, Any]]:
    try:
        content = json.loads(path.read_bytes())
        entries = {str(piece["file"]): dict(piece) for piece in content.get("pieces", [])}
        entries[""] = {"licence": content.get("licence")}
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        raise CorpusError(
            f"{_MANIFEST} in {folder_name(path)!r} is not a manifest ({error}); expected JSON with "
            '"pieces", a list of {"file": …, "split": …}. Mend it, or take it away.'
        ) from error
    for name, entry in entries.items():
        split = entry.get("split")
        if split is not None and str(split) not in SPLIT_NAMES:
            raise CorpusError(
                f"{_MANIFEST} in {folder_name(path)!r} puts {name!r} into the split {split!r}; it "
                f"must be {', '.join(SPLITS[:-1])} or {SPLITS[-1]}."
            )
    return entries


def folder_name(path: Path) -> str:
    """Name of the folder a path lies in."""
    return path.parent.resolve().name


# Zips.


def members(path: Path) -> list[str]:
    """Names of the MIDI files in a zip.

    Raises:
        CorpusError: It cannot be opened, or should not be.
    """
    try:
        _refuse_long_directory(path)
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
        _refuse_escape(path, info.filename)
    midi = [info for info in found if _is_midi(info)]
    _refuse_bomb(path, midi)
    if any(info.flag_bits & 0x1 for info in midi):
        raise CorpusError(f"{path.name!r} is encrypted; pack it again without a password.")
    return [info.filename for info in midi]


def _is_midi(info: zipfile.ZipInfo) -> bool:
    place = PurePosixPath(info.filename)
    return place.suffix.lower() in SUFFIXES and "__MACOSX" not in place.parts


def _refuse_escape(path: Path, member: str) -> None:
    place = PurePosixPath(member.replace("\\", "/"))
    if place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", member):
        raise CorpusError(
            f"{path.name!r} holds {member[:80]!r}, a path that leads out of it; pack it again from "
            "inside its folder."
        )


def _refuse_bomb(path: Path, found: Sequence[zipfile.ZipInfo]) -> None:
    packed, unpacked = (sum(getattr(i, s) for i in found) for s in ("compress_size", "file_size"))
    if packed > path.stat().st_size:
        why = "its files overlap"
    elif unpacked > MAX_UNPACKED:
        why = f"its files are {unpacked:,} bytes long, and at most {MAX_UNPACKED:,} can be read"
    elif unpacked > max(RATIO_FROM, MAX_RATIO * packed):
        why = f"{packed:,} bytes would become {unpacked:,}"
    else:
        return
    raise CorpusError(
        f"{path.name!r} looks like a zip bomb: {why}; unpack it yourself, if you trust it, and "
        "name the folder."
    )


def _refuse_long_directory(path: Path) -> None:
    """The directory of a zip is held in memory, so its size is looked at first."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 66_000))
        tail = file.read()
    at, at64 = tail.rfind(b"PK\x05\x06"), tail.rfind(b"PK\x06\x06")
    length = struct.unpack_from("<I", tail, at + 12)[0] if at >= 0 else 0
    if length == 0xFFFF_FFFF and at64 >= 0:
        length = struct.unpack_from("<Q", tail, at64 + 40)[0]
    if length > MAX_MEMBERS * _LONGEST_ENTRY:
        raise CorpusError(
            f"{path.name!r} has a directory of {length:,} bytes, too long for {MAX_MEMBERS:,} "
            "files; split it up."
        )


def _archive(path: Path) -> zipfile.ZipFile:
    status = path.stat()
    return _open_archive(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1)  # its directory is read once, not again for each member
def _open_archive(path: Path, _size: int, _changed: int) -> zipfile.ZipFile:
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is not a regular file")
    return zipfile.ZipFile(path)


def forget_archives() -> None:
    """Close what is still open."""
    _open_archive.cache_clear()
