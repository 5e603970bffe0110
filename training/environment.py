"""Record the machine and the versions of a run, for facts.json and the model card."""

from __future__ import annotations

import platform
from typing import Any

import torch
import transformers

from musiclstm import __version__


def environment() -> dict[str, Any]:
    """Return `machine`, with the number of torch threads, and `versions` as JSON values."""
    threads = torch.get_num_threads()
    return {
        "machine": f"{platform.machine()}, {threads} thread{'s' if threads > 1 else ''}",
        "versions": {
            "musiclstm": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
