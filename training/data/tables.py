"""Tables whose rows hold MIDI bytes: parquet and arrow files, and data sets of the Hub.

All are opened by `datasets` and read row by row, one row in memory at a time. A row is a source as
a file is: beside the bytes, columns may give a name, a split and a licence. Knows neither tokens
nor the cache.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from musiclstm.errors import CorpusError
from training.data.sources import SPLIT_NAMES, SUFFIXES, MidiSource

HUB_ID = re.compile(
    r"(?:(?P<how>hub|stream):)?(?P<id>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?"
    r"(?:@(?P<revision>[\w./-]+))?"
)
_TABLES = {".parquet": "parquet", ".arrow": "arrow"}
_DISK = ("dataset_dict.json", "state.json")  # what `save_to_disk` leaves
_BYTES = ("midi", "mid", "midi_bytes", "midi_file", "bytes", "content", "file", "data")
_NAMES = ("name", "file_name", "filename", "path", "file", "title", "id")
_LICENCES = ("licence", "license")
_HUB_SECONDS = 20.0  # before it counts as out of reach

Row = Mapping[str, Any]


class Table:
    """A data set: splits of rows. Read in order it is read once."""

    def __init__(self, name: str, place: Path, identity: str, load: Callable[[], Any]) -> None:
        """Take what messages call it, where it is, what it is, and how `datasets` opens it."""
        self._name, self._place, self._identity, self._load = name, place, identity, load
        self._rows: Iterator[tuple[MidiSource, bytes | None]] | None = None
        self._at = -1
        self._data: bytes | None = None

    def survey(self) -> tuple[str, int | None]:
        """What it is, as far as can be told without opening it."""
        return self._identity, None

    def sources(self) -> Iterator[MidiSource]:
        """Every row, the splits one after the other."""
        self._rewind()
        while (source := self._next()) is not None:
            yield source

    def read(self, row: int, limit: int) -> bytes:
        """The bytes of a row; the one before it is forgotten."""
        if row < self._at or self._rows is None:
            self._rewind()
        while self._at < row:
            if self._next() is None:
                raise OSError("the table has become shorter")
        if self._data is None:
            raise ValueError("the row has no bytes")
        return self._data[: limit + 1]

    def _rewind(self) -> None:
        self._rows, self._at, self._data = self._iterate(), -1, None

    def _next(self) -> MidiSource | None:
        assert self._rows is not None
        try:
            source, self._data = next(self._rows)
        except StopIteration:
            return None
        self._at += 1
        return source

    def _iterate(self) -> Iterator[tuple[MidiSource, bytes | None]]:
        with _told(self._name, "broke off; run again, what was read is kept"):
            splits = self._open()
            trusted = len(splits) > 1  # a single split is only a name for everything
            number = 0
            for split, rows in splits.items():
                columns = Columns(self._name, rows)
                for row in columns.only(rows):
                    own = SPLIT_NAMES.get(split) if trusted else None
                    yield columns.source(row, number, self._place, self, own), columns.data(row)
                    number += 1

    def _open(self) -> dict[str, Any]:
        with _told(self._name, "cannot be opened; check --data"):
            found = self._load()
        return dict(found) if isinstance(found, dict) else {"train": found}


class Columns:
    """Which columns of a data set say what."""

    def __init__(self, name: str, rows: Any) -> None:
        """Look at the types of the columns, or at the first row where a stream has none.

        Raises:
            CorpusError: None holds bytes.
        """
        kinds = _kinds(rows)
        binary = [column for column, kind in kinds.items() if kind in ("bytes", "file")]
        if not binary:
            shown = ", ".join(f"{column!r} ({kind})" for column, kind in kinds.items())
            raise CorpusError(
                f"{name!r} has no column of MIDI bytes; its columns are {shown or 'none'}. Name a "
                "data set with a binary column."
            )
        self._name = name
        self._bytes = _first(_BYTES, binary) or binary[0]
        text = [column for column, kind in kinds.items() if kind in ("string", "large_string")]
        self._title, self._licence = _first(_NAMES, text), _first(_LICENCES, text)
        self._split = _first(("split",), text)

    def only(self, rows: Any) -> Any:
        """The rows without columns that are of no use here."""
        used = (self._bytes, self._title, self._licence, self._split)
        return rows.select_columns(list(dict.fromkeys(c for c in used if c is not None)))

    def data(self, row: Row) -> bytes | None:
        """What the row holds; None where that is nothing."""
        value = row[self._bytes]
        return value.get("bytes") if isinstance(value, Mapping) else value

    def source(
        self, row: Row, number: int, place: Path, rows: Table, split: str | None
    ) -> MidiSource:
        """The row as a source."""
        told = row[self._split] if self._split else None
        return MidiSource(
            name=self._name_of(row, number),
            corpus=PurePosixPath(self._name).stem,
            container=place,
            member=str(number),
            split=SPLIT_NAMES.get(str(told).lower()) or split,
            licence=row[self._licence] if self._licence else None,
            rows=rows,
        )

    def _name_of(self, row: Row, number: int) -> str:
        value = row[self._bytes]
        path = value.get("path") if isinstance(value, Mapping) else None
        name = PurePosixPath(str(path or (row[self._title] if self._title else "") or "")).name
        name = name or f"row {number}"
        return name if PurePosixPath(name).suffix.lower() in SUFFIXES else f"{name}.mid"


def _first(wanted: tuple[str, ...], there: list[str]) -> str | None:
    by_name = {column.lower(): column for column in there}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _kinds(rows: Any) -> dict[str, str]:
    """What each column holds: `bytes`, `file` (a struct with bytes), or a type of Arrow."""
    if rows.features is None:  # a stream that does not tell
        rows = rows._resolve_features()
    return {field.name: _kind(field.type) for field in rows.features.arrow_schema}


def _kind(kind: Any) -> str:
    import pyarrow

    types = pyarrow.types
    if types.is_binary(kind) or types.is_large_binary(kind):
        return "bytes"
    if types.is_struct(kind):
        inner = {kind.field(i).name: _kind(kind.field(i).type) for i in range(kind.num_fields)}
        return "file" if inner.get("bytes") == "bytes" else "struct"
    return str(kind)


# On the disk.


def is_table(path: Path) -> bool:
    """Whether a path is a table, a folder that `save_to_disk` wrote, or one of tables alone."""
    if path.is_file():
        return path.suffix.lower() in _TABLES
    if any((path / name).is_file() for name in _DISK):
        return True
    found = False
    for file in _files(path):
        suffix = Path(file).suffix.lower()
        if suffix in (*SUFFIXES, ".zip"):
            return False
        found = found or suffix in _TABLES
    return found


def from_disk(path: Path) -> Table:
    """A table, or a folder of them; where the names of files tell of splits, these are used."""
    return Table(path.name, path, _identity(path), lambda: _load_from_disk(path))


def _load_from_disk(path: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()  # there is one already
    if path.is_file():
        kind = _TABLES[path.suffix.lower()]
        return datasets.load_dataset(kind, data_files=str(path), streaming=True)
    if any((path / name).is_file() for name in _DISK):
        return datasets.load_from_disk(str(path))
    return datasets.load_dataset(str(path), streaming=True)


def _files(path: Path) -> Iterator[str]:
    if path.is_file():
        yield str(path)
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (os.path.join(folder, name) for name in sorted(names))  # noqa: PTH118 - fast


def _identity(path: Path) -> str:
    digest = hashlib.sha256(f"table {path.resolve()}\n".encode("utf-8", "surrogateescape"))
    for file in _files(path):
        status = Path(file).stat()
        stamp = f"{file} {status.st_size} {status.st_mtime_ns}\n"
        digest.update(stamp.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


# On the Hub.


def from_hub(place: str) -> Table:
    """A data set of the Hub, as it is now.

    Args:
        place: `user/name`, `hub:user/name` (kept on the disk by `datasets`) or `stream:user/name`
            (not kept), then `:config` and `@revision` if wanted.

    Raises:
        CorpusError: It is not there, or the Hub is out of reach.
    """
    match = HUB_ID.fullmatch(place)
    if match is None:
        raise CorpusError(
            f"{place!r} does not name a data set; write hub:user/name, or stream:user/name to keep "
            "nothing of it on the disk."
        )
    name, config, stream = match["id"], match["config"], match["how"] == "stream"
    commit = _commit(name, match["revision"])
    identity = hashlib.sha256(f"hub {name} {config} {commit}".encode()).hexdigest()
    return Table(name, Path(name), identity, lambda: _load_from_hub(name, config, commit, stream))


def _load_from_hub(name: str, config: str | None, commit: str, stream: bool) -> Any:
    import datasets

    return datasets.load_dataset(name, config, revision=commit, streaming=stream)


def _commit(name: str, revision: str | None) -> str:
    """The commit that a data set has now."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f" at {revision!r}" if revision else ""
    try:
        found = HfApi().dataset_info(name, revision=revision, timeout=_HUB_SECONDS)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise CorpusError(
            f"There is no {name!r} at the path given, and no data set of that name{at} on the Hub "
            "that you may read; check --data, or log in with: hf auth login"
        ) from error
    except Exception as error:  # of whichever library talks to the net
        raise CorpusError(
            f"There is no {name!r} at the path given, and the Hub cannot be reached to look for a "
            f"data set of that name ({_short(error)}); check --data, or the connection."
        ) from error
    return str(found.sha)


class _told:  # noqa: N801 - reads as a word in a `with`
    """Turns whatever a library raises about a data set into one sentence."""

    def __init__(self, name: str, what: str) -> None:
        self._name, self._what = name, what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, CorpusError):
            problem, _, advice = self._what.partition(";")
            raise CorpusError(
                f"The data set {self._name!r} {problem} ({_short(error)});{advice}."
            ) from error


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text if len(text) <= 200 else text[:200] + "…") or type(error).__name__
