"""`python -m benchmarks.speed.corpus_reading`: how fast MIDI becomes tokens, and what it costs in memory.

The same files with one process and with all of them, in turn, each time with an empty cache. Beside
the seconds stands the time of the processor that they took: on a machine that others use too, only
that tells what the sharing out itself costs. Then peak memory for few and for many small files made
by chance, each lot read in a process of its own.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from symusic.core import NoteTick, ScoreTick, TempoTick, TimeSignatureTick, TrackTick

from benchmarks.common.report import Report, ReportError, parser, run, table
from training.data.corpus import read_corpus
from training.data.tokenize import available_cores

ROUNDS = 3
FILES = "500,5000"
_STATUS = Path("/proc/self/status")
_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence when the data cannot be read."""
    options = parser(
        "benchmarks.speed.corpus_reading", "Speed and memory of reading MIDI.", data=False
    )
    options.add_argument(
        "--data",
        required=True,
        type=lambda text: [part for part in text.split(",") if part],
        help="folders, zips, tables or data sets, separated by commas",
    )
    options.add_argument("--rounds", type=int, default=ROUNDS, help=f"of both ways ({ROUNDS})")
    options.add_argument(
        "--workers", type=int, default=available_cores(), help="processes (one per core)"
    )
    options.add_argument(
        "--files", default=FILES, help=f"numbers of small files, of which memory is told ({FILES})"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Speed first, then memory."""
    for name in ("rounds", "workers"):
        if getattr(options, name) < 1:
            raise ReportError(f"--{name} must be 1 or more, got {getattr(options, name)}.")
    counts = _counts(options.files)
    facts: dict[str, Any] = {
        "speed": speed(options.data, rounds=options.rounds, workers=options.workers),
        "memory": memory(counts, workers=options.workers),
    }
    return Report(_text(facts), facts)


def _counts(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise ReportError(f"--files must be numbers above 0, such as {FILES}; got {text!r}.")
    return [int(number) for number in numbers]


# Speed.


def speed(data: list[str], *, rounds: int, workers: int) -> dict[str, Any]:
    """Seconds with one process and with `workers`, in turn; the first reading is not counted."""
    counts = _read(data, workers).counts  # the files are in the memory of the system from here on
    pairs = [(_read(data, 1), _read(data, workers)) for _ in range(rounds)]
    one, many = ([each.seconds for each in way] for way in zip(*pairs, strict=True))
    busy_one, busy_many = ([each.busy for each in way] for way in zip(*pairs, strict=True))
    return {
        **counts,
        "workers": workers,
        "seconds with one": one,
        "seconds with all": many,
        "processor seconds with one": busy_one,
        "processor seconds with all": busy_many,
        "ratios": [a / b for a, b in zip(one, many, strict=True)],
        "times as fast": statistics.median(one) / statistics.median(many),
    }


class _Reading(NamedTuple):
    counts: dict[str, int]
    seconds: float
    busy: float  # of the processor, workers included


def _read(data: list[str], workers: int) -> _Reading:
    with tempfile.TemporaryDirectory() as cache:
        begin, busy = time.perf_counter(), _busy()
        corpus = read_corpus(data, workers=workers, cache=Path(cache))
        seconds, busy = time.perf_counter() - begin, _busy() - busy
        splits = ("train", "valid", "test")
        tokens = sum(len(piece) for split in splits for piece in corpus.tokens(split))
    notes = sum(piece.notes for piece in corpus.pieces)
    counts = {"pieces": len(corpus.pieces), "notes": notes, "tokens": tokens}
    return _Reading(counts, seconds, busy)


def _busy() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


# Memory.


def memory(counts: list[int], *, workers: int) -> dict[str, Any]:
    """Peak memory of the reading process, and of the largest of its workers, in bytes."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as room:
            write_small_files(Path(room) / "files", count)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                before, after, worker = fresh.submit(_peak, Path(room), workers).result()
        found.append({"files": count, "before": before, "peak": after, "worker": worker})
    few, most = found[0], found[-1]
    more = most["files"] - few["files"]
    grown = most["peak"] - few["peak"]
    return {"readings": found, "bytes a file": grown / more if more else None}


def _peak(room: Path, workers: int) -> tuple[int, int, int]:
    before = _highest()
    corpus = read_corpus([room / "files"], workers=workers, cache=room / "cache")
    assert corpus.pieces
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _UNIT
    return before, _highest(), worker


def _highest() -> int:
    """Peak memory of this process; Linux hands on `ru_maxrss` from whoever started it."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def write_small_files(folder: Path, count: int) -> None:
    """Different pieces of a few bars."""
    folder.mkdir()
    rng = random.Random(0)
    for number in range(count):
        score = ScoreTick(480)
        score.tempos.append(TempoTick(0, 60 + number % 100))
        score.time_signatures.append(TimeSignatureTick(0, 4, 4))
        track = TrackTick("", rng.randrange(128), False)
        for beat in range(32):
            track.notes.append(NoteTick(480 * beat, 480, rng.randrange(30, 90), 80))
        score.tracks.append(track)
        (folder / f"{number:06d}.mid").write_bytes(bytes(score.dumps_midi()))


def _text(facts: dict[str, Any]) -> str:
    found = facts["speed"]
    rows = [
        {
            "processes": workers,
            "seconds, median": f"{statistics.median(found[key]):.2f}",
            "of the processor": f"{statistics.median(found['processor ' + key]):.2f}",
            "pieces/s": f"{found['pieces'] / statistics.median(found[key]):.0f}",
            "tokens/s": f"{found['tokens'] / statistics.median(found[key]):,.0f}",
        }
        for workers, key in ((1, "seconds with one"), (found["workers"], "seconds with all"))
    ]
    ratios = ", ".join(f"{ratio:.2f}" for ratio in found["ratios"])
    readings = [
        {
            "files": f"{each['files']:,}",
            "peak, MiB": f"{each['peak'] / 2**20:.1f}",
            "before reading, MiB": f"{each['before'] / 2**20:.1f}",
            "largest worker, MiB": f"{each['worker'] / 2**20:.1f}",
        }
        for each in facts["memory"]["readings"]
    ]
    a_file = facts["memory"]["bytes a file"]
    told = "" if a_file is None else f"\n\n{a_file:,.0f} bytes of memory for each file more."
    return (
        f"{table(rows)}\n\n{found['times as fast']:.2f} times as fast with {found['workers']} "
        f"(round by round: {ratios}); {found['pieces']:,} pieces, {found['notes']:,} notes, "
        f"{found['tokens']:,} base tokens.\n\n{table(readings)}{told}"
    )


if __name__ == "__main__":
    sys.exit(main())
