"""The program: parse the arguments, run one command, report errors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from musiclstm.cli import console
from musiclstm.cli.arguments import COMMANDS
from musiclstm.errors import MusicLSTMError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


class _Parser(argparse.ArgumentParser):
    """An argument parser that exits with status 1, as other errors of the command do."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print the help text; argparse ignores errors of stdout."""
        console.print_line(self.format_help().rstrip())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0; 1 after an `error: …` line on stderr; 130 after Ctrl-C, with a line that
        names the files that were written; 141 if the reader of stdout has closed the pipe.
    """
    argv = sys.argv[1:] if argv is None else argv
    written: list[Path] = []

    def run() -> int:
        try:
            arguments = _parser(argv).parse_args(argv)
            arguments.written = written
            arguments.run(arguments)
        except (MusicLSTMError, ValueError) as error:
            console.print_error(str(error))
            return 1
        return 0

    return console.run_command(run, written=written)


def _parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the commands that `argv` names get their arguments."""
    parser = _Parser(prog="python -m musiclstm", description="Continue MIDI files with an LSTM.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, aliases, text, add in COMMANDS:
        command = commands.add_parser(name, aliases=aliases, help=text, description=text)
        if {name, *aliases} & {*argv}:
            add(command)
    return parser
