"""`python -m benchmarks.card --data …`: measure all that the bundled model's card says.

Runs the commands that the card names, one after the other, and keeps their output in the
`facts.json` of the bundled weights; `python -m hub.model_card` renders it (`make card` does both).
The rivals, which take hours, are measured only with `--slow`, and otherwise stay as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reporting import Report, ReportError, parser, run
from musiclstm.checkpoint import DEFAULT, FACTS_FILE, find_checkpoint, read_facts
from training.checkpoints import write_record

# Takes of test pieces at the default settings: 400, of 200 pieces.
EVALUATION = ("training.evaluate", "--pieces", "200", "--takes", "2")
# What the card shows in place of paths.
_DATA, _TOKENS = "DATA", "TOKENS"


@dataclass(frozen=True)
class Measured:
    """A section of the card: its heading, and the command that prints it."""

    title: str
    command: tuple[str, ...]
    slow: bool = False


SECTIONS = (
    Measured("Does it copy?", ("benchmarks.novelty", "--data", _DATA)),
    Measured(
        "Beside other networks after the same processor time",
        ("benchmarks.quality", "--tokens", _TOKENS, "--split", "test", "--minutes", "20"),
        slow=True,
    ),
    Measured("How fast it composes", ("benchmarks.speed", "--rounds", "3")),
    Measured("What int8 changes", ("benchmarks.precision", "--data", _DATA, "--split", "valid")),
)


def main(argv: list[str] | None = None) -> int:
    """Run the commands; 0, or 1 with a sentence where one fails."""
    options = parser("benchmarks.card", "Measure what the bundled model's card says.")
    options.add_argument("--slow", action="store_true", help="the rivals too, which takes hours")
    options.add_argument("--tokens", type=Path, help="the file of training.prepare, for --slow")
    options.add_argument("--gallery", type=Path, help="a folder of benchmarks.gallery to show")
    options.add_argument(
        "--checkpoints", type=Path, help="where the rivals are kept, so that a killed run goes on"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure, and keep each figure as soon as it is known."""
    if options.slow and options.tokens is None:
        raise ReportError("--slow needs --tokens, a file that training.prepare wrote.")
    folder = find_checkpoint(DEFAULT)
    data = ",".join(options.data)
    _run((*EVALUATION, "--data", data, "--split", options.split, "--write_facts"))
    _keep(folder, credits=list(_credits(options.data)))
    if options.gallery is not None:
        _keep(folder, samples=_samples(options.gallery, folder))
    for section in SECTIONS:
        if not section.slow or options.slow or section.title not in _titles(folder):
            report = _report(section, options)
            others = [
                r for r in read_facts(folder).get("reports", []) if r["title"] != report["title"]
            ]
            _keep(folder, reports=_in_order([*others, report]))
    facts = read_facts(folder)
    told = "\n".join(f"{each['title']}: {each['command']}" for each in facts["reports"])
    return Report(f"{folder.name}/{FACTS_FILE} knows:\n{told}", facts)


def _run(command: Sequence[str]) -> str:
    """What a command prints; its progress is let through."""
    sys.stderr.write(f"… python -m {command[0]}\n")
    done = subprocess.run(
        [sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise ReportError(f"python -m {command[0]} failed; what it said stands above.")
    return done.stdout.strip()


def _titles(folder: Path) -> list[str]:
    return [report["title"] for report in read_facts(folder).get("reports", [])]


def _report(section: Measured, options: argparse.Namespace) -> dict[str, str]:
    told = f"python -m {' '.join(section.command)}"
    if section.slow and not options.slow:
        return {"title": section.title, "command": told, "printed": "Not measured."}
    paths = {_DATA: ",".join(options.data), _TOKENS: str(options.tokens)}
    command = [paths.get(part, part) for part in section.command]
    if section.slow and options.checkpoints is not None:
        command += ["--checkpoints", str(options.checkpoints)]
    return {"title": section.title, "command": told, "printed": _run(command)}


def _in_order(reports: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    titles = [section.title for section in SECTIONS]
    known = [each for each in reports if each["title"] in titles]
    return sorted(known, key=lambda each: titles.index(each["title"]))


def _keep(folder: Path, **facts: Any) -> None:
    write_record(folder / FACTS_FILE, {**read_facts(folder), **facts})


# Whom to thank ------------------------------------------------------------------------------------


def _credits(paths: Sequence[str]) -> Iterator[dict[str, str]]:
    """Source, licence and names, from the manifest of every corpus that has one."""
    for path in paths:
        manifest = Path(path) / "MANIFEST.json"
        if manifest.is_file():
            known = json.loads(manifest.read_text(encoding="utf-8"))
            yield {
                "name": known.get("name", Path(path).name),
                "source": known.get("source", "source not stated"),
                "licence": known.get("licence", "licence not stated"),
                "credit": known.get("credit") or _names(known["pieces"]),
            }


def _names(pieces: Sequence[dict[str, Any]]) -> str:
    """Who is named for pieces whose licence asks for it; who made the corpus, its source says."""
    named = {
        each["credit"] for each in pieces if each.get("credit") and "BY" in each.get("licence", "")
    }
    return ", ".join(sorted(named)) if named else "the people behind it, named at the source"


# What to hear -------------------------------------------------------------------------------------

_SHOWN = 5


def _samples(gallery: Path, card: Path) -> list[dict[str, Any]]:
    """The first of every style, with places of files as seen from the card."""
    rows = json.loads((gallery / "gallery.json").read_text(encoding="utf-8"))
    style = {row["name"].partition("-")[2]: row for row in reversed(rows)}
    shown = sorted(style.values(), key=lambda row: row["name"])[:_SHOWN]
    up = Path(os.path.relpath(gallery, card)).as_posix()
    return [
        {**row, "files": {kind: f"{up}/{name}" for kind, name in row["files"].items()}}
        for row in shown
    ]


if __name__ == "__main__":
    sys.exit(main())
