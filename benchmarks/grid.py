"""`python -m benchmarks.grid`: what the grid of the tokens costs, and what it keeps.

A beat has 4, 8, 12 (ours) or 24 positions. Each grid writes the same held-out pieces and reads them
back: how far notes move and how many become one. Then a small network for each, without merges,
learns the same train pieces for as many minutes, in turns, and reads the held-out pieces. Nothing
is moved in pitch or tempo, for training.augmentation knows the ids of our own grid only.

A coarser grid asks less of each note, so bits alone do not compare. To them is added what it takes
to say what the grid dropped, so that all reach the precision of the finest one:

    bits at equal precision = bits of the network + H(R | C) + H(S | D)

R is how far a note begins from its place on the finest grid, S how much longer it lasts there, and
H a conditional entropy (Cover and Thomas 2006); quantizing.py says what C and D are, and why this
is what it takes at most. Notes that a grid loses are not paid for: bits are shared among those that
it keeps. What the finest grid drops is lost to all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from symusic.core import ScoreTick

from benchmarks.pieces import evenly, read_split
from benchmarks.quality import school_for
from benchmarks.quantizing import FINEST, GRIDS, Page, kept, residue_bits, tokenizer_with, write
from benchmarks.race import Budget, Learner, Lessons
from benchmarks.reporting import Report, ReportError, parser, run, table
from benchmarks.rivals import Contender
from musiclstm.configuration import MusicLSTMConfig
from musiclstm.modeling import MusicLSTMForCausalLM
from musiclstm.tokenization import POSITIONS_PER_BEAT, MusicTokenizer
from training.augmentation import Augmentation
from training.memory import keep_freed_memory
from training.metrics import held_out
from training.windows import Windows


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where something cannot be used."""
    options = parser("benchmarks.grid", "What the grid of the tokens costs, and what it keeps.")
    options.set_defaults(split="valid", warm_up=0.05)
    add = options.add_argument
    add("--minutes", type=float, default=4.0, help="of learning, each (4)")
    add("--train", type=int, default=300, help="pieces to learn from (300)")
    add("--pieces", type=int, default=24, help="held-out pieces to read (24)")
    add("--hidden_size", type=int, default=192, help="width of the network (192)")
    add("--layers", type=int, default=2, help="LSTM layers (2)")
    add("--learning_rate", type=float, default=4e-3, help="the highest (4e-3)")
    add("--rows", type=int, default=16, help="pieces read side by side (16)")
    add("--window", type=int, default=128, help="tokens learnt from at once (128)")
    add("--slice", type=int, default=4, help="batches in a turn (4)")
    add("--seed", type=int, default=0, help="of all that is left to chance (0)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Write held-out pieces on all grids, let all learn in turns, and count the bits."""
    _check(options)
    lessons = _scores(options, "train", options.train)
    held = _scores(options, options.split, options.pieces)
    pupils = [_pupil(positions, lessons, options) for positions in GRIDS]
    pages = [[write(score, pupil.tokenizer) for score in held] for pupil in pupils]
    _learn(pupils, options)
    finest = pages[GRIDS.index(FINEST)]
    figures = [
        {
            "positions": pupil.positions,
            **kept(own),
            **_costs(pupil, own),
            **residue_bits(own, finest),
        }
        for pupil, own in zip(pupils, pages, strict=True)
    ]
    return _report(figures, options)


def _check(options: argparse.Namespace) -> None:
    """Refuse numbers that mean nothing."""
    for name in ("minutes", "learning_rate"):
        value = getattr(options, name)
        if not 0 < value < float("inf"):
            raise ReportError(f"--{name} must be above 0, got {value:g}.")
    least = {"window": 2}
    for name in ("train", "pieces", "hidden_size", "layers", "rows", "window", "slice"):
        value = getattr(options, name)
        if value < least.get(name, 1):
            raise ReportError(f"--{name} must be {least.get(name, 1)} or more, got {value}.")


def _scores(options: argparse.Namespace, split: str, number: int) -> list[ScoreTick]:
    found = [score for _, score in read_split(options.data, split)]
    if not found:
        raise ReportError(
            f"None of the files of the split {split!r} can be read; name others after --data."
        )
    return evenly(found, number)


# What it costs ------------------------------------------------------------------------------------


class Unmoved(Augmentation):
    """Leaves pieces as they are, whatever their ids mean; they still come in another order."""

    def apply(self, base_ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The piece itself."""
        return base_ids


@dataclass(frozen=True)
class Pupil:
    """The network that learns one grid."""

    positions: int
    tokenizer: MusicTokenizer
    learner: Learner
    lessons: Lessons


def _pupil(positions: int, scores: Sequence[ScoreTick], options: argparse.Namespace) -> Pupil:
    tokenizer = tokenizer_with(positions)
    config = MusicLSTMConfig(
        vocab_size=len(tokenizer),
        hidden_size=options.hidden_size,
        num_hidden_layers=options.layers,
        recall_window=0,
    )
    name = f"{positions} positions a beat"
    contender = Contender(name, lambda: MusicLSTMForCausalLM(config), options.window)
    windows = Windows(
        [np.array(tokenizer.encode_base(score), np.int32) for score in scores],
        tokenizer,
        lanes=options.rows,
        batch_size=options.rows,
        steps=options.window,
        augmentation=Unmoved(),
        seed=options.seed,
    )
    learner = Learner(contender, options.learning_rate, school_for(options))
    sys.stderr.write(f"… {name}: {windows.tokens:,} tokens to learn from\n")
    return Pupil(positions, tokenizer, learner, Lessons(windows, options.rows))


def _learn(pupils: Sequence[Pupil], options: argparse.Namespace) -> None:
    """Until each has learnt for its time; the next turn is that of who has had the least."""
    budget = Budget("equal time", "seconds", 60 * options.minutes)
    while waiting := [pupil for pupil in pupils if budget.used(pupil.learner) < 1]:
        slowest = min(waiting, key=lambda pupil: budget.used(pupil.learner))
        slowest.learner.turn(slowest.lessons, budget, options.slice)


def _costs(pupil: Pupil, pages: Sequence[Page]) -> dict[str, Any]:
    found = held_out(pupil.learner.network, pupil.tokenizer, [page.base_ids for page in pages])
    sys.stderr.write(f"… {pupil.learner.contender.name}: {found.bits_per_note:.3f} bits a note\n")
    return {
        "vocabulary": len(pupil.tokenizer),
        "tokens_per_note": sum(len(page.base_ids) for page in pages) / found.notes,
        "notes_seen": round(pupil.learner.tokens * found.notes / found.tokens),
        "network_bits": found.bits_per_note,
    }


# What is told -------------------------------------------------------------------------------------


def _report(figures: list[dict[str, Any]], options: argparse.Namespace) -> Report:
    for row in figures:
        row["equal_bits"] = row["network_bits"] + row["onset_bits"] + row["duration_bits"]
    ours = next(row for row in figures if row["positions"] == POSITIONS_PER_BEAT)
    keeps = table([_kept_row(row) for row in figures])
    costs = table([_cost_row(row, ours["equal_bits"]) for row in figures])
    about = (
        f"{options.train:,} pieces to learn from at most and {options.pieces} of the split "
        f"{options.split} at most, {options.minutes:g} minutes of learning each. Bits are per note."
    )
    told = {name: value for name, value in vars(options).items() if name not in ("data", "json")}
    return Report(f"{keeps}\n\n{costs}\n\n{about}", {**told, "grids": figures})


def _kept_row(row: dict[str, Any]) -> dict[str, str]:
    return {
        "positions a beat": str(row["positions"]),
        "onsets exact": f"{row['onsets_exact']:.1%}",
        "moved, quarters": f"{row['moved_quarters_mean']:.4f}",
        "95 %, quarters": f"{row['moved_quarters_p95']:.4f}",
        "99 %, quarters": f"{row['moved_quarters_p99']:.4f}",
        "99 %, ms": f"{row['moved_ms_p99']:.1f}",
        "durations exact": f"{row['durations_exact']:.1%}",
        "lost": f"{row['lost'] / row['notes']:.2%}",
    }


def _cost_row(row: dict[str, Any], ours: float) -> dict[str, str]:
    return {
        "positions a beat": str(row["positions"]),
        "vocabulary": f"{row['vocabulary']:,}",
        "tokens a note": f"{row['tokens_per_note']:.2f}",
        "notes seen": f"{row['notes_seen']:,}",
        "network": f"{row['network_bits']:.3f}",
        "onsets": f"{row['onset_bits']:.3f}",
        "durations": f"{row['duration_bits']:.3f}",
        "equal precision": f"{row['equal_bits']:.3f}",
        "against ours": f"{row['equal_bits'] / ours - 1:+.1%}",
    }


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
