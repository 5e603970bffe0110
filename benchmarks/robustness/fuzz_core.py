"""`python -m benchmarks.robustness.fuzz_core`: fuzz the functions of core.h with libFuzzer.

clang builds the core with AddressSanitizer and UndefinedBehaviorSanitizer, and fuzz_core.c calls
it with arbitrary tokens, rules, sampling settings, scores and lengths. Blocks of memory have
exactly the stated sizes. The driver also checks that permitted tokens never lead to a dead end.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common.report import Report, ReportError, parser, run
from musiclstm.cli import run_command

ROOT = Path(__file__).parents[2]
DRIVER = Path(__file__).with_name("fuzz_core.c")
CORE = ROOT / "musiclstm" / "core"
FLAGS: tuple[str, ...] = (
    *("-std=c11", "-g", "-O1", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-fsanitize=address,undefined,float-cast-overflow,fuzzer", "-fno-sanitize-recover=all"),
)
if platform.machine() == "x86_64":
    FLAGS += ("-march=native",)  # the products of this processor
MAX_BYTES = 4_096
TARGETS = 7  # of fuzz_core.c, chosen by the first byte
SEEDS_OF_TARGET = 20


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if a fault is found, or after an error."""
    options = parser("benchmarks.robustness.fuzz_core", "Fuzz the core.", data=False)
    options.add_argument("--minutes", type=float, default=10, help="duration (10)")
    options.add_argument("--seed", type=int, default=1, help="random seed (1)")
    options.add_argument(
        "--corpus", type=Path, help="folder of inputs, extended by new ones; default: temporary"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Build the driver and run it."""
    clang = shutil.which(os.environ.get("CLANG", "clang"))
    if clang is None:
        raise ReportError("clang is missing; on Debian: apt-get install clang libclang-rt-14-dev")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(clang, folder / "fuzz_core")
        corpus = options.corpus or folder / "corpus"
        write_seeds(corpus, options.seed)
        return _fuzz(folder / "fuzz_core", corpus, options)


def build(clang: str, target: Path) -> None:
    """Compile the driver and the core.

    Raises:
        ReportError: The compiler failed.
    """
    sources = map(str, (DRIVER, *sorted(CORE.glob("*.c"))))
    command = [clang, *FLAGS, "-I", str(CORE), *sources, "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReportError(f"clang failed: {done.stderr.strip()[-500:]}")


def write_seeds(corpus: Path, seed: int) -> None:
    """Write random inputs for each target, because libFuzzer finds long ones slowly."""
    corpus.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number in range(TARGETS * SEEDS_OF_TARGET):
        data = rng.randbytes(rng.choice((64, 256, 1_024, MAX_BYTES - 2)))
        # The second byte chooses the usual vocabulary, unless it is 1.
        first = bytes([number % TARGETS, rng.choice((0, 0, 0, 1))])
        (corpus / f"seed-{number:03}").write_bytes(first + data)


def _fuzz(program: Path, corpus: Path, options: argparse.Namespace) -> Report:
    artifacts = Path(tempfile.mkdtemp(prefix="fuzz-core-"))
    command = [str(program), str(corpus), f"-max_total_time={round(60 * options.minutes)}"]
    command += [f"-seed={options.seed}", f"-max_len={MAX_BYTES}", "-len_control=0", "-timeout=60"]
    command += ["-print_final_stats=1", "-detect_leaks=0", f"-artifact_prefix={artifacts}/"]
    environment = os.environ | {"ASAN_OPTIONS": "quarantine_size_mb=8"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    log = done.stderr.decode(errors="replace")
    facts = {
        "minutes": options.minutes,
        "inputs": _last_number(r"number_of_executed_units: (\d+)", log),
        "branches": _last_number(r"cov: (\d+)", log),
        "fault": "",
    }
    if done.returncode == 0:
        artifacts.rmdir()
        text = f"{facts['inputs']:,} inputs in {options.minutes:g} minutes: no fault."
        return Report(text, facts)
    facts["fault"] = _fault(log)
    found = ", ".join(map(str, artifacts.iterdir()))
    return Report(f"{facts['fault']}\nInput: {found}", facts, passed=False)


def _last_number(pattern: str, log: str) -> int:
    found = re.findall(pattern, log)
    return int(found[-1]) if found else 0


def _fault(log: str) -> str:
    """Return the lines of the log that describe the fault."""
    marks = ("runtime error", "broken guarantee", "ERROR:", "SUMMARY:", "    #")
    lines = [line for line in log.splitlines() if any(mark in line for mark in marks)]
    return "\n".join(lines[:20]) or log[-1_000:]


if __name__ == "__main__":
    sys.exit(run_command(main))
