"""Command-line options, tables and error handling of all benchmark commands."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musiclstm.errors import MusicLSTMError


class ReportError(MusicLSTMError):
    """An option is invalid, the figures cannot be written, or a measurement failed."""


@dataclass(frozen=True)
class Report:
    """Result of a command.

    Attributes:
        text: Text for standard output.
        facts: JSON content of the file that `--json` names.
        passed: Whether the exit status is 0.
    """

    text: str
    facts: Any
    passed: bool = True


def parser(
    module: str, description: str, *, data: bool = True, split: bool = True
) -> argparse.ArgumentParser:
    """Return a parser with the common options.

    Args:
        module: Module of the command.
        description: First line of the help.
        data: Whether the command has `--data`.
        split: Whether a command with `--data` has `--split`.
    """
    found = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    if data:
        found.add_argument(
            "--data",
            required=True,
            type=lambda text: [part for part in text.split(",") if part],
            help="folders, zips or MIDI files, separated by commas",
        )
    if data and split:
        found.add_argument(
            "--split", default="test", choices=("train", "valid", "test"), help="which pieces"
        )
    found.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    return found


def run(measure: Callable[[argparse.Namespace], Report], options: argparse.Namespace) -> int:
    """Measure and print the report; return 1 if it did not pass, or after an error message."""
    try:
        if options.json is not None:
            check_writable(options.json, "--json")
        report = measure(options)
        print(report.text)
        if options.json is not None:
            text = json.dumps(report.facts, indent=2, ensure_ascii=False) + "\n"
            options.json.write_text(text, encoding="utf-8")
    except MusicLSTMError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0 if report.passed else 1


def check_writable(path: Path, option: str) -> None:
    """Check the path given after an option before a measurement that may take hours.

    Raises:
        ReportError: The path is a folder, or its folder does not exist.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise ReportError(
            f"{str(path)!r} cannot be written: name a file in a folder that exists after {option}."
        )


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys as an aligned Markdown table.

    The first column is aligned to the left, other columns of numbers to the right.
    """
    names = list(rows[0])
    cells = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    right = [i > 0 and all(_is_number(line[i]) for line in cells[1:]) for i in range(len(names))]
    rule = ["-" * (w - 1) + ":" if r else "-" * w for w, r in zip(widths, right, strict=True)]
    lines = [cells[0], rule, *cells[1:]]
    return "\n".join(_line(line, widths, right) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]
    return "| " + " | ".join(padded) + " |"


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] in "-+" or cell == "nan"
