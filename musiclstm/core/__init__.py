"""Compiled network step, step features and sampling, with numpy references."""

from musiclstm.core.features import FeatureRows, is_available
from musiclstm.core.native import CACHE_VARIABLE

__all__ = [
    "CACHE_VARIABLE",
    "FeatureRows",
    "is_available",
]
