"""Sample a token from logits, and log-sum-exp, in C."""

from __future__ import annotations

import ctypes

import numpy as np

NO_TOKEN, OUTSIDE_TOP_P = -1, -2  # as in sampling.c


class CompiledSampler:
    """The functions of sampling.c. They keep no memory, so any number of threads may call them."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Bind to a library of `native.load`."""
        logits = ctypes.c_void_p, ctypes.c_int32
        real, double = ctypes.c_float, ctypes.c_double
        self._sample = library.sample_token
        self._sample.argtypes = (*logits, real, double, real, double)
        self._logsumexp = library.logsumexp
        self._logsumexp.argtypes, self._logsumexp.restype = logits, double

    def logsumexp(self, logits: np.ndarray) -> float:
        """Return log(sum(exp(logits))) of (n,) float32, contiguous.

        Meaningless where the highest logit is not finite or one is NaN.
        """
        return float(self._logsumexp(_address(logits), len(logits)))

    def sample(
        self,
        logits: np.ndarray,
        inverse_temperature: float,
        top_p: float,
        min_p: float,
        uniform: float,
    ) -> int:
        """Sample an index in proportion to exp(logit / temperature).

        The logits are overwritten with these weights.

        Args:
            logits: (n,) float32, contiguous and writable.
            inverse_temperature: Above 0.
            top_p: As in `Sampling`.
            min_p: As in `Sampling`.
            uniform: A random number from 0 to below 1.

        Returns:
            The index; `NO_TOKEN` where the highest logit is not finite or one is NaN, and then the
            logits stay; `OUTSIDE_TOP_P` where the sampled index is not among the most probable ones
            that together reach `top_p`.
        """
        limits = inverse_temperature, top_p, min_p
        return int(self._sample(_address(logits), len(logits), *limits, uniform))


def _address(logits: np.ndarray) -> int:
    # Twice as fast as __array_interface__, four times as fast as `ctypes.data`.
    return ctypes.addressof(ctypes.c_char.from_buffer(logits.data))
