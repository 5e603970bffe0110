"""From what `--data` names to token streams, read once and then found again by their bytes.

Broken files are told and skipped, never fatal. The streams stay on the disk (see store.py) and are
mapped from there, so that memory does not grow with the music. Here they are still unmerged base
ids, so that they can be transposed (see augmentation.py). Knows nothing of the network.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from musiclstm.errors import CorpusError
from musiclstm.intake import Limits
from musiclstm.tokenization import MusicTokenizer
from training.reading import Job, count_notes, encode_all
from training.sources import SPLITS, SUFFIXES, Given, Source, forget_archives, parse
from training.store import Chosen, Entry, Mapped, TokenStore, load_rows, save_rows, told_at
from training.survey import Survey

__all__ = [
    "SPLITS",
    "SUFFIXES",
    "Corpus",
    "Facts",
    "Piece",
    "Skipped",
    "Source",
    "count_notes",
    "find_sources",
    "read_corpus",
    "refuse_empty",
]

HELD_OUT_SHARE = 0.05
_READ_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)
_FORMAT = 4  # raise it when the meaning of what is stored changes


class Facts(Mapping[str, Any]):
    """What `Survey.facts` said of a piece, read from the disk when it is asked for."""

    __slots__ = ("_index", "_line")

    def __init__(self, index: Path, line: int) -> None:
        """Take the index of a shard, and where in it the line of the piece begins."""
        self._index, self._line = index, line

    def _load(self) -> dict[str, Any]:
        return _told_at(self._index, self._line).get("survey", {})

    def __getitem__(self, name: str) -> Any:
        return self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._load())

    def __len__(self) -> int:
        return len(self._load())


@lru_cache(maxsize=1)
def _told_at(index: Path, line: int) -> dict[str, Any]:
    """The last one is kept: facts of a piece are asked for one after the other."""
    return told_at(index, line)


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece that was read: where its ids stand and what it is.

    Attributes:
        name: Of its file.
        corpus: Name of the zip, folder or data set it came from.
        split: train, valid or test.
        notes: Among its tokens.
        licence: As its manifest says.
        facts: Of its `Survey`; empty if the cache has lost them since.
        weight: How many times an epoch shows it, on the average.
    """

    name: str
    corpus: str
    split: str
    notes: int
    licence: str | None
    facts: Mapping[str, Any] | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Skipped:
    """One file that was left out, and why."""

    name: str
    reason: str


class Corpus:
    """Pieces as unmerged token ids.

    Attributes:
        pieces: What was read, in order.
        skipped: What was left out.
    """

    def __init__(self, ids: Mapped, pieces: list[Piece], skipped: list[Skipped]) -> None:
        """Take the ids of every piece, each (tokens,) uint16, and what the pieces are."""
        self._ids = ids
        self.pieces, self.skipped = pieces, skipped

    def tokens(self, split: str) -> Sequence[np.ndarray]:
        """Base ids of every piece of a split, read from the disk when they are looked at."""
        return Chosen(self._ids, self._places(split))

    def weights(self, split: str) -> list[float]:
        """How many times an epoch shows each piece of a split (see weighting.py)."""
        return [self.pieces[i].weight for i in self._places(split)]

    def notes(self, split: str) -> int:
        """Notes in a split."""
        return sum(piece.notes for piece in self.pieces if piece.split == split)

    def _places(self, split: str) -> list[int]:
        return [i for i, piece in enumerate(self.pieces) if piece.split == split]

    def programs(self) -> list[int]:
        """Programs that the train split lets one learn, -1 for drums.

        Those that play one note in two thousand and in five pieces; in a corpus of fewer than fifty
        pieces, in a tenth of them. None such: all there are.
        """
        names = MusicTokenizer().base_tokens
        notes, pieces = Counter[int](), Counter[int]()
        train = self.tokens("train")
        for piece in train:
            for index, times in zip(*np.unique(piece, return_counts=True), strict=True):
                if names[index].startswith("Program_"):
                    program = int(names[index].removeprefix("Program_"))
                    notes[program] += int(times)
                    pieces[program] += 1
        few_notes = self.notes("train") / 2_000
        few_pieces = min(5, len(train) / 10)
        heard = [p for p in notes if notes[p] >= few_notes and pieces[p] >= few_pieces]
        return sorted(heard or notes)

    def summary(self) -> list[dict[str, object]]:
        """Per corpus: pieces and notes by split, licence, weight; ready for facts.json."""
        rows = []
        for name, weight in dict.fromkeys((piece.corpus, piece.weight) for piece in self.pieces):
            own = [p for p in self.pieces if (p.corpus, p.weight) == (name, weight)]
            licences = sorted({piece.licence for piece in own if piece.licence})
            row: dict[str, object] = {"name": name, "licence": ", ".join(licences) or None}
            row["weight"] = weight
            for split in SPLITS:
                chosen = [piece for piece in own if piece.split == split]
                row[split] = {"pieces": len(chosen), "notes": sum(p.notes for p in chosen)}
            rows.append(row)
        return rows


def read_corpus(
    paths: Sequence[str | Path],
    *,
    workers: int | None = None,
    cache: Path | None = None,
    allow_empty: bool = False,
) -> Corpus:
    """Read every MIDI file under the paths.

    What was read stays in the cache, found again by its bytes: an interrupted reading goes on where
    it stopped, and a source that has not changed is not opened again.

    Args:
        paths: Folders (searched to the bottom, zips in them too), zips, single MIDI files, tables
            and data sets of the Hub, each with `=weight` behind it if wanted (see
            `sources.parse`). A `MANIFEST.json` beside the files may give `split` and `licence`; the
            rest is split by piece, 90/5/5, in the order of a hash of its bytes.
        workers: Processes; None: one per core.
        cache: Folder for what was read; None: `~/.cache/musiclstm`, or MUSICLSTM_CACHE.
        allow_empty: Also return a corpus in which every file was left out.

    Raises:
        CorpusError: A path is missing, or nothing under the paths can be used.
    """
    given = parse(paths)
    folder = (cache or _default_cache()) / f"tokens-{_store_key()}"
    try:
        with TokenStore(folder) as store:
            rows = _read_all(given, store, folder, workers)
            weighted = [(r, g.weight) for g, own in zip(given, rows, strict=True) for r in own]
            if not weighted:
                raise CorpusError(
                    f"No MIDI file under {', '.join(repr(Path(p).name) for p in paths)}; expected "
                    f"files that end in {', '.join(SUFFIXES)}, or zips of them."
                )
            corpus = _assemble(weighted, store)
    finally:
        forget_archives()
    if not allow_empty:
        refuse_empty(corpus)
    return corpus


def refuse_empty(corpus: Corpus) -> None:
    """Raise a CorpusError where no file could be used."""
    if not corpus.pieces:
        first = corpus.skipped[0]
        raise CorpusError(
            f"None of {len(corpus.skipped)} MIDI files can be used; the first one, {first.name!r}: "
            f"{first.reason}"
        )


def find_sources(paths: Sequence[str | Path]) -> list[Source]:
    """Every MIDI file under the paths in the order in which `read_corpus` reads them.

    Raises:
        CorpusError: A path is missing, or a zip cannot be opened.
    """
    return [source for given in parse(paths) for source in given.origin.sources()]


def _default_cache() -> Path:
    return Path(os.environ.get("MUSICLSTM_CACHE", Path.home() / ".cache" / "musiclstm"))


def _store_key() -> str:
    """Changes when the same bytes would give other tokens, or more is told of them."""
    told = " ".join(field.name for field in fields(Survey))
    versions = f"{version('miditok')} {version('symusic')}"
    text = f"{_FORMAT} {MusicTokenizer().fingerprint} {versions} {told}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# Reading files.


class _Row(NamedTuple):
    """One file of a source, after its bytes were seen."""

    name: str
    corpus: str
    split: str | None
    licence: str | None
    digest: bytes | None
    problem: str | None  # why its bytes could not be read

    def plain(self) -> list[str | None]:
        """For `save_rows`."""
        return [*self[:4], None if self.digest is None else self.digest.hex(), self.problem]

    @classmethod
    def of(cls, plain: Sequence[Any]) -> _Row:
        """What `plain` gave."""
        name, corpus, split, licence, digest, problem = plain
        split, licence = (None if text is None else intern(text) for text in (split, licence))
        known = None if digest is None else bytes.fromhex(digest)
        return cls(name, intern(corpus), split, licence, known, problem)


class _Reading:
    """One source on its way: known from its list, or read file by file."""

    def __init__(self, given: Given, store: TokenStore, folder: Path) -> None:
        self._origin, self._store = given.origin, store
        identity, self.files = given.origin.survey()
        self._list = folder / f"files-{identity[:32]}.jsonl"
        self.rows = [_Row.of(row) for row in load_rows(self._list) or []]
        whole = all(r.digest is None or store.find(r.digest) is not None for r in self.rows)
        self.done = bool(self.rows) and whole
        self._fleeting = False  # a problem that may be gone the next time

    def jobs(self, bar: Any) -> Iterator[Job]:
        """The files whose tokens nobody knows yet."""
        self.rows.clear()
        asked: set[bytes] = set()
        for source in self._origin.sources():
            data, problem = self._bytes(source)
            digest = None if problem else hashlib.sha256(data).digest()
            self.rows.append(
                _Row(source.name, source.corpus, source.split, source.licence, digest, problem)
            )
            if digest is not None and digest not in asked:
                asked.add(digest)
                if self._store.find(digest) is None:
                    yield Job(digest, source.name, data)
            bar.update()

    def _bytes(self, source: Source) -> tuple[bytes, str | None]:
        try:
            return source.read(Limits.training().bytes), None
        except _READ_ERRORS as error:
            self._fleeting |= isinstance(error, OSError)
            return b"", f"it cannot be read ({error})."

    def remember(self) -> None:
        """Keep the list of files, so that the next time nothing need be opened."""
        if not self.done and not self._fleeting:
            save_rows(self._list, (row.plain() for row in self.rows))


def _read_all(
    given: list[Given], store: TokenStore, folder: Path, workers: int | None
) -> list[list[_Row]]:
    """The files of every source; afterwards their tokens are in the store."""
    readings = [_Reading(each, store, folder) for each in given]
    new = [reading for reading in readings if not reading.done]
    counts = [reading.files for reading in new]
    total = None if None in counts else sum(count or 0 for count in counts)
    bar = tqdm(
        total=total,
        unit="file",
        desc="Reading MIDI",
        leave=False,
        disable=None if new else True,  # None: in a log file a bar is only noise
    )
    with bar:
        jobs = (job for reading in new for job in reading.jobs(bar))
        for found in encode_all(jobs, workers):
            store.add(found.digest, found.ids, found.notes, found.told)
    for reading in new:
        reading.remember()
    return [reading.rows for reading in readings]


# Putting it together.


def _assemble(weighted: list[tuple[_Row, float]], store: TokenStore) -> Corpus:
    splits = _split([row for row, _ in weighted if _tokens(row, store)])
    pieces, kept, skipped, seen = list[Piece](), list[Entry](), list[Skipped](), set[bytes]()
    for row, weight in weighted:
        entry = None if row.digest is None else store.known(row.digest)
        if row.digest is None or entry is None or not entry.tokens:
            skipped.append(Skipped(row.name, _problem(row, entry, store)))
        elif row.digest in seen:
            skipped.append(Skipped(row.name, "the same bytes as a file before it."))
        else:
            seen.add(row.digest)
            split = row.split or splits[row.digest]
            facts = Facts(store.place(entry), entry.line)
            pieces.append(
                Piece(row.name, row.corpus, split, entry.notes, row.licence, facts, weight)
            )
            kept.append(entry)
    return Corpus(store.mapped(kept), pieces, skipped)


def _tokens(row: _Row, store: TokenStore) -> int:
    entry = None if row.digest is None else store.known(row.digest)
    return 0 if entry is None else entry.tokens


def _problem(row: _Row, entry: Entry | None, store: TokenStore) -> str:
    if row.problem is not None or entry is None:
        return row.problem or "its tokens were lost; run again."
    told = store.told(entry)
    problem = str(told.get("problem", "it cannot be used."))
    # The same bytes may have had another name when they were read.
    return problem.replace(str(told.get("name", row.name)), row.name)


def _split(rows: list[_Row]) -> dict[bytes, str]:
    """Splits of the pieces that no manifest has placed, by digest."""
    order = sorted({row.digest for row in rows if row.split is None and row.digest is not None})
    test = round(HELD_OUT_SHARE * len(order))
    valid = max(round(HELD_OUT_SHARE * len(order)), min(1, len(order) - 1))
    names = ["test"] * test + ["valid"] * valid + ["train"] * (len(order) - test - valid)
    return dict(zip(order, names, strict=True))
