"""`python -m benchmarks.quality.reasons`: how usual each reason of `Composer.assess` is.

Continuations of held-out pieces give the quartiles and standard deviation of each statistic, from
which the thresholds in `musiclstm.generation.ranking` are taken, and the share of continuations in
which each phrase is among the three that are said.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from benchmarks.common.report import Report, ReportError, parser, run, table
from musiclstm.cli import run_command
from musiclstm.generation import MAX_BARS, MAX_ROWS, REASONS, Assessment, Composer
from musiclstm.model import DEFAULT
from training.evaluation.continuations import add_plan_options, choose_pieces, plan_from

PIECES, SEQUENCES, PROMPT_BARS, BARS, SEED = 100, 4, 8, 16, 7
_BOUNDS = {
    "pieces": (1, 10_000),
    "takes": (1, MAX_ROWS),
    "prompt_bars": (1, MAX_BARS),
    "bars": (1, MAX_BARS),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser("benchmarks.quality.reasons", "Show how usual each reason is.")
    add = options.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
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
    """Compose and assess continuations."""
    try:
        plan = plan_from(options, _BOUNDS)
    except ValueError as error:
        raise ReportError(str(error)) from error
    composer = Composer.from_pretrained(options.model)
    pieces = choose_pieces(options.data, options.split, plan, allow_short=False)
    if not pieces:
        raise ReportError(
            f"No piece of the split {options.split!r} has {plan.prompt_bars + plan.bars} bars; "
            "lower --prompt_bars or --bars, or add files to --data."
        )
    found: list[Assessment] = []
    for number, piece in enumerate(tqdm(pieces, disable=None, unit="piece", leave=False)):
        takes = composer.compose_many(
            plan.sequences,
            bars=plan.bars,
            prompt=piece.score,
            prompt_bars=plan.prompt_bars,
            sampling=replace(plan.sampling, seed=plan.seed + number * plan.sequences),
        )
        found += map(composer.assess, takes)
    facts = {"model": options.model, "split": options.split, "plan": plan.facts()}
    facts |= {"pieces": len(pieces), "takes": len(found)} | figures(found)
    return Report(_text(facts), facts)


def figures(found: list[Assessment]) -> dict[str, Any]:
    """Return the distribution of each statistic, and the share of each phrase."""
    statistics = {}
    for name in found[0].statistics:
        values = np.array([each.statistics[name] for each in found])
        known = values[~np.isnan(values)]
        if len(known):
            quartiles = [round(float(each), 3) for each in np.percentile(known, (25, 50, 75))]
            statistics[name] = {"quartiles": quartiles, "deviation": round(float(known.std()), 3)}
    said = {
        each.phrase: sum(_is_said(each.phrase, one) for one in found) / len(found)
        for each in REASONS
    }
    return {
        "statistics": statistics,
        "said": said,
        "numbers": [sum(len(each.reasons) == count for each in found) for count in range(4)],
        "collapsed": sum(each.is_collapsed for each in found),
    }


def _is_said(phrase: str, assessment: Assessment) -> bool:
    pattern = re.escape(phrase).replace(re.escape("{}"), ".+")
    return any(re.fullmatch(pattern, reason) for reason in assessment.reasons)


def _text(facts: dict[str, Any]) -> str:
    rows = [
        {
            "statistic": name,
            **dict(zip(("25 %", "50 %", "75 %"), found["quartiles"], strict=True)),
            "standard deviation": found["deviation"],
        }
        for name, found in facts["statistics"].items()
    ]
    said = [
        {"phrase": phrase.replace("{}", "…"), "said of": f"{100 * share:.0f} %"}
        for phrase, share in facts["said"].items()
    ]
    none, *some = facts["numbers"]
    return (
        f"{facts['takes']} continuations of {facts['pieces']} pieces ({facts['split']}), "
        f"{facts['collapsed']} of them collapsed.\n\n{table(rows)}\n\n{table(said)}\n\n"
        f"Without a reason: {none}; with one, two, three: {', '.join(map(str, some))}."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
