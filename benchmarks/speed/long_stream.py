"""`python -m benchmarks.speed.long_stream`: memory and speed of an hour of streamed music.

Memory is the resident memory (VmRSS) at the end of each minute of music. Speed is the number of
notes per second of composing, for each minute of music.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.common.app_server import require_linux, resident_bytes
from benchmarks.common.report import Report, ReportError, parser, run
from musiclstm.cli import run_command
from musiclstm.examples import example_files
from musiclstm.generation import Composer, GeneratedBar, Sampling

BEATS_PER_MINUTE = 120


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser(
        "benchmarks.speed.long_stream", "Memory and speed of endless music.", data=False
    )
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--minutes", type=int, default=60, help="minutes of music (60)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compose one piece and measure after each minute of music."""
    if options.minutes < 3:
        raise ReportError(f"--minutes must be 3 or more, got {options.minutes}.")
    require_linux()
    composer = Composer.from_pretrained(options.model)
    bars = composer.stream_endless(
        prompt=next(iter(example_files().values())), sampling=Sampling(seed=1)
    )
    facts = _facts([_measure_minute(bars) for _ in range(options.minutes)])
    return Report(_text(facts), facts)


def _measure_minute(bars: Iterator[GeneratedBar]) -> dict[str, float]:
    beats, notes, begin_s = 0.0, 0, time.perf_counter()
    while beats < BEATS_PER_MINUTE:
        bar = next(bars)
        beats += bar.length_ticks / bar.score.ticks_per_quarter
        notes += bar.score.note_num()
    seconds = time.perf_counter() - begin_s
    gc.collect()
    return {"notes": notes, "seconds": seconds, "bytes": resident_bytes(), "bar": bar.number}


def _facts(minutes: list[dict[str, float]]) -> dict[str, Any]:
    speeds = [each["notes"] / each["seconds"] for each in minutes[1:]]
    third = max(len(speeds) // 3, 1)
    first, most = minutes[0]["bytes"], max(each["bytes"] for each in minutes[1:])
    return {
        "minutes": len(minutes),
        "bars": int(minutes[-1]["bar"]) + 1,
        "notes": int(sum(each["notes"] for each in minutes)),
        "bytes after the first minute": first,
        "bytes at most after it": most,
        "growth": most / first - 1,
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
        f"Speed: {facts['notes per s']:,.0f} notes/s; in the last third "
        f"{100 * facts['last third / first third']:.0f} % of the speed in the first third."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
