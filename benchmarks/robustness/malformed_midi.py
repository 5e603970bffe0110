"""`python -m benchmarks.robustness.malformed_midi`: files nobody should drop, and what becomes of each.

Reads every named upload of `tests/hostile` and thousands of mutants of them, as the page does: each
must become music or one clear sentence, soon. Archives are read as for training. `--out` writes
what became of all that have names. `--fuzz` lets atheris look for bytes that reach new lines.
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

from benchmarks.common.report import Report, ReportError, check_place, parser, run, table
from musiclstm.examples import example_files
from musiclstm.midi import SandboxPool, read_midi
from tests.malformed_midi.archive_cases import ARCHIVES, Archive
from tests.malformed_midi.cases import UPLOADS, Upload
from tests.malformed_midi.mutations import mutants
from tests.malformed_midi.run_archive import ArchiveResult, archive_faults, read_archive
from tests.malformed_midi.run_case import CaseResult, run_case

MOST_CPU_S = 0.5  # of one file
MOST_EXTRA_S = 0.1  # for a file with nothing wrong
ROUNDS = 40
HEADING = """# Malformed MIDI files

The result for each file of `tests/malformed_midi`: uploads are called `upload.mid`, archives are
called `x.zip` and passed to `--data`. Written by
`python -m benchmarks.robustness.malformed_midi --out docs/malformed-midi.md`; a test compares it
with the current results.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command; 1 when a file became something else, or took too long."""
    options = parser(
        "benchmarks.robustness.malformed_midi",
        "Hostile files, and what becomes of each.",
        data=False,
    )
    options.add_argument("--mutants", type=int, default=2_000, help="how many (2,000)")
    options.add_argument("--seed", type=int, default=0, help="of the mutants (0)")
    options.add_argument("--out", type=Path, metavar="FILE", help="write the table here")
    options.add_argument("--fuzz", type=int, default=0, metavar="RUNS", help="guided by coverage")
    options.set_defaults(faults=[])
    found = run(measure, chosen := options.parse_args(argv))
    return found or int(bool(chosen.faults))


def measure(options: argparse.Namespace) -> Report:
    """Run all cases."""
    if options.mutants < 0 or options.fuzz < 0:
        raise ReportError("--mutants and --fuzz must be 0 or more.")
    if options.out is not None:
        check_place(options.out)
    named = [(each, run_case(each.data)) for each in UPLOADS]
    archives = read_archives()
    facts: dict[str, Any] = {
        "uploads": _summary(found for _, found in named),
        "mutants": _summary(map(run_case, mutants(options.mutants, seed=options.seed))),
        "archives": {
            "files": len(archives),
            "faults": [fault for pair in archives for fault in archive_faults(*pair)],
        },
        "helper": _helped(named),
        "normal file": _normal_file(),
        "fuzz": fuzz(options.fuzz) if options.fuzz else {},
    }
    options.faults = facts["faults"] = [*_other_verdicts(named), *_faults(facts)]
    if options.out is not None:
        options.out.write_text(document(named, archives), encoding="utf-8")
    return Report(_text(facts), facts)


def read_archives() -> list[tuple[Archive, ArchiveResult]]:
    """What becomes of every archive, each in a folder of its own."""
    outcomes = []
    for archive in ARCHIVES:
        with tempfile.TemporaryDirectory() as folder:
            outcomes.append((archive, read_archive(archive, Path(folder))))
    return outcomes


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


def _helped(named: list[tuple[Upload, CaseResult]]) -> dict[str, Any]:
    """The same files through one helper: the same verdicts, and the process it began with."""
    with SandboxPool(processes=1) as sandbox:
        first = sandbox.run(os.getpid)
        differ = [
            str(upload)
            for upload, found in named
            if run_case(upload.data, read=sandbox.read_midi)[:2] != found[:2]
        ]
        return {"files": len(named), "differ": differ, "died": sandbox.run(os.getpid) != first}


def _normal_file() -> dict[str, float]:
    """What intake and helper add to parsing the bundled seeds; medians, wall seconds."""
    files = [path.read_bytes() for path in example_files().values()]
    with SandboxPool(processes=1) as sandbox:
        sandbox.start()
        ways: dict[str, Callable[[bytes], object]] = {
            "parsed_s": ScoreTick.from_midi,
            "read_s": read_midi,
            "read_by_a_helper_s": sandbox.read_midi,
        }
        times = {name: _median_s(way, files) for name, way in ways.items()}
        sandbox.close()
        begin = time.perf_counter()
        sandbox.read_midi(files[0])
        times["first_after_a_crash_s"] = time.perf_counter() - begin
    return times | {"extra_s": times["read_by_a_helper_s"] - times["parsed_s"]}


def _median_s(way: Callable[[bytes], object], files: list[bytes]) -> float:
    times = []
    for data in files * max(1, ROUNDS // len(files)):
        begin = time.perf_counter()
        way(data)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def fuzz(runs: int) -> dict[str, Any]:
    """Let atheris change the named uploads, so many times.

    Raises:
        ReportError: It is not installed.
    """
    command = [sys.executable, "-m", "benchmarks.robustness.fuzz_midi", f"-runs={runs}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "No module named 'atheris'" in done.stderr:
        raise ReportError("--fuzz needs atheris, which is for Linux: pip install atheris.")
    crashed = [] if done.returncode == 0 else [done.stderr[-2_000:]]
    return {"runs": runs, "faults": crashed}


def _other_verdicts(named: list[tuple[Upload, CaseResult]]) -> list[str]:
    return [
        f"{upload} became {found.kind}: {found.text}"
        for upload, found in named
        if found.kind != upload.expected
    ]


def _faults(facts: dict[str, Any]) -> list[str]:
    faults = [each for what in ("uploads", "mutants", "archives") for each in facts[what]["faults"]]
    faults += [f"a helper differs: {case}" for case in facts["helper"]["differ"]]
    faults += ["the helper died"] * facts["helper"]["died"] + facts["fuzz"].get("faults", [])
    for what in ("uploads", "mutants"):
        if facts[what]["worst_cpu_s"] > MOST_CPU_S:
            faults.append(f"one of the {what} takes {facts[what]['worst_cpu_s']:.2f} CPU seconds")
    if facts["normal file"]["extra_s"] > MOST_EXTRA_S:
        faults.append(f"a normal file waits {facts['normal file']['extra_s']:.3f} s longer")
    return faults


def document(
    named: list[tuple[Upload, CaseResult]], archives: list[tuple[Archive, ArchiveResult]]
) -> str:
    """What became of all that have names, as Markdown."""
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
            "anything else": len(facts[what]["faults"]),
            "worst CPU s": f"{facts[what]['worst_cpu_s']:.3f}",
        }
        for what in ("uploads", "mutants")
    ]
    rows.append(
        {
            "files": f"{facts['archives']['files']} archives",
            "read": "",
            "refused": "",
            "anything else": len(facts["archives"]["faults"]),
            "worst CPU s": "",
        }
    )
    times = {name: f"{1_000 * value:.1f} ms" for name, value in facts["normal file"].items()}
    fuzzed = f"{facts['fuzz']['runs']:,} runs guided by coverage.\n" if facts["fuzz"] else ""
    verdict = "\n".join(facts["faults"]) or "Every file became music or one clear sentence."
    return (
        f"{table(rows)}\n\nA bundled seed (median): parsed {times['parsed_s']}, through intake "
        f"{times['read_s']}, by a helper {times['read_by_a_helper_s']}: {times['extra_s']} more "
        f"than parsed; the first one after a crash {times['first_after_a_crash_s']}.\n"
        f"{fuzzed}{verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
