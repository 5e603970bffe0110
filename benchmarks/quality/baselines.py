"""`python -m benchmarks.quality.baselines`: held-out bits per note of a model and of baselines.

All predictors read the same pieces and tokens: a uniform distribution, token frequencies, a 5-gram
(ngram.py), and a checkpoint. Frequencies are counted in the train split only.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import asdict

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.ngram import NGram
from musiclstm.cli import run_command
from musiclstm.model import load_checkpoint
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import Corpus, read_corpus
from training.data.splits import require_split
from training.evaluation.bits_per_note import HeldOutBits, measure_bits

ORDER = 5


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.quality.baselines", "Bits per note of a model and of baselines.")
    options.add_argument(
        "--model", default="default", help="default, a checkpoint folder, or a Hub id"
    )
    options.add_argument(
        "--order", type=int, default=ORDER, help=f"tokens in the longest n-gram ({ORDER})"
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Measure every predictor on every piece of the split."""
    if options.order < 1:
        raise ReportError(f"--order must be 1 or more, got {options.order}.")
    model, tokenizer = load_checkpoint(options.model)
    corpus = read_corpus(options.data)
    for split in ("train", options.split):
        require_split([piece.split for piece in corpus.pieces], split)
    found = measure_baselines(corpus, tokenizer, split=options.split, order=options.order)
    found[str(options.model)] = measure_bits(model, tokenizer, corpus.tokens(options.split))
    return Report(_text(found, tokenizer), _facts(found, options, tokenizer))


def measure_baselines(
    corpus: Corpus, tokenizer: MusicTokenizer, *, split: str, order: int = ORDER
) -> dict[str, HeldOutBits]:
    """Return the bits of each baseline on a split, by name."""
    streams = _streams(corpus, tokenizer, split)
    notes, tokens = corpus.notes(split), sum(len(stream) - 1 for stream in streams)
    uniform_bits = tokens * math.log2(len(tokenizer))
    found = {"uniform": HeldOutBits(uniform_bits, notes, tokens, len(streams))}
    train = _streams(corpus, tokenizer, "train")
    for length in sorted({1, order}):
        model = NGram(train, order=length, vocab_size=len(tokenizer), bos_id=tokenizer.bos_id)
        bits = sum(model.bits(stream) for stream in streams)
        found["unigram" if length == 1 else f"{length}-gram"] = HeldOutBits(
            bits, notes, tokens, len(streams)
        )
    return found


def _streams(corpus: Corpus, tokenizer: MusicTokenizer, split: str) -> list[list[int]]:
    """Return the pieces of a split from BOS to EOS, as `measure_bits` reads them."""
    pieces = corpus.tokens(split)
    return [[tokenizer.bos_id, *map(int, ids), tokenizer.eos_id] for ids in pieces]


def _text(found: dict[str, HeldOutBits], tokenizer: MusicTokenizer) -> str:
    rows = [
        {
            "predictor": name,
            "bits per note": f"{each.bits_per_note:.3f}",
            "bits per token": f"{each.bits_per_token:.3f}",
        }
        for name, each in found.items()
    ]
    each = found["uniform"]
    return (
        f"{table(rows)}\n\n{each.pieces:,} pieces, {each.notes:,} notes, {each.tokens:,} tokens of "
        f"a vocabulary of {len(tokenizer):,}; end tokens included."
    )


def _facts(
    found: dict[str, HeldOutBits], options: argparse.Namespace, tokenizer: MusicTokenizer
) -> dict[str, object]:
    return {
        "split": options.split,
        "model": str(options.model),
        "vocabulary": len(tokenizer),
        "predictors": {name: {**each.facts(), **asdict(each)} for name, each in found.items()},
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
