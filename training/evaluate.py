"""`python -m training.evaluate`: what a trained model is worth, in figures.

How well it foretells held-out pieces (metrics.py), and how what it composes compares with what
these pieces go on with themselves (continuations.py, measures.py). Here are the command, its tables
and where the figures are kept; no formula.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import torch
import transformers

from musiclstm import __version__
from musiclstm.checkpoint import DEFAULT, FACTS_FILE, find_checkpoint, read_facts
from musiclstm.composer import MAX_BARS, Composer
from musiclstm.decoding import MAX_ROWS
from musiclstm.errors import CheckpointError, CorpusError, MusicLSTMError
from musiclstm.intake import clean_text
from musiclstm.sampling import Sampling
from training.checkpoints import write_record
from training.continuations import Plan, continuations, plan_from
from training.corpus import SPLITS, read_corpus
from training.metrics import Accuracy, held_out

KEY = "evaluation"  # where facts.json keeps what is found here, one entry for each data and split
SAMPLES, TAKES, SEED_BARS, BARS, SEED = 20, 4, 8, 16, 7
STDOUT = Path("-")  # what --json without a file means
_BOUNDS = {
    "samples": (0, 10_000),
    "takes": (1, MAX_ROWS),
    "seed_bars": (1, MAX_BARS),
    "bars": (1, MAX_BARS),
}


class EvaluationError(MusicLSTMError):
    """The figures cannot be written where they were asked for, or an option means nothing."""


class _Parser(argparse.ArgumentParser):
    """Like argparse's, but a wrong argument ends with status 1, as every other slip does."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the figures are printed and written, 1 with a sentence when not."""
    options = _parser().parse_args(argv)
    try:
        plan = _check(options)
        facts = evaluate(options, plan)
        print(json.dumps(facts, indent=2) if options.json == STDOUT else as_text(facts))
        _write(options, facts)
    except MusicLSTMError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    found = _Parser(
        prog="python -m training.evaluate",
        description="What a trained model is worth on pieces it has never seen.",
        allow_abbrev=False,
    )
    add = found.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--data", required=True, help="folders, zips or MIDI files, separated by commas")
    add("--split", default="test", choices=SPLITS, help="which pieces (test)")
    add(
        "--json",
        type=Path,
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write the figures here too; without a file: print them in place of the tables",
    )
    add(
        "--write_facts",
        action=argparse.BooleanOptionalAction,
        help=f"put the figures into {FACTS_FILE} of the model's folder (where --model is a folder "
        "of yours)",
    )
    add("--samples", type=int, default=SAMPLES, help=f"pieces to go on from; 0: none ({SAMPLES})")
    add("--takes", type=int, default=TAKES, help=f"ways each of them goes on ({TAKES})")
    add("--seed_bars", type=int, default=SEED_BARS, help=f"bars that are heard ({SEED_BARS})")
    add("--bars", type=int, default=BARS, help=f"bars that are composed ({BARS})")
    add("--temperature", type=float, default=Sampling.temperature, help="of the choice (1)")
    add("--sampling", default="", help="other fields of Sampling, such as min_p=0,top_p=1.0")
    add("--seed", type=int, default=SEED, help=f"of all that is left to chance ({SEED})")
    add("--workers", type=int, help="processes that read MIDI; all cores where not said")
    return found


def _check(options: argparse.Namespace) -> Plan:
    """Refuse before an hour of measuring what could not be done or written afterwards."""
    if options.workers is not None and options.workers < 1:
        raise EvaluationError(f"--workers must be 1 or more, got {options.workers}.")
    try:
        plan = plan_from(options, _BOUNDS)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    _check_json(options.json)
    folder = _facts_folder(options)
    if folder is not None:
        read_facts(folder)  # a damaged file is told now
    return plan


def _check_json(path: Path | None) -> None:
    if path in (None, STDOUT):
        return
    if path.is_dir() or not path.parent.is_dir():
        raise EvaluationError(
            f"{str(path)!r} cannot be written; name a file in a folder that exists after --json."
        )


def _facts_folder(options: argparse.Namespace) -> Path | None:
    """The folder whose facts gain the figures; None: they are kept nowhere.

    Raises:
        EvaluationError: They were asked for, but the model is no folder that can be written to.
    """
    bundled, folder = _bundled(), Path(options.model)
    if options.model == DEFAULT and bundled is not None:
        folder = bundled
    fits = folder.is_dir() and os.access(folder, os.W_OK)
    if options.write_facts and not fits:
        raise EvaluationError(
            f"--write_facts has nowhere to write: {options.model!r} is not a folder that can be "
            "written; pass the folder of the model, or use --json."
        )
    own = fits and folder.resolve() != bundled
    return folder if (own if options.write_facts is None else options.write_facts) else None


def _bundled() -> Path | None:
    """The folder of the default model, if it is there."""
    with contextlib.suppress(CheckpointError):
        return find_checkpoint(DEFAULT).resolve()
    return None


def evaluate(options: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """All figures, ready for JSON; what could not be measured is None.

    Raises:
        CheckpointError: The model cannot be used.
        CorpusError: The data cannot be used, or the split is empty.
    """
    composer = Composer.from_pretrained(options.model)
    paths = options.data.split(",")
    streams = read_corpus(paths, workers=options.workers).tokens(options.split)
    if not len(streams):
        raise CorpusError(
            f"No piece of the data belongs to the split {options.split!r}; add MIDI files to "
            "--data, or choose another --split."
        )
    accuracy = Accuracy(composer.tokenizer)
    found = held_out(composer.model, composer.tokenizer, streams, watch=accuracy)
    return {
        "command": "training.evaluate",
        "model": clean_text(Path(options.model).name),
        "data": [clean_text(Path(path).name) for path in paths],
        "split": options.split,
        "plan": asdict(plan),
        "held_out": found.facts(),
        "accuracy": accuracy.facts(),
        "continuations": _rounded(continuations(composer, streams, plan)) if plan.samples else None,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "versions": {
            "musiclstm": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _rounded(value: Any) -> Any:
    """Four digits after the point, and None for what is no number: JSON has no nan."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


# Keeping it ---------------------------------------------------------------------------------------


def _write(options: argparse.Namespace, facts: dict[str, Any]) -> None:
    try:
        if options.json not in (None, STDOUT):
            write_record(options.json, facts)
        folder = _facts_folder(options)
        if folder is not None:
            write_facts(folder, facts)
    except OSError as error:
        raise EvaluationError(
            f"The figures above could not be written ({error.strerror}); make room, or name "
            "another file after --json."
        ) from error


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Add the figures to `facts.json`; those of the same data and split make way, the rest stays.

    Raises:
        CheckpointError: The file is damaged.
    """
    content = read_facts(folder)
    others = [
        each
        for each in content.get(KEY, [])
        if (each["data"], each["split"]) != (facts["data"], facts["split"])
    ]
    write_record(folder / FACTS_FILE, {**content, KEY: [*others, facts]})


# Telling it ---------------------------------------------------------------------------------------


def as_text(facts: Mapping[str, Any]) -> str:
    """The figures for people: tables that are Markdown as they stand."""
    known = facts["held_out"]
    parts = [
        f"{facts['model']} on {', '.join(facts['data'])}, split {facts['split']}: "
        f"{known['bits_per_note']:.3f} bits per note, {known['bits_per_token']:.3f} per token "
        f"({known['pieces']:,} pieces, {known['notes']:,} notes, {known['tokens']:,} tokens).",
        _accuracy_table(facts["accuracy"]),
    ]
    found, plan = facts["continuations"], facts["plan"]
    if found is None and plan["samples"]:
        parts.append(
            f"Nothing was continued: no piece has {plan['seed_bars'] + plan['bars']} bars and a "
            "seed with enough notes; lower --seed_bars or --bars."
        )
    if found is not None:
        parts += [_headline(plan, found), _one_table(found), _feature_table(found["features"])]
    return "\n\n".join(parts)


def _accuracy_table(accuracy: Mapping[str, Any]) -> str:
    rows = [
        [kind, f"{100 * row['share']:.1f} %", f"{row['tokens']:,}"]
        for kind, row in accuracy.items()
    ]
    return _table(["likeliest token is right", "share", "tokens"], rows)


def _headline(plan: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    examples = "".join(f"\n- {each}" for each in found["failure_examples"])
    return (
        f"{found['takes']} continuations of {found['pieces']} pieces, {plan['bars']} bars after "
        f"{plan['seed_bars']}; decode failures: {found['decode_failures']}.{examples}"
    )


def _one_table(found: Mapping[str, Any]) -> str:
    composed, original = found["composed"], found["original"]
    rows = [[n.replace("_", " "), _number(composed[n]), _number(original[n])] for n in composed]
    return _table(["continuation", "composed", "original"], rows)


def _feature_table(features: Mapping[str, Any]) -> str:
    names = ("overlap", "kl_nats", "pooled_overlap", "pooled_kl_nats", "set_overlap", "set_kl_nats")
    heads = ("own", "KL", "pooled", "KL", "as sets", "KL")
    rows = [
        [feature, whose, *(_number(figures[name]) for name in names)]
        for feature, both in features.items()
        for whose, figures in both.items()
    ]
    return _table(["overlap with the original", "of", *heads], rows, left=2)


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """An aligned table; so many first columns stand to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [
        [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in [heads, rule, *rows]
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
