"""`python -m benchmarks.speed.long_stream`: an hour of music in one stream; does it grow, does it slow down?

Memory is what the process holds (VmRSS) at the end of the first minute of music and at every
minute after it; speed is notes per second of composing, minute by minute.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common.report import Report, ReportError, parser, run
from musiclstm.examples import example_files
from musiclstm.generation import Composer, GeneratedBar, Sampling

_STATUS = Path("/proc/self/status")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where it cannot be measured."""
    options = parser(
        "benchmarks.speed.long_stream", "Memory and speed of endless music.", data=False
    )
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--minutes", type=int, default=60, help="of music (60)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compose minute after minute of one piece."""
    if options.minutes < 3:
        raise ReportError(f"--minutes must be 3 or more, got {options.minutes}.")
    if not _STATUS.exists():
        raise ReportError("This system does not tell how much memory a process holds; use Linux.")
    composer = Composer.from_pretrained(options.model)
    passages = composer.stream_endless(
        prompt=next(iter(example_files().values())), sampling=Sampling(seed=1)
    )
    minutes = [_minute(passages) for _ in range(options.minutes)]
    facts = _facts(minutes)
    return Report(_text(facts), facts)


def _minute(passages: Iterator[GeneratedBar], bpm: float = 120.0) -> dict[str, float]:
    """One minute of music at a tempo: how many notes, how long it took, what is held after it."""
    beats, notes, begin = 0.0, 0, time.perf_counter()
    while beats < bpm:
        passage = next(passages)
        beats += passage.length_ticks / passage.score.ticks_per_quarter
        notes += passage.score.note_num()
    seconds = time.perf_counter() - begin
    gc.collect()
    return {"notes": notes, "seconds": seconds, "bytes": float(_held()), "bar": passage.number}


def _held() -> int:
    line = next(
        s for s in _STATUS.read_text(encoding="ascii").splitlines() if s.startswith("VmRSS")
    )
    return int(line.split()[1]) * 1024


def _facts(minutes: list[dict[str, float]]) -> dict[str, Any]:
    speeds = [each["notes"] / each["seconds"] for each in minutes[1:]]
    third = max(len(speeds) // 3, 1)
    return {
        "minutes": len(minutes),
        "bars": int(minutes[-1]["bar"]) + 1,
        "notes": int(sum(each["notes"] for each in minutes)),
        "bytes after the first minute": minutes[0]["bytes"],
        "bytes at most after it": max(each["bytes"] for each in minutes[1:]),
        "growth": max(each["bytes"] for each in minutes[1:]) / minutes[0]["bytes"] - 1,
        "notes per s": statistics.median(speeds),
        "last third / first third": statistics.median(speeds[-third:])
        / statistics.median(speeds[:third]),
    }


def _text(facts: dict[str, Any]) -> str:
    return (
        f"{facts['minutes']} minutes of music, {facts['bars']:,} bars, {facts['notes']:,} notes.\n"
        f"Memory: {facts['bytes after the first minute'] / 2**20:.1f} MiB after the first minute, "
        f"at most {facts['bytes at most after it'] / 2**20:.1f} MiB later: "
        f"{100 * facts['growth']:+.2f} %.\n"
        f"Speed: {facts['notes per s']:,.0f} notes/s; the last third at "
        f"{100 * facts['last third / first third']:.0f} % of the first third."
    )


if __name__ == "__main__":
    sys.exit(main())
