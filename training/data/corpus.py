"""Read a corpus: MIDI files become token ids on the disk, with split, licence and weight.

Broken files are reported and skipped. Token ids are mapped into memory from the cache, so that
memory does not grow with the corpus.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from musiclstm.errors import CorpusError
from musiclstm.midi import clean_text
from musiclstm.tokens import MusicTokenizer
from training.data.piece_stats import LazyStats, PieceStats
from training.data.prepared import PreparedCorpus, is_prepared
from training.data.sources import SUFFIXES, DataEntry, MidiSource, close_archives, parse_entries
from training.data.splits import SPLITS, assign_splits, require_split
from training.data.tables import MidiTable
from training.data.token_cache import (
    CacheEntry,
    PieceSubset,
    TokenCache,
    read_metadata,
)
from training.data.tokenize import FileRecord, notes_by_program, read_sources

REASONS = ("short", "free", "duplicate")  # for which usable pieces can be left out
_FORMAT = 6  # increase it when the meaning of the cached data changes


@lru_cache(maxsize=1)  # values of one piece are read one after the other
def _cached_stats(index: Path, line: int) -> dict[str, Any]:
    """Return the statistics in the line at a byte offset of an index; empty if it has none."""
    return read_metadata(index, line).get("stats", {})


@dataclass(frozen=True, slots=True)
class CorpusPiece:
    """Description of a piece of a corpus.

    Attributes:
        name: File name.
        corpus: Name of the zip, folder or data set that contains the file.
        split: train, valid or test.
        notes: Number of notes in the tokens.
        licence: Licence in the manifest.
        stats: `PieceStats` as a mapping; empty if the cache has lost them.
        weight: How many times an epoch shows the piece, on average.
    """

    name: str
    corpus: str
    split: str
    notes: int
    licence: str | None
    stats: Mapping[str, Any] | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was left out, and the reason."""

    name: str
    reason: str


class Corpus:
    """A corpus: pieces as token ids, and the files that were left out.

    Attributes:
        pieces: Pieces in the order of reading; their names are one line of plain text.
        skipped: Files that were left out; names and reasons are plain text, too.
    """

    def __init__(
        self,
        ids: Sequence[np.ndarray],
        pieces: list[CorpusPiece],
        skipped: list[Skipped],
        digests: list[bytes],
    ) -> None:
        """Store the pieces with their token ids, (tokens,) uint16, and SHA-256 digests."""
        self._ids, self._digests = ids, digests
        self.pieces, self.skipped = pieces, skipped

    @property
    def fingerprint(self) -> str:
        """Hash of bytes, split and weight of every piece, independent of names and order."""
        pairs = zip(self._digests, self.pieces, strict=True)
        lines = sorted(f"{digest.hex()} {own.split} {own.weight!r}\n" for digest, own in pairs)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def tokens(self, split: str) -> Sequence[np.ndarray]:
        """Return the token ids of every piece of a split, mapped into memory on access."""
        return PieceSubset(self._ids, self._indices(split))

    def digests(self, split: str) -> list[bytes]:
        """Return the SHA-256 digest of the file of every piece of a split."""
        return [self._digests[i] for i in self._indices(split)]

    def weights(self, split: str) -> list[float]:
        """Return how many times an epoch shows each piece of a split, on average."""
        return [self.pieces[i].weight for i in self._indices(split)]

    def notes(self, split: str) -> int:
        """Return the number of notes in a split."""
        return sum(piece.notes for piece in self.pieces if piece.split == split)

    def _indices(self, split: str) -> list[int]:
        return [i for i, piece in enumerate(self.pieces) if piece.split == split]

    def programs(self) -> list[int]:
        """Return the programs of which the train split has enough notes, -1 for drums.

        Enough is one note in two thousand, in five pieces, or in a tenth of the pieces of a corpus
        of fewer than fifty. If no program has enough, all programs are returned.
        """
        notes, pieces = Counter[int](), Counter[int]()
        train = self.tokens("train")
        for ids in train:
            own = notes_by_program(ids)
            notes += own
            pieces.update(own.keys())
        min_notes = self.notes("train") / 2_000
        min_pieces = min(5, len(train) / 10)
        common = [p for p in notes if notes[p] >= min_notes and pieces[p] >= min_pieces]
        return sorted(common or notes)

    def summary(self) -> list[dict[str, object]]:
        """Return pieces and notes by split, licence and weight of each corpus, for facts.json."""
        rows = []
        for name, weight in dict.fromkeys((piece.corpus, piece.weight) for piece in self.pieces):
            own = [p for p in self.pieces if (p.corpus, p.weight) == (name, weight)]
            licences = sorted({piece.licence for piece in own if piece.licence})
            row: dict[str, object] = {"name": name, "licence": ", ".join(licences) or None}
            row["weight"] = weight
            for split in SPLITS:
                notes = [piece.notes for piece in own if piece.split == split]
                row[split] = {"pieces": len(notes), "notes": sum(notes)}
            rows.append(row)
        return rows


def read_corpus(
    paths: Sequence[str | Path],
    *,
    workers: int | None = None,
    cache: Path | None = None,
    allow_empty: bool = False,
    leave_out: Collection[str] = (),
) -> Corpus:
    """Read every MIDI file under the paths.

    Files are cached by their bytes: an interrupted reading continues where it stopped, and an
    unchanged source is not opened again.

    Args:
        paths: Folders (searched recursively, including zips), zips, MIDI files, tables, prepared
            corpora and data sets of the Hub, each optionally followed by `=weight` (see
            `sources.parse_entries`). A `MANIFEST.json` beside the files may give `split` and
            `licence`. Pieces without a split are split 90/5/5 by a hash of their music, together
            with their transposed copies (see `splits.assign_splits`).
        workers: Number of processes; None: one per core.
        cache: Folder of the cache; None: `~/.cache/musiclstm`, or MUSICLSTM_CACHE.
        allow_empty: Return a corpus without pieces if every file was left out.
        leave_out: Some of `REASONS`: "short", pieces that are too short to be useful; "free",
            pieces that do not follow a beat grid; "duplicate", copies of an earlier piece, also
            transposed ones.

    Raises:
        CorpusError: A path is missing, or no file under the paths can be used.
        ValueError: `leave_out` contains an unknown reason.
    """
    unknown = [reason for reason in leave_out if reason not in REASONS]
    if unknown:
        raise ValueError(
            f"There is no reason {unknown[0]!r} to leave a piece out; known to --leave_out are "
            f"{', '.join(REASONS)}."
        )
    entries = parse_entries(paths)
    prepared = _prepared(entries)
    if prepared is not None:
        corpus = _from_prepared(prepared, leave_out)
    else:
        corpus = _read_files(paths, entries, workers, cache, leave_out)
    if not allow_empty:
        require_pieces(corpus)
    return corpus


def _prepared(entries: Sequence[DataEntry]) -> PreparedCorpus | None:
    """Return the rows if every entry is a prepared corpus."""
    tables: list[tuple[Path, float]] = []
    for entry in entries:
        if not isinstance(entry.origin, MidiTable) or not is_prepared(entry.origin.path):
            return None
        tables.append((entry.origin.path, entry.weight))
    return PreparedCorpus(tables)


def _read_files(
    paths: Sequence[str | Path],
    entries: Sequence[DataEntry],
    workers: int | None,
    cache: Path | None,
    leave_out: Collection[str],
) -> Corpus:
    folder = (cache or _default_cache()) / f"tokens-{_cache_key()}"
    try:
        with TokenCache(folder) as token_cache:
            records = read_sources(entries, token_cache, folder, workers)
            weighted = [
                (record, entry.weight)
                for entry, own in zip(entries, records, strict=True)
                for record in own
            ]
            if not weighted:
                raise CorpusError(
                    f"No MIDI file under {', '.join(repr(Path(p).name) for p in paths)}; expected "
                    f"files that end in {', '.join(SUFFIXES)}, or zips of them."
                )
            return _assemble(weighted, token_cache, leave_out)
    finally:
        close_archives()


def require_pieces(corpus: Corpus) -> None:
    """Raise a CorpusError if no file could be used."""
    if not corpus.pieces:
        first = corpus.skipped[0]
        raise CorpusError(
            f"None of {len(corpus.skipped)} MIDI files can be used; the first one, {first.name!r}: "
            f"{first.reason}"
        )


def find_sources(paths: Sequence[str | Path]) -> list[MidiSource]:
    """Return every MIDI file under the paths in the order in which `read_corpus` reads them.

    Raises:
        CorpusError: A path is missing, or a zip cannot be opened.
    """
    return [source for entry in parse_entries(paths) for source in entry.sources()]


def sources_of_split(
    paths: Sequence[str | Path], split: str, *, workers: int | None = None
) -> list[MidiSource]:
    """Return the files of a split, without reading them if a manifest names the splits.

    Args:
        paths: Entries as in `read_corpus`.
        split: train, valid or test.
        workers: Number of processes that read files without a split; None: one per core.

    Raises:
        CorpusError: A path is missing, no file can be used, or the split is empty.
    """
    sources = find_sources(paths)
    splits = [source.split for source in sources]
    if None in splits or not sources:
        corpus = read_corpus(paths, workers=workers)
        sources = list(_sources_of_pieces(corpus, sources))
        splits = [piece.split for piece in corpus.pieces]
    require_split(splits, split)
    return [source for source, own in zip(sources, splits, strict=True) if own == split]


def _sources_of_pieces(corpus: Corpus, sources: list[MidiSource]) -> Iterator[MidiSource]:
    """Yield the file of every piece: both have the same order, but some files are left out."""
    remaining = iter(sources)
    for piece in corpus.pieces:
        yield next(s for s in remaining if (s.corpus, s.name) == (piece.corpus, piece.name))


def _default_cache() -> Path:
    return Path(os.environ.get("MUSICLSTM_CACHE", Path.home() / ".cache" / "musiclstm"))


def _cache_key() -> str:
    """Return a hash that changes when the same bytes would give other tokens or metadata."""
    names = " ".join(field.name for field in fields(PieceStats))
    text = f"{_FORMAT} {MusicTokenizer().fingerprint} {version('symusic')} {names}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Assembly.


class _UsableFile(NamedTuple):
    """A file whose tokens are known."""

    record: FileRecord
    weight: float
    digest: bytes
    notes: int
    stats: Mapping[str, Any]

    @property
    def copy_group(self) -> str:
        """Identifier that copies share; a hash of the bytes if the statistics are lost."""
        return str(self.stats.get("fingerprint") or self.digest.hex())


def _from_prepared(prepared: PreparedCorpus, leave_out: Collection[str]) -> Corpus:
    piece_filter, usable, kept = _PieceFilter(leave_out), list[_UsableFile](), list[int]()
    skipped = [Skipped(name, reason) for name, reason in prepared.left_out]
    for index, row in enumerate(prepared.rows):
        digest = bytes.fromhex(row.digest)
        record = FileRecord(row.name, row.corpus, row.split, row.licence, digest, None)
        file = _UsableFile(record, row.weight, digest, row.notes, row.stats)
        reason = piece_filter.reason(file)
        if reason is None:
            usable.append(file)
            kept.append(index)
        else:
            skipped.append(_skip(record, reason))
    return _corpus(PieceSubset(prepared.ids, kept), usable, skipped)


def _assemble(
    weighted: list[tuple[FileRecord, float]], cache: TokenCache, leave_out: Collection[str]
) -> Corpus:
    piece_filter, usable, skipped = _PieceFilter(leave_out), list[_UsableFile](), list[Skipped]()
    entries: list[CacheEntry] = []
    for record, weight in weighted:
        entry = None if record.digest is None else cache.known(record.digest)
        if record.digest is None or entry is None or not entry.tokens:
            skipped.append(_skip(record, _error_message(record, entry, cache)))
            continue
        stats = LazyStats(_cached_stats, cache.index_path(entry), entry.line)
        file = _UsableFile(record, weight, record.digest, entry.notes, stats)
        reason = piece_filter.reason(file)
        if reason is None:
            usable.append(file)
            entries.append(entry)
        else:
            skipped.append(_skip(record, reason))
    return _corpus(cache.mapped(entries), usable, skipped)


def _corpus(
    ids: Sequence[np.ndarray], usable: Sequence[_UsableFile], skipped: list[Skipped]
) -> Corpus:
    pieces = [_piece(file, split) for file, split in zip(usable, _splits(usable), strict=True)]
    return Corpus(ids, pieces, skipped, [file.digest for file in usable])


def _piece(file: _UsableFile, split: str) -> CorpusPiece:
    record = file.record
    return CorpusPiece(
        name=record.name,
        corpus=record.corpus,
        split=split,
        notes=file.notes,
        licence=record.licence,
        stats=file.stats,
        weight=file.weight,
    )


def _splits(files: Sequence[_UsableFile]) -> Iterator[str]:
    """Return the split of every file: the one of its manifest, or that of its music."""
    groups = [file.copy_group if file.record.split is None else "" for file in files]
    given = {file.record.split for file in files if file.record.split is not None}
    split_of = assign_splits({group for group in groups if group}, given)
    return (file.record.split or split_of[own] for file, own in zip(files, groups, strict=True))


class _PieceFilter:
    """Decides which usable files are left out; the files must come in order."""

    def __init__(self, leave_out: Collection[str]) -> None:
        self._leave_out = leave_out
        self._digests = set[bytes]()
        self._originals: dict[str, str] = {}  # name of the first piece of each group of copies

    def reason(self, file: _UsableFile) -> str | None:
        """Return why a file is left out; None: it stays."""
        if file.digest in self._digests:
            return "the same bytes as a file before it."
        self._digests.add(file.digest)
        if not self._leave_out or not file.stats:
            return None
        stats = PieceStats.from_dict(file.stats)
        if "short" in self._leave_out and stats.is_short:
            return f"it is too short: {stats.notes:,} notes in {stats.seconds:.1f} seconds."
        if "free" in self._leave_out and stats.is_off_grid:
            return "it is not on a beat grid: its notes fit the beats no better than by chance."
        if "duplicate" not in self._leave_out:
            return None
        original = self._originals.get(file.copy_group)
        if original is not None:
            return f"it has the notes of '{original}', up to transposition."
        self._originals[file.copy_group] = file.record.name
        return None


def _skip(record: FileRecord, reason: str) -> Skipped:
    return Skipped(record.name, clean_text(reason, max_length=500))


def _error_message(record: FileRecord, entry: CacheEntry | None, cache: TokenCache) -> str:
    if record.problem is not None or entry is None:
        return record.problem or "its tokens were lost; run again."
    metadata = cache.metadata(entry)
    problem = str(metadata.get("problem", "it cannot be used."))
    # The same bytes may have had another name when they were cached.
    return problem.replace(_quoted(str(metadata.get("name", record.name))), _quoted(record.name))


def _quoted(name: str) -> str:
    """Return a file name as the messages of `read_midi` quote it."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return f"'{clean_text(last)}'"
