"""`python -m benchmarks.precision`: what packing costs in quality, in held-out bits per note.

Every piece of a split is read token by token by the packed network in int8, and at once in float32
by modeling.py; both say how likely each token was. That float32 steps give the scores of
modeling.py is shown on the first pieces.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.pieces import refuse_empty
from benchmarks.reporting import Report, ReportError, parser, run, table
from musiclstm.checkpoint import load_checkpoint
from musiclstm.decoding import MAX_ROWS, PackedLSTM, Snapshot
from musiclstm.modeling import LSTMState, MusicLSTMForCausalLM
from training.corpus import read_corpus

COMPARED = 4
LONGEST = 2048  # tokens of a piece; one long piece would hold up a whole batch


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence when the data or the model cannot be used."""
    options = parser("benchmarks.precision", "Bits per note: int8 steps against float32.")
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--pieces", type=int, default=0, help="at most so many; 0: all")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Bits of every way to read the same streams."""
    if options.pieces < 0:
        raise ReportError(f"--pieces must be 0 or more, got {options.pieces}.")
    model, tokenizer = load_checkpoint(options.model)
    corpus = read_corpus(options.data)
    refuse_empty([piece.split for piece in corpus.pieces], options.split)
    ids = tokenizer.compress_many(corpus.tokens(options.split))
    streams = [[tokenizer.bos_id, *each][:LONGEST] for each in ids]
    streams = streams[: options.pieces or None]
    notes_in = [sum(p.startswith("Pitch") for p in parts) for parts in tokenizer.parts]
    notes = sum(notes_in[token] for stream in streams for token in stream)
    int8, float32 = (PackedLSTM(model, precision=p) for p in ("int8", "float32"))
    bits = {
        "float32 (modeling.py)": sum(_bits_at_once(model, stream) for stream in streams),
        "int8 steps": _bits_by_steps(int8, streams),
    }
    facts = {
        "split": options.split,
        "pieces": len(streams),
        "notes": notes,
        "tokens": sum(len(stream) - 1 for stream in streams),
        "engine": int8.engine,
        "bits per note": {name: found / notes for name, found in bits.items()},
        "int8 worse than float32": bits["int8 steps"] / bits["float32 (modeling.py)"] - 1,
        "float32 logits furthest from modeling.py": max(
            _furthest(float32, model, stream) for stream in streams[:COMPARED]
        ),
    }
    return Report(_text(facts), facts)


def _bits_at_once(model: MusicLSTMForCausalLM, stream: Sequence[int]) -> float:
    ids = torch.tensor([list(stream)])
    with torch.inference_mode():
        scores = model(ids, use_recall=False).logits[0, :-1].double()
    nats = torch.nn.functional.cross_entropy(scores, ids[0, 1:], reduction="sum")
    return float(nats) / math.log(2)


def _bits_by_steps(network: PackedLSTM, streams: Sequence[Sequence[int]]) -> float:
    longest_first = sorted(streams, key=len, reverse=True)
    return sum(
        _surprise(scores, wanted)
        for begin in range(0, len(longest_first), MAX_ROWS)
        for scores, wanted in _side_by_side(network, longest_first[begin : begin + MAX_ROWS])
    )


def _furthest(network: PackedLSTM, model: MusicLSTMForCausalLM, stream: Sequence[int]) -> float:
    """How far a logit of the steps is from that of the model, at most."""
    ids = torch.tensor([list(stream)])
    with torch.inference_mode():
        whole = model(ids, use_recall=False).logits[0, :-1].numpy()
    stepped = [scores[0].copy() for scores, _ in _side_by_side(network, [stream])]
    return float(np.abs(np.array(stepped) - whole).max())


def _side_by_side(
    network: PackedLSTM, streams: Sequence[Sequence[int]]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Scores (rows, vocab) and what came next, step by step; streams go from long to short."""
    config = network.config
    nothing = Snapshot(torch.zeros(1, config.vocab_size), LSTMState.zeros(config, 1))
    stepper = network.stepper([nothing] * len(streams))
    rows = len(streams)
    for place in range(len(streams[0]) - 1):
        going = sum(len(stream) > place + 1 for stream in streams)
        if going < rows:
            stepper.keep(range(going))
            rows = going
        stepper.step([stream[place] for stream in streams[:rows]])
        yield stepper.scores, [stream[place + 1] for stream in streams[:rows]]


def _surprise(scores: np.ndarray, wanted: Sequence[int]) -> float:
    """Bits that the wanted tokens cost."""
    scores = scores.astype(np.float64)
    highest = scores.max(axis=1, keepdims=True)
    total = highest[:, 0] + np.log(np.exp(scores - highest).sum(axis=1))
    return float((total - scores[np.arange(len(wanted)), wanted]).sum()) / math.log(2)


def _text(facts: dict[str, Any]) -> str:
    rows = [
        {"read by": name, "bits per note": f"{bits:.4f}"}
        for name, bits in facts["bits per note"].items()
    ]
    furthest = facts["float32 logits furthest from modeling.py"]
    return (
        f"{table(rows)}\n\n{facts['pieces']} pieces, {facts['notes']:,} notes, "
        f"{facts['tokens']:,} tokens.\nint8 ({facts['engine']}) is "
        f"{100 * facts['int8 worse than float32']:+.2f} % worse than float32; float32 logits are "
        f"at most {furthest:.1e} from those of modeling.py."
    )


if __name__ == "__main__":
    sys.exit(main())
