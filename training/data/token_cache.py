"""Tokens on disk: what was read once is found again by its bytes, and mapped instead of loaded.

A store is a folder of shards. Each is written by one process, from its beginning to its end:
`….tokens` holds ids as little-endian uint16, one piece after the other, `….index` a line of JSON
for each of them, behind a checksum of that line. A line is written after its tokens, so that an
interrupted process leaves a shard that is good as far as it goes; no two processes write to one
file. Nothing is trusted: a line or tokens that do not fit their checksums count as never read.

Knows nothing of MIDI, of where bytes come from, or of what the ids mean.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, overload

import numpy as np

from musiclstm.errors import CorpusError

_WORD = np.dtype("<u2")


class Entry(NamedTuple):
    """Where the tokens of one file stand.

    Attributes:
        shard: Number of the shard.
        line: Where its line begins in the index.
        start: First token.
        tokens: How many; 0 for a file that cannot be used.
        notes: Of the piece.
        crc: Of its tokens.
    """

    shard: int
    line: int
    start: int
    tokens: int
    notes: int
    crc: int


class TokenCache:
    """A folder of shards, open for reading and for adding to it; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Read the index of every shard; the folder need not exist."""
        self._folder = folder
        self._shards: list[Path] = []  # without suffix
        self._indices: list[Path] = []
        self._entries: dict[bytes, Entry] = {}
        self._others: dict[bytes, list[Entry]] = {}  # the same file again, in a later shard
        self._files: dict[Path, BinaryIO] = {}
        self._writer: _Writer | None = None
        for path in sorted(folder.glob("*.index")):
            self._open(path)

    def __enter__(self) -> TokenCache:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._writer is not None:
            self._writer.close()

    def _open(self, path: Path) -> None:
        shard = path.with_suffix("")
        number = len(self._shards)
        self._shards.append(shard)
        self._indices.append(path)
        tokens_path = shard.with_suffix(".tokens")
        size = tokens_path.stat().st_size // _WORD.itemsize if tokens_path.is_file() else 0
        for at, record in _lines(path):
            digest = bytes.fromhex(record["digest"])
            numbers = (record[name] for name in ("start", "tokens", "notes", "crc"))
            entry = Entry(number, at, *numbers)
            if entry.start + entry.tokens > size:
                continue
            if digest in self._entries:
                self._others.setdefault(digest, []).append(entry)
            else:
                self._entries[digest] = entry

    def find(self, digest: bytes) -> Entry | None:
        """The entry of a file, if its tokens are whole."""
        candidates = [self._entries.get(digest), *self._others.get(digest, [])]
        for entry in candidates:
            if entry is not None and zlib.crc32(self._bytes(entry)) == entry.crc:
                self._entries[digest] = entry
                return entry
        self._entries.pop(digest, None)
        self._others.pop(digest, None)
        return None

    def known(self, digest: bytes) -> Entry | None:
        """The entry of a file that `find` or `add` has seen, without another look at its tokens."""
        return self._entries.get(digest)

    def _bytes(self, entry: Entry) -> bytes:
        if entry.tokens == 0:
            return b""
        file = self._file(self._shards[entry.shard].with_suffix(".tokens"))
        file.seek(entry.start * _WORD.itemsize)
        return file.read(entry.tokens * _WORD.itemsize)

    def _file(self, path: Path) -> BinaryIO:
        if path not in self._files:
            self._files[path] = path.open("rb")
        return self._files[path]

    def told(self, entry: Entry) -> dict[str, Any]:
        """What was said about a file when it was added."""
        return told_at(self.place(entry), entry.line)

    def place(self, entry: Entry) -> Path:
        """The index in which the line of an entry stands."""
        return self._indices[entry.shard]

    def add(self, digest: bytes, ids: np.ndarray, notes: int, told: Mapping[str, Any]) -> None:
        """Keep the tokens of a file, and what there is to say about it, as plain values.

        Raises:
            CorpusError: The folder cannot be written to.
        """
        with _on_disk(self._folder):
            if self._writer is None:
                self._writer = _Writer(self._folder, len(self._shards))
                self._shards.append(self._writer.shard)
                self._indices.append(self._writer.shard.with_suffix(".index"))
            self._entries[digest] = self._writer.add(digest, ids, notes, told)

    def mapped(self, entries: Iterable[Entry]) -> Mapped:
        """The tokens of some entries, on demand."""
        return Mapped(self._shards, list(entries))


class _Writer:
    """One new shard."""

    def __init__(self, folder: Path, number: int) -> None:
        self._number = number
        folder.mkdir(parents=True, exist_ok=True)
        self.shard = folder / f"{uuid.uuid4().hex}"
        self._tokens = self.shard.with_suffix(".tokens").open("xb")
        self._index = self.shard.with_suffix(".index").open("xb")

    def add(self, digest: bytes, ids: np.ndarray, notes: int, told: Mapping[str, Any]) -> Entry:
        data = np.ascontiguousarray(ids, _WORD).tobytes()
        start = self._tokens.tell() // _WORD.itemsize
        entry = Entry(self._number, self._index.tell(), start, len(ids), notes, zlib.crc32(data))
        self._tokens.write(data)
        self._tokens.flush()  # before the line that says they are there
        record = {
            "digest": digest.hex(),
            "start": start,
            "tokens": len(ids),
            "notes": notes,
            "crc": entry.crc,
            "told": dict(told),
        }
        line = json.dumps(record, separators=(",", ":")).encode()
        self._index.write(b"%08x %s\n" % (zlib.crc32(line), line))
        self._index.flush()
        return entry

    def close(self) -> None:
        """Nothing is held back, so that nothing can be lost here, even on a full disk."""
        for file in (self._tokens, self._index):
            with contextlib.suppress(OSError):
                file.close()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every sound line of an index, and where it begins."""
    at = 0
    with path.open("rb") as file:
        for line in file:
            record = _record(line)
            if record is not None:
                yield at, record
            at += len(line)


def _record(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
        return None
    return json.loads(text)


class Mapped(Sequence[np.ndarray]):
    """Pieces that are read from the disk when they are looked at, each (tokens,) uint16."""

    def __init__(self, shards: Sequence[Path], entries: Sequence[Entry]) -> None:
        """Take shards without their suffix, and where in them the pieces stand."""
        self._shards = list(shards)
        self._where = np.array([(e.shard, e.start, e.tokens) for e in entries], np.int64)
        self._where = self._where.reshape(-1, 3)
        self._maps: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # another process maps the files itself

    def __len__(self) -> int:
        return len(self._where)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        shard, start, tokens = self._where[index].tolist()
        return self._map(shard)[start : start + tokens] if tokens else np.zeros(0, np.uint16)

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            path = self._shards[shard].with_suffix(".tokens")
            words = path.stat().st_size // _WORD.itemsize  # an odd byte at the end is no token
            self._maps[shard] = np.asarray(np.memmap(path, _WORD, "r", shape=(words,)))
        return self._maps[shard]


def told_at(index: Path, line: int) -> dict[str, Any]:
    """What was said about a file when it was added; nothing, if its line is gone since."""
    if not index.is_file():
        return {}
    with index.open("rb") as file:
        file.seek(line)
        record = _record(file.readline())
    return {} if record is None else record["told"]


class Chosen(Sequence[np.ndarray]):
    """Some pieces of a sequence, in an order of their own; nothing is copied."""

    def __init__(self, pieces: Sequence[np.ndarray], indices: Sequence[int]) -> None:
        """Take the places of the pieces."""
        self._pieces, self._indices = pieces, np.asarray(indices, np.int64)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self._pieces[i] for i in self._indices[index].tolist()]
        return self._pieces[int(self._indices[index])]


# Lists of what a source holds, so that its bytes need not be read to know.


def save_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows of plain values, all or nothing.

    Raises:
        CorpusError: The folder cannot be written to.
    """
    with _on_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{uuid.uuid4().hex}.partial")
        try:
            with partial.open("wb") as file:
                crc = 0
                for row in rows:
                    line = json.dumps(list(row)).encode() + b"\n"
                    crc = zlib.crc32(line, crc)
                    file.write(line)
                file.write(b"%08x\n" % crc)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def load_rows(path: Path) -> list[list[Any]] | None:
    """What `save_rows` wrote; None where there is nothing, or it is damaged."""
    if not path.is_file():
        return None
    rows, crc, last = [], 0, b""
    with path.open("rb") as file:
        for line in file:
            if last:
                crc = zlib.crc32(last, crc)
                with contextlib.suppress(ValueError):  # the checksum tells
                    rows.append(json.loads(last))
            last = line
    return rows if last == b"%08x\n" % crc else None


@contextlib.contextmanager
def _on_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CorpusError(
            f"What was read cannot be kept in {folder.parent.name!r} ({reason}); make room there, "
            "or name another folder in MUSICLSTM_CACHE."
        ) from error
