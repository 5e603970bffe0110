"""Keep freed memory in the process, so that the next training step can reuse it.

glibc returns every large block to the system and requests it again a moment later; the system
fills it with zeros each time. That took a quarter of the training time on a CPU. The process keeps
no more than its largest step needs.
"""

from __future__ import annotations

import ctypes
import sys

# Constants of glibc's malloc.h (`man 3 mallopt`).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MAX_BYTES = 2**31 - 1  # the largest int
_TOP_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Configure the C library; return False where it has no `mallopt` (musl, macOS, Windows)."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, _MAX_BYTES),
        (_M_TOP_PAD, _TOP_PAD_BYTES),
    )
    return all(mallopt(name, value) == 1 for name, value in settings)
