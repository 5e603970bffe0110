"""Entry point of `python -m musiclstm` and of the command `musiclstm`."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C also ends it quietly while modules are imported."""
    try:
        from musiclstm.cli import main

        return main()
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; nothing was written.\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
