"""MIDI bytes to tokens in several processes.

One process reads and hashes, others turn bytes into tokens; only so much is on its way that memory
does not grow with the corpus. Results come in the order of the jobs. Knows neither where bytes come
from nor where tokens go.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from musiclstm.errors import CorpusError, MusicLSTMError
from musiclstm.midi import MidiLimits, read_midi
from musiclstm.model import Kind, TokenTable
from musiclstm.tokens import MusicTokenizer
from training.data.piece_stats import survey

_PITCHES = (Kind.PITCH, Kind.DRUM)
_FEW = 8  # files that are not worth starting processes for
_BATCH_BYTES, _BATCH_FILES = 200_000, 16
_BATCHES_A_WORKER = 4
_BYTES_ON_THE_WAY = 100_000_000


class Job(NamedTuple):
    """One file to read."""

    digest: bytes
    name: str
    data: bytes


@dataclass(frozen=True)
class Encoded:
    """What became of a file.

    Attributes:
        digest: Of its bytes.
        ids: Token ids, (tokens,) uint16; none where it cannot be used.
        notes: Among the tokens.
        told: `problem`, why it cannot be used, or `survey`, what it is; plain values.
    """

    digest: bytes
    ids: np.ndarray
    notes: int
    told: dict[str, Any]


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def encode_all(jobs: Iterable[Job], workers: int | None = None) -> Iterator[Encoded]:
    """Turn every file into tokens.

    Args:
        jobs: Taken one after the other, not much faster than they are worked off.
        workers: Processes; None: one per core, 1: only this one.

    Raises:
        CorpusError: A process was killed.
    """
    patient = _Patient(jobs)
    few = list(itertools.islice(patient, _FEW))
    workers = workers or cores()
    if workers == 1 or len(few) < _FEW:
        yield from map(encode, itertools.chain(few, patient))
    else:
        yield from _encode_in_pool(itertools.chain(few, patient), workers)
    if patient.error is not None:
        raise patient.error


class _Patient:
    """Jobs up to the first error, which waits until those before it are done."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = iter(jobs)
        self.error: MusicLSTMError | None = None

    def __iter__(self) -> Iterator[Job]:
        return self

    def __next__(self) -> Job:
        if self.error is not None:
            raise StopIteration
        try:
            return next(self._jobs)
        except MusicLSTMError as error:
            self.error = error
            raise StopIteration from error


def _encode_in_pool(jobs: Iterator[Job], workers: int) -> Iterator[Encoded]:
    pool = ProcessPoolExecutor(workers)
    waiting: deque[tuple[Future[list[Encoded]], int, str]] = deque()
    try:
        for batch in _batches(jobs):
            size = sum(len(job.data) for job in batch)
            waiting.append((pool.submit(_encode_batch, batch), size, batch[0].name))
            while _enough(waiting, workers):
                yield from _result(waiting)
        while waiting:
            yield from _result(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _enough(waiting: deque[tuple[Future[list[Encoded]], int, str]], workers: int) -> bool:
    total = sum(size for _, size, _ in waiting)
    return len(waiting) >= _BATCHES_A_WORKER * workers or total > _BYTES_ON_THE_WAY


def _result(waiting: deque[tuple[Future[list[Encoded]], int, str]]) -> list[Encoded]:
    future, _, name = waiting.popleft()
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise CorpusError(
            f"A process that read MIDI was killed at {name!r} or soon after it, most likely for "
            "want of memory; run again with fewer --workers, what was read is kept."
        ) from error


def _batches(jobs: Iterator[Job]) -> Iterator[list[Job]]:
    """Small files together, so that handing them over costs little; large ones alone."""
    batch: list[Job] = []
    size = 0
    for job in jobs:
        batch.append(job)
        size += len(job.data)
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _encode_batch(batch: list[Job]) -> list[Encoded]:
    return [encode(job) for job in batch]


_tokenizer: MusicTokenizer | None = None  # one per process


def encode(job: Job) -> Encoded:
    """Turn one file into tokens, and look at what it is."""
    global _tokenizer
    _tokenizer = _tokenizer or MusicTokenizer()
    try:
        score, report = read_midi(job.data, name=job.name, limits=MidiLimits.training())
        ids = np.array(_tokenizer.encode(score), np.uint16)
        notes = count_notes(ids, _tokenizer)
        told = {"survey": survey(score, report, kept_notes=notes).facts()}
    except MusicLSTMError as error:
        return _unusable(job, str(error))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # One file in a hundred thousand finds a hole in a library; the others are still of use.
        problem = f"it cannot be written as tokens ({type(error).__name__}: {error})."
        return _unusable(job, problem)
    return Encoded(job.digest, ids, notes, told)


def _unusable(job: Job, problem: str) -> Encoded:
    return Encoded(job.digest, np.zeros(0, np.uint16), 0, {"problem": problem, "name": job.name})


def count_notes(ids: Sequence[int] | np.ndarray, tokenizer: MusicTokenizer) -> int:
    """Return the number of notes in a stream of ids: one pitch token each."""
    kinds, _ = _kinds_and_values(tuple(tokenizer.token_names))
    return int(np.isin(kinds[ids], _PITCHES).sum())


def notes_by_program(ids: np.ndarray) -> Counter[int]:
    """Return the notes of each program in a stream, -1 for drums."""
    kinds, values = (each[ids] for each in _kinds_and_values(MusicTokenizer.token_names))
    heads = np.flatnonzero(kinds == Kind.PROGRAM)
    pitches = np.flatnonzero(np.isin(kinds, _PITCHES))
    block = np.searchsorted(heads, pitches, side="right") - 1
    found, counts = np.unique(values[heads[block[block >= 0]]], return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


@cache
def _kinds_and_values(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return kind and value of every token as `TokenTable` reads them, each (vocab,)."""
    table = TokenTable(names)
    return np.array(table.kind), np.array(table.value)
