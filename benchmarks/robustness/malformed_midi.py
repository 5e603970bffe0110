"""`python -m benchmarks.robustness.malformed_midi`: read malformed MIDI files and archives.

Reads every named upload of `tests/malformed_midi` and random mutations of them, in this process and
in the sandbox. Each must give a clean score or a clear error, within half a second. Archives are
read as training data. `--out` writes all named results. `--fuzz` runs atheris, a fuzzer that is
guided by coverage.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from symusic.core import ScoreTick

from benchmarks.common.report import Report, ReportError, check_writable, parser, run, table
from musiclstm.cli import run_command
from musiclstm.examples import example_files
from musiclstm.midi import SandboxPool, read_midi
from tests.malformed_midi.archive_cases import ARCHIVES, Archive
from tests.malformed_midi.cases import UPLOADS, Upload
from tests.malformed_midi.mutations import mutants
from tests.malformed_midi.run_archive import ArchiveResult, archive_faults, read_archive
from tests.malformed_midi.run_case import CaseResult, run_case

MAX_CPU_S = 0.5  # for one file
MAX_SANDBOX_S = 0.1  # added to the time of a valid file
ROUNDS = 40
HEADING = """# Malformed MIDI files

The result for each file of `tests/malformed_midi`: uploads are called `upload.mid`, archives are
called `x.zip` and passed to `--data`. Written by
`python -m benchmarks.robustness.malformed_midi --out docs/malformed-midi.md`; a test compares it
with the current results.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if a result is unexpected or a file takes too long."""
    options = parser(
        "benchmarks.robustness.malformed_midi",
        "Read malformed MIDI files and archives.",
        data=False,
    )
    options.add_argument("--mutants", type=int, default=2_000, help="number of mutations (2,000)")
    options.add_argument("--seed", type=int, default=0, help="random seed of the mutations (0)")
    options.add_argument("--out", type=Path, metavar="FILE", help="write all named results")
    options.add_argument(
        "--fuzz", type=int, default=0, metavar="RUNS", help="runs of the fuzzer (0)"
    )
    options.set_defaults(faults=[])
    found = run(measure, chosen := options.parse_args(argv))
    return found or int(bool(chosen.faults))


def measure(options: argparse.Namespace) -> Report:
    """Run all cases."""
    if options.mutants < 0 or options.fuzz < 0:
        raise ReportError("--mutants and --fuzz must be 0 or more.")
    if options.out is not None:
        check_writable(options.out, "--out")
    named = [(each, run_case(each.data)) for each in UPLOADS]
    archives = read_archives()
    facts: dict[str, Any] = {
        "uploads": _summary(found for _, found in named),
        "mutants": _summary(map(run_case, mutants(options.mutants, seed=options.seed))),
        "archives": {
            "files": len(archives),
            "faults": [fault for pair in archives for fault in archive_faults(*pair)],
        },
        "sandbox": _run_in_sandbox(named),
        "valid file": _time_valid_files(),
        "fuzz": fuzz(options.fuzz) if options.fuzz else {},
    }
    options.faults = facts["faults"] = [*_unexpected(named), *_list_faults(facts)]
    if options.out is not None:
        options.out.write_text(document(named, archives), encoding="utf-8")
    return Report(_text(facts), facts)


def read_archives() -> list[tuple[Archive, ArchiveResult]]:
    """Read every archive, each in its own folder."""
    results = []
    for archive in ARCHIVES:
        with tempfile.TemporaryDirectory() as folder:
            results.append((archive, read_archive(archive, Path(folder))))
    return results


def _summary(found: Iterable[CaseResult]) -> dict[str, Any]:
    kinds, faults = Counter[str](), []
    cpu_s: list[float] = []
    for each in found:
        kinds[each.kind] += 1
        cpu_s.append(each.cpu_s)
        faults += each.faults
    return {
        "files": len(cpu_s),
        **{kind: kinds[kind] for kind in sorted({"read", "refused", *kinds})},
        "worst_cpu_s": max(cpu_s, default=0.0),
        "cpu_s": sum(cpu_s),
        "faults": faults,
    }


def _run_in_sandbox(named: list[tuple[Upload, CaseResult]]) -> dict[str, Any]:
    """Compare with the results of the sandbox, whose process must survive all files."""
    with SandboxPool(processes=1) as sandbox:
        first = sandbox.run(os.getpid)
        differ = [
            str(upload)
            for upload, found in named
            if run_case(upload.data, read=sandbox.read_midi)[:2] != found[:2]
        ]
        return {"files": len(named), "differ": differ, "ended": sandbox.run(os.getpid) != first}


def _time_valid_files() -> dict[str, float]:
    """Return the median seconds to parse, read and read in the sandbox the example pieces."""
    files = [path.read_bytes() for path in example_files().values()]
    with SandboxPool(processes=1) as sandbox:
        sandbox.start()
        readers: dict[str, Callable[[bytes], object]] = {
            "parsed_s": ScoreTick.from_midi,
            "read_s": read_midi,
            "sandbox_s": sandbox.read_midi,
        }
        times = {name: _median_s(reader, files) for name, reader in readers.items()}
        sandbox.close()
        begin = time.perf_counter()
        sandbox.read_midi(files[0])
        times["after_a_crash_s"] = time.perf_counter() - begin
    return times | {"extra_s": times["sandbox_s"] - times["parsed_s"]}


def _median_s(reader: Callable[[bytes], object], files: list[bytes]) -> float:
    times = []
    for data in files * max(1, ROUNDS // len(files)):
        begin = time.perf_counter()
        reader(data)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def fuzz(runs: int) -> dict[str, Any]:
    """Fuzz the reader with atheris, starting from the named uploads.

    Raises:
        ReportError: atheris is not installed.
    """
    command = [sys.executable, "-m", "benchmarks.robustness.fuzz_midi", f"-runs={runs}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named 'atheris'" in done.stderr:
        raise ReportError("--fuzz needs atheris, which is for Linux: pip install atheris.")
    crashed = [] if done.returncode == 0 else [done.stderr[-2_000:]]
    return {"runs": runs, "faults": crashed}


def _unexpected(named: list[tuple[Upload, CaseResult]]) -> list[str]:
    return [
        f"{upload}: {found.kind}, not {upload.expected}: {found.text}"
        for upload, found in named
        if found.kind != upload.expected
    ]


def _list_faults(facts: dict[str, Any]) -> list[str]:
    faults = [each for what in ("uploads", "mutants", "archives") for each in facts[what]["faults"]]
    faults += [f"the sandbox differs: {case}" for case in facts["sandbox"]["differ"]]
    faults += ["the worker ended"] * facts["sandbox"]["ended"] + facts["fuzz"].get("faults", [])
    for what in ("uploads", "mutants"):
        if facts[what]["worst_cpu_s"] > MAX_CPU_S:
            faults.append(f"one of the {what} takes {facts[what]['worst_cpu_s']:.2f} CPU seconds")
    if facts["valid file"]["extra_s"] > MAX_SANDBOX_S:
        faults.append(f"the sandbox adds {facts['valid file']['extra_s']:.3f} s to a valid file")
    return faults


def document(
    named: list[tuple[Upload, CaseResult]], archives: list[tuple[Archive, ArchiveResult]]
) -> str:
    """Return the named results as Markdown."""
    parts = [HEADING]
    for kind in dict.fromkeys(upload.kind for upload, _ in named):
        rows = [
            {"file": upload.case, "result": found.kind, "message or summary": _cell(found.text)}
            for upload, found in named
            if upload.kind == kind
        ]
        parts.append(f"## {kind.capitalize()}\n\n{table(rows)}\n")
    return "\n".join([*parts, f"## Archives\n\n{table(list(map(_archive_row, archives)))}\n"])


def _archive_row(pair: tuple[Archive, ArchiveResult]) -> dict[str, object]:
    archive, found = pair
    return {
        "archive": archive.case,
        "read": len(found.good),
        "skipped": len(found.skipped),
        "message": _cell(found.error),
    }


def _cell(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return escaped.replace("`", "\\`")


def _text(facts: dict[str, Any]) -> str:
    rows = [
        {
            "files": f"{facts[what]['files']:,} {what}",
            "read": facts[what]["read"],
            "refused": facts[what]["refused"],
            "faults": len(facts[what]["faults"]),
            "worst CPU s": f"{facts[what]['worst_cpu_s']:.3f}",
        }
        for what in ("uploads", "mutants")
    ]
    rows.append(
        {
            "files": f"{facts['archives']['files']} archives",
            "read": "",
            "refused": "",
            "faults": len(facts["archives"]["faults"]),
            "worst CPU s": "",
        }
    )
    times = {name: f"{1_000 * value:.1f} ms" for name, value in facts["valid file"].items()}
    fuzzed = f"{facts['fuzz']['runs']:,} runs of the fuzzer.\n" if facts["fuzz"] else ""
    result = "\n".join(facts["faults"]) or "Every file gave a clean score or a clear error."
    return (
        f"{table(rows)}\n\nAn example piece (median): parsed {times['parsed_s']}, read "
        f"{times['read_s']}, read in the sandbox {times['sandbox_s']}: {times['extra_s']} more "
        f"than parsed. The first one after a crash: {times['after_a_crash_s']}.\n"
        f"{fuzzed}{result}"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
