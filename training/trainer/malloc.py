"""Keeps the memory of one step at hand for the next.

glibc gives every large block back to the system as soon as it is free and asks for it again a
moment later; the system fills it with zeros each time. In training on the processor that was a
quarter of the time. What is kept is what the largest step needs anyway. Knows nothing of tensors.
"""

from __future__ import annotations

import ctypes
import sys

# The names of glibc's malloc.h (`man 3 mallopt`).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_MOST = 2**31 - 1  # bytes; what an int can say
_PAD = 256 * 2**20  # bytes asked for at once


def keep_freed_memory() -> bool:
    """Make the C library keep what is freed; return whether it can."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _MOST), (_M_TOP_PAD, _PAD))
    return all(mallopt(name, value) == 1 for name, value in settings)
