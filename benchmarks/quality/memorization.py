"""`python -m benchmarks.quality.memorization`: how much of what is composed stands in the training pieces.

Held-out pieces go on, as in `training.evaluate`. Of the new bars (never of the seed) the longest
passage is sought that stands in any piece of the train split, in whatever transposition; copies.py
says what a passage is and which ones are too plain to count. Nobody composes without formulas that
others have used, so the figure means something only beside another: what the held-out piece itself
plays in these bars, which is as near to the training pieces as music of its style is anyway.
The longer the music, the longer the passage that is found by chance, so each take and its original
are cut to the same number of notes.

To be trusted at the 95th percentile it takes some hundred pieces; takes of one piece are alike. So
the verdict is told with how often it would be yes if other pieces of the kind had been drawn.
Here are the command, its figures and its table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.passage_matching import Copied, Copies, Ints, Notes, TokenReader
from musiclstm.generation import MAX_BARS, MAX_ROWS, Composer, Sampling
from musiclstm.model import DEFAULT
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import Corpus, read_corpus
from training.data.splits import require_split
from training.evaluation.continuations import (
    ContinuationPlan,
    ContinuationResult,
    PromptedPiece,
    choose_pieces,
    continue_pieces,
    plan_from,
)

PIECES, TAKES, PROMPT_BARS, BARS, SEED = 200, 2, 8, 16, 7
TRAIN = "train"
_RESAMPLINGS = 1_000
_NAMES = ("composed", "original")
_BOUNDS = {
    "pieces": (1, 10_000),
    "takes": (1, MAX_ROWS),
    "prompt_bars": (1, MAX_BARS),
    "bars": (1, MAX_BARS),
}


@dataclass(frozen=True)
class Pair:
    """A take and what its piece plays itself there, cut to equally many pitched notes."""

    piece: int  # its number
    composed: Notes
    original: Notes

    @classmethod
    def of(cls, take: ContinuationResult, piece: PromptedPiece) -> Pair:
        """Both from their first note on, as far as the shorter one goes."""
        both = Notes.of(take.music), Notes.of(piece.original)
        count = min(map(len, both))
        return cls(take.piece, *(notes.first(count) for notes in both))


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence on bad input."""
    options = parser(
        "benchmarks.quality.memorization", "Passages of continuations that training pieces have."
    )
    add = options.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--pieces", type=int, default=PIECES, help=f"pieces to continue ({PIECES})")
    add("--takes", type=int, default=TAKES, help=f"continuations of each ({TAKES})")
    add("--prompt_bars", type=int, default=PROMPT_BARS, help=f"bars that are read ({PROMPT_BARS})")
    add("--bars", type=int, default=BARS, help=f"bars that are composed ({BARS})")
    add("--temperature", type=float, default=Sampling.temperature, help="of the sampling (1)")
    add("--sampling", default="", help="other fields of Sampling, such as min_p=0,top_p=1.0")
    add("--seed", type=int, default=SEED, help=f"of random numbers and choice of pieces ({SEED})")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Compose, look everything up in the training pieces, compare.

    Raises:
        CheckpointError: The model cannot be used.
        CorpusError: The data cannot be used, or one of the two splits is empty.
        ReportError: An option means nothing, or no held-out piece serves as seed.
    """
    plan = _plan(options)
    composer = Composer.from_pretrained(options.model)
    corpus = read_corpus(options.data)
    for split in (options.split, TRAIN):
        require_split([piece.split for piece in corpus.pieces], split)
    pieces = choose_pieces(options.data, options.split, plan, allow_short=False)
    if not pieces:
        raise ReportError(
            f"No piece of the split {options.split!r} has {plan.prompt_bars + plan.bars} bars and "
            "a prompt with enough notes; lower --prompt_bars or --bars."
        )
    takes = continue_pieces(composer, pieces, plan)
    facts = {"model": options.model, "split": options.split, "plan": plan.facts()}
    facts |= compared([Pair.of(take, pieces[take.piece]) for take in takes], corpus)
    return Report(as_text(facts), facts)


def _plan(options: argparse.Namespace) -> ContinuationPlan:
    if options.split == TRAIN:
        raise ReportError(
            "--split must be valid or test, got 'train': those are the pieces to compare with."
        )
    try:
        return plan_from(options, _BOUNDS)
    except ValueError as error:
        raise ReportError(str(error)) from error


# Figures ------------------------------------------------------------------------------------------


def compared(pairs: Sequence[Pair], corpus: Corpus) -> dict[str, Any]:
    """Figures of what was composed beside those of the originals, ready for JSON."""
    reader = TokenReader(MusicTokenizer())
    training = [reader.read(ids).steps() for ids in corpus.tokens(TRAIN)]
    copies = Copies([pair.composed for pair in pairs] + [pair.original for pair in pairs], training)
    names = [f"{p.name} ({p.corpus})" for p in corpus.pieces if p.split == TRAIN]
    piece_of = np.array([pair.piece for pair in pairs])
    return {
        "pairs": len(pairs),
        "notes": sum(len(pair.composed) for pair in pairs),
        "training_pieces": len(training),
        "training_notes": sum(map(len, training)),
        **_both(copies.longest(), piece_of, names),
        "without_figures": _both(copies.longest(figures=False), piece_of, names),
    }


def _both(copies: Sequence[Copied], piece_of: Ints, names: Sequence[str]) -> dict[str, Any]:
    """Figures of the first half, which was composed, and of the second, the originals."""
    half = len(piece_of)
    composed, original = _figures(copies[:half], names), _figures(copies[half:], names)
    return {
        "composed": composed,
        "original": original,
        "no_longer": composed["notes"]["p95"] <= original["notes"]["p95"],
        "no_longer_share": _share(np.array([each.notes for each in copies]), piece_of),
    }


def _share(notes: Ints, piece_of: Ints) -> float:
    """In which share of `_RESAMPLINGS` of the pieces the p95 of the first half is no longer."""
    rng, both = np.random.default_rng(SEED), notes.reshape(2, -1)
    takes = [np.flatnonzero(piece_of == piece) for piece in np.unique(piece_of)]
    drawn = rng.integers(0, len(takes), (_RESAMPLINGS, len(takes)))
    p95 = [np.percentile(both[:, np.concatenate([takes[i] for i in d])], 95, axis=1) for d in drawn]
    return float(np.mean([composed <= original for composed, original in p95]))


def _figures(copies: Sequence[Copied], names: Sequence[str]) -> dict[str, Any]:
    longest = max(copies, key=lambda each: (each.notes, each.quarters))
    return {
        "notes": _spread([each.notes for each in copies]),
        "quarters": _spread([each.quarters for each in copies]),
        "longest": asdict(longest)
        | {"source": None if longest.source is None else names[longest.source]},
        "each": [[each.notes, round(each.quarters, 3), each.different] for each in copies],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    median, p95, longest = np.percentile(values, [50, 95, 100]).tolist()
    return {"median": median, "p95": p95, "longest": longest}


# Telling it ---------------------------------------------------------------------------------------


def as_text(facts: dict[str, Any]) -> str:
    """The figures for people: a table that is Markdown as it stands, and the verdict."""
    plan, varied = facts["plan"], facts["without_figures"]
    return "\n".join(
        [
            f"{facts['pairs']:,} continuations of {plan['bars']} bars beside their originals, "
            f"{facts['notes']:,} notes on either side, looked up in "
            f"{facts['training_pieces']:,} training pieces of {facts['training_notes']:,} notes "
            "(drums left out).",
            "",
            table(
                [_row(name, facts[name]) for name in _NAMES]
                + [_row(f"{name}, no figure three times", varied[name]) for name in _NAMES]
            ),
            "",
            _verdict(facts),
            f"No figure three times: {_verdict(varied)}",
            *(_longest_line(name, facts[name]["longest"]) for name in _NAMES),
        ]
    )


def _verdict(both: dict[str, Any]) -> str:
    composed, original = (both[name]["notes"]["p95"] for name in _NAMES)
    answer = "yes" if both["no_longer"] else "no"
    return (
        f"p95 composed ≤ p95 original: {answer} ({composed:.2f} and {original:.2f} notes; yes in "
        f"{100 * both['no_longer_share']:.0f} % of {_RESAMPLINGS:,} resamplings of the pieces)"
    )


def _row(name: str, figures: dict[str, Any]) -> dict[str, str]:
    units = {"notes": "notes", "quarters": "beats"}
    heads = {"median": "median", "p95": "95th percentile", "longest": "longest"}
    cells = {
        f"{head}, {unit}": f"{figures[key][value]:.1f}"
        for key, unit in units.items()
        for value, head in heads.items()
    }
    return {"longest passage that training has": name, **cells}


def _longest_line(name: str, longest: dict[str, Any]) -> str:
    if longest["source"] is None:
        return f"Nothing {name} stands in a training piece."
    return (
        f"The longest one {name}: {longest['notes']} notes over {longest['quarters']:.1f} beats, "
        f"{longest['different']} different steps, in {longest['source']}."
    )


if __name__ == "__main__":
    sys.exit(main())
