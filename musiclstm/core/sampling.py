"""Draw a token from logits, and sum up their exponentials, in C."""

from __future__ import annotations

import ctypes
from math import log

import numpy as np

NO_TOKEN, OUTSIDE = -1, -2  # as in sampling.c


class Sampler:
    """The functions of sampling.c, for one thread at a time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Bind to a library of `native.load`."""
        self._address_of: tuple[np.ndarray | None, int] = None, 0  # the last array
        self._draw = library.draw_token
        self._draw.argtypes = (
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_float,
            ctypes.c_double,
            ctypes.c_float,
            ctypes.c_double,
        )
        self._sum = library.sum_exponentials
        self._sum.argtypes = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p)
        self._sum.restype = ctypes.c_double
        self._highest = ctypes.c_float()
        self._highest_at = ctypes.addressof(self._highest)

    def log_sum(self, logits: np.ndarray) -> float:
        """Return log(sum(exp(logits))) of (n,) float32, contiguous; meaningless with a NaN."""
        total = self._sum(self._address(logits), len(logits), self._highest_at)
        return self._highest.value + log(total)

    def draw(
        self, logits: np.ndarray, rate: float, top_p: float, min_p: float, chance: float
    ) -> int:
        """Draw an index in proportion to exp(logit * rate); the logits become these weights.

        Args:
            logits: (n,) float32, contiguous and writable.
            rate: One over the temperature, above 0.
            top_p: As in `Sampling`.
            min_p: As in `Sampling`.
            chance: 0 to below 1.

        Returns:
            The index; `NO_TOKEN` where the highest logit is not finite or one is NaN, and then the
            logits stay; `OUTSIDE` where the index drawn is not among the most probable ones that
            together reach `top_p`.
        """
        return int(self._draw(self._address(logits), len(logits), rate, top_p, min_p, chance))

    def _address(self, logits: np.ndarray) -> int:
        known, address = self._address_of
        if logits is not known:  # a decoding loop passes the same array again and again
            address = ctypes.addressof(ctypes.c_char.from_buffer(logits.data))
            self._address_of = logits, address
        return address
