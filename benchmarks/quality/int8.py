"""`python -m benchmarks.quality.int8`: change of bits per note by int8 inference.

The int8 steps of the core and the float32 model read the same pieces. The command reports bits per
note of both, and the Kullback-Leibler divergence of the steps from the model.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command
from musiclstm.core import Network, Weights
from musiclstm.core import Sequence as CoreSequence
from musiclstm.model import MusicLSTMForCausalLM, TokenTable, load_checkpoint
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import read_corpus
from training.data.splits import evenly_spaced, require_split
from training.data.tokenize import count_notes

MAX_TOKENS = 2048  # of a piece
_LN2 = float(np.log(2))


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.quality.int8", "Compare int8 inference with the float32 model.")
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument(
        "--pieces", type=int, default=0, help="largest number of pieces; 0: all (0)"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Read every piece with the model and with int8 steps."""
    model, tokenizer = load_checkpoint(options.model)
    streams, notes = read_streams(options, tokenizer)
    facts = _compare(model, tokenizer.token_names, streams)
    facts["bits per note"] = {name: bits / notes for name, bits in facts.pop("bits").items()}
    facts |= {"split": options.split, "pieces": len(streams), "notes": notes}
    return Report(_text(facts), facts)


def read_streams(
    options: argparse.Namespace, tokenizer: MusicTokenizer
) -> tuple[list[list[int]], int]:
    """Return the first tokens of the pieces that the options select, and their notes.

    Raises:
        ReportError: The number of pieces is negative, or the split has none.
    """
    if options.pieces < 0:
        raise ReportError(f"--pieces must be 0 or more, got {options.pieces}.")
    corpus = read_corpus(options.data)
    require_split([piece.split for piece in corpus.pieces], options.split)
    pieces = evenly_spaced(corpus.tokens(options.split), options.pieces or None)
    streams = [[tokenizer.bos_id, *map(int, ids)][:MAX_TOKENS] for ids in pieces]
    return streams, sum(count_notes(stream, tokenizer) for stream in streams)


def _compare(
    model: MusicLSTMForCausalLM, names: Sequence[str], streams: Sequence[list[int]]
) -> dict[str, Any]:
    network = packed(model, names)
    bits = {"float32": 0.0, "steps": 0.0}
    divergence: list[Tensor] = []
    for stream in streams:
        with torch.inference_mode():
            logits = model(torch.tensor([stream])).logits[0, :-1]
        exact = logits.double().log_softmax(-1)
        rounded = step_logits(network, stream).double().log_softmax(-1)
        next_tokens = torch.tensor(stream[1:])[:, None]
        for name, found in (("float32", exact), ("steps", rounded)):
            bits[name] -= float(found.gather(1, next_tokens).sum()) / _LN2
        divergence.append((exact.exp() * (exact - rounded)).sum(-1) / _LN2)
    all_tokens = torch.cat(divergence)
    return {
        "tokens": len(all_tokens),
        "bits": bits,
        "worse by": bits["steps"] / bits["float32"] - 1,
        "divergence bits a token": {
            "mean": float(all_tokens.mean()),
            "max": float(all_tokens.max()),
        },
    }


def packed(model: MusicLSTMForCausalLM, names: Sequence[str]) -> Network:
    """Return the weights of a model in the core; `names` are those of its tokens."""
    return Network(stored_weights(model), TokenTable(names))


def stored_weights(model: MusicLSTMForCausalLM) -> Weights:
    """Return the weights of a model as numpy arrays."""
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    config = model.config
    return Weights.from_state_dict(arrays, residual=config.residual, token_names=config.token_names)


def step_logits(network: Network, stream: Sequence[int]) -> Tensor:
    """Return the logits after each token except the last, step by step, (tokens - 1, vocab)."""
    sequence, found = CoreSequence(network), []
    for token in stream[:-1]:
        sequence.read([token])
        found.append(sequence.logits.copy())
    return torch.from_numpy(np.array(found))


def _text(facts: dict[str, Any]) -> str:
    rows = [
        {"inference": name, "bits per note": f"{bits:.4f}"}
        for name, bits in facts["bits per note"].items()
    ]
    divergence = facts["divergence bits a token"]
    return (
        f"{table(rows)}\n\n{facts['pieces']} pieces, {facts['notes']:,} notes, "
        f"{facts['tokens']:,} tokens.\nSteps are "
        f"{100 * facts['worse by']:+.2f} % worse than the model in float32; their divergence is "
        f"{divergence['mean']:.1e} bits per token on average and {divergence['max']:.1e} at most."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
