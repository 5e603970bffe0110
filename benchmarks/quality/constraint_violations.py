"""`python -m benchmarks.quality.constraint_violations`: check thousands of sequences.

Constraints, sampling, surprise schedule and prompt (none, or a few bars of an example) of each
sequence are random. Half of the sequences come from random weights, so that only the masks can
satisfy the constraints. The checks read the MIDI file.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from symusic.core import ScoreTick

from benchmarks.common.report import Report, ReportError, parser, run
from benchmarks.quality.constraint_checks import (
    find_violations,
    random_constraints,
    random_sampling,
)
from musiclstm.cli import run_command
from musiclstm.examples import example_files
from musiclstm.generation import Composer, Composition, Surprise
from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM

BARS, BATCH = 8, 8


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if a constraint is violated, or after an error."""
    options = parser(
        "benchmarks.quality.constraint_violations",
        "Check the constraints of random sequences.",
        data=False,
    )
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--takes", type=int, default=300, help="number of sequences (300)")
    options.add_argument("--seed", type=int, default=0, help="random seed (0)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compose and check the sequences in batches."""
    if options.takes < 1:
        raise ReportError(f"--takes must be 1 or more, got {options.takes}.")
    begin = time.monotonic()
    violations = Counter[str]()
    examples: list[dict[str, Any]] = []
    count = bars = notes = 0
    for settings, pieces, failure in _compose_random(options.model, random.Random(options.seed)):
        if failure:
            violations["composing failed"] += 1
            examples.append({**settings, "wrong": [failure]})
            count += min(BATCH, options.takes - count)
        for piece in pieces[: options.takes - count]:
            score = ScoreTick.from_midi(piece.to_midi(only_new=True))
            wrong = _violations(piece, score)
            violations.update({each.split(":")[0] for each in wrong})
            count, bars = count + 1, bars + piece.bars
            notes += score.note_num()
            if wrong and len(examples) < 10:
                examples.append({**settings, "seed": piece.sampling.seed, "wrong": wrong})
        if count % (50 * BATCH) == 0:
            sys.stderr.write(f"… {count:,} sequences\n")
        if count == options.takes:
            break
    facts = {
        "takes": count,
        "bars": bars,
        "notes": notes,
        "broken promises": dict(violations),
        "examples": examples,
        "seconds": time.monotonic() - begin,
    }
    return Report(_text(facts), facts, passed=not violations)


def _compose_random(
    model: str, rng: random.Random
) -> Iterator[tuple[dict[str, Any], tuple[Composition, ...], str]]:
    """Yield random settings, their sequences, and the error message if composing failed."""
    trained = Composer.from_pretrained(model)
    untrained = Composer(_random_weights(trained), trained.tokenizer)
    examples = list(example_files().values())
    while True:
        composer = rng.choice((trained, untrained))
        settings: dict[str, Any] = {
            "prompt": rng.choice([None, *examples]),
            "prompt_bars": rng.randint(1, 8),
            "sampling": random_sampling(rng),
            "surprise": Surprise(rng.choice(("off", "gentle", "bold", (1.0,) * BARS))),
            "constraints": random_constraints(rng),
        }
        pieces: tuple[Composition, ...] = ()
        failure = ""
        try:
            pieces = composer.compose_many(BATCH, bars=BARS, **settings)
        except ValueError as error:
            failure = str(error)
        yield {name: _plain(value) for name, value in settings.items()}, pieces, failure


def _random_weights(like: Composer) -> MusicLSTMForCausalLM:
    torch.manual_seed(0)
    config = MusicLSTMConfig(
        vocab_size=len(like.tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        initializer_range=1.0,
        programs=like.model.config.programs,
        token_names=list(like.tokenizer.token_names),
    )
    return MusicLSTMForCausalLM(config)


def _plain(value: object) -> object:
    return value.name if isinstance(value, Path) else value if value is None else str(value)


def _violations(piece: Composition, score: ScoreTick) -> list[str]:
    found = find_violations(score, piece.constraints, bars=BARS)
    if piece.bars != BARS:
        found.append(f"bars: {piece.bars} instead of {BARS}")
    return found


def _text(facts: dict[str, Any]) -> str:
    violations = facts["broken promises"]
    result = f"violations: {violations}" if violations else "no violations"
    return (
        f"{facts['takes']:,} sequences, {facts['bars']:,} bars, {facts['notes']:,} notes in "
        f"{facts['seconds']:.0f} s: {result}."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
