"""From what `--data` names to token streams, read once and then found again by their bytes.

Broken files are reported and skipped, never fatal. The streams stay on the disk (see store.py) and
are mapped from there, so that memory does not grow with the music.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from musiclstm.errors import CorpusError
from musiclstm.midi import MidiLimits, clean_text
from musiclstm.tokens import MusicTokenizer
from training.data.piece_stats import Survey
from training.data.sources import SUFFIXES, Given, MidiSource, forget_archives, parse
from training.data.token_cache import (
    Chosen,
    Entry,
    Mapped,
    TokenCache,
    load_rows,
    save_rows,
    told_at,
)
from training.data.tokenize import Job, encode_all, notes_by_program
from training.pretraining.encoded_corpora import SPLITS

__all__ = [
    "REASONS",
    "SPLITS",
    "SUFFIXES",
    "Corpus",
    "CorpusPiece",
    "Facts",
    "MidiSource",
    "Skipped",
    "find_sources",
    "read_corpus",
    "refuse_empty",
]

REASONS = ("short", "free", "duplicate")  # why a piece that can be used may be left out
HELD_OUT_SHARE = 0.05  # goes to test, and as much to valid
_FEWEST = {"valid": 2, "test": 20}  # different pieces of which one at least goes there
_LONGEST_NAME = 255
_READ_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)
_FORMAT = 5  # raise it when the meaning of what is stored changes


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
class CorpusPiece:
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
    """Pieces as token ids.

    Attributes:
        pieces: What was read, in order; their names are one line of plain text.
        skipped: What was left out; names and reasons are plain text, too.
    """

    def __init__(
        self, ids: Mapped, pieces: list[CorpusPiece], skipped: list[Skipped], digests: list[bytes]
    ) -> None:
        """Take what every piece is: its ids, (tokens,) uint16, and the SHA-256 of its file."""
        self._ids, self._digests = ids, digests
        self.pieces, self.skipped = pieces, skipped

    @property
    def fingerprint(self) -> str:
        """Sixty-four hexadecimal digits: of bytes, split and weight of every piece, nothing else.

        Names and the order of the pieces do not count.
        """
        pairs = zip(self._digests, self.pieces, strict=True)
        lines = sorted(f"{digest.hex()} {own.split} {own.weight!r}\n" for digest, own in pairs)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def tokens(self, split: str) -> Sequence[np.ndarray]:
        """Return the ids of every piece of a split, read from the disk when they are looked at."""
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
        """Return the programs of which the train split holds enough to learn, -1 for drums.

        Those that play one note in two thousand and in five pieces; in a corpus of fewer than fifty
        pieces, in a tenth of them. None such: all there are.
        """
        notes, pieces = Counter[int](), Counter[int]()
        train = self.tokens("train")
        for ids in train:
            own = notes_by_program(ids)
            notes += own
            pieces.update(own.keys())
        few_notes = self.notes("train") / 2_000
        few_pieces = min(5, len(train) / 10)
        common = [p for p in notes if notes[p] >= few_notes and pieces[p] >= few_pieces]
        return sorted(common or notes)

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
    leave_out: Collection[str] = (),
) -> Corpus:
    """Read every MIDI file under the paths.

    What was read stays in the cache, found again by its bytes: an interrupted reading goes on where
    it stopped, and a source that has not changed is not opened again.

    Args:
        paths: Folders (searched to the bottom, zips in them too), zips, single MIDI files, tables
            and data sets of the Hub, each with `=weight` behind it if wanted (see
            `sources.parse`). A `MANIFEST.json` beside the files may give `split` and `licence`.
            Of the rest a hash of the music decides, 90/5/5: a piece goes where it goes in whatever
            company it is read, and all its copies, up to transposition, go with it. Only where a
            split would be empty, one piece and its copies are moved there (see `_split`).
        workers: Processes; None: one per core.
        cache: Folder for what was read; None: `~/.cache/musiclstm`, or MUSICLSTM_CACHE.
        allow_empty: Also return a corpus in which every file was left out.
        leave_out: Some of `REASONS`: "short", pieces too short to teach much; "free", pieces that
            are not on a beat grid; "duplicate", copies of a piece before them, up to transposition.

    Raises:
        CorpusError: A path is missing, or nothing under the paths can be used.
        ValueError: An unknown reason to leave a piece out.
    """
    _check_reasons(leave_out)
    given = parse(paths)
    folder = (cache or _default_cache()) / f"tokens-{_store_key()}"
    try:
        with TokenCache(folder) as store:
            rows = _read_all(given, store, folder, workers)
            weighted = [(r, g.weight) for g, own in zip(given, rows, strict=True) for r in own]
            if not weighted:
                raise CorpusError(
                    f"No MIDI file under {', '.join(repr(Path(p).name) for p in paths)}; expected "
                    f"files that end in {', '.join(SUFFIXES)}, or zips of them."
                )
            corpus = _assemble(weighted, store, leave_out)
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


def find_sources(paths: Sequence[str | Path]) -> list[MidiSource]:
    """Every MIDI file under the paths in the order in which `read_corpus` reads them.

    Raises:
        CorpusError: A path is missing, or a zip cannot be opened.
    """
    return [_cleaned(source) for given in parse(paths) for source in given.origin.sources()]


def _check_reasons(leave_out: Collection[str]) -> None:
    unknown = [reason for reason in leave_out if reason not in REASONS]
    if unknown:
        raise ValueError(
            f"There is no reason {unknown[0]!r} to leave a piece out; known to --leave_out are "
            f"{', '.join(REASONS)}."
        )


def _default_cache() -> Path:
    return Path(os.environ.get("MUSICLSTM_CACHE", Path.home() / ".cache" / "musiclstm"))


def _store_key() -> str:
    """Changes when the same bytes would give other tokens, or more is told of them."""
    told = " ".join(field.name for field in fields(Survey))
    text = f"{_FORMAT} {MusicTokenizer().fingerprint} {version('symusic')} {told}"
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
        # An old list has them as they came.
        name, corpus, licence = (text and _clean_name(text) for text in (name, corpus, licence))
        split, licence = (None if text is None else intern(text) for text in (split, licence))
        known = None if digest is None else bytes.fromhex(digest)
        return cls(name, intern(corpus), split, licence, known, problem)


class _Reading:
    """One source on its way: known from its list, or read file by file."""

    def __init__(self, given: Given, store: TokenCache, folder: Path) -> None:
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
        for source in map(_cleaned, self._origin.sources()):
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

    def _bytes(self, source: MidiSource) -> tuple[bytes, str | None]:
        try:
            return source.read(MidiLimits.training().bytes), None
        except _READ_ERRORS as error:
            self._fleeting |= isinstance(error, OSError)
            return b"", f"it cannot be read ({error})."

    def remember(self) -> None:
        """Keep the list of files, so that the next time nothing need be opened."""
        if not self.done and not self._fleeting:
            save_rows(self._list, (row.plain() for row in self.rows))


def _read_all(
    given: list[Given], store: TokenCache, folder: Path, workers: int | None
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


class _Found(NamedTuple):
    """A file that can be used."""

    row: _Row
    weight: float
    digest: bytes
    entry: Entry
    facts: Facts

    @property
    def kin(self) -> str:
        """The same for copies up to transposition; where the facts are lost, for equal bytes."""
        return str(self.facts.get("fingerprint") or self.digest.hex())

    def piece(self, split: str) -> CorpusPiece:
        """What the corpus tells of it."""
        row = self.row
        return CorpusPiece(
            row.name, row.corpus, split, self.entry.notes, row.licence, self.facts, self.weight
        )


def _assemble(
    weighted: list[tuple[_Row, float]], store: TokenCache, leave_out: Collection[str]
) -> Corpus:
    sieve, found, skipped = _Sieve(leave_out), list[_Found](), list[Skipped]()
    for row, weight in weighted:
        entry = None if row.digest is None else store.known(row.digest)
        if row.digest is None or entry is None or not entry.tokens:
            skipped.append(_skipped(row, _problem(row, entry, store)))
            continue
        each = _Found(row, weight, row.digest, entry, Facts(store.place(entry), entry.line))
        reason = sieve.reason(each)
        if reason is None:
            found.append(each)
        else:
            skipped.append(_skipped(row, reason))
    pieces = [own.piece(split) for own, split in zip(found, _splits(found), strict=True)]
    mapped = store.mapped(each.entry for each in found)
    return Corpus(mapped, pieces, skipped, [each.digest for each in found])


class _Sieve:
    """Which of the files that can be used are left out; they must come in order."""

    def __init__(self, leave_out: Collection[str]) -> None:
        self._leave_out = leave_out
        self._seen = set[bytes]()
        self._first: dict[str, str] = {}  # name of the first piece of every kin

    def reason(self, found: _Found) -> str | None:
        """A sentence, or None for a file that stays."""
        if found.digest in self._seen:
            return "the same bytes as a file before it."
        self._seen.add(found.digest)
        if not self._leave_out or not found.facts:
            return None
        survey = Survey.from_facts(found.facts)
        if "short" in self._leave_out and survey.short:
            return f"it is too short: {survey.notes:,} notes in {survey.seconds:.1f} seconds."
        if "free" in self._leave_out and survey.free:
            return "it is not on a beat grid: its notes meet the beats no better than by chance."
        if "duplicate" not in self._leave_out:
            return None
        kin, name = found.kin, found.row.name
        if kin in self._first:
            return f"it has the notes of '{self._first[kin]}', up to transposition."
        self._first[kin] = name
        return None


def _skipped(row: _Row, reason: str) -> Skipped:
    return Skipped(row.name, clean_text(reason, max_length=500))


def _problem(row: _Row, entry: Entry | None, store: TokenCache) -> str:
    if row.problem is not None or entry is None:
        return row.problem or "its tokens were lost; run again."
    told = store.told(entry)
    problem = str(told.get("problem", "it cannot be used."))
    # The same bytes may have had another name when they were read.
    before, now = _quoted(str(told.get("name", row.name))), _quoted(row.name)
    return problem.replace(before, now)


def _quoted(name: str) -> str:
    """As a sentence of `read_midi` has it."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return f"'{clean_text(last)}'"


@lru_cache(maxsize=1024)  # the names of corpora come again and again
def _clean_name(name: str) -> str:
    """One line of plain text, whatever the file system or the archive calls it."""
    return clean_text(name, max_length=_LONGEST_NAME) or "unnamed"


def _cleaned(source: MidiSource) -> MidiSource:
    name, corpus = _clean_name(source.name), _clean_name(source.corpus)
    licence = source.licence and _clean_name(source.licence)
    return replace(source, name=name, corpus=corpus, licence=licence)


# Splits.


def _splits(found: Sequence[_Found]) -> Iterator[str]:
    """Of every piece: as a manifest says, else as its own music decides."""
    kin = [each.kin if each.row.split is None else "" for each in found]
    placed = {each.row.split for each in found if each.row.split is not None}
    split_of = _split({own for own in kin if own}, placed)
    return (each.row.split or split_of[own] for each, own in zip(found, kin, strict=True))


def _split(kin: Collection[str], placed: Collection[str]) -> dict[str, str]:
    """The split of every kin that no manifest has placed.

    Args:
        kin: One text for each piece and its copies.
        placed: Splits in which a manifest has put other pieces.
    """
    order = sorted(kin, key=_place)
    splits = {own: _split_at(_place(own)) for own in order}
    if order and "train" not in {*placed, *splits.values()}:
        splits[order[-1]] = "train"  # without it nothing could be learnt
    for split, fewest in _FEWEST.items():
        train = [own for own in order if splits[own] == "train"]
        missing = split not in {*placed, *splits.values()}
        if missing and len(order) >= fewest and len(train) > 1:
            splits[train[0]] = split
    return splits


def _place(kin: str) -> float:
    """A number from 0 to 1 that only the kin decides, all of them equally likely."""
    return int.from_bytes(hashlib.sha256(kin.encode()).digest()[:6]) / 2**48


def _split_at(place: float) -> str:
    if place < HELD_OUT_SHARE:
        return "test"
    return "valid" if place < 2 * HELD_OUT_SHARE else "train"
