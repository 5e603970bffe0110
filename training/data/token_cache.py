"""Cache of token ids on the disk, found by the hash of a file's bytes and mapped into memory.

A cache is a folder of shards. Each shard is written by one process. `….tokens` holds ids as
little-endian uint16, one piece after the other; `….index` holds a line of JSON for each piece,
preceded by a checksum of the line. A line is written after its tokens, so that the shard of an
interrupted process stays valid. Lines and tokens that do not match their checksums are ignored.
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

_TOKEN = np.dtype("<u2")


class CacheEntry(NamedTuple):
    """Position of the tokens of one file.

    Attributes:
        shard: Number of the shard.
        line: Byte offset of its line in the index.
        start: First token in the shard.
        tokens: Number of tokens; 0 for a file that cannot be used.
        notes: Number of notes.
        crc: CRC-32 of the tokens.
    """

    shard: int
    line: int
    start: int
    tokens: int
    notes: int
    crc: int


class TokenCache:
    """A folder of shards, open for reading and appending; a context manager."""

    def __init__(self, folder: Path) -> None:
        """Read the index of every shard; the folder need not exist."""
        self._folder = folder
        self._shards: list[Path] = []  # without suffix
        self._entries: dict[bytes, CacheEntry] = {}
        self._duplicates: dict[bytes, list[CacheEntry]] = {}  # the same file in later shards
        self._files: dict[Path, BinaryIO] = {}
        self._writer: _ShardWriter | None = None
        for path in sorted(folder.glob("*.index")):
            self._load_index(path)

    def __enter__(self) -> TokenCache:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
        if self._writer is not None:
            self._writer.close()

    def _load_index(self, path: Path) -> None:
        number = len(self._shards)
        self._shards.append(path.with_suffix(""))
        tokens_path = path.with_suffix(".tokens")
        size = tokens_path.stat().st_size // _TOKEN.itemsize if tokens_path.is_file() else 0
        for offset, record in _valid_lines(path):
            digest = bytes.fromhex(record["digest"])
            numbers = (record[name] for name in ("start", "tokens", "notes", "crc"))
            entry = CacheEntry(number, offset, *numbers)
            if entry.start + entry.tokens > size:
                continue
            if digest in self._entries:
                self._duplicates.setdefault(digest, []).append(entry)
            else:
                self._entries[digest] = entry

    def find(self, digest: bytes) -> CacheEntry | None:
        """Return the entry of a file if its tokens match their checksum."""
        candidates = [self._entries.get(digest), *self._duplicates.get(digest, [])]
        for entry in candidates:
            if entry is not None and zlib.crc32(self._read_tokens(entry)) == entry.crc:
                self._entries[digest] = entry
                return entry
        self._entries.pop(digest, None)
        self._duplicates.pop(digest, None)
        return None

    def known(self, digest: bytes) -> CacheEntry | None:
        """Return the entry that `find` or `add` stored, without checking its tokens again."""
        return self._entries.get(digest)

    def _read_tokens(self, entry: CacheEntry) -> bytes:
        if entry.tokens == 0:
            return b""
        path = self._shards[entry.shard].with_suffix(".tokens")
        if path not in self._files:
            self._files[path] = path.open("rb")
        file = self._files[path]
        file.seek(entry.start * _TOKEN.itemsize)
        return file.read(entry.tokens * _TOKEN.itemsize)

    def metadata(self, entry: CacheEntry) -> dict[str, Any]:
        """Return the metadata that was stored with a file."""
        return read_metadata(self.index_path(entry), entry.line)

    def index_path(self, entry: CacheEntry) -> Path:
        """Return the index that contains the line of an entry."""
        return self._shards[entry.shard].with_suffix(".index")

    def add(self, digest: bytes, ids: np.ndarray, notes: int, metadata: Mapping[str, Any]) -> None:
        """Store the tokens of a file and its metadata, which JSON must be able to represent.

        Raises:
            CorpusError: The folder cannot be written to.
        """
        with _disk_errors(self._folder):
            if self._writer is None:
                self._writer = _ShardWriter(self._folder, len(self._shards))
                self._shards.append(self._writer.shard)
            self._entries[digest] = self._writer.add(digest, ids, notes, metadata)

    def mapped(self, entries: Iterable[CacheEntry]) -> MappedPieces:
        """Return the tokens of some entries, mapped into memory."""
        return MappedPieces(self._shards, list(entries))


class _ShardWriter:
    """Appends to a new shard."""

    def __init__(self, folder: Path, number: int) -> None:
        self._number = number
        folder.mkdir(parents=True, exist_ok=True)
        self.shard = folder / f"{uuid.uuid4().hex}"
        self._tokens = self.shard.with_suffix(".tokens").open("xb")
        self._index = self.shard.with_suffix(".index").open("xb")

    def add(
        self, digest: bytes, ids: np.ndarray, notes: int, metadata: Mapping[str, Any]
    ) -> CacheEntry:
        data = np.ascontiguousarray(ids, _TOKEN).tobytes()
        start = self._tokens.tell() // _TOKEN.itemsize
        crc = zlib.crc32(data)
        entry = CacheEntry(self._number, self._index.tell(), start, len(ids), notes, crc)
        self._tokens.write(data)
        self._tokens.flush()  # before the line that refers to them
        record = {
            "digest": digest.hex(),
            "start": start,
            "tokens": len(ids),
            "notes": notes,
            "crc": crc,
            "metadata": dict(metadata),
        }
        line = json.dumps(record, separators=(",", ":")).encode()
        self._index.write(b"%08x %s\n" % (zlib.crc32(line), line))
        self._index.flush()
        return entry

    def close(self) -> None:
        for file in (self._tokens, self._index):
            with contextlib.suppress(OSError):  # both are flushed already
                file.close()


def _valid_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield byte offset and content of every line of an index that matches its checksum."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            record = _parse_line(line)
            if record is not None:
                yield offset, record
            offset += len(line)


def _parse_line(line: bytes) -> dict[str, Any] | None:
    crc, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(text):
        return None
    return json.loads(text)


def read_metadata(index: Path, line: int) -> dict[str, Any]:
    """Return the metadata in the line at a byte offset of an index; empty if it is damaged."""
    if not index.is_file():
        return {}
    with index.open("rb") as file:
        file.seek(line)
        record = _parse_line(file.readline())
    return {} if record is None else record["metadata"]


class MappedPieces(Sequence[np.ndarray]):
    """Pieces that are mapped into memory on access, each (tokens,) uint16."""

    def __init__(self, shards: Sequence[Path], entries: Sequence[CacheEntry]) -> None:
        """Store the shards, without suffix, and the positions of the pieces in them."""
        self._shards = list(shards)
        self._positions = np.array([(e.shard, e.start, e.tokens) for e in entries], np.int64)
        self._positions = self._positions.reshape(-1, 3)
        self._maps: dict[int, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_maps": {}}  # another process maps the files itself

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        shard, start, tokens = self._positions[index].tolist()
        return self._map(shard)[start : start + tokens] if tokens else np.zeros(0, np.uint16)

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            path = self._shards[shard].with_suffix(".tokens")
            size = path.stat().st_size // _TOKEN.itemsize  # an odd byte at the end is no token
            self._maps[shard] = np.asarray(np.memmap(path, _TOKEN, "r", shape=(size,)))
        return self._maps[shard]


class PieceSubset(Sequence[np.ndarray]):
    """Pieces of a sequence selected by index, without copying."""

    def __init__(self, pieces: Sequence[np.ndarray], indices: Sequence[int]) -> None:
        """Store the sequence and the indices of the selected pieces."""
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


# Lists of files, so that an unchanged source is not opened again.


def save_rows(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows of JSON values to a temporary file and rename it.

    Raises:
        CorpusError: The folder cannot be written to.
    """
    with _disk_errors(path.parent):
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
    """Return the rows that `save_rows` wrote; None if the file is missing or damaged."""
    if not path.is_file():
        return None
    *lines, checksum = path.read_bytes().splitlines(keepends=True) or [b""]
    if checksum != b"%08x\n" % zlib.crc32(b"".join(lines)):
        return None
    return [json.loads(line) for line in lines]


@contextlib.contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    """Convert an OSError into a CorpusError that names the cache."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise CorpusError(
            f"The token cache in {folder.parent.name!r} cannot be written ({reason}); free some "
            "space there, or name another folder in MUSICLSTM_CACHE."
        ) from error
