"""`python -m benchmarks.quality.int4`: change of bits per note if the weights had four bits.

The large matrices are rounded to 15 levels in groups of 32 columns with a float16 scale for each
group, once with the scale of the largest weight and once with the scale of the smallest squared
error. The core then reads the same pieces with these values, rounded to int8 as always.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.common.report import Report, parser, run, table
from benchmarks.quality.int8 import read_streams, step_logits, stored_weights
from musiclstm.cli import run_command
from musiclstm.core import Network, Weights
from musiclstm.model import TokenTable, load_checkpoint

GROUP, LEVELS = 32, 7  # columns; the largest magnitude
_SHARES = np.linspace(0.6, 1.0, 17)  # of the largest weight, tried as the end of the range


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.quality.int4", "Compare int4 and int8 weights.")
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument(
        "--pieces", type=int, default=40, help="largest number of pieces; 0: all (40)"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Read every piece with int8 weights and with int4 weights."""
    model, tokenizer = load_checkpoint(options.model)
    streams, notes = read_streams(options, tokenizer)
    weights, names = stored_weights(model), TokenTable(tokenizer.token_names)
    variants = {
        "int8": weights,
        "int4, scale of the largest weight": with_int4(weights, search=False),
        "int4, scale of the smallest error": with_int4(weights, search=True),
    }
    bits = {name: _bits(Network(each, names), streams) / notes for name, each in variants.items()}
    facts: dict[str, Any] = {"split": options.split, "pieces": len(streams), "notes": notes}
    facts["bits per note"] = bits
    rows = [
        {
            "weights": name,
            "bits per note": f"{each:.4f}",
            "to int8": f"{100 * (each / bits['int8'] - 1):+.2f} %",
        }
        for name, each in bits.items()
    ]
    return Report(f"{table(rows)}\n\n{len(streams)} pieces, {notes:,} notes.", facts)


def with_int4(weights: Weights, *, search: bool) -> Weights:
    """Return weights with the layers and both heads rounded to int4."""
    context = weights.context
    if context is not None:
        context = replace(context, head=rounded(context.head, search=search))
    return replace(
        weights,
        of_input=[rounded(each, search=search) for each in weights.of_input],
        of_hidden=[rounded(each, search=search) for each in weights.of_hidden],
        head=rounded(weights.head, search=search),
        context=context,
    )


def rounded(matrix: np.ndarray, *, search: bool) -> np.ndarray:
    """Return a matrix (rows, columns) with the values that int4 can represent.

    Args:
        matrix: float32.
        search: Whether each group gets the scale of the smallest squared error among `_SHARES`.
    """
    missing = -matrix.shape[1] % GROUP
    groups = np.pad(matrix, ((0, 0), (0, missing))).reshape(len(matrix), -1, GROUP)
    largest = np.abs(groups).max(axis=-1, keepdims=True)
    best, least = np.zeros_like(groups), np.full(largest.shape, np.inf)
    for share in _SHARES if search else _SHARES[-1:]:
        scale = (largest * share / LEVELS).astype(np.float16).astype(np.float32)
        steps = np.divide(groups, scale, out=np.zeros_like(groups), where=scale > 0)
        found = np.clip(np.rint(steps), -LEVELS, LEVELS) * scale
        error = ((found - groups) ** 2).sum(axis=-1, keepdims=True)
        best, least = np.where(error < least, found, best), np.minimum(error, least)
    return best.reshape(len(matrix), -1)[:, : matrix.shape[1]]


def _bits(network: Network, streams: Sequence[list[int]]) -> float:
    total = 0.0
    for stream in streams:
        scores = step_logits(network, stream).double().log_softmax(-1)
        total -= float(scores[range(len(stream) - 1), stream[1:]].sum()) / np.log(2)
    return total


if __name__ == "__main__":
    sys.exit(run_command(main))
