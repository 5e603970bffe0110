"""`python -m benchmarks.quality.constraint_violations`: thousands of takes, and whether each keeps every promise.

Every take has constraints, a sampling, a schedule of surprise and a beginning (nothing, or a few
bars of a bundled tune) made by chance. Half of them are written by weights that have learnt
nothing, so that nothing but the masks can hold. What is judged is the MIDI file, read back from its
bytes.
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
from benchmarks.quality.constraint_checks import holds, random_constraints
from musiclstm.examples import example_files
from musiclstm.generation import MAX_SEED, Composer, Composition, Sampling, Surprise
from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM

BARS, TOGETHER = 8, 8


def main(argv: list[str] | None = None) -> int:
    """Run the command; 1 when a promise was broken, or with a sentence on bad input."""
    options = parser(
        "benchmarks.quality.constraint_violations",
        "Takes by chance, judged by their MIDI.",
        data=False,
    )
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.add_argument("--takes", type=int, default=300, help="how many (300)")
    options.add_argument("--seed", type=int, default=0, help="of all that is left to chance (0)")
    found = run(measure, chosen := options.parse_args(argv))
    return found or int(chosen.broken > 0)


def measure(options: argparse.Namespace) -> Report:
    """Compose and judge, some takes at a time."""
    if options.takes < 1:
        raise ReportError(f"--takes must be 1 or more, got {options.takes}.")
    begin = time.monotonic()
    complaints = Counter[str]()
    examples: list[dict[str, Any]] = []
    takes = bars = notes = 0
    for what, pieces, failure in _by_chance(options.model, random.Random(options.seed)):
        if failure:
            complaints["composing failed"] += 1
            examples.append({**what, "wrong": [failure]})
            takes += min(TOGETHER, options.takes - takes)
        for piece in pieces[: options.takes - takes]:
            score = ScoreTick.from_midi(piece.to_midi(only_new=True))
            wrong = _wrong(piece, score)
            complaints.update({each.split(":")[0] for each in wrong})
            takes, bars = takes + 1, bars + piece.bars
            notes += score.note_num()
            if wrong and len(examples) < 10:
                examples.append({**what, "seed": piece.sampling.seed, "wrong": wrong})
        if takes % (50 * TOGETHER) == 0:
            sys.stderr.write(f"… {takes:,} takes\n")
        if takes == options.takes:
            break
    options.broken = sum(complaints.values())
    facts = {
        "takes": takes,
        "bars": bars,
        "notes": notes,
        "broken promises": dict(complaints),
        "examples": examples,
        "seconds": time.monotonic() - begin,
    }
    return Report(_text(facts), facts)


def _by_chance(
    model: str, rng: random.Random
) -> Iterator[tuple[dict[str, Any], tuple[Composition, ...], str]]:
    """Yield settings, takes and why they failed: a grammar without a way out is a defect too."""
    trained = Composer.from_pretrained(model)
    untrained = Composer(_untrained(trained), trained.tokenizer)
    tunes = list(example_files().values())
    while True:
        composer = rng.choice((trained, untrained))
        chosen: dict[str, Any] = {
            "prompt": rng.choice([None, *tunes]),
            "prompt_bars": rng.randint(1, 8),
            "sampling": _random_sampling(rng),
            "surprise": Surprise(rng.choice(("off", "gentle", "bold", (1.0,) * BARS))),
            "constraints": random_constraints(rng),
        }
        pieces: tuple[Composition, ...] = ()
        failure = ""
        try:
            pieces = composer.compose_many(TOGETHER, bars=BARS, **chosen)
        except ValueError as error:
            failure = str(error)
        yield {name: _plain(value) for name, value in chosen.items()}, pieces, failure


def _untrained(like: Composer) -> MusicLSTMForCausalLM:
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


def _random_sampling(rng: random.Random) -> Sampling:
    return Sampling(
        temperature=rng.choice((0.0, 0.5, 0.9, 1.0, 1.3, 3.0)),
        top_p=rng.choice((0.5, 0.9, 0.98, 1.0)),
        top_k=rng.choice((0, 0, 1, 20)),
        min_p=rng.choice((0.0, 0.0, 0.05)),
        epsilon_cutoff=rng.choice((0.0, 0.0, 0.001)),
        pitch_temperature=rng.choice((None, None, 0.5, 1.5)),
        rhythm_temperature=rng.choice((None, None, 0.5, 1.5)),
        repetition_penalty=rng.choice((1.0, 1.0, 4.0)),
        copy_weight=rng.choice((1.0, 1.0, 0.0, 2.0)),
        seed=rng.randint(0, MAX_SEED),
    )


def _plain(value: object) -> object:
    return value.name if isinstance(value, Path) else value if value is None else str(value)


def _wrong(piece: Composition, score: ScoreTick) -> list[str]:
    complaints = holds(score, piece.constraints, bars=BARS)
    if piece.bars != BARS:
        complaints.append(f"bars: {piece.bars} instead of {BARS}")
    return complaints


def _text(facts: dict[str, Any]) -> str:
    broken = facts["broken promises"]
    verdict = "every promise kept" if not broken else f"broken: {broken}"
    return (
        f"{facts['takes']:,} takes, {facts['bars']:,} bars, {facts['notes']:,} notes in "
        f"{facts['seconds']:.0f} s: {verdict}."
    )


if __name__ == "__main__":
    sys.exit(main())
