"""Command line: `python -m musiclstm`.

Modules that take long to import are imported by the command that needs them, so that `--help` and
`inspect` start in a fraction of a second. The other commands of the repository end by `run_command`
too.
"""

from musiclstm.cli.console import run_command
from musiclstm.cli.program import main

__all__ = ["main", "run_command"]
