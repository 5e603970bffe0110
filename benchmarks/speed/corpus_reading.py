"""`python -m benchmarks.speed.corpus_reading`: speed and memory of reading MIDI files.

Reads the same files with one process and with all, alternately, each time with an empty cache.
Processor time is reported too, because it depends less on other processes of the machine. Then the
files are prepared, and read again from the cache and from the prepared corpus. Peak memory is
measured for few and for many small random files, each number in a process of its own.
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
from musiclstm.cli import run_command
from training.data.corpus import read_corpus
from training.data.prepared import write_prepared
from training.data.tokenize import available_cores

ROUNDS = 3
FILES = "500,5000"
_STATUS = Path("/proc/self/status")
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024  # unit of ru_maxrss


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser(
        "benchmarks.speed.corpus_reading", "Speed and memory of reading MIDI files.", data=False
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
        "--files", default=FILES, help=f"numbers of small files for peak memory ({FILES})"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure speed, then peak memory."""
    for name in ("rounds", "workers"):
        if getattr(options, name) < 1:
            raise ReportError(f"--{name} must be 1 or more, got {getattr(options, name)}.")
    counts = _file_counts(options.files)
    facts: dict[str, Any] = {
        "speed": _measure_speed(options.data, rounds=options.rounds, workers=options.workers),
        "again": _measure_again(options.data, rounds=options.rounds),
        "memory": _measure_memory(counts, workers=options.workers),
    }
    return Report(_text(facts), facts)


def _file_counts(text: str) -> list[int]:
    numbers = [part.strip() for part in text.split(",")]
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise ReportError(f"--files must be numbers above 0, such as {FILES}; got {text!r}.")
    return [int(number) for number in numbers]


# Speed --------------------------------------------------------------------------------------------


class _TimedRead(NamedTuple):
    counts: dict[str, int]
    seconds: float
    cpu_seconds: float  # workers included


def _measure_speed(data: list[str], *, rounds: int, workers: int) -> dict[str, Any]:
    counts = _read(data, workers).counts  # not timed: fills the page cache of the system
    pairs = [(_read(data, 1), _read(data, workers)) for _ in range(rounds)]
    one, many = ([each.seconds for each in way] for way in zip(*pairs, strict=True))
    cpu_one, cpu_many = ([each.cpu_seconds for each in way] for way in zip(*pairs, strict=True))
    return {
        **counts,
        "workers": workers,
        "seconds with one": one,
        "seconds with all": many,
        "processor seconds with one": cpu_one,
        "processor seconds with all": cpu_many,
        "ratios": [a / b for a, b in zip(one, many, strict=True)],
        "times as fast": statistics.median(one) / statistics.median(many),
    }


def _read(data: list[str], workers: int) -> _TimedRead:
    with tempfile.TemporaryDirectory() as cache:
        begin_s, cpu_s = time.perf_counter(), _cpu_seconds()
        corpus = read_corpus(data, workers=workers, cache=Path(cache))
        seconds, cpu_s = time.perf_counter() - begin_s, _cpu_seconds() - cpu_s
        splits = ("train", "valid", "test")
        tokens = sum(len(piece) for split in splits for piece in corpus.tokens(split))
    notes = sum(piece.notes for piece in corpus.pieces)
    counts = {"pieces": len(corpus.pieces), "notes": notes, "tokens": tokens}
    return _TimedRead(counts, seconds, cpu_s)


def _cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def _measure_again(data: list[str], *, rounds: int) -> dict[str, list[float]]:
    """Return processor seconds of reading files that were read before."""
    found: dict[str, list[float]] = {"cache": [], "prepared corpus": []}
    with tempfile.TemporaryDirectory() as folder:
        cache, prepared = Path(folder) / "cache", Path(folder) / "prepared"
        write_prepared(read_corpus(data, cache=cache), prepared)
        read_corpus([prepared])  # not timed: `datasets` converts it
        for _ in range(rounds):
            for name, paths in (("cache", data), ("prepared corpus", [prepared])):
                begin_s = _cpu_seconds()
                read_corpus(paths, cache=cache)
                found[name].append(_cpu_seconds() - begin_s)
    return found


# Memory -------------------------------------------------------------------------------------------


def _measure_memory(counts: list[int], *, workers: int) -> dict[str, Any]:
    """Return peak memory of the reading process, and of the largest of its workers, in bytes."""
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            _write_small_files(Path(folder) / "files", count)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                before, peak, worker = pool.submit(_read_peak, Path(folder), workers).result()
        found.append({"files": count, "before": before, "peak": peak, "worker": worker})
    more_files = found[-1]["files"] - found[0]["files"]
    growth = found[-1]["peak"] - found[0]["peak"]
    return {"readings": found, "bytes a file": growth / more_files if more_files else None}


def _read_peak(folder: Path, workers: int) -> tuple[int, int, int]:
    """Return peak memory before and after reading, and that of the largest worker, in bytes."""
    before = _peak_bytes()
    corpus = read_corpus([folder / "files"], workers=workers, cache=folder / "cache")
    assert corpus.pieces
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _MAXRSS_BYTES
    return before, _peak_bytes(), worker


def _peak_bytes() -> int:
    """Return peak memory of this process; on Linux `ru_maxrss` includes the parent's."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def _write_small_files(folder: Path, count: int) -> None:
    """Write different random pieces of 8 bars."""
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
            "CPU seconds, median": f"{statistics.median(found['processor ' + key]):.2f}",
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
    again = [
        {"read again from": name, "CPU seconds, median": f"{statistics.median(seconds):.2f}"}
        for name, seconds in facts["again"].items()
    ]
    per_file = facts["memory"]["bytes a file"]
    growth = "" if per_file is None else f"\n\n{per_file:,.0f} bytes of memory per additional file."
    return (
        f"{table(rows)}\n\n{found['times as fast']:.2f} times as fast with {found['workers']} "
        f"(each round: {ratios}); {found['pieces']:,} pieces, {found['notes']:,} notes, "
        f"{found['tokens']:,} tokens.\n\n{table(again)}\n\n{table(readings)}{growth}"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
