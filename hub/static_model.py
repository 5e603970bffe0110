"""The model of the page without a server: packed weights and token table in one file.

Layout: the magic bytes, the length of a JSON header as uint32, the header, and the arrays, each at
a multiple of 16 bytes. Arrays of float32 whose values are float16 are stored as float16.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

from musiclstm.core import EPSILON, INTEGERS, POINTERS, Weights, pack
from musiclstm.model import TokenTable

MAGIC = b"MLSTM\0\0\1"
_ALIGNMENT = 16


def pack_model(
    weights: Weights, table: TokenTable, bar_score: np.ndarray, info: dict[str, Any]
) -> bytes:
    """Return the file of a model.

    Args:
        weights: The network.
        table: Its tokens.
        bar_score: `BAR_SCORE`.
        info: Name, revision and so on, for the page.
    """
    sizes, arrays, _ = pack(weights)
    tokens = {f"token_{name}": getattr(table, name) for name in ("kind", "value", "unit")}
    arrays |= {name: np.array(values, np.int32) for name, values in tokens.items()}
    arrays["bar_score"] = np.atleast_1d(bar_score).view(np.float32)
    stored = {name: _smallest(array) for name, array in arrays.items()}
    offsets, size = {}, 0
    for name, array in stored.items():
        offsets[name] = size
        size += array.nbytes + -array.nbytes % _ALIGNMENT
    header = {
        "info": info,
        "tokens": len(table),
        "eos": table.eos,
        # Fields of `Network` in core.h, of four bytes each: a number, or the name of an array.
        "network": [*(sizes.get(name, 0) for name in INTEGERS), EPSILON],
        "pointers": list(POINTERS),
        "arrays": [
            {"name": name, "type": array.dtype.name, "count": array.size, "offset": offsets[name]}
            for name, array in stored.items()
        ],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(MAGIC) + 4 + len(text)) % _ALIGNMENT)
    padded = (array.tobytes() + bytes(-array.nbytes % _ALIGNMENT) for array in stored.values())
    return MAGIC + struct.pack("<I", len(text)) + text + b"".join(padded)


def _smallest(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        small = array.astype(np.float16)
    return small if np.array_equal(small.astype(np.float32), array) else array
