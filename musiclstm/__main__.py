"""Entry point of `python -m musiclstm`."""

import sys

from musiclstm.cli import main

sys.exit(main())
