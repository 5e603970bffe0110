"""Read the files of all sources and convert new ones to token ids in several processes.

One process reads and hashes files, the others convert them. The number of bytes in flight is
limited, so that memory does not grow with the corpus.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

import numpy as np
from symusic.core import ScoreTick
from tqdm.auto import tqdm

from musiclstm import transcribe
from musiclstm.errors import CorpusError, MusicLSTMError
from musiclstm.midi import (
    MidiLimits,
    MidiSummary,
    check_score,
    clean_text,
    is_recording,
    read_midi,
    to_last_note,
)
from musiclstm.model import TokenKind, TokenTable
from musiclstm.tokens import MusicTokenizer
from training.data.piece_stats import piece_stats
from training.data.sources import DataEntry, MidiSource
from training.data.token_cache import TokenCache, load_rows, save_rows

_READ_ERRORS = (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError)
_PITCHES = (TokenKind.PITCH, TokenKind.DRUM)
_MIN_PARALLEL_FILES = 8  # fewer files are not worth starting processes
_BATCH_BYTES, _BATCH_FILES = 200_000, 16
_BATCHES_PER_WORKER = 4
_MAX_BYTES_IN_FLIGHT = 100_000_000


class EncodeJob(NamedTuple):
    """A file to convert: hash of its bytes, name and bytes."""

    digest: bytes
    name: str
    data: bytes


@dataclass(frozen=True)
class EncodedFile:
    """Result of converting one file to tokens.

    Attributes:
        digest: Hash of its bytes.
        ids: Token ids, (tokens,) uint16; empty if the file cannot be used.
        notes: Number of notes in the tokens.
        metadata: `stats` of the piece, or the `problem` and `name` of a file that cannot be used.
    """

    digest: bytes
    ids: np.ndarray
    notes: int
    metadata: dict[str, Any]


# Reading.


class FileRecord(NamedTuple):
    """A file of a source whose bytes were read.

    Attributes:
        name: File name.
        corpus: Name of the zip, folder or data set that contains the file.
        split: Split that the manifest or table names.
        licence: Licence that the manifest or table names.
        digest: SHA-256 of the bytes; None if they could not be read.
        problem: Why they could not be read.
    """

    name: str
    corpus: str
    split: str | None
    licence: str | None
    digest: bytes | None
    problem: str | None

    def to_row(self) -> list[str | None]:
        """Return the values in the types that JSON has."""
        return [*self[:4], None if self.digest is None else self.digest.hex(), self.problem]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> FileRecord:
        """Build the record from the result of `to_row`."""
        name, corpus, split, licence, digest, problem = row
        split, licence = (None if text is None else intern(text) for text in (split, licence))
        known = None if digest is None else bytes.fromhex(digest)
        return cls(name, intern(corpus), split, licence, known, problem)


class _SourceReader:
    """Reads one entry of `--data`, or its list of files from an earlier reading."""

    def __init__(self, entry: DataEntry, cache: TokenCache, folder: Path) -> None:
        self._entry, self._cache = entry, cache
        identity, self.count = entry.origin.identify()
        self._list = folder / f"files-{identity[:32]}.jsonl"
        self.records = [FileRecord.from_row(row) for row in load_rows(self._list) or []]
        is_cached = all(r.digest is None or cache.find(r.digest) for r in self.records)
        self.is_done = bool(self.records) and is_cached
        self._may_succeed_later = False  # a file could not be read because of an OSError

    def jobs(self, progress: Any) -> Iterator[EncodeJob]:
        """Read every file; yield those whose tokens are not cached."""
        self.records.clear()
        seen: set[bytes] = set()
        for source in self._entry.sources():
            data, problem = self._read(source)
            digest = None if problem else hashlib.sha256(data).digest()
            self.records.append(
                FileRecord(
                    source.name, source.corpus, source.split, source.licence, digest, problem
                )
            )
            if digest is not None and digest not in seen:
                seen.add(digest)
                if self._cache.find(digest) is None:
                    yield EncodeJob(digest, source.name, data)
            progress.update()

    def _read(self, source: MidiSource) -> tuple[bytes, str | None]:
        try:
            return source.read(MidiLimits.training().bytes), None
        except _READ_ERRORS as error:
            self._may_succeed_later |= isinstance(error, OSError)
            return b"", f"it cannot be read ({error})."

    def save_list(self) -> None:
        if not self._may_succeed_later:
            save_rows(self._list, (record.to_row() for record in self.records))


def read_sources(
    entries: Sequence[DataEntry], cache: TokenCache, folder: Path, workers: int | None
) -> list[list[FileRecord]]:
    """Read the files of every entry and add their tokens to the cache.

    Args:
        entries: What `--data` names.
        cache: Where tokens are looked up and added.
        folder: Folder of the cache, for the lists of files.
        workers: Number of processes; None: one per core.

    Returns:
        The files of each entry.
    """
    readers = [_SourceReader(entry, cache, folder) for entry in entries]
    new = [reader for reader in readers if not reader.is_done]
    counts = [reader.count for reader in new]
    bar = tqdm(
        total=None if None in counts else sum(count or 0 for count in counts),
        unit="file",
        desc="Reading MIDI",
        leave=False,
        disable=None if new else True,  # None: not in a log file
    )
    with bar:
        jobs = (job for reader in new for job in reader.jobs(bar))
        for file in encode_all(jobs, workers):
            cache.add(file.digest, file.ids, file.notes, file.metadata)
            if "heard" in file.metadata:
                bar.write(str(file.metadata["heard"]))
    for reader in new:
        reader.save_list()
    return [reader.records for reader in readers]


# Conversion.


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def encode_all(jobs: Iterable[EncodeJob], workers: int | None = None) -> Iterator[EncodedFile]:
    """Convert every file to tokens.

    Args:
        jobs: Consumed little faster than they are converted.
        workers: Number of processes; None: one per core, 1: only this one.

    Raises:
        CorpusError: A process was killed.
    """
    errors: list[MusicLSTMError] = []

    def until_error() -> Iterator[EncodeJob]:
        """Yield jobs; keep the first error, which is raised after their results."""
        try:
            yield from jobs
        except MusicLSTMError as error:
            errors.append(error)

    pending = until_error()
    first = list(itertools.islice(pending, _MIN_PARALLEL_FILES))
    workers = workers or available_cores()
    if workers == 1 or len(first) < _MIN_PARALLEL_FILES:
        yield from map(encode, itertools.chain(first, pending))
    else:
        yield from _encode_in_pool(itertools.chain(first, pending), workers)
    if errors:
        raise errors[0]


def _encode_in_pool(jobs: Iterator[EncodeJob], workers: int) -> Iterator[EncodedFile]:
    pool = ProcessPoolExecutor(workers)
    pending: deque[tuple[Future[list[EncodedFile]], int, str]] = deque()
    try:
        for batch in _batches(jobs):
            size = sum(len(job.data) for job in batch)
            pending.append((_submit(pool, batch), size, batch[0].name))
            while _is_full(pending, workers):
                yield from _result(pending)
        while pending:
            yield from _result(pending)
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, batch: list[EncodeJob]) -> Future[list[EncodedFile]]:
    """Submit a batch. If a process was killed, the result is that error, after earlier results."""
    try:
        return pool.submit(_encode_batch, batch)
    except BrokenProcessPool as error:
        failed: Future[list[EncodedFile]] = Future()
        failed.set_exception(error)
        return failed


def _is_full(pending: deque[tuple[Future[list[EncodedFile]], int, str]], workers: int) -> bool:
    total = sum(size for _, size, _ in pending)
    return len(pending) >= _BATCHES_PER_WORKER * workers or total > _MAX_BYTES_IN_FLIGHT


def _result(pending: deque[tuple[Future[list[EncodedFile]], int, str]]) -> list[EncodedFile]:
    future, _, name = pending.popleft()
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            f"A process that read MIDI was killed at {name!r} or soon after it, probably because "
            "memory ran out; run again with fewer --workers. Files that were read are cached."
        ) from error


def _batches(jobs: Iterator[EncodeJob]) -> Iterator[list[EncodeJob]]:
    """Group small files, to save messages between processes; large files stay alone."""
    batch: list[EncodeJob] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += len(job.data)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode_batch(batch: list[EncodeJob]) -> list[EncodedFile]:
    return [encode(job) for job in batch]


_tokenizer: MusicTokenizer | None = None  # one per process


def encode(job: EncodeJob) -> EncodedFile:
    """Convert one file to tokens and compute its statistics."""
    global _tokenizer
    _tokenizer = _tokenizer or MusicTokenizer()
    try:
        score, summary, heard = _read(job)
        ids = np.array(_tokenizer.encode(to_last_note(score)), np.uint16)
        notes = count_notes(ids, _tokenizer)
        stats = piece_stats(score, summary, token_notes=notes)
    except MusicLSTMError as error:
        return _failed(job, str(error))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # One file in a hundred thousand triggers a bug in a library; skip it.
        problem = f"it cannot be written as tokens ({type(error).__name__}: {error})."
        return _failed(job, problem)
    return EncodedFile(job.digest, ids, notes, {"stats": stats.to_dict(), **heard})


def _read(job: EncodeJob) -> tuple[ScoreTick, MidiSummary, dict[str, str]]:
    """Return score and summary of a MIDI file or of the first minute of a recording.

    Metadata of a recording say what was heard and how sure.
    """
    limits = MidiLimits.training()
    if not is_recording(job.data):
        return *read_midi(job.data, name=job.name, limits=limits), {}
    heard = transcribe(job.data, name=job.name)
    score, summary = check_score(heard.to_score(), name=job.name, limits=limits)
    facts = str(heard).replace("\n", "; ")
    return score, summary, {"heard": f"{clean_text(job.name)}: {facts}"}


def _failed(job: EncodeJob, problem: str) -> EncodedFile:
    return EncodedFile(
        job.digest, np.zeros(0, np.uint16), 0, {"problem": problem, "name": job.name}
    )


def count_notes(ids: Sequence[int] | np.ndarray, tokenizer: MusicTokenizer) -> int:
    """Return the number of notes in token ids: one pitch token each."""
    kinds, _ = _kinds_and_values(tuple(tokenizer.token_names))
    return int(np.isin(kinds[ids], _PITCHES).sum())


def count_tokens(ids: np.ndarray, kind: TokenKind) -> int:
    """Return the number of tokens of a kind in token ids."""
    kinds, _ = _kinds_and_values(MusicTokenizer.token_names)
    return int((kinds[ids] == kind).sum())


def notes_by_program(ids: np.ndarray) -> Counter[int]:
    """Return the number of notes of each program in token ids, -1 for drums."""
    kinds, values = (each[ids] for each in _kinds_and_values(MusicTokenizer.token_names))
    programs = np.flatnonzero(kinds == TokenKind.PROGRAM)
    pitches = np.flatnonzero(np.isin(kinds, _PITCHES))
    block = np.searchsorted(programs, pitches, side="right") - 1
    found, counts = np.unique(values[programs[block[block >= 0]]], return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


@cache
def _kinds_and_values(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return kind and value of every token, each (vocab,)."""
    table = TokenTable(names)
    return np.array(table.kind), np.array(table.value)
