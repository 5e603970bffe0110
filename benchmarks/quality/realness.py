"""`python -m benchmarks.quality.realness`: how well a judge tells composed continuations from real.

A convolutional network (realness_judge.py) learns from training pieces: for each prompt, it sees
the real continuation and a composed one. The figure is the area under the ROC curve (AUC) on
held-out pieces: the probability that a real continuation looks more real to the judge than a
composed one. 0.5: it cannot tell them apart; 1: it always can.

The judge is trained on half 1 of the training pieces (`training.data.splits.half_of`); the score
that chooses among candidates is trained on half 0. It is trained again for each model and setting.
`--judge` adds the AUC of a judge that another run stored with `--save_judge`.

Real continuations pass through the tokens, as composed ones do, so that grid and durations are the
same; velocities, tempo and tracks are not read, and both follow the same prompt. Control: the AUC
of real continuations as in their files against the same after the tokens, which should be 0.5.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.report import Report, ReportError, check_writable, parser, run, table
from benchmarks.quality.realness_judge import COLUMNS, EPOCHS, Judge, Passage, passage, train
from musiclstm.cli import run_command
from musiclstm.generation import MAX_BARS, MAX_ROWS, Composer
from musiclstm.model import DEFAULT
from musiclstm.tokens import MusicTokenizer
from training.evaluation.comparison import BOOTSTRAP_SAMPLES
from training.evaluation.continuations import (
    ContinuationPlan,
    PromptedPiece,
    add_plan_options,
    choose_pieces,
    continue_pieces,
    plan_from,
    prompted_piece,
)
from training.evaluation.music_metrics import Floats
from training.pretraining.corpora import BAND_CORPORA, CORPUS_WEIGHTS, OLDER_CORPORA

TRAIN_PIECES, PIECES, SEQUENCES, PROMPT_BARS, BARS, SEED = 1_600, 200, 2, 8, 16, 7
JUDGE_HALF = 1
_BOUNDS = {
    "train_pieces": (0, 100_000),
    "epochs": (1, 1_000),
    "pieces": (2, 10_000),
    "takes": (1, MAX_ROWS),
    "prompt_bars": (1, MAX_BARS),
    "bars": (1, MAX_BARS),
}


@dataclass(frozen=True)
class Example:
    """Continuations of one prompt.

    Attributes:
        name: `PromptedPiece.name`.
        real: Prompt and original bars, after the tokens.
        untouched: The same with the original bars as in the file.
        composed: The same prompt with composed bars, one or more.
    """

    name: str
    real: Passage
    untouched: Passage
    composed: tuple[Passage, ...]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser(
        "benchmarks.quality.realness", "Train a judge to tell composed continuations from real."
    )
    add = options.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add(
        "--train_pieces",
        type=int,
        default=TRAIN_PIECES,
        help=f"training pieces of the judge; 0: use that of --judge alone ({TRAIN_PIECES})",
    )
    add("--epochs", type=int, default=EPOCHS, help=f"readings of the training pieces ({EPOCHS})")
    add("--judge", type=Path, metavar="FILE", help="also use the judge that another run stored")
    add("--save_judge", type=Path, metavar="FILE", help="store the judge (.safetensors)")
    add_plan_options(
        options,
        pieces=PIECES,
        sequences=SEQUENCES,
        prompt_bars=PROMPT_BARS,
        bars=BARS,
        seed=SEED,
    )
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Train a judge on training pieces, and judge continuations of held-out pieces."""
    plan = _plan(options)
    judges = _stored_judge(options, plan)
    composer = Composer.from_pretrained(options.model)
    held_out = _examples(composer, options.data, options.split, plan)
    if len(held_out) < 2:
        raise ReportError(
            f"{len(held_out)} pieces of the split {options.split!r} have "
            f"{plan.prompt_bars + plan.bars} bars and a prompt with enough notes, two are needed; "
            "lower --prompt_bars or --bars, or add files to --data."
        )
    facts = {"model": options.model, "split": options.split, "plan": plan.facts()}
    if options.train_pieces:
        judge, trained_on = _trained_judge(options, composer, plan)
        judges = {"trained": judge} | judges
        facts |= {"training_pieces": trained_on}
    facts |= compare(held_out, judges)
    return Report(_text(facts), facts)


def _plan(options: argparse.Namespace) -> ContinuationPlan:
    if options.split == "train":
        raise ReportError("--split must be valid or test, got 'train': the judge trains on it.")
    if not options.train_pieces and options.judge is None:
        raise ReportError("--train_pieces is 0, so there is no judge; name one by --judge.")
    if options.save_judge is not None:
        check_writable(options.save_judge, "--save_judge")
    try:
        return plan_from(options, _BOUNDS)
    except ValueError as error:
        raise ReportError(str(error)) from error


def _stored_judge(options: argparse.Namespace, plan: ContinuationPlan) -> dict[str, Judge]:
    if options.judge is None:
        return {}
    judge = Judge.load(options.judge)
    if (judge.prompt_bars, judge.bars) != (plan.prompt_bars, plan.bars):
        raise ReportError(
            f"The judge in {options.judge.name!r} reads {judge.bars} bars after "
            f"{judge.prompt_bars}; use --prompt_bars {judge.prompt_bars} --bars {judge.bars}."
        )
    return {"stored": judge}


def _trained_judge(
    options: argparse.Namespace, composer: Composer, plan: ContinuationPlan
) -> tuple[Judge, int]:
    plan = replace(plan, pieces=options.train_pieces, sequences=1)
    examples = _examples(composer, options.data, "train", plan, half=JUDGE_HALF)
    if not examples:
        raise ReportError("No training piece of half 1 can be continued; add files to --data.")
    judge = Judge(plan.prompt_bars, plan.bars, seed=plan.seed)
    pairs = [(each.real, each.composed[0]) for each in examples]
    train(judge, pairs, epochs=options.epochs, seed=plan.seed)
    if options.save_judge is not None:
        judge.save(options.save_judge)
    return judge, len(examples)


# Examples -----------------------------------------------------------------------------------------


def _examples(
    composer: Composer,
    data: Sequence[str],
    split: str,
    plan: ContinuationPlan,
    half: int | None = None,
) -> list[Example]:
    """Continue pieces of a split; pieces that the tokens change too much are left out."""
    chosen = choose_pieces(data, split, plan, allow_short=False, half=half)
    pairs = [(piece, _after_tokens(piece, composer.tokenizer)) for piece in chosen]
    pieces = [(piece, decoded) for piece, decoded in pairs if decoded is not None]
    composed: dict[int, list[Passage]] = defaultdict(list)
    for result in continue_pieces(composer, [piece for piece, _ in pieces], plan):
        prompt = pieces[result.piece][1].prompt
        composed[result.piece].append(passage(prompt, result.music))
    return [
        Example(
            piece.name,
            passage(decoded.prompt, decoded.original),
            passage(decoded.prompt, piece.original),
            tuple(composed[number]),
        )
        for number, (piece, decoded) in enumerate(pieces)
    ]


def _after_tokens(piece: PromptedPiece, tokenizer: MusicTokenizer) -> PromptedPiece | None:
    """Return the piece as its tokens have it; None if bars or most notes are missing."""
    return prompted_piece(
        tokenizer.decode(tokenizer.encode(piece.score)),
        name=piece.name,
        prompt_bars=piece.prompt.bars,
        bars=piece.original.bars,
        allow_short=False,
    )


# Figures ------------------------------------------------------------------------------------------


def compare(examples: Sequence[Example], judges: dict[str, Judge]) -> dict[str, Any]:
    """Return the AUC of each judge and of the number of notes, with intervals, by corpus group."""
    figures: dict[str, Any] = {}
    names = [each.name for each in examples]
    for name, judge in judges.items():
        real = judge.score([each.real for each in examples])
        untouched = judge.score([each.untouched for each in examples])
        composed = judge.score([take for each in examples for take in each.composed])
        figures[name] = _figures(real, composed.reshape(len(real), -1), names)
        figures[name]["control"] = float(wins(untouched, real[:, None]).mean())
    ahead = next(iter(judges.values())).prompt_bars * COLUMNS
    real = np.array([_density_closeness(each.real, ahead) for each in examples])
    composed = np.array([[_density_closeness(t, ahead) for t in e.composed] for e in examples])
    figures["notes per bar"] = _figures(real, composed, names)
    return {"pieces": names, "takes": len(examples[0].composed), "figures": figures}


def _density_closeness(notes: Passage, prompt_end: int) -> float:
    """Return minus the absolute log ratio of the notes of continuation and prompt."""
    before = int((notes[0] < prompt_end).sum())
    return -abs(float(np.log((notes.shape[1] - before + 1) / (before + 1))))


def _figures(real: Floats, composed: Floats, names: Sequence[str]) -> dict[str, Any]:
    """Return AUC and interval of all pieces and of each group.

    Args:
        real: Scores of the real continuations, (pieces,).
        composed: Scores of the composed ones, (pieces, takes).
        names: Names of the pieces.
    """
    groups = np.array([group_of(name) for name in names])
    found = wins(real, composed)
    rows = {"all": np.arange(len(real))}
    rows |= {group: np.flatnonzero(groups == group) for group in sorted(set(groups))}
    return {
        "auc": {name: _auc_with_interval(found[np.ix_(own, own)]) for name, own in rows.items()},
        "same prompt": float(np.diag(found).mean()),
        "real": [round(float(each), 4) for each in real],
        "composed": [[round(float(each), 4) for each in row] for row in composed],
    }


def wins(real: Floats, composed: Floats) -> Floats:
    """Return how often each piece's real score exceeds the composed ones of each piece.

    Args:
        real: Scores, (pieces,).
        composed: Scores, (pieces, takes).

    Returns:
        Shares, equal scores counting one half, (pieces, pieces). Their mean is the AUC.
    """
    difference = real[:, None, None] - composed[None]
    return np.asarray((np.sign(difference) / 2 + 0.5).mean(axis=2))


def _auc_with_interval(found: Floats) -> dict[str, Any]:
    """Return the mean and its 95 % percentile bootstrap interval over pieces."""
    rng, count = np.random.default_rng(SEED), len(found)
    drawn = [rng.integers(0, count, count) for _ in range(BOOTSTRAP_SAMPLES)]
    ends = np.percentile([found[np.ix_(own, own)].mean() for own in drawn], (2.5, 97.5))
    return {"pieces": count, "auc": float(found.mean()), "interval": ends.tolist()}


def group_of(name: str) -> str:
    """Return the group of a piece's corpus, as in pre-training: bands, older, newer, unseen."""
    corpus = name.partition("/")[0]
    if corpus in (*BAND_CORPORA, "groove-drums"):
        return "bands"
    if corpus in OLDER_CORPORA:
        return "older"
    return "newer" if CORPUS_WEIGHTS.get(corpus, 1.0) > 0 else "unseen"


# Text ---------------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    plan, figures = facts["plan"], facts["figures"]
    lines = [
        f"{facts['takes']} continuations of {len(facts['pieces'])} pieces, {plan['bars']} bars "
        f"after {plan['prompt_bars']}. AUC of real against composed; 0.5: cannot tell them apart.",
        "",
        table([_row(group, figures) for group in next(iter(figures.values()))["auc"]]),
        "",
    ]
    if "training_pieces" in facts:
        lines.append(f"The judge was trained on {facts['training_pieces']:,} training pieces.")
    judges = {name: row for name, row in figures.items() if "control" in row}
    for name, row in judges.items():
        lines.append(
            f"{name} judge: {row['same prompt']:.3f} where both follow the same prompt; control, "
            f"real in the file against real after the tokens: {row['control']:.3f}."
        )
    return "\n".join(lines)


def _row(group: str, figures: dict[str, Any]) -> dict[str, str]:
    row = {"pieces": group, "number": str(next(iter(figures.values()))["auc"][group]["pieces"])}
    for name, found in figures.items():
        own = found["auc"][group]
        row[name] = f"{own['auc']:.3f}"
        row[f"{name}, 95 %"] = " to ".join(f"{end:.3f}" for end in own["interval"])
    return row


if __name__ == "__main__":
    sys.exit(run_command(main))
