"""`python -m benchmarks.model_card --data …`: measure all figures of the bundled model's card.

Runs the commands that the card names, prints their output and stores it in `facts.json` of the
bundled checkpoint; `python -m hub.model_card` renders it (`make card` does both). `--only` selects
commands. The comparison of architectures takes hours and runs only with `--slow`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common.report import Report, ReportError, parser, run
from musiclstm import __version__
from musiclstm.cli import run_command
from musiclstm.model import DEFAULT, FACTS_FILE, find_checkpoint, read_facts
from training.evaluate import write_facts
from training.pretraining.corpora import BAND_CORPORA, OLDER_CORPORA
from training.trainer.checkpoints import write_record

RESULTS = Path(__file__).parent / "results"
# Placeholders for paths in the card.
_DATA, _TOKENS = "DATA", "TOKENS"


@dataclass(frozen=True)
class CardEvaluation:
    """A run of `training.evaluate`; its records are stored as `evaluation` in facts.json.

    Attributes:
        split: test, valid or both.
        options: Further options of the command.
        corpora: Names of the corpora of `--data` to read; None: all.
    """

    split: str
    options: tuple[str, ...]
    corpora: Sequence[str] | None = None


@dataclass(frozen=True)
class CardSection:
    """A section of the card: its title, and the command that prints it."""

    title: str
    command: tuple[str, ...]
    slow: bool = False


EVALUATIONS = {
    "continuations": CardEvaluation(
        "test",
        (
            *("--no-bits", "--pieces", "200", "--takes", "2"),
            *("--baseline", str(RESULTS / "continuations-0.2-test.json")),
        ),
    ),
    "older": CardEvaluation("both", ("--pieces", "0"), OLDER_CORPORA),
    "bands": CardEvaluation("both", ("--pieces", "0"), BAND_CORPORA),
}
SECTIONS = {
    "novelty": CardSection("Memorization", ("benchmarks.quality.memorization", "--data", _DATA)),
    "rivals": CardSection(
        "Architectures at equal processor time",
        (
            "benchmarks.quality.compare_architectures",
            "--tokens",
            _TOKENS,
            "--split",
            "test",
            "--minutes",
            "20",
        ),
        slow=True,
    ),
    "speed": CardSection("Speed", ("benchmarks.speed.decoding", "--rounds", "3")),
    "precision": CardSection(
        "int8 inference", ("benchmarks.quality.int8", "--data", _DATA, "--split", "valid")
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run the commands; return 1 if one fails, or after an error."""
    options = parser(
        "benchmarks.model_card", "Measure what the bundled model's card says.", split=False
    )
    options.add_argument(
        "--only",
        metavar="NAMES",
        help=f"some of {', '.join((*EVALUATIONS, *SECTIONS))}, separated by commas; default: all",
    )
    options.add_argument(
        "--slow", action="store_true", help="also compare architectures, which takes hours"
    )
    options.add_argument("--tokens", type=Path, help="output of training.prepare, for --slow")
    options.add_argument("--gallery", type=Path, help="output of benchmarks.quality.sample_gallery")
    options.add_argument(
        "--checkpoints", type=Path, help="folder to resume a killed comparison, for --slow"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Run the commands and store the output of each as soon as it ends."""
    chosen = _chosen(options.only)
    if options.slow and options.tokens is None:
        raise ReportError("--slow needs --tokens, a file that training.prepare wrote.")
    data = {name: _data(each, options.data) for name, each in EVALUATIONS.items() if name in chosen}
    folder = find_checkpoint(DEFAULT)
    for name, paths in data.items():
        _evaluate(name, paths, folder)
    if options.gallery is not None:
        _store(folder, samples=_samples(options.gallery, folder))
    for section in (each for name, each in SECTIONS.items() if name in chosen):
        if not section.slow or options.slow or section.title not in _titles(folder):
            report = _report(section, options)
            others = [
                r for r in read_facts(folder).get("reports", []) if r["title"] != report["title"]
            ]
            _store(folder, reports=_sorted_reports([*others, report]))
    facts = read_facts(folder)
    return Report(f"Wrote {folder.name}/{FACTS_FILE}.", facts)


def _chosen(text: str | None) -> set[str]:
    names = {*EVALUATIONS, *SECTIONS}
    chosen = names if text is None else {part.strip() for part in text.split(",")}
    if unknown := chosen - names:
        raise ReportError(
            f"--only names {', '.join(sorted(map(repr, unknown)))}; there are "
            f"{', '.join((*EVALUATIONS, *SECTIONS))}."
        )
    return chosen


def _data(evaluation: CardEvaluation, paths: Sequence[str]) -> list[str]:
    """Return the paths of the corpora of an evaluation."""
    if evaluation.corpora is None:
        return list(paths)
    path_of = {Path(path).name: path for path in paths}
    if missing := [name for name in evaluation.corpora if name not in path_of]:
        raise ReportError(
            f"--data has no folder {', '.join(missing)}; add it, or name measurements that do not "
            "read it after --only."
        )
    return [path_of[name] for name in evaluation.corpora]


def _evaluate(name: str, paths: Sequence[str], folder: Path) -> None:
    """Store the records with figures per piece in `RESULTS`, and without them in facts.json."""
    evaluation = EVALUATIONS[name]
    out = RESULTS / f"{name}-{__version__.rpartition('.')[0]}-{evaluation.split}.json"
    command = ("training.evaluate", "--data", ",".join(paths), "--split", evaluation.split)
    _run((*command, *evaluation.options, "--json", str(out)))
    for record in json.loads(out.read_text(encoding="utf-8")):
        write_facts(folder, record)


def _run(command: Sequence[str]) -> str:
    """Run a command; print and return its output."""
    sys.stderr.write(f"… python -m {command[0]}\n")
    done = subprocess.run(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ReportError(f"python -m {command[0]} failed; its message is above.")
    print(done.stdout)
    return done.stdout.strip()


def _titles(folder: Path) -> list[str]:
    return [report["title"] for report in read_facts(folder).get("reports", [])]


def _report(section: CardSection, options: argparse.Namespace) -> dict[str, str]:
    shown = f"python -m {' '.join(section.command)}"
    if section.slow and not options.slow:
        return {"title": section.title, "command": shown, "printed": "Not measured."}
    paths = {_DATA: ",".join(options.data), _TOKENS: str(options.tokens)}
    command = [paths.get(part, part) for part in section.command]
    if section.slow and options.checkpoints is not None:
        command += ["--checkpoints", str(options.checkpoints)]
    return {"title": section.title, "command": shown, "printed": _run(command)}


def _sorted_reports(reports: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    titles = [section.title for section in SECTIONS.values()]
    known = [each for each in reports if each["title"] in titles]
    return sorted(known, key=lambda each: titles.index(each["title"]))


def _store(folder: Path, **facts: Any) -> None:
    write_record(folder / FACTS_FILE, {**read_facts(folder), **facts})


# Samples ------------------------------------------------------------------------------------------

_SHOWN = 5


def _samples(gallery: Path, card: Path) -> list[dict[str, Any]]:
    """Return the first sample of each style, with paths relative to the card."""
    rows = json.loads((gallery / "gallery.json").read_text(encoding="utf-8"))
    style = {row["name"].partition("-")[2]: row for row in reversed(rows)}
    shown = sorted(style.values(), key=lambda row: row["name"])[:_SHOWN]
    up = Path(os.path.relpath(gallery, card)).as_posix()
    return [
        {**row, "files": {kind: f"{up}/{name}" for kind, name in row["files"].items()}}
        for row in shown
    ]


if __name__ == "__main__":
    sys.exit(run_command(main))
