"""Machine and versions of a run, for the records that a model card is written from."""

from __future__ import annotations

import platform
from typing import Any

import torch
import transformers

from musiclstm import __version__


def environment() -> dict[str, Any]:
    """Return `machine`, with the threads that torch uses, and `versions`; ready for JSON."""
    threads = torch.get_num_threads()
    return {
        "machine": f"{platform.machine()}, {threads} thread{'s' if threads > 1 else ''}",
        "versions": {
            "musiclstm": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
