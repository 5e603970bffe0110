"""`python -m benchmarks.latency`: from the click to the first sound.

A warm composer gets a seed of eight bars; the clock stops when the first new bar is rendered.
Medians over the bundled tunes and several rounds; with `--model` for other weights.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

from benchmarks.reporting import Report, ReportError, parser, run, table
from musiclstm.composer import Composer
from musiclstm.intake import read_midi
from musiclstm.rendering import render
from musiclstm.sampling import Sampling
from musiclstm.seeds import bundled_seeds

SEED_BARS = 8


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence when model or sound are missing."""
    options = parser("benchmarks.latency", "Click to first sound.", data=False)
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--rounds", type=int, default=5, help="over every tune (5)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Every bundled tune, several times."""
    if options.rounds < 1:
        raise ReportError(f"--rounds must be 1 or more, got {options.rounds}.")
    begin = time.perf_counter()
    composer = Composer.from_pretrained(options.model)
    loading = time.perf_counter() - begin
    seeds = [file.read_bytes() for file in bundled_seeds().values()]
    _first_bar(composer, seeds[0], 0)  # the first one loads the SoundFont
    rows = [
        _first_bar(composer, seed, number) for number in range(options.rounds) for seed in seeds
    ]
    names = list(rows[0])
    found = {name: [row[name] for row in rows] for name in names}
    facts = {
        "clicks": len(rows),
        "load s": loading,
        "median s": {name: statistics.median(times) for name, times in found.items()},
        "slowest s": {name: max(times) for name, times in found.items()},
    }
    return Report(_text(facts), facts)


def _first_bar(composer: Composer, seed: bytes, number: int) -> dict[str, float]:
    """Seconds until the file is read, the first bar composed, and that bar rendered."""
    begin = time.perf_counter()
    score, _ = read_midi(seed)
    read = time.perf_counter()
    draft = next(
        composer.stream(
            bars=16, prompt=score, prompt_bars=SEED_BARS, sampling=Sampling(seed=number)
        )
    )
    composed = time.perf_counter()
    audio = render(draft.continuation)
    assert audio.seconds > 0
    heard = time.perf_counter()
    return {
        "file read": read - begin,
        "seed heard, first bar composed": composed - read,
        "first bar rendered": heard - composed,
        "click to first sound": heard - begin,
    }


def _text(facts: dict[str, Any]) -> str:
    rows = [
        {
            "part": name,
            "median ms": f"{1000 * facts['median s'][name]:.0f}",
            "slowest ms": f"{1000 * facts['slowest s'][name]:.0f}",
        }
        for name in facts["median s"]
    ]
    return (
        f"{table(rows)}\n\n{facts['clicks']} clicks; loading took {facts['load s']:.1f} s before."
    )


if __name__ == "__main__":
    sys.exit(main())
