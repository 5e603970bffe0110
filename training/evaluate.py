"""`python -m training.evaluate`: evaluate a model on held-out pieces.

It measures bits per note, and compares continuations of the first bars with the original next bars.
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
from pathlib import Path
from typing import Any

from musiclstm.cli import run_command
from musiclstm.errors import CheckpointError, MusicLSTMError
from musiclstm.generation import MAX_BARS, MAX_ROWS, Composer, Sampling
from musiclstm.midi import clean_text
from musiclstm.model import DEFAULT, FACTS_FILE, find_checkpoint, read_facts
from training.arguments import TrainingArgumentParser
from training.data.corpus import Corpus, read_corpus
from training.data.splits import SPLITS, require_split
from training.environment import environment
from training.evaluation.bits_per_note import TokenStatistics, measure_bits
from training.evaluation.comparison import compare, compare_with_baseline, read_baseline
from training.evaluation.continuations import (
    SHORT_BARS,
    ContinuationPlan,
    PromptedPiece,
    choose_pieces,
    continue_pieces,
    plan_from,
)
from training.trainer.checkpoints import write_record

KEY = "evaluation"  # in facts.json: a list with one record per data and split
BOTH = "both"  # splits: test and valid
STDOUT = Path("-")  # the value of --json without a file
_BOUNDS = {
    "pieces": (0, 10_000),
    "takes": (1, MAX_ROWS),
    "prompt_bars": (1, MAX_BARS),
    "bars": (1, MAX_BARS),
}


class EvaluationError(MusicLSTMError):
    """The results cannot be written, or an option is invalid."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 after an error message."""
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
    parser = TrainingArgumentParser(
        prog="python -m training.evaluate", description="Evaluate a model on held-out pieces."
    )
    add = parser.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--data", required=True, help="folders, zips or MIDI files, separated by commas")
    add(
        "--split",
        default="test",
        choices=(*SPLITS, BOTH),
        help="which pieces; both: test and valid, reported separately",
    )
    add(
        "--json",
        type=Path,
        nargs="?",
        const=STDOUT,
        metavar="FILE",
        help="write the results, also per piece, to a file; without a file: print them as JSON",
    )
    add(
        "--baseline",
        type=Path,
        metavar="FILE",
        help="a --json file of another model: print how much of its gap to the originals is closed",
    )
    add(
        "--write_facts",
        action=argparse.BooleanOptionalAction,
        help=f"write the results into {FACTS_FILE} of the model; without this option: if --model "
        "is a writable folder and bits per note are measured",
    )
    add("--bits", default=True, action=argparse.BooleanOptionalAction, help="measure bits per note")
    add("--pieces", type=int, default=40, help="pieces to continue; 0: none")
    add("--takes", type=int, default=2, help="continuations of each piece")
    add("--prompt_bars", type=int, default=8, help="bars of the prompt")
    add("--bars", type=int, default=16, help="bars of a continuation")
    add("--temperature", type=float, default=Sampling.temperature, help="sampling temperature")
    add("--sampling", default="", help="other fields of Sampling, such as min_p=0,top_p=1.0")
    add("--seed", type=int, default=7, help="random seed, also of the choice of pieces")
    add("--workers", type=int, help="number of processes that read MIDI; without: all cores")
    return parser


def _check(options: argparse.Namespace) -> ContinuationPlan:
    """Check the options and the files that are written at the end."""
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
        read_facts(folder)  # raises if it is damaged
    return plan


def _check_json(path: Path | None) -> None:
    if path in (None, STDOUT):
        return
    if path.is_dir() or not path.parent.is_dir():
        raise EvaluationError(
            f"--json: {str(path)!r} cannot be written; name a file in an existing folder."
        )


def _facts_folder(options: argparse.Namespace) -> Path | None:
    """Return the folder whose facts are updated; None: no folder."""
    bundled, folder = _bundled(), Path(options.model)
    if options.model == DEFAULT and bundled is not None:
        folder = bundled
    fits = folder.is_dir() and os.access(folder, os.W_OK)
    if options.write_facts and not fits:
        raise EvaluationError(
            f"--write_facts: {options.model!r} is not a writable folder; pass the folder of the "
            "model, or use --json."
        )
    own = fits and options.bits and folder.resolve() != bundled
    return folder if (own if options.write_facts is None else options.write_facts) else None


def _bundled() -> Path | None:
    """Return the folder of the bundled model; None if it is not installed."""
    with contextlib.suppress(CheckpointError):
        return find_checkpoint(DEFAULT).resolve()
    return None


def evaluate(options: argparse.Namespace, plan: ContinuationPlan) -> list[dict[str, Any]]:
    """Return one record per split for JSON; results that were not measured are None.

    Raises:
        CheckpointError: The model cannot be used.
        CorpusError: The data cannot be used, or the split has no pieces.
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
        pieces = choose_pieces(paths, split, plan, workers=workers) if plan.pieces else []
        continuations = _continuations(composer, pieces, split, plan, baseline)
        if continuations is not None and baseline is not None:
            continuations["baseline"]["file"] = _recorded_path(options.baseline)
        records.append(_record(options, plan, split) | bits | {"continuations": continuations})
    return records


def _record(options: argparse.Namespace, plan: ContinuationPlan, split: str) -> dict[str, Any]:
    """Return model, data, plan and environment of a measurement."""
    return {
        "command": "training.evaluate",
        "model": clean_text(Path(options.model).name),
        "data": [clean_text(Path(path).name) for path in options.data.split(",")],
        "split": split,
        "plan": plan.facts(),
        **environment(),
    }


_NO_BITS = {"held_out": None, "accuracy": None}


def _bits(composer: Composer, corpus: Corpus, split: str) -> dict[str, Any]:
    """Return bits per note of all pieces of a split, and accuracy by type of token."""
    require_split([piece.split for piece in corpus.pieces], split)
    streams = corpus.tokens(split)
    statistics = TokenStatistics.of_tokenizer(composer.tokenizer)
    found = measure_bits(composer.model, composer.tokenizer, streams, observer=statistics)
    return {"held_out": found.facts(), "accuracy": statistics.accuracy()}


def _recorded_path(path: Path) -> str:
    """Return a path without the folders of this machine."""
    path, here = path.resolve(), Path.cwd().resolve()
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else path.name


def _continuations(
    composer: Composer,
    pieces: Sequence[PromptedPiece],
    split: str,
    plan: ContinuationPlan,
    baseline: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any] | None:
    """Return the metrics of continuations; None if no piece can be continued."""
    if not pieces:
        return None
    found = _rounded(compare(pieces, continue_pieces(composer, pieces, plan)))
    if baseline is not None:
        found["baseline"] = _rounded(compare_with_baseline(found, baseline, split))
    return dict(found)


def _rounded(value: Any) -> Any:
    """Round to four digits; None for values that are not finite, because JSON has no nan."""
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
            f"The results above could not be written ({error.strerror}); free some disk space, or "
            "name another file after --json."
        ) from error


def _json_text(records: Sequence[dict[str, Any]]) -> str:
    """Return indented JSON with every list of numbers or strings on one line."""
    text = json.dumps(records, indent=1)
    return re.sub(r"\[\n[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def _identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return data, split, and which of bits and continuations a record holds."""
    kinds = (record.get(kind) is not None for kind in ("held_out", "continuations"))
    return record["data"], record["split"], *kinds


def write_facts(folder: Path, record: dict[str, Any]) -> None:
    """Add a record to `facts.json`, without figures per piece.

    It replaces a record of the same kind, data and split.

    Raises:
        CheckpointError: The file is damaged.
    """
    content = read_facts(folder)
    others = [each for each in content.get(KEY, []) if _identity(each) != _identity(record)]
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
    bits = record["held_out"]
    if bits is not None:
        parts[0] += (
            f": {bits['bits_per_note']:.3f} bits per note, {bits['bits_per_token']:.3f} per token"
            f" ({bits['pieces']:,} pieces, {bits['notes']:,} notes, {bits['tokens']:,} tokens)"
        )
        parts.append(_accuracy_table(record["accuracy"]))
    parts[0] += "."
    found, plan = record["continuations"], record["plan"]
    if found is None and plan["pieces"]:
        fewest = min(plan["prompt_bars"], SHORT_BARS) + min(plan["bars"], SHORT_BARS)
        parts.append(
            f"No piece was continued: none has {fewest} bars and enough notes in the prompt."
        )
    if found is not None:
        parts += [_sequence_summary(plan, found), _metric_table(found["figures"])]
        parts += [_baseline_table(found["baseline"])] if "baseline" in found else []
    return "\n\n".join(parts)


def _accuracy_table(accuracy: Mapping[str, Any]) -> str:
    rows = [
        [kind, f"{100 * row['share']:.1f} %", f"{row['tokens']:,}"]
        for kind, row in accuracy.items()
    ]
    return _table(["most likely token is correct", "share", "tokens"], rows)


def _sequence_summary(plan: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    short = sum(bars < plan["prompt_bars"] for bars in found["per_piece"]["prompt_bars"])
    examples = "".join(f"\n- {each}" for each in found["failure_examples"])
    return (
        f"{found['takes']} continuations of {found['pieces']} pieces, {plan['bars']} bars after "
        f"{plan['prompt_bars']} ({short} short pieces: {SHORT_BARS} after {SHORT_BARS}); "
        f"decode failures: {found['decode_failures']}.{examples}"
    )


def _metric_table(figures: Mapping[str, Any]) -> str:
    rows = [
        [
            name.replace("_", " "),
            *(_number(row["composed"]), _interval(row["composed_interval"])),
            *(_number(row["original"]), _interval(row["original_interval"])),
            str(row["defined_pieces"]),
        ]
        for name, row in figures.items()
    ]
    return _table(["metric", "composed", "95 %", "original", "95 %", "pieces"], rows)


def _baseline_table(baseline: Mapping[str, Any]) -> str:
    rows = [
        [
            name.replace("_", " "),
            *(_number(row[side]) for side in ("baseline", "composed", "original", "closed")),
            _interval(row["closed_interval"]),
        ]
        for name, row in baseline["figures"].items()
    ]
    heads = ["metric", "baseline", "composed", "original", "gap closed", "95 %"]
    return (
        f"Compared with {baseline['model']} on {baseline['pieces']} common pieces; gap closed: "
        "(composed - baseline) / (original - baseline).\n\n" + _table(heads, rows)
    )


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


def _interval(ends: Sequence[float | None]) -> str:
    return "-" if None in ends else " to ".join(f"{end:.3f}" for end in ends)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    lines = [
        [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(cells)]
        for cells in (list(zip(row, widths, strict=True)) for row in [heads, rule, *rows])
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
