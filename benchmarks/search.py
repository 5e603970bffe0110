"""`python -m benchmarks.search`: which shape of the network, and which vocabulary, learns best.

Each `--variant NAME:field=value,...` changes the config of the bundled weights. `vocab_size` also
learns other merges (1: none), `learning_rate`, `rows`, `window` and `augment` say how it learns,
`balance` from which corpus how much (0: as large as they are, 1: alike much of each). `ema` lets
the running average of the weights be measured, and candidates.py has more. All begin anew and learn
for as many minutes, in turns, so that a slow moment of the machine hits all alike. What is compared
is held-out bits per *note*: tokens of different vocabularies are not alike.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.candidates import CANDIDATES, apply
from benchmarks.pieces import evenly, refuse_empty
from benchmarks.quality import school_for, windows_for
from benchmarks.race import Budget, Learner, Lessons
from benchmarks.reporting import Report, ReportError, parser, run, table
from benchmarks.rivals import Contender, weights_of
from musiclstm.checkpoint import load_checkpoint
from musiclstm.configuration import MusicLSTMConfig
from musiclstm.modeling import MusicLSTMForCausalLM
from musiclstm.tokenization import MusicTokenizer
from training.arguments import read_overrides
from training.corpus import Corpus, read_corpus
from training.memory import keep_freed_memory
from training.metrics import held_out

_BASE = "as it is"
_HOW_IT_LEARNS = ("learning_rate", "rows", "window", "augment")  # of `options`, each its own


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where a variant means nothing."""
    options = parser("benchmarks.search", "Shapes and vocabularies at equal time.")
    options.set_defaults(split="valid", augment=True, warm_up=0.05)
    options.add_argument("--minutes", type=float, default=5.0, help="of learning, each (5)")
    options.add_argument("--variant", action="append", default=[], help="NAME:field=value,...")
    options.add_argument("--learning_rate", type=float, default=2e-3, help="the highest (2e-3)")
    options.add_argument("--rows", type=int, default=16, help="pieces read side by side (16)")
    options.add_argument("--window", type=int, default=256, help="tokens learnt from at once (256)")
    options.add_argument("--slice", type=int, default=4, help="batches in a turn (4)")
    options.add_argument("--pieces", type=int, help="held-out pieces to read (all)")
    options.add_argument("--seed", type=int, default=0, help="of all that is left to chance (0)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Let all variants learn in turns, and read held-out pieces with each."""
    if options.minutes <= 0:
        raise ReportError(f"--minutes must be above 0, got {options.minutes:g}.")
    corpus = read_corpus(options.data)
    for split in ("train", options.split):
        refuse_empty([piece.split for piece in corpus.pieces], split)
    variants = [_variant(text, corpus, options) for text in [_BASE, *options.variant]]
    budget = Budget("equal time", "seconds", 60 * options.minutes)
    while waiting := [each for each in variants if budget.used(each.learner) < 1]:
        slowest = min(waiting, key=lambda each: budget.used(each.learner))
        slowest.learner.turn(slowest.lessons, budget, options.slice)
    pieces = evenly(corpus.tokens(options.split), options.pieces)
    return _report([_row(each, pieces) for each in variants], options)


@dataclass(frozen=True)
class Variant:
    """A network with its vocabulary and what it learns from."""

    name: str
    tokenizer: MusicTokenizer
    learner: Learner
    lessons: Lessons


def _variant(text: str, corpus: Corpus, options: argparse.Namespace) -> Variant:
    name, _, fields = text.partition(":")
    model, tokenizer = load_checkpoint()
    try:
        overrides = read_overrides(fields, f"--variant {name!r}")
    except ValueError as error:
        raise ReportError(str(error)) from error
    own = {name: overrides.pop(name) for name in _HOW_IT_LEARNS if name in overrides}
    options = argparse.Namespace(**vars(options) | own)
    tried = {field: overrides.pop(field) for field in CANDIDATES if field in overrides}
    average, share = overrides.pop("ema", 0.0), overrides.pop("balance", 0.0)
    if "vocab_size" in overrides:
        tokenizer = MusicTokenizer()
        tokenizer.learn_merges(corpus.tokens("train"), overrides.pop("vocab_size"))
    config = _config(model.config, tokenizer, name, overrides)
    contender = Contender(name, lambda: apply(MusicLSTMForCausalLM(config), tried), options.window)
    windows = windows_for(options, corpus, tokenizer, weights=_balanced(corpus, share))
    lessons = Lessons(windows, options.rows)
    learner = _learner(contender, options, average)
    sys.stderr.write(f"… {name}: {len(tokenizer):,} tokens in the vocabulary\n")
    return Variant(name, tokenizer, learner, lessons)


def _balanced(corpus: Corpus, share: float) -> list[float]:
    """How many times an epoch shows each train piece; corpora grow alike as `share` goes to 1."""
    pieces = [piece for piece in corpus.pieces if piece.split == "train"]
    notes = Counter[str]()
    for piece in pieces:
        notes[piece.corpus] += piece.notes
    alike = notes.total() / len(notes)
    return [piece.weight * (alike / notes[piece.corpus]) ** share for piece in pieces]


def _learner(contender: Contender, options: argparse.Namespace, average: float) -> Learner:
    try:
        return Learner(contender, options.learning_rate, school_for(options), ema=average)
    except ValueError as error:
        raise ReportError(f"--variant {contender.name!r}: {error}") from error


def _config(
    base: MusicLSTMConfig, tokenizer: MusicTokenizer, name: str, overrides: dict[str, Any]
) -> MusicLSTMConfig:
    config = copy.deepcopy(base)
    config.recall_window = 0  # what the network itself learns is asked
    unknown = [field for field in overrides if not hasattr(config, field)]
    if unknown:
        raise ReportError(
            f"--variant {name!r} names {unknown[0]!r}; it takes fields of MusicLSTMConfig, "
            f"vocab_size, ema, balance, {', '.join([*_HOW_IT_LEARNS, *CANDIDATES])}."
        )
    for field, value in overrides.items():
        setattr(config, field, value)
    config.vocab_size = len(tokenizer)
    return config


def _row(variant: Variant, pieces: Sequence[np.ndarray]) -> dict[str, Any]:
    learner = variant.learner
    with learner.averaged():
        found = held_out(learner.network, variant.tokenizer, pieces)
    notes_per_token = found.notes / found.tokens
    row = {
        "variant": variant.name,
        "weights": weights_of(learner.network),
        "vocabulary": len(variant.tokenizer),
        "tokens seen": learner.tokens,
        "notes seen": round(learner.tokens * notes_per_token),
        "bits_per_note": found.bits_per_note,
    }
    sys.stderr.write(f"… {variant.name}: {found.bits_per_note:.3f} bits per note\n")
    return row


def _report(rows: list[dict[str, Any]], options: argparse.Namespace) -> Report:
    base = rows[0]["bits_per_note"]
    cells = [
        {
            "variant": row["variant"],
            "weights": f"{row['weights']:,}",
            "vocabulary": f"{row['vocabulary']:,}",
            "notes seen": f"{row['notes seen']:,}",
            "bits per note": f"{row['bits_per_note']:.3f}",
            "against the first": f"{row['bits_per_note'] / base - 1:+.1%}",
        }
        for row in rows
    ]
    told = {"minutes": options.minutes, "rows": options.rows, "window": options.window}
    text = f"{table(cells)}\n\n{options.minutes:g} minutes of learning each, split {options.split}."
    return Report(text, {**told, "seed": options.seed, "variants": rows})


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
