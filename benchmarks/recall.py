"""`python -m benchmarks.recall`: what recall takes off a held-out note, and the numbers that suit.

Held-out pieces are read by the bundled network with several windows and distances of recall, all
else being the same. `--fit` looks for the power, bias and slope that make what was held out
likeliest: for every token it is noted how many places agree over how many tokens, and for how many
of them the next token is the right one; with that the likelihood is a sum that Adam climbs
(`modeling.Recall` has the formula).
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.pieces import evenly, refuse_empty
from benchmarks.reporting import Report, ReportError, parser, run, table
from musiclstm.checkpoint import load_checkpoint
from musiclstm.modeling import MusicLSTMForCausalLM, Recall
from musiclstm.recall import SteppedRecall
from musiclstm.tokenization import MusicTokenizer
from training.corpus import read_corpus
from training.metrics import held_out

_STEPS, _RATE = 200, 0.05  # of the climb
_AT_ONCE = 1024  # tokens read in one go
_NONE = 1e-12  # instead of a probability of 0


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where it cannot be measured."""
    options = parser("benchmarks.recall", "What recall takes off a held-out note.")
    options.set_defaults(split="valid")
    options.add_argument("--model", default="default", help="whose; a checkpoint folder or Hub id")
    options.add_argument("--pieces", type=int, help="held-out pieces to read (all)")
    options.add_argument("--windows", default="0,1024,2048,4096,8192", help="to compare; 0: none")
    options.add_argument("--distances", default="1,64,128,256", help="to compare")
    options.add_argument("--fit", action="store_true", help="which power, bias and slope suit best")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Read the pieces with every variant."""
    windows, distances = (
        _numbers(text, name)
        for text, name in ((options.windows, "--windows"), (options.distances, "--distances"))
    )
    model, tokenizer = load_checkpoint(options.model)
    corpus = read_corpus(options.data)
    refuse_empty([piece.split for piece in corpus.pieces], options.split)
    pieces = evenly(corpus.tokens(options.split), options.pieces)
    usual = model.config.recall_window, model.config.recall_distance
    variants = [(window, usual[1]) for window in windows] + [(usual[0], d) for d in distances]
    rows = [_row(model, tokenizer, pieces, *each) for each in dict.fromkeys(variants)]
    facts: dict[str, Any] = {"split": options.split, "pieces": len(pieces), "variants": rows}
    text = _told(rows)
    if options.fit:
        _set(model, *usual)
        facts["fit"] = fit(list(agreements(model, tokenizer, pieces)))
        text += "\n\n" + ", ".join(f"{name} {value:.3f}" for name, value in facts["fit"].items())
    return Report(f"{text}\n\n{len(pieces)} pieces of the split {options.split}.", facts)


def _numbers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise ReportError(f"{option} must be numbers such as 128,256, got {text!r}.") from error


def _set(model: MusicLSTMForCausalLM, window: int, distance: int) -> None:
    model.config.recall_window, model.config.recall_distance = window, distance
    try:
        model.config.validate_architecture()
    except ValueError as error:
        raise ReportError(str(error)) from error
    model.recall = Recall(model.config) if window else None


def _row(
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    pieces: Sequence[np.ndarray],
    window: int,
    distance: int,
) -> dict[str, Any]:
    _set(model, window, distance)
    found = held_out(model, tokenizer, pieces)
    sys.stderr.write(f"… window {window}, distance {distance}: {found.bits_per_note:.3f}\n")
    return {"window": window, "distance": distance, "bits_per_note": found.bits_per_note}


def _told(rows: Sequence[dict[str, Any]]) -> str:
    first = rows[0]["bits_per_note"]
    return table(
        [
            {
                "window, tokens": f"{row['window']:,}" if row["window"] else "no recall",
                "distance": f"{row['distance']:,}" if row["window"] else "",
                "bits per note": f"{row['bits_per_note']:.3f}",
                "against the first": f"{row['bits_per_note'] / first - 1:+.1%}",
            }
            for row in rows
        ]
    )


# Which numbers suit -------------------------------------------------------------------------------


class Moments(NamedTuple):
    """One piece, token by token: all (tokens,) or (tokens, longest + 1) by how many tokens agree.

    Attributes:
        own: Probability that the network alone gives to what came.
        places: How many agree so far.
        right: After how many of them stood what came.
    """

    own: Tensor
    places: Tensor
    right: Tensor


def agreements(
    model: MusicLSTMForCausalLM, tokenizer: MusicTokenizer, pieces: Sequence[np.ndarray]
) -> Iterator[Moments]:
    """What the numbers are fitted to, piece by piece."""
    for ids in tokenizer.compress_many(pieces):
        stream = [tokenizer.bos_id, *ids, tokenizer.eos_id]
        heard = np.full((1, model.config.recall_window), -1, np.int32)
        recall, size = SteppedRecall(model.config, heard), Recall.longest + 1
        places, right = np.zeros((2, len(stream) - 1, size), np.float32)
        for step, (token, following) in enumerate(itertools.pairwise(stream)):
            recall.read([token])
            agree, tokens = recall.places(0)
            places[step] = np.bincount(agree, minlength=size)
            right[step] = np.bincount(agree[tokens == following], minlength=size)
        own = _own(model, stream)
        yield Moments(own, torch.from_numpy(places), torch.from_numpy(right))


@torch.inference_mode()
def _own(model: MusicLSTMForCausalLM, stream: list[int]) -> Tensor:
    ids, state, found = torch.tensor([stream]), None, []
    for begin in range(0, len(stream) - 1, _AT_ONCE):
        part = ids[:, begin : min(begin + _AT_ONCE, len(stream) - 1)]
        output = model(part, past_key_values=state, use_recall=False)
        state = output.past_key_values
        labels = ids[0, begin + 1 : begin + 1 + part.shape[1]]
        found.append(output.logits[0].softmax(-1).gather(1, labels[:, None])[:, 0])
    return torch.cat(found).clone()


def fit(moments: Sequence[Moments]) -> dict[str, float]:
    """Power, bias and slope that make the pieces likeliest, and how much it is worth.

    Returns:
        `power`, `bias`, `slope`, and `gain`: the share of all bits that goes away.
    """
    own, places, right = (torch.cat(parts) for parts in zip(*moments, strict=True))
    lengths = torch.arange(places.shape[1], dtype=torch.float32)
    longest = torch.where(places > 0, lengths, 0).amax(1)
    numbers = torch.tensor([4.0, -4.0, 2.0], requires_grad=True)
    climb = torch.optim.Adam([numbers], lr=_RATE)
    for _ in range(_STEPS):
        power, bias, slope = numbers
        weights = lengths**power
        vote = (right @ weights) / (places @ weights).clamp_min(_NONE)
        share = torch.where(longest > 0, (bias + slope * longest.clamp_min(1).log()).sigmoid(), 0)
        nats = -((1 - share) * own + share * vote).clamp_min(_NONE).log().sum()
        climb.zero_grad()
        nats.backward()
        climb.step()
    gain = 1 - float(nats.detach()) / float(-own.clamp_min(_NONE).log().sum())
    found = dict(zip(("power", "bias", "slope"), numbers.tolist(), strict=True))
    return {**found, "gain": gain if math.isfinite(gain) else 0.0}


if __name__ == "__main__":
    sys.exit(main())
