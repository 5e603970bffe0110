"""What every benchmark command shares: `--data`, `--json`, a table, one sentence on bad input.

Knows nothing of what is measured.
"""

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
    """What was measured cannot be written where it was asked for, or an option means nothing."""


@dataclass(frozen=True)
class Report:
    """What a command found.

    Attributes:
        text: For people, on standard output.
        facts: For programs, in the file that `--json` names.
    """

    text: str
    facts: Any


def parser(
    module: str, description: str, *, data: bool = True, split: bool = True
) -> argparse.ArgumentParser:
    """Return a parser with the options that benchmarks share.

    Args:
        module: Of the command.
        description: In its help.
        data: Whether it reads pieces.
        split: Whether these are of one split.
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
    found.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return found


def run(measure: Callable[[argparse.Namespace], Report], options: argparse.Namespace) -> int:
    """Measure and print; 0, or 1 with a sentence on standard error."""
    try:
        if options.json is not None:
            check_place(options.json)
        report = measure(options)
        print(report.text)
        if options.json is not None:
            text = json.dumps(report.facts, indent=2, ensure_ascii=False) + "\n"
            options.json.write_text(text, encoding="utf-8")
    except MusicLSTMError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def check_place(path: Path) -> None:
    """Refuse a file that could not be written, before an hour of measuring.

    Raises:
        ReportError: It is a folder, or the folder it should lie in does not exist.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise ReportError(
            f"{str(path)!r} cannot be written: name a file in a folder that exists after --json."
        )


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the same keys as an aligned table that is Markdown as it stands.

    The first column names the row and stands to the left, numbers stand to the right.
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
