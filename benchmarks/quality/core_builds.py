"""`python -m benchmarks.quality.core_builds`: the same music from every build of the core.

gcc, clang and wasmtime compose the same sequences, with random constraints, sampling and prompts,
each in a process of its own. The command compares tokens and decoder states bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from importlib import metadata
from typing import Any

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.constraint_checks import random_constraints, random_sampling
from musiclstm.cli import run_command
from musiclstm.core import KERNEL_VARIABLE
from musiclstm.examples import example_files
from musiclstm.generation import Composer, Surprise

BARS = 4
COMPILERS = ("gcc", "clang")
_FAILED = "composing failed: "


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if builds differ, or after an error."""
    options = parser(
        "benchmarks.quality.core_builds", "Compare the music of all builds.", data=False
    )
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--takes", type=int, default=100, help="number of sequences (100)")
    options.add_argument("--seed", type=int, default=0, help="random seed (0)")
    options.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    chosen = options.parse_args(argv)
    if chosen.worker:
        print(json.dumps(compose_digests(chosen.model, chosen.takes, chosen.seed)))
        return 0
    return run(measure, chosen)


def measure(options: argparse.Namespace) -> Report:
    """Compose with every build of this machine, and compare with the first one."""
    if options.takes < 1:
        raise ReportError(f"--takes must be 1 or more, got {options.takes}.")
    environments = _environments()
    if len(environments) < 2:
        raise ReportError("There is nothing to compare: install gcc, clang, or musiclstm[wasm].")
    found = {name: _run_worker(options, added) for name, added in environments.items()}
    first = next(iter(found.values()))["digests"]
    rows = [_row(name, each, first) for name, each in found.items()]
    passed = all(row["identical"] == len(first) for row in rows)
    return Report(table(rows), {"takes": options.takes, "builds": rows}, passed=passed)


def _row(name: str, found: dict[str, Any], first: list[str]) -> dict[str, Any]:
    same = sum(one == other for one, other in zip(found["digests"], first, strict=True))
    failed = sum(digest.startswith(_FAILED) for digest in found["digests"])
    return {
        "build": name,
        "identical": same,
        "of": len(first),
        "failed": failed,
        "tokens": found["tokens"],
        "tokens per CPU second": round(found["tokens"] / found["seconds"]),
    }


def _environments() -> dict[str, dict[str, str]]:
    """Return the variables that choose each build of this machine, by its name and version."""
    found = {}
    for compiler in COMPILERS:
        if shutil.which(compiler):
            version = subprocess.run(
                [compiler, "-dumpversion"], capture_output=True, text=True, check=True
            ).stdout.strip()
            found[f"{compiler} {version}"] = {"CC": compiler, KERNEL_VARIABLE: "native"}
    with suppress(metadata.PackageNotFoundError):
        found[f"wasmtime {metadata.version('wasmtime')}"] = {KERNEL_VARIABLE: "wasm"}
    return found


def _run_worker(options: argparse.Namespace, environment: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.quality.core_builds", "--worker"]
    command += ["--model", options.model, "--takes", str(options.takes)]
    command += ["--seed", str(options.seed)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ReportError(f"Composing with {environment} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def compose_digests(model: str, takes: int, seed: int) -> dict[str, Any]:
    """Return digests of random sequences, their number of tokens, and the CPU seconds they took."""
    composer, rng = Composer.from_pretrained(model), random.Random(seed)
    examples = list(example_files().values())
    digests, tokens = [], 0
    begin = time.process_time()
    for _ in range(takes):
        settings: dict[str, Any] = {
            "prompt": rng.choice([None, *examples]),
            "prompt_bars": rng.randint(1, 8),
            "sampling": random_sampling(rng),
            "surprise": Surprise(rng.choice(("off", "gentle", "bold"))),
            "constraints": random_constraints(rng),
        }
        try:
            piece = composer.compose(bars=BARS, **settings)
        except ValueError as error:
            digests.append(f"{_FAILED}{error}")
            continue
        music = json.dumps([list(map(int, bar)) for bar in piece.bar_tokens]).encode()
        digests.append(hashlib.sha256(music + piece.state.to_bytes()).hexdigest()[:16])
        tokens += sum(map(len, piece.bar_tokens))
    return {"digests": digests, "tokens": tokens, "seconds": time.process_time() - begin}


if __name__ == "__main__":
    sys.exit(run_command(main))
