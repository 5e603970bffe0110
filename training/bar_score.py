"""`python -m training.bar_score`: fit the score by which one of several candidates is chosen.

The score of a bar is a weighted sum plus the log odds of a logistic model. The sum prefers new bars
that are similar to the prompt (five histogram intersections), and parts that play and rest as they
did; its weights (`WEIGHTS`) were chosen on validation pieces. The logistic model tells real next
bars from bars that similarity alone would choose; its inputs are the features of a bar in its
context (musiclstm/core/reference/bar_features.py), each in eight bins. Without the model the new
bars would become more similar to the prompt than real music does.

Pieces are those of half 0 of the training split; the judge of `benchmarks.quality.realness` is
trained on the other half. Every third piece is kept out of a first fit, for the reported areas
under the ROC curve (AUC); the stored score is fitted to all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from musiclstm.cli import run_command
from musiclstm.core import (
    BAR_FEATURES,
    BAR_SCORE,
    FEATURE_BINS,
    BarContext,
    Batch,
    Network,
)
from musiclstm.core import Sequence as TokenSequence
from musiclstm.errors import CorpusError, MusicLSTMError
from musiclstm.generation import (
    MAX_SEED,
    Composer,
    PackedCheckpoint,
    Sampling,
    bar_rules,
    load_packed,
    write_bar_score,
)
from musiclstm.model import BAR_SCORE_FILE, DEFAULT, FACTS_FILE, read_facts
from musiclstm.tokens import TABLE, MusicTokenizer
from training.arguments import TrainingArgumentParser
from training.evaluation.continuations import ContinuationPlan, PromptedPiece, choose_pieces
from training.trainer.checkpoints import write_record

SIMILARITIES = ("pitch_classes", "pitches", "durations", "onset_intervals", "notes_per_bar")
WEIGHTS = {**dict.fromkeys(SIMILARITIES, 12.0), "part_activity": 8.0, "silent_parts": -10.0}
PROMPT_BARS, BARS = 8, 16
SCORE_HALF = 0
FEWEST_PIECES = 3
_RIDGE = 3.0  # penalty on squared log odds
_STEPS = 15  # of Newton's method


@dataclass(frozen=True)
class BarSamples:
    """Bars that follow prompts.

    Attributes:
        features: `BAR_FEATURES`, nan: undefined, (bars, features).
        is_real: Whether a bar is of the piece, else it is composed, (bars,).
        piece: Index of the piece, (bars,).
    """

    features: np.ndarray
    is_real: np.ndarray
    piece: np.ndarray


@dataclass(frozen=True)
class BarScoreFit:
    """A fitted score.

    Attributes:
        score: `BAR_SCORE`.
        pieces: Number of pieces.
        auc: Area under the ROC curve on pieces that were kept out, by feature and for `all`:
            probability that a real bar has a higher score than a composed one.
    """

    score: np.ndarray
    pieces: int
    auc: dict[str, float]

    def facts(self) -> dict[str, Any]:
        """Return the record for facts.json."""
        return {"pieces": self.pieces, "auc": {k: round(v, 3) for k, v in self.auc.items()}}


# Samples ------------------------------------------------------------------------------------------


def weighted_score(weights: Mapping[str, float]) -> np.ndarray:
    """Return the `BAR_SCORE` that is a weighted sum of features."""
    score = np.zeros((), BAR_SCORE)
    for name, weight in weights.items():
        score["weights"][BAR_FEATURES.index(name)] = weight
    return score


def sample_bars(
    checkpoint: PackedCheckpoint, pieces: Sequence[PromptedPiece], sampling: Sampling
) -> BarSamples:
    """Return the next bars of pieces, and as many that are composed.

    Args:
        checkpoint: Composes with similarity alone as its score.
        pieces: Prompts and next bars.
        sampling: How bars are sampled; its seed is that of the first piece.
    """
    only_similar = replace(checkpoint, bar_score=weighted_score(dict.fromkeys(SIMILARITIES, 1.0)))
    composer = Composer(only_similar, MusicTokenizer())
    network = Network(checkpoint.weights, TABLE)
    rows: list[np.ndarray] = []
    real: list[bool] = []
    numbers: list[int] = []
    for number, piece in enumerate(tqdm(pieces, desc="Composing", unit="piece", disable=None)):
        seed = ((sampling.seed or 0) + number) % (MAX_SEED + 1)
        composed = composer.compose(
            bars=piece.original.bars,
            prompt=piece.score,
            prompt_bars=piece.prompt.bars,
            sampling=replace(sampling, seed=seed),
        )
        prompt, following = _tokens_of(composer.tokenizer, piece)
        for is_real, ids, bars in (
            (True, prompt, following),
            (False, composed.prompt_ids, composed.bar_tokens),
        ):
            found = list(_features(network, ids, bars))
            rows += found
            real += [is_real] * len(found)
            numbers += [number] * len(found)
    return BarSamples(np.array(rows), np.array(real), np.array(numbers))


def _tokens_of(
    tokenizer: MusicTokenizer, piece: PromptedPiece
) -> tuple[list[int], list[list[int]]]:
    """Return the ids of the prompt with BOS, and of each bar after it."""
    bars: list[list[int]] = []
    for token in tokenizer.encode(piece.score):
        if token == TABLE.bar:
            bars.append([])
        bars[-1].append(token)
    first, last = piece.prompt.bars, piece.prompt.bars + piece.original.bars
    return [tokenizer.bos_id, *chain.from_iterable(bars[:first])], bars[first:last]


def _features(
    network: Network, prompt: Sequence[int], bars: Sequence[Sequence[int]]
) -> Iterator[np.ndarray]:
    sequence, rules = TokenSequence(network), bar_rules()
    sequence.read(prompt)
    sequence.restore(rules, prompt, ())
    context, sampling = BarContext(TABLE, prompt), Sampling(seed=0).packed()
    for number, bar in enumerate(bars):
        sequence.open_bar(rules, sampling, number)
        Batch([sequence]).append(bar[1:])
        yield context.features(bar, sequence.bar()[1])
        context.add(bar)


# Logistic model -----------------------------------------------------------------------------------


def fit(samples: BarSamples) -> BarScoreFit:
    """Fit a score to samples, at least two bars of each kind."""
    edges = np.stack([_quantiles(column) for column in samples.features.T])
    columns = _one_hot(samples.features, edges)
    fitted = samples.piece % 3 > 0
    auc = {}
    for name, own in {"all": slice(None), **_columns()}.items():
        log_odds = _log_odds(columns[fitted, own], samples.is_real[fitted])
        auc[name] = area_under_curve(columns[~fitted, own] @ log_odds, samples.is_real[~fitted])
    score = weighted_score(WEIGHTS)
    score["edges"] = edges
    score["log_odds"] = _log_odds(columns, samples.is_real).reshape(len(BAR_FEATURES), -1)
    return BarScoreFit(score, len(np.unique(samples.piece)), auc)


def _columns() -> dict[str, slice]:
    return {
        name: slice(at * FEATURE_BINS, (at + 1) * FEATURE_BINS)
        for at, name in enumerate(BAR_FEATURES)
    }


def _quantiles(values: np.ndarray) -> np.ndarray:
    """Return the edges of bins with equal counts, (FEATURE_BINS - 1,) float32."""
    known = values[~np.isnan(values)]
    if not len(known):
        return np.zeros(FEATURE_BINS - 1, np.float32)
    shares = np.arange(1, FEATURE_BINS) / FEATURE_BINS
    return np.asarray(np.quantile(known, shares), np.float32)


def _one_hot(features: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return 1 in the bin of each defined feature, (bars, features * FEATURE_BINS)."""
    bins = (features[:, :, None] >= edges).sum(axis=2)
    columns = np.eye(FEATURE_BINS)[bins] * ~np.isnan(features)[:, :, None]
    return columns.reshape(len(features), -1)


def _log_odds(columns: np.ndarray, is_real: np.ndarray) -> np.ndarray:
    """Fit a logistic regression with a ridge penalty by Newton's method; drop its constant."""
    inputs = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    penalty = np.full(inputs.shape[1], _RIDGE)
    penalty[-1] = 1e-6
    weights = np.zeros(inputs.shape[1])
    for _ in range(_STEPS):
        real = 1 / (1 + np.exp(-inputs @ weights))
        gradient = inputs.T @ (real - is_real) + penalty * weights
        hessian = (inputs * (real * (1 - real))[:, None]).T @ inputs + np.diag(penalty)
        weights -= np.linalg.solve(hessian, gradient)
    return weights[:-1]


def area_under_curve(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Return the area under the ROC curve, ties count half; nan without one of the kinds."""
    _, ranks, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = (np.cumsum(counts) - (counts - 1) / 2)[ranks]
    positive = int(is_positive.sum())
    negative = len(scores) - positive
    if not positive or not negative:
        return float("nan")
    wins = middle[is_positive].sum() - positive * (positive + 1) / 2
    return float(wins / (positive * negative))


# Command ------------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
    options = _parser().parse_args(argv)
    try:
        sampling = Sampling(candidates=options.candidates, seed=options.seed)
        plan = ContinuationPlan(options.pieces, 1, options.prompt_bars, options.bars, sampling)
        found = fit_pieces(options.model, options.data.split(","), plan)
        store(options.out, found)
    except OSError as error:
        sys.stderr.write(f"error: {options.out} cannot be written: {error}\n")
        return 1
    except (MusicLSTMError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for name, value in sorted(found.auc.items(), key=lambda item: -item[1]):
        print(f"{name:20} {value:.3f}")
    print(f"{options.out / BAR_SCORE_FILE}: fitted to {found.pieces:,} pieces (AUC above)")
    return 0


def fit_pieces(
    model: str | Path,
    data: Sequence[str],
    plan: ContinuationPlan,
    *,
    names: Collection[str] | None = None,
) -> BarScoreFit:
    """Fit a score to training pieces.

    Args:
        model: As in `load_packed`.
        data: Corpora, as in `read_corpus`.
        plan: Number of pieces, their bars, and sampling.
        names: Corpus and file of the pieces that may be used; None: all.

    Raises:
        CorpusError: A path is missing, or there are fewer than `FEWEST_PIECES`.
    """
    pieces = choose_pieces(data, "train", plan, allow_short=False, half=SCORE_HALF)
    pieces = [piece for piece in pieces if names is None or piece.name in names]
    if len(pieces) < FEWEST_PIECES:
        raise CorpusError(
            f"{len(pieces)} training pieces of half {SCORE_HALF} have "
            f"{plan.prompt_bars + plan.bars} bars; a score needs at least {FEWEST_PIECES}. Add "
            "pieces."
        )
    return fit(sample_bars(load_packed(model), pieces, plan.sampling))


def store(folder: Path, found: BarScoreFit) -> None:
    """Write a score into a checkpoint folder, and its AUC into facts.json if there is one."""
    write_bar_score(folder, found.score)
    if (folder / FACTS_FILE).is_file():
        write_record(folder / FACTS_FILE, {**read_facts(folder), "bar_score": found.facts()})


def _parser() -> argparse.ArgumentParser:
    parser = TrainingArgumentParser(
        prog="python -m training.bar_score",
        description="Fit the score by which one of several candidates for a bar is chosen.",
    )
    add = parser.add_argument
    add("--model", default=DEFAULT, help="default, a checkpoint folder, or a Hub id")
    add("--data", required=True, help="folders, zips or MIDI files, separated by commas")
    add("--out", type=Path, required=True, help=f"folder for {BAR_SCORE_FILE}")
    add("--pieces", type=int, default=320, help="training pieces (320)")
    add("--prompt_bars", type=int, default=PROMPT_BARS, help="bars of the prompt")
    add("--bars", type=int, default=BARS, help="bars after it")
    add("--candidates", type=int, default=Sampling.candidates, help="for each composed bar")
    add("--seed", type=int, default=1, help="random seed, also of the choice of pieces")
    return parser


if __name__ == "__main__":
    sys.exit(run_command(main))
