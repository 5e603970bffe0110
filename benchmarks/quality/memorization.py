"""`python -m benchmarks.quality.memorization`: passages of generated music in the training pieces.

Held-out pieces are continued, as in `training.evaluate`. For the new bars (not the prompt) the
longest passage is found that occurs in a training piece, in any transposition;
`musiclstm.memorization` defines passages. Music of one style shares formulas, so the figure is
compared with that of the held-out piece itself in the same bars. Longer music has longer passages
by chance, so each sequence and its original are cut to the same number of notes.

If the checkpoint has an index of its training pieces, the same is asked of the index.

The 95th percentile needs some hundred pieces, because sequences of one piece are similar. The
result is therefore given with its frequency over bootstrap resamplings of the pieces.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.common.report import Report, ReportError, parser, run, table
from benchmarks.quality.passage_matching import PassageIndex, pitched_notes
from musiclstm.cli import run_command
from musiclstm.generation import MAX_BARS, MAX_ROWS, Composer
from musiclstm.memorization import (
    GUARANTEED,
    CopiedPassage,
    Ints,
    MemorizationIndex,
    PitchedNotes,
    TokenReader,
)
from musiclstm.model import DEFAULT
from musiclstm.tokens import MusicTokenizer
from training.data.corpus import Corpus, read_corpus
from training.data.splits import require_split
from training.evaluation.continuations import (
    ContinuationPlan,
    ContinuationResult,
    PromptedPiece,
    add_plan_options,
    choose_pieces,
    continue_pieces,
    plan_from,
)

PIECES, SEQUENCES, PROMPT_BARS, BARS, SEED = 200, 2, 8, 16, 7
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
class ComparedPair:
    """A generated sequence and the original bars, cut to the same number of pitched notes."""

    piece: int  # index of the piece
    composed: PitchedNotes
    original: PitchedNotes

    @classmethod
    def of(cls, sequence: ContinuationResult, piece: PromptedPiece) -> ComparedPair:
        """Cut both to the length of the shorter one."""
        both = pitched_notes(sequence.music), pitched_notes(piece.original)
        count = min(map(len, both))
        return cls(sequence.piece, *(notes[:count] for notes in both))


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error."""
    options = parser(
        "benchmarks.quality.memorization", "Find passages of training pieces in continuations."
    )
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
    """Continue the held-out pieces and compare them with their originals."""
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
    sequences = continue_pieces(composer, pieces, plan)
    facts = {"model": options.model, "split": options.split, "plan": plan.facts()}
    pairs = [ComparedPair.of(each, pieces[each.piece]) for each in sequences]
    facts |= compare(pairs, corpus)
    if composer.memorization_index is not None:
        facts["index"] = _compare_by_index(pairs, composer.memorization_index)
    return Report(_text(facts), facts)


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


def compare(pairs: Sequence[ComparedPair], corpus: Corpus) -> dict[str, Any]:
    """Return the figures of the sequences and of the originals, as JSON content."""
    reader = TokenReader(MusicTokenizer())
    training = [reader.read(ids).steps() for ids in corpus.tokens(TRAIN)]
    index = PassageIndex(
        [pair.composed for pair in pairs] + [pair.original for pair in pairs], training
    )
    names = [f"{p.name} ({p.corpus})" for p in corpus.pieces if p.split == TRAIN]
    piece_of = np.array([pair.piece for pair in pairs])
    return {
        "pairs": len(pairs),
        "notes": sum(len(pair.composed) for pair in pairs),
        "training_pieces": len(training),
        "training_notes": sum(map(len, training)),
        **_compare_halves(index.longest(), piece_of, names),
        "without_figures": _compare_halves(index.longest(figures=False), piece_of, names),
    }


def _compare_by_index(
    pairs: Sequence[ComparedPair], index: MemorizationIndex
) -> dict[str, dict[str, float]]:
    found = {}
    for name in _NAMES:
        copies = [index.longest_copy(getattr(pair, name)) for pair in pairs]
        shares = [each.percentile for each in copies if each.percentile is not None]
        found[name] = {
            "copied": float(np.mean([each.notes >= GUARANTEED for each in copies])),
            "percentile": float(np.mean(shares)) if shares else float("nan"),
        }
    return found


def _compare_halves(
    copies: Sequence[CopiedPassage], piece_of: Ints, names: Sequence[str]
) -> dict[str, Any]:
    """Return the figures of the first half (sequences) and of the second half (originals)."""
    half = len(piece_of)
    composed, original = _figures(copies[:half], names), _figures(copies[half:], names)
    return {
        "composed": composed,
        "original": original,
        "no_longer": composed["notes"]["p95"] <= original["notes"]["p95"],
        "no_longer_share": _bootstrap_share(np.array([each.notes for each in copies]), piece_of),
    }


def _bootstrap_share(notes: Ints, piece_of: Ints) -> float:
    """Return the share of resamplings with no larger 95th percentile in the first half."""
    rng, both = np.random.default_rng(SEED), notes.reshape(2, -1)
    rows = [np.flatnonzero(piece_of == piece) for piece in np.unique(piece_of)]
    drawn = rng.integers(0, len(rows), (_RESAMPLINGS, len(rows)))
    p95 = [np.percentile(both[:, np.concatenate([rows[i] for i in d])], 95, axis=1) for d in drawn]
    return float(np.mean([composed <= original for composed, original in p95]))


def _figures(copies: Sequence[CopiedPassage], names: Sequence[str]) -> dict[str, Any]:
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


# Text ---------------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    """Return the figures as a Markdown table with the result below."""
    plan, varied = facts["plan"], facts["without_figures"]
    return "\n".join(
        [
            f"{facts['pairs']:,} continuations of {plan['bars']} bars and their originals, "
            f"{facts['notes']:,} notes each, searched in "
            f"{facts['training_pieces']:,} training pieces of {facts['training_notes']:,} notes "
            "(without drums).",
            "",
            table(
                [_row(name, facts[name]) for name in _NAMES]
                + [_row(f"{name}, without repeated figures", varied[name]) for name in _NAMES]
            ),
            "",
            _result(facts),
            f"Without repeated figures: {_result(varied)}",
            *(_longest_line(name, facts[name]["longest"]) for name in _NAMES),
            *(_index_line(name, facts["index"][name]) for name in _NAMES if "index" in facts),
        ]
    )


def _result(both: dict[str, Any]) -> str:
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
    return {"longest passage in a training piece": name, **cells}


def _longest_line(name: str, longest: dict[str, Any]) -> str:
    if longest["source"] is None:
        return f"No {name} passage occurs in a training piece."
    return (
        f"Longest {name} passage: {longest['notes']} notes over {longest['quarters']:.1f} beats, "
        f"{longest['different']} different steps, in {longest['source']}."
    )


def _index_line(name: str, figures: dict[str, float]) -> str:
    return (
        f"By the index of the checkpoint, {name}: {100 * figures['copied']:.1f} % have a passage "
        f"of {GUARANTEED} notes or more, mean percentile among held-out excerpts "
        f"{figures['percentile']:.1f}."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
