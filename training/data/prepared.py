"""A prepared corpus: token ids and facts of every piece as Parquet files, a data set of `datasets`.

`data/SPLIT-NNNNN-of-NNNNN.parquet` holds the rows of a split in the order of the corpus, and
`left_out` the files that were not used. Every other program reads it with
`datasets.load_dataset(folder)`. Token ids are mapped into memory, so that memory does not grow with
the corpus. docs/data.md describes the columns.
"""

from __future__ import annotations

import hashlib
import html
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from musiclstm.errors import CorpusError
from musiclstm.midi import clean_text
from musiclstm.model import TokenKind
from musiclstm.tokens import MusicTokenizer
from training.data.piece_stats import LazyStats
from training.data.splits import SPLITS
from training.data.tokenize import count_tokens, notes_by_program

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

    from training.data.corpus import Corpus

LEFT_OUT = "left_out"  # split of the files that were not used
SHARD_TOKENS = 128_000_000  # 256 MB before compression
_SHARDS = "*-of-*.parquet"
_GROUP_ROWS = 1_000  # in memory at a time
_REQUIRED = {"ids", "tokenizer", "work"}  # columns by which a prepared corpus is recognised
_FACTS = ("name", "corpus", "split", "notes", "licence", "weight", "digest")
_ROWS_KEY = b"rows"  # of the metadata of a file: hash of what its rows come from


def has_tokens(columns: Iterable[str]) -> bool:
    """Return whether the rows of a table with these columns are those of a prepared corpus."""
    return set(columns) >= _REQUIRED


def is_prepared(folder: Path) -> bool:
    """Return whether a folder holds a prepared corpus."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = next((folder / "data").glob(_SHARDS), None)
    with suppress(OSError, pa.ArrowInvalid):
        return path is not None and has_tokens(pq.read_schema(path).names)
    return False


# Writing.


class _Shard(NamedTuple):
    """A file to write: its name, and the indices of its pieces or of the files left out."""

    name: str
    split: str
    rows: range


def write_prepared(corpus: Corpus, folder: Path, *, shard_tokens: int = SHARD_TOKENS) -> None:
    """Write a corpus as a prepared corpus, which replaces an earlier one in the folder.

    The files are written to `FOLDER.partial`, which is renamed at the end. Complete files of an
    interrupted call are kept, so that at most one is written twice. Rows and bytes depend on the
    corpus alone.

    Args:
        corpus: The corpus.
        folder: Folder to write.
        shard_tokens: Token ids in a file, after which the next one begins.

    Raises:
        CorpusError: The folder holds something else, or cannot be written to.
    """
    check_output(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        (partial / "data").mkdir(parents=True, exist_ok=True)
        shards = list(_shards(corpus, shard_tokens))
        names = {shard.name for shard in shards}
        for path in (partial / "data").iterdir():
            if path.name not in names:
                path.unlink()
        for shard in shards:
            _write_shard(corpus, shard, partial / "data" / shard.name)
        (partial / "README.md").write_text(_card(corpus), encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.rename(folder)
    except OSError as error:
        raise CorpusError(
            f"The prepared corpus {folder.name!r} cannot be written ({error.strerror or error}); "
            "free some space, or name another folder in --output_dir. What was read is cached."
        ) from error


def check_output(folder: Path) -> None:
    """Raise a CorpusError if a folder holds something other than a prepared corpus."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not any((folder / "data").glob(_SHARDS)):
        raise CorpusError(
            f"{folder.name!r} exists and is no prepared corpus; name a new folder in --output_dir."
        )


def _shards(corpus: Corpus, shard_tokens: int) -> Iterator[_Shard]:
    for split in SPLITS:
        lengths = list(map(len, corpus.tokens(split)))
        starts = [0]
        tokens = 0
        for row, length in enumerate(lengths):
            if tokens >= shard_tokens:
                starts.append(row)
                tokens = 0
            tokens += length
        ends = [*starts[1:], len(lengths)]
        if lengths:
            yield from _named(split, map(range, starts, ends))
    if corpus.skipped:
        yield from _named(LEFT_OUT, [range(len(corpus.skipped))])


def _named(split: str, ranges: Iterable[range]) -> Iterator[_Shard]:
    found = list(ranges)
    for number, rows in enumerate(found):
        yield _Shard(f"{split}-{number:05d}-of-{len(found):05d}.parquet", split, rows)


def _write_shard(corpus: Corpus, shard: _Shard, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = _LeftOutRows(corpus) if shard.split == LEFT_OUT else _PieceRows(corpus, shard.split)
    identity = rows.identity(shard.rows)
    if path.exists() and pq.read_schema(path).metadata.get(_ROWS_KEY) == identity:
        return
    schema = _schema().with_metadata({_ROWS_KEY: identity})
    unfinished = path.with_suffix(".unfinished")
    with pq.ParquetWriter(unfinished, schema, compression="zstd") as writer:
        for start in range(shard.rows.start, shard.rows.stop, _GROUP_ROWS):
            group = range(start, min(start + _GROUP_ROWS, shard.rows.stop))
            writer.write_table(pa.Table.from_pylist(list(map(rows.row, group)), schema=schema))
    unfinished.rename(path)


def _schema() -> pa.Schema:
    import pyarrow as pa

    text, number = pa.string(), pa.int32()
    return pa.schema(
        {
            "ids": pa.list_(pa.uint16()),
            "name": text,
            "corpus": text,
            "split": text,
            "work": text,
            "licence": text,
            "notes": number,
            "bars": number,
            "programs": pa.list_(pa.int16()),
            "meter": text,
            "key": text,
            "problem": text,
            "weight": pa.float64(),
            "digest": text,
            "stats": text,
            "tokenizer": text,
        }
    )


class _PieceRows:
    """Rows of the pieces of a split."""

    def __init__(self, corpus: Corpus, split: str) -> None:
        self._pieces = [piece for piece in corpus.pieces if piece.split == split]
        self._ids, self._digests = corpus.tokens(split), corpus.digests(split)
        self._fingerprint = MusicTokenizer().fingerprint

    def identity(self, rows: range) -> bytes:
        facts = [
            (self._digests[row].hex(), p.name, p.corpus, p.licence, p.weight)
            for row in rows
            for p in [self._pieces[row]]
        ]
        return _hash([self._fingerprint, facts])

    def row(self, number: int) -> dict[str, Any]:
        piece, ids, digest = self._pieces[number], self._ids[number], self._digests[number].hex()
        stats = dict(piece.stats or {})
        return {
            "ids": ids,
            "name": piece.name,
            "corpus": piece.corpus,
            "split": piece.split,
            "work": str(stats.get("fingerprint") or digest),
            "licence": piece.licence,
            "notes": piece.notes,
            "bars": count_tokens(ids, TokenKind.BAR),
            "programs": sorted(notes_by_program(ids)),
            "meter": stats.get("meter"),
            "key": stats.get("key"),
            "weight": piece.weight,
            "digest": digest,
            "stats": json.dumps(stats),
            "tokenizer": self._fingerprint,
        }


class _LeftOutRows:
    """Rows of the files that were not used."""

    def __init__(self, corpus: Corpus) -> None:
        self._skipped = corpus.skipped
        self._fingerprint = MusicTokenizer().fingerprint

    def identity(self, rows: range) -> bytes:
        facts = [(each.name, each.reason) for each in self._skipped[rows.start : rows.stop]]
        return _hash([self._fingerprint, facts])

    def row(self, number: int) -> dict[str, Any]:
        file = self._skipped[number]
        return {
            "ids": [],
            "name": file.name,
            "problem": file.reason,
            "tokenizer": self._fingerprint,
        }


def _hash(facts: Any) -> bytes:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest().encode()


def _card(corpus: Corpus) -> str:
    """Return the card of the data set, with which `datasets` finds the splits."""
    names = [split for split in SPLITS if corpus.notes(split)]
    names += [LEFT_OUT] if corpus.skipped else []
    files = "\n".join(f"  - split: {name}\n    path: data/{name}-*" for name in names)
    rows = "\n".join(
        f"| {_cell(row['name'])} | {_cell(row['licence'])} | "
        + " | ".join(f"{row[split]['pieces']:,}" for split in SPLITS)  # type: ignore[index]
        + " |"
        for row in corpus.summary()
    )
    return (
        "---\ntags: [midi, music, musiclstm]\nconfigs:\n- config_name: default\n  data_files:\n"
        f"{files}\n---\n\n# Prepared corpus of musiclstm\n\n"
        "One row a piece: token ids (REMI, the notes of a bar part by part), name, corpus, split, "
        "licence and facts. `python -m training.finetune --data FOLDER` trains on it.\n\n"
        f"| corpus | licence | {' | '.join(SPLITS)} |\n|---|---|---:|---:|---:|\n{rows}\n"
    )


def _cell(text: object) -> str:
    """Return text of a file for a table in Markdown, in which it is no markup."""
    return html.escape(str(text or "")).translate({ord(c): f"\\{c}" for c in "\\`*_[]|"})


# Reading.


class PreparedRow(NamedTuple):
    """Facts of one piece; its ids have the same index in `TablePieces`."""

    name: str
    corpus: str
    split: str
    notes: int
    licence: str | None
    weight: float
    digest: str
    stats: Mapping[str, Any]


class PreparedCorpus:
    """The rows of one or more prepared corpora.

    Attributes:
        ids: Token ids of the pieces, mapped into memory.
        rows: Facts of the pieces.
        left_out: Name and reason of every file that was not used.
    """

    def __init__(self, folders: Sequence[tuple[Path, float]]) -> None:
        """Open folders, each with a weight for its pieces.

        Raises:
            CorpusError: A file is damaged, or the tokens are those of another tokenizer.
        """
        tables = [(folder.name, _load(folder), weight) for folder, weight in folders]
        parts = [
            (splits[split], weight)
            for split in SPLITS
            for _, splits, weight in tables
            if split in splits
        ]
        self.ids = TablePieces([rows for rows, _ in parts])
        self.rows = list(chain.from_iterable(_rows(rows, weight) for rows, weight in parts))
        self.left_out = [
            (name, reason)
            for _, splits, _ in tables
            if LEFT_OUT in splits
            for name, reason in zip(
                *(splits[LEFT_OUT].data.column(c).to_pylist() for c in ("name", "problem")),
                strict=True,
            )
        ]


def _load(folder: Path) -> dict[str, Dataset]:
    """Return the rows of each split, mapped into memory."""
    import datasets

    datasets.disable_progress_bars()
    files: dict[str, list[str]] = {}
    for path in sorted((folder / "data").glob(_SHARDS)):
        files.setdefault(path.name.partition("-")[0], []).append(str(path))
    try:
        splits = dict(datasets.load_dataset("parquet", data_files=files))
    except Exception as error:  # of pyarrow, or of the disk with the mapped copy
        reason = clean_text(str(error.__cause__ or error), max_length=200)
        raise CorpusError(
            f"The prepared corpus {folder.name!r} cannot be read ({reason}); prepare it again."
        ) from error
    expected = MusicTokenizer().fingerprint
    if other := {each for rows in splits.values() for each in rows.unique("tokenizer")} - {
        expected
    }:
        raise CorpusError(
            f"{folder.name!r} was prepared with other tokens ({min(map(str, other))}, here "
            f"{expected}); prepare it again from its MIDI files with: python -m training.prepare"
        )
    return splits


def _rows(rows: Dataset, weight: float) -> Iterator[PreparedRow]:
    columns = [rows.data.column(name).to_pylist() for name in _FACTS]
    stats = rows.data.column("stats")

    @lru_cache(maxsize=1)  # values of one piece are read one after the other
    def load_stats(row: int) -> dict[str, Any]:
        return json.loads(stats[row].as_py())

    for number, values in enumerate(zip(*columns, strict=True)):
        name, corpus, split, notes, licence, own, digest = values
        facts = LazyStats(load_stats, number)
        yield PreparedRow(name, corpus, split, notes, licence, own * weight, digest, facts)


class TablePieces(Sequence[np.ndarray]):
    """Token ids of the rows of data sets, each (tokens,) uint16, without a copy."""

    def __init__(self, tables: Sequence[Dataset]) -> None:
        """Store data sets with a column `ids`."""
        self._tables = [rows.select_columns("ids") for rows in tables]
        self._lists: list[tuple[np.ndarray, np.ndarray]] | None = None  # offsets and values
        self._starts = np.zeros(1, np.int64)  # first row of each of them, and the end

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_lists": None}  # another process maps the files itself

    def _open(self) -> list[tuple[np.ndarray, np.ndarray]]:
        if self._lists is None:
            chunks = [c for rows in self._tables for c in rows.data.column("ids").chunks]
            self._starts = np.cumsum([0, *map(len, chunks)])
            self._lists = [(chunk.offsets.to_numpy(), chunk.values.to_numpy()) for chunk in chunks]
        return self._lists

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...
    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        lists = self._open()
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        chunk = int(np.searchsorted(self._starts, index, side="right")) - 1
        offsets, values = lists[chunk]
        row = index - int(self._starts[chunk])
        return values[offsets[row] : offsets[row + 1]]
