"""Meters that the network reads: those with a token."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

METERS: Final[Mapping[int, tuple[int, ...]]] = MappingProxyType(
    {4: tuple(range(1, 13)), 8: tuple(range(1, 17)), 16: (3, 5, 7, 9, 11, 13, 15)}
)
"""Numerators of the meters that have a token, by denominator."""


def normalize_time_signature(numerator: int, denominator: int) -> tuple[int, int]:
    """Return a meter of the same length with a token: 4/4 for 2/2, 3/8 for 6/16.

    A beat, as given by the denominator, has twelve positions, which is too coarse for halves.
    """
    while 0 < denominator < 4:
        numerator, denominator = numerator * 2, denominator * 2
    while denominator > 8 and numerator % 2 == 0:
        numerator, denominator = numerator // 2, denominator // 2
    return numerator, denominator


def supports_time_signature(numerator: int, denominator: int) -> bool:
    """Return whether a token exists for this meter or for one of the same length."""
    numerator, denominator = normalize_time_signature(numerator, denominator)
    return numerator in METERS.get(denominator, ())
