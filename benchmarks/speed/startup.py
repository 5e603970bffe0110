"""`python -m benchmarks.speed.startup`: import, load and first bar in a fresh process.

The processor time is that of the process and of the processes that it starts. The first run is not
counted: it compiles the core and fills the caches. The time of numpy shows how fast the machine is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command

STEPS = ("interpreter", "numpy", "musiclstm", "load", "bar")
LIMIT_S, LIMIT_MB = 0.4, 90

# The peak is that of the process alone: `ru_maxrss` of a child starts with that of its parent.
_CODE = """
import json, sys
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
def seconds():
    both = getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)
    return sum(each.ru_utime + each.ru_stime for each in both)
marks = [0.0, seconds()]
import numpy
marks.append(seconds())
from musiclstm import Composer, Sampling
marks.append(seconds())
composer = Composer.from_pretrained(sys.argv[1])
marks.append(seconds())
composer.compose(bars=1, sampling=Sampling(seed=7))
marks.append(seconds())
peak = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
slow = sorted({"torch", "transformers", "huggingface_hub"} & {*sys.modules})
print(json.dumps({"marks": marks, "peak_kb": int(peak[0].split()[1]), "slow": slow}))
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error or above a limit."""
    options = parser("benchmarks.speed.startup", "Import, load and first bar.", data=False)
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--runs", type=int, default=5, help="fresh processes (5)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure fresh processes and report medians."""
    if options.runs < 1:
        raise ReportError(f"--runs must be 1 or more, got {options.runs}.")
    runs = [_measure_process(options.model) for _ in range(options.runs + 1)][1:]
    seconds = {
        step: statistics.median(each["marks"][at + 1] - each["marks"][at] for each in runs)
        for at, step in enumerate(STEPS)
    }
    facts: dict[str, Any] = {
        "model": options.model,
        "runs": options.runs,
        "seconds": {step: round(value, 3) for step, value in seconds.items()},
        "total_s": round(statistics.median(each["marks"][-1] for each in runs), 3),
        "peak_mb": round(max(each["peak_kb"] for each in runs) * 1024 / 1e6, 1),
        "slow_packages": runs[0]["slow"],
    }
    passed = facts["total_s"] <= LIMIT_S and facts["peak_mb"] <= LIMIT_MB
    return Report(_text(facts), facts, passed)


def _measure_process(model: str) -> dict[str, Any]:
    command = [sys.executable, "-c", _CODE, model]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReportError(f"Composing failed: {done.stderr.strip().splitlines()[-1]}")
    return dict(json.loads(done.stdout))


def _text(facts: dict[str, Any]) -> str:
    rows = [*facts["seconds"].items(), ("all", facts["total_s"])]
    lines = [
        table([{"step": step, "processor time, s": f"{value:.3f}"} for step, value in rows]),
        f"Peak memory: {facts['peak_mb']:.1f} MB. Limits: {LIMIT_S} s and {LIMIT_MB} MB.",
    ]
    if facts["slow_packages"]:
        lines.append(f"Imported besides: {', '.join(facts['slow_packages'])}.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
