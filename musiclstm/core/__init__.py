"""What composes, in C: step features, network step, grammar, sampling; and numpy references."""

from musiclstm.core.bar_features import BAR_FEATURES, BAR_SCORE, FEATURE_BINS, BarContext
from musiclstm.core.features import FeatureRows
from musiclstm.core.library import Library, is_available, load_library
from musiclstm.core.native import CACHE_VARIABLE, KERNEL_VARIABLE
from musiclstm.core.network import INTEGERS, POINTERS, Network, pack
from musiclstm.core.sequence import Batch, Sequence
from musiclstm.core.weights import EPSILON, Weights

__all__ = [
    "BAR_FEATURES",
    "BAR_SCORE",
    "CACHE_VARIABLE",
    "EPSILON",
    "FEATURE_BINS",
    "INTEGERS",
    "KERNEL_VARIABLE",
    "POINTERS",
    "BarContext",
    "Batch",
    "FeatureRows",
    "Library",
    "Network",
    "Sequence",
    "Weights",
    "is_available",
    "load_library",
    "pack",
]
