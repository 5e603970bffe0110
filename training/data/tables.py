"""Read MIDI bytes from the rows of tables: parquet and arrow files, and data sets of the Hub.

`datasets` opens all of them; one row is in memory at a time. Beside the bytes, columns may give a
name, a split and a licence. A prepared corpus (prepared.py) has token ids in place of the bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from musiclstm.errors import CorpusError
from musiclstm.midi import clean_text, has_midi_ending
from musiclstm.tokens import MusicTokenizer
from training.data.prepared import LEFT_OUT, has_tokens
from training.data.sources import SUFFIXES, MidiSource
from training.data.splits import SPLIT_NAMES

HUB_ID = re.compile(
    r"(?:(?P<how>hub|stream):)?(?P<id>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?"
    r"(?:@(?P<revision>[\w./-]+))?"
)
_TABLES = {".parquet": "parquet", ".arrow": "arrow"}
_SAVED_FILES = ("dataset_dict.json", "state.json")  # of `save_to_disk`
_BYTES_COLUMNS = ("midi", "mid", "midi_bytes", "midi_file", "bytes", "content", "file", "data")
_NAME_COLUMNS = ("name", "file_name", "filename", "path", "file", "title", "id")
_LICENCE_COLUMNS = ("licence", "license")
_HUB_TIMEOUT_S = 20.0

TableRow = Mapping[str, Any]


class MidiTable:
    """A data set with splits of rows. Reading the rows in order reads it once."""

    def __init__(self, name: str, path: Path, identity: str, load: Callable[[], Any]) -> None:
        """Store name, path, a hash that changes with the content, and a function that opens it."""
        self._name, self.path, self._identity, self._load = name, path, identity, load
        self._rows: Iterator[tuple[MidiSource, bytes | list[int] | None]] | None = None
        self._row = -1
        self._data: bytes | list[int] | None = None

    def identify(self) -> tuple[str, int | None]:
        """Return the identity; the number of rows is unknown before the table is opened."""
        return self._identity, None

    def sources(self) -> Iterator[MidiSource]:
        """Yield every row, one split after the other."""
        self._restart()
        while (source := self._next()) is not None:
            yield source

    def read(self, row: int, limit: int) -> bytes:
        """Return at most `limit` + 1 bytes of a row; an earlier row than the last restarts."""
        if row < self._row or self._rows is None:
            self._restart()
        while self._row < row:
            if self._next() is None:
                raise OSError("the table has become shorter")
        data = self._data
        if data is None:
            raise ValueError("the row has no bytes")
        if isinstance(data, list):
            data = MusicTokenizer().decode(data).dumps_midi()
        return data[: limit + 1]

    def _restart(self) -> None:
        self._rows, self._row, self._data = self._iterate(), -1, None

    def _next(self) -> MidiSource | None:
        assert self._rows is not None
        try:
            source, self._data = next(self._rows)
        except StopIteration:
            return None
        self._row += 1
        return source

    def _iterate(self) -> Iterator[tuple[MidiSource, bytes | list[int] | None]]:
        with _dataset_errors(self._name, "broke off", "run again; rows that were read are cached"):
            splits = self._open()
            has_splits = len(splits) > 1  # a single one is only the name of the whole
            number = 0
            for split, rows in splits.items():
                columns = TableColumns(self._name, rows)
                if columns.is_prepared and split == LEFT_OUT:
                    continue
                default_split = SPLIT_NAMES.get(split) if has_splits else None
                for row in columns.select(rows):
                    source = columns.source(row, number, self.path, self, default_split)
                    yield source, columns.data(row)
                    number += 1

    def _open(self) -> dict[str, Any]:
        with _dataset_errors(self._name, "cannot be opened", "check --data"):
            found = self._load()
        return dict(found) if isinstance(found, dict) else {"train": found}


class TableColumns:
    """The columns of a data set that hold bytes, name, split and licence.

    Attributes:
        is_prepared: Whether the rows are those of a prepared corpus.
    """

    def __init__(self, name: str, rows: Any) -> None:
        """Find the columns by their types and names.

        Raises:
            CorpusError: No column holds bytes.
        """
        kinds = _column_kinds(rows)
        self.is_prepared = has_tokens(kinds)
        binary = [column for column, kind in kinds.items() if kind in ("bytes", "file")]
        if self.is_prepared:
            binary = ["ids"]
        if not binary:
            shown = ", ".join(f"{column!r} ({kind})" for column, kind in kinds.items())
            raise CorpusError(
                f"{name!r} has no column of MIDI bytes; its columns are {shown or 'none'}. Name a "
                "data set with a binary column."
            )
        self._name = name
        self._bytes = _first_match(_BYTES_COLUMNS, binary) or binary[0]
        text = [column for column, kind in kinds.items() if kind in ("string", "large_string")]
        self._title = _first_match(_NAME_COLUMNS, text)
        self._licence = _first_match(_LICENCE_COLUMNS, text)
        self._split = _first_match(("split",), text)
        self._corpus = "corpus" if self.is_prepared else None

    def select(self, rows: Any) -> Any:
        """Return the rows with the used columns alone."""
        used = (self._bytes, self._title, self._licence, self._split, self._corpus)
        return rows.select_columns(list(dict.fromkeys(c for c in used if c is not None)))

    def data(self, row: TableRow) -> bytes | list[int] | None:
        """Return the bytes of a row, or its token ids; None if it has none."""
        value = row[self._bytes]
        return value.get("bytes") if isinstance(value, Mapping) else value

    def source(
        self, row: TableRow, number: int, path: Path, table: MidiTable, split: str | None
    ) -> MidiSource:
        """Return the source of a row; `split` is used where no column names another one."""
        named_split = row[self._split] if self._split else None
        return MidiSource(
            name=self._name_of(row, number),
            corpus=row[self._corpus] if self._corpus else PurePosixPath(self._name).stem,
            container=path,
            member=str(number),
            split=SPLIT_NAMES.get(str(named_split).lower()) or split,
            licence=row[self._licence] if self._licence else None,
            rows=table,
        )

    def _name_of(self, row: TableRow, number: int) -> str:
        value = row[self._bytes]
        path = value.get("path") if isinstance(value, Mapping) else None
        name = PurePosixPath(str(path or (row[self._title] if self._title else "") or "")).name
        name = name or f"row {number}"
        return name if has_midi_ending(name) else f"{name}.mid"


def _first_match(names: tuple[str, ...], columns: list[str]) -> str | None:
    by_name = {column.lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def _column_kinds(rows: Any) -> dict[str, str]:
    """Return `bytes`, `file` (a struct with bytes) or the Arrow type of each column."""
    if rows.features is None:  # a stream without a schema: look at its first row
        rows = rows._resolve_features()
    return {field.name: _column_kind(field.type) for field in rows.features.arrow_schema}


def _column_kind(kind: Any) -> str:
    import pyarrow

    types = pyarrow.types
    if types.is_binary(kind) or types.is_large_binary(kind):
        return "bytes"
    if types.is_struct(kind):
        inner = {f.name: _column_kind(f.type) for f in kind.fields}
        return "file" if inner.get("bytes") == "bytes" else "struct"
    return str(kind)


# On the disk.


def is_table(path: Path) -> bool:
    """Return whether a path is a table, a folder of tables, or the output of `save_to_disk`."""
    if path.is_file():
        return path.suffix.lower() in _TABLES
    if any((path / name).is_file() for name in _SAVED_FILES):
        return True
    found = False
    for file in _files(path):
        suffix = Path(file).suffix.lower()
        if suffix in (*SUFFIXES, ".zip"):
            return False
        found = found or suffix in _TABLES
    return found


def from_disk(path: Path) -> MidiTable:
    """Return a table, or a folder of tables; file names may indicate the splits."""
    return MidiTable(path.name, path, _identity(path), lambda: _load_from_disk(path))


def _load_from_disk(path: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()  # we show our own
    if path.is_file():
        kind = _TABLES[path.suffix.lower()]
        return datasets.load_dataset(kind, data_files=str(path), streaming=True)
    if any((path / name).is_file() for name in _SAVED_FILES):
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


def from_hub(text: str) -> MidiTable:
    """Return a data set of the Hub at its current commit.

    Args:
        text: `user/name`, `hub:user/name` (which `datasets` stores on the disk) or
            `stream:user/name` (not stored); `:config` and `@revision` may follow.

    Raises:
        CorpusError: The data set does not exist, or the Hub cannot be reached.
    """
    match = HUB_ID.fullmatch(text)
    if match is None:
        raise CorpusError(
            f"{text!r} does not name a data set; write hub:user/name, or stream:user/name to store "
            "nothing on the disk."
        )
    name, config, stream = match["id"], match["config"], match["how"] == "stream"
    commit = _commit(name, match["revision"])
    identity = hashlib.sha256(f"hub {name} {config} {commit}".encode()).hexdigest()
    return MidiTable(
        name, Path(name), identity, lambda: _load_from_hub(name, config, commit, stream)
    )


def _load_from_hub(name: str, config: str | None, commit: str, stream: bool) -> Any:
    import datasets

    return datasets.load_dataset(name, config, revision=commit, streaming=stream)


def _commit(name: str, revision: str | None) -> str:
    """Return the current commit of a data set."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    at = f" at {revision!r}" if revision else ""
    try:
        found = HfApi().dataset_info(name, revision=revision, timeout=_HUB_TIMEOUT_S)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise CorpusError(
            f"There is no {name!r} at the path given, and no data set of that name{at} on the Hub "
            "that you may read; check --data, or log in with: hf auth login"
        ) from error
    except Exception as error:  # the HTTP library raises errors of its own
        raise CorpusError(
            f"There is no {name!r} at the path given, and the Hub cannot be reached to look for a "
            f"data set of that name ({_reason(error)}); check --data, or the connection."
        ) from error
    return str(found.sha)


@contextlib.contextmanager
def _dataset_errors(name: str, problem: str, advice: str) -> Iterator[None]:
    """Convert an exception of any library into a CorpusError of one sentence."""
    try:
        yield
    except CorpusError:
        raise
    except Exception as error:
        raise CorpusError(
            f"The data set {name!r} {problem} ({_reason(error)}); {advice}."
        ) from error


def _reason(error: Exception) -> str:
    return clean_text(str(error), max_length=200) or type(error).__name__
