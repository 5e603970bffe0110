"""`python -m training.evaluate`: measure a model on pieces it was not trained on.

Bits per note of held-out pieces (metrics.py), and what it composes after their first bars beside
what these pieces play there themselves (continuations.py, measures.py, comparison.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from musiclstm.errors import CheckpointError, MusicLSTMError
from musiclstm.generation import MAX_BARS, MAX_ROWS, Composer, Sampling
from musiclstm.midi import clean_text
from musiclstm.model import DEFAULT, FACTS_FILE, find_checkpoint, read_facts
from training.data.corpus import Corpus, read_corpus
from training.data.splits import SPLITS, require_split
from training.environment import environment
from training.evaluation.comparison import beside_baseline, compared, read_baseline
from training.evaluation.continuations import (
    SHORT_BARS,
    ContinuationPlan,
    PromptedPiece,
    choose,
    compose,
    plan_from,
)
from training.evaluation.held_out import Accuracy, held_out
from training.trainer.checkpoints import write_record

KEY = "evaluation"  # key in facts.json: a list with one record per data and split
BOTH = "both"
PIECES, TAKES, PROMPT_BARS, BARS, SEED = 40, 2, 8, 16, 7
STDOUT = Path("-")  # the value of --json without a file
_BOUNDS = {
    "pieces": (0, 10_000),
    "takes": (1, MAX_ROWS),
    "prompt_bars": (1, MAX_BARS),
    "bars": (1, MAX_BARS),
}


class EvaluationError(MusicLSTMError):
    """The figures cannot be written where they were asked for, or an option is invalid."""


class _Parser(argparse.ArgumentParser):
    """Like argparse's, but a wrong argument ends with status 1, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when the figures are printed and written, else 1 and a sentence."""
    options = _parser().parse_args(argv)
    try:
        plan = _check(options)
        records = evaluate(options, plan)
        text = _json_text(records) if options.json == STDOUT else _as_text(records)
        print(text.rstrip("\n"))
        _write(options, records)
    except MusicLSTMError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    found = _Parser(
        prog="python -m training.evaluate",
        description="Measure a model on pieces it was not trained on.",
        allow_abbrev=False,
    )
    add = found.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--data", required=True, help="folders, zips or MIDI files, separated by commas")
    add(
        "--split",
        default="test",
        choices=(*SPLITS, BOTH),
        help="which pieces; both: test and valid, reported apart (test)",
    )
    _add_output_options(found)
    add("--bits", default=True, action=argparse.BooleanOptionalAction, help="bits per note (yes)")
    add("--pieces", type=int, default=PIECES, help=f"pieces to continue; 0: none ({PIECES})")
    add("--takes", type=int, default=TAKES, help=f"continuations of each piece ({TAKES})")
    add("--prompt_bars", type=int, default=PROMPT_BARS, help=f"bars that are read ({PROMPT_BARS})")
    add("--bars", type=int, default=BARS, help=f"bars that are composed ({BARS})")
    add("--temperature", type=float, default=Sampling.temperature, help="of the sampling (1)")
    add("--sampling", default="", help="other fields of Sampling, such as min_p=0,top_p=1.0")
    add("--seed", type=int, default=SEED, help=f"of random numbers and choice of pieces ({SEED})")
    add("--workers", type=int, help="processes that read MIDI; default: all cores")
    return found


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write the figures, also per piece, to a file; without a file: print them as JSON",
    )
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="a --json file of another model: print the share of the gap to the originals closed",
    )
    parser.add_argument(
        "--write_facts",
        action=argparse.BooleanOptionalAction,
        help=f"put the figures into {FACTS_FILE} of the model's folder (default: if --model is a "
        "folder that you can write to, and bits per note are measured)",
    )


def _check(options: argparse.Namespace) -> ContinuationPlan:
    """Refuse before the measurement what cannot be done or written after it."""
    if options.workers is not None and options.workers < 1:
        raise EvaluationError(f"--workers must be 1 or more, got {options.workers}.")
    if options.write_facts and not options.bits:
        raise EvaluationError("--write_facts needs bits per note; leave --no-bits out.")
    try:
        plan = plan_from(options, _BOUNDS)
    except ValueError as error:
        raise EvaluationError(str(error)) from error
    _check_json(options.json)
    folder = _facts_folder(options)
    if folder is not None:
        read_facts(folder)  # refuses a damaged file
    return plan


def _check_json(path: Path | None) -> None:
    if path in (None, STDOUT):
        return
    if path.is_dir() or not path.parent.is_dir():
        raise EvaluationError(
            f"{str(path)!r} cannot be written; name a file in a folder that exists after --json."
        )


def _facts_folder(options: argparse.Namespace) -> Path | None:
    """The folder whose facts are updated; None: no folder.

    Raises:
        EvaluationError: --write_facts was given, but the model is not a writable folder.
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
    own = fits and options.bits and folder.resolve() != bundled
    return folder if (own if options.write_facts is None else options.write_facts) else None


def _bundled() -> Path | None:
    """The folder of the default model, if it is there."""
    with contextlib.suppress(CheckpointError):
        return find_checkpoint(DEFAULT).resolve()
    return None


def evaluate(options: argparse.Namespace, plan: ContinuationPlan) -> list[dict[str, Any]]:
    """Return one record per split, ready for JSON; what was not measured is None.

    Raises:
        CheckpointError: The model cannot be used.
        CorpusError: The data cannot be used, or the split is empty.
        BaselineError: The baseline has none of the pieces.
    """
    baseline = None if options.baseline is None else read_baseline(options.baseline)
    composer = Composer.from_pretrained(options.model)
    paths, workers = options.data.split(","), options.workers
    corpus = read_corpus(paths, workers=workers) if options.bits else None
    splits = ("test", "valid") if options.split == BOTH else (options.split,)
    records = []
    for split in splits:
        bits = _NO_BITS if corpus is None else _bits(composer, corpus, split)
        pieces = choose(paths, split, plan, workers=workers) if plan.pieces else []
        continuations = _continuations(composer, pieces, split, plan, baseline)
        if continuations is not None and baseline is not None:
            continuations["baseline"]["file"] = options.baseline.as_posix()
        records.append(_record(options, plan, split) | bits | {"continuations": continuations})
    return records


def _record(options: argparse.Namespace, plan: ContinuationPlan, split: str) -> dict[str, Any]:
    """Return what was measured and with what."""
    return {
        "command": "training.evaluate",
        "model": clean_text(Path(options.model).name),
        "data": [clean_text(Path(path).name) for path in options.data.split(",")],
        "split": split,
        "plan": asdict(plan),
        **environment(),
    }


_NO_BITS = {"held_out": None, "accuracy": None}


def _bits(composer: Composer, corpus: Corpus, split: str) -> dict[str, Any]:
    """Bits per note of all pieces of a split, and accuracy by kind of token."""
    require_split([piece.split for piece in corpus.pieces], split)
    streams = corpus.tokens(split)
    accuracy = Accuracy(composer.tokenizer)
    found = held_out(composer.model, composer.tokenizer, streams, watch=accuracy)
    return {"held_out": found.facts(), "accuracy": accuracy.facts()}


def _continuations(
    composer: Composer,
    pieces: Sequence[PromptedPiece],
    split: str,
    plan: ContinuationPlan,
    baseline: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any] | None:
    """Figures of what is composed; None where no piece can be continued."""
    if not pieces:
        return None
    found = _rounded(compared(pieces, compose(composer, pieces, plan)))
    if baseline is not None:
        found["baseline"] = _rounded(beside_baseline(found, baseline, split))
    return dict(found)


def _rounded(value: Any) -> Any:
    """Round to four digits; None for what is not finite, because JSON has no nan."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


# Writing ------------------------------------------------------------------------------------------


def _write(options: argparse.Namespace, records: Sequence[dict[str, Any]]) -> None:
    try:
        if options.json not in (None, STDOUT):
            options.json.write_text(_json_text(records), encoding="utf-8")
        folder = _facts_folder(options)
        if folder is not None:
            for record in records:
                write_facts(folder, record)
    except OSError as error:
        raise EvaluationError(
            f"The figures above could not be written ({error.strerror}); make room, or name "
            "another file after --json."
        ) from error


def _json_text(records: Sequence[dict[str, Any]]) -> str:
    """Indented JSON with every list of numbers or texts on one line."""
    text = json.dumps(records, indent=1)
    return re.sub(r"\[\n[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def _measured(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a record is about: likelihood, continuations or both, of which pieces."""
    kinds = (record.get(kind) is not None for kind in ("held_out", "continuations"))
    return record["data"], record["split"], *kinds


def write_facts(folder: Path, record: dict[str, Any]) -> None:
    """Add a record to `facts.json` in place of one of the same kind, data and split.

    Figures per piece are left out.

    Raises:
        CheckpointError: The file is damaged.
    """
    content = read_facts(folder)
    others = [each for each in content.get(KEY, []) if _measured(each) != _measured(record)]
    found = record["continuations"]
    if found is not None:
        found = {name: value for name, value in found.items() if name != "per_piece"}
    new = {**record, "continuations": found}
    write_record(folder / FACTS_FILE, {**content, KEY: [*others, new]})


# Printing -----------------------------------------------------------------------------------------


def _as_text(records: Sequence[Mapping[str, Any]]) -> str:
    return "\n\n".join(map(as_text, records))


def as_text(record: Mapping[str, Any]) -> str:
    """Return a record as text with Markdown tables."""
    parts = [f"{record['model']} on {', '.join(record['data'])}, split {record['split']}"]
    known = record["held_out"]
    if known is not None:
        parts[0] += (
            f": {known['bits_per_note']:.3f} bits per note, {known['bits_per_token']:.3f} per token"
            f" ({known['pieces']:,} pieces, {known['notes']:,} notes, {known['tokens']:,} tokens)"
        )
        parts.append(_accuracy_table(record["accuracy"]))
    parts[0] += "."
    found, plan = record["continuations"], record["plan"]
    if found is None and plan["pieces"]:
        fewest = min(plan["prompt_bars"], SHORT_BARS) + min(plan["bars"], SHORT_BARS)
        parts.append(
            f"Nothing was continued: no piece has {fewest} bars and a prompt with enough notes."
        )
    if found is not None:
        parts += [_headline(plan, found), _figure_table(found["figures"])]
        parts += [_baseline_table(found["baseline"])] if "baseline" in found else []
    return "\n\n".join(parts)


def _accuracy_table(accuracy: Mapping[str, Any]) -> str:
    rows = [
        [kind, f"{100 * row['share']:.1f} %", f"{row['tokens']:,}"]
        for kind, row in accuracy.items()
    ]
    return _table(["most likely token is right", "share", "tokens"], rows)


def _headline(plan: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    short = sum(bars < plan["prompt_bars"] for bars in found["per_piece"]["prompt_bars"])
    examples = "".join(f"\n- {each}" for each in found["failure_examples"])
    return (
        f"{found['takes']} continuations of {found['pieces']} pieces, {plan['bars']} bars after "
        f"{plan['prompt_bars']} ({short} short pieces: {SHORT_BARS} after {SHORT_BARS}); "
        f"decode failures: {found['decode_failures']}.{examples}"
    )


def _figure_table(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            name.replace("_", " "),
            *(_number(row["composed"]), _interval(row["composed_interval"])),
            *(_number(row["original"]), _interval(row["original_interval"])),
            str(row["defined_pieces"]),
        ]
        for name, row in figures.items()
    ]
    return _table(["figure", "composed", "95 %", "original", "95 %", "pieces"], rows)


def _baseline_table(baseline: Mapping[str, Any]) -> str:
    rows = [
        [
            name.replace("_", " "),
            *(_number(row[side]) for side in ("baseline", "composed", "original", "closed")),
            _interval(row["closed_interval"]),
        ]
        for name, row in baseline["figures"].items()
    ]
    heads = ["figure", "baseline", "composed", "original", "gap closed", "95 %"]
    return (
        f"Beside {baseline['model']} on {baseline['pieces']} common pieces; gap closed: "
        "(composed - baseline) / (original - baseline).\n\n" + _table(heads, rows)
    )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float | None]) -> str:
    return "-" if None in ends else " to ".join(f"{end:.3f}" for end in ends)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An aligned Markdown table; the first column is aligned to the left, the others right."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [
        [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(cells)]
        for cells in (list(zip(row, widths, strict=True)) for row in [heads, rule, *rows])
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
