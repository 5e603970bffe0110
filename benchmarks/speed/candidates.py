"""`python -m benchmarks.speed.candidates`: what the choice among candidates costs.

The example files are continued on one thread with each number of candidates, alternately. Printed
are processor times: of the first bar, with reading the file, and of a further bar; and how many
times faster than it plays the music is composed.
"""

from __future__ import annotations

import argparse
import sys
import time
from statistics import median
from typing import Any

from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command
from musiclstm.examples import example_files
from musiclstm.generation import MAX_ROWS, Composer, Sampling
from musiclstm.model import DEFAULT


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.speed.candidates", "Cost of candidates.", data=False)
    add = options.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--candidates", default="1,8,16", help="numbers of candidates (1,8,16)")
    add("--bars", type=int, default=8, help="new bars of each file")
    add("--rounds", type=int, default=3, help="compositions of each file")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compose and measure."""
    try:
        numbers = [int(text) for text in options.candidates.split(",")]
        samplings = [Sampling(seed=0, candidates=number) for number in numbers]
    except ValueError as error:
        raise ReportError(
            f"--candidates must be numbers from 1 to {MAX_ROWS} separated by commas, got "
            f"{options.candidates!r}."
        ) from error
    if options.bars < 2 or options.rounds < 1:
        raise ReportError("--bars must be 2 or more, and --rounds 1 or more.")
    composer = Composer.from_pretrained(options.model)
    times: dict[int, list[list[float]]] = {number: [] for number in numbers}
    for _ in range(options.rounds):
        for file in example_files().values():
            for number, sampling in zip(numbers, samplings, strict=True):
                times[number].append(_compose(composer, file.read_bytes(), sampling, options.bars))
    facts: dict[str, Any] = {}
    for number, rows in times.items():
        first, further, speed = (median(column) for column in zip(*rows, strict=True))
        facts[str(number)] = {"first bar ms": first, "further bar ms": further, "speed": speed}
    return Report(_text(facts), {"candidates": facts})


def _compose(composer: Composer, file: bytes, sampling: Sampling, bars: int) -> list[float]:
    """Return milliseconds of the first bar and of a further one, and music / composing time."""
    begin = time.process_time()
    stream = composer.stream(prompt=file, bars=bars, sampling=sampling)
    next(stream)
    first = time.process_time() - begin
    *_, piece = stream
    further = (time.process_time() - begin - first) / (bars - 1)
    music: Any = piece.continuation.to("second")
    played = music.end() / bars
    return [1000 * first, 1000 * further, played / further]


def _text(facts: dict[str, dict[str, float]]) -> str:
    rows = [
        {
            "candidates": number,
            "first bar, ms": f"{found['first bar ms']:.0f}",
            "further bar, ms": f"{found['further bar ms']:.0f}",
            "times faster than it plays": f"{found['speed']:.0f}",
        }
        for number, found in facts.items()
    ]
    return f"Medians over the example files, one thread.\n\n{table(rows)}\n"


if __name__ == "__main__":
    sys.exit(run_command(main))
