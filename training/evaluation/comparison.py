"""Compare metrics of continuations with those of the original bars and of a baseline model.

Means are taken over the continuations of a piece, then over pieces; undefined values are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from musiclstm.errors import MusicLSTMError
from training.evaluation import music_metrics
from training.evaluation.continuations import ContinuationResult, PromptedPiece
from training.evaluation.music_metrics import Floats, NoteTable

Metrics: TypeAlias = dict[str, float]

BOOTSTRAP_SAMPLES = 2_000
_PERCENTILES = (2.5, 97.5)
_SEED = 0


class BaselineError(MusicLSTMError):
    """A baseline file cannot be read, or has none of the pieces."""


def compare(
    pieces: Sequence[PromptedPiece], results: Sequence[ContinuationResult]
) -> dict[str, Any]:
    """Return metrics of continuations and of the original next bars.

    For continuations, `overlap` and the overlaps of single features are with the original next
    bars, and `overlap_with_prompt` is with the prompt. For the original bars all overlaps are with
    the prompt, which is the ceiling for a continuation.

    Args:
        pieces: At least one.
        results: At least one for each piece.

    Returns:
        `figures` holds means and 95 % intervals by name, `per_piece` the values of every piece in
        columns. Undefined values are nan.
    """
    composed = [_mean_metrics(number, piece, results) for number, piece in enumerate(pieces)]
    original = [_metrics(piece.prompt, piece.original, piece.prompt) for piece in pieces]
    names = list(original[0])
    columns = [{n: [each[n] for each in side] for n in names} for side in (composed, original)]
    failures = [result.failure for result in results if result.failure is not None]
    return {
        "pieces": len(pieces),
        "takes": len(results),
        "decode_failures": len(failures),
        "failure_examples": failures[:5],
        "figures": {name: _row(*(column[name] for column in columns)) for name in names},
        "per_piece": {
            "piece": [piece.name for piece in pieces],
            "prompt_bars": [piece.prompt.bars for piece in pieces],
            "composed": columns[0],
            "original": columns[1],
        },
    }


def _mean_metrics(
    number: int, piece: PromptedPiece, results: Sequence[ContinuationResult]
) -> Metrics:
    rows = [_metrics(r.prompt, r.music, piece.original) for r in results if r.piece == number]
    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def _metrics(prompt: NoteTable, music: NoteTable, reference: NoteTable) -> Metrics:
    overlaps = music_metrics.overlaps(music, reference)
    overlap = with_prompt = overlaps.pop("overlap")
    if reference is not prompt:
        with_prompt = music_metrics.overlaps(music, prompt)["overlap"]
    return {
        "overlap": overlap,
        "overlap_with_prompt": with_prompt,
        **music_metrics.prompt_metrics(prompt, music),
        **{f"overlap_{name}": value for name, value in overlaps.items()},
    }


def _row(composed: Sequence[float], original: Sequence[float]) -> dict[str, Any]:
    return {
        "composed": mean(composed),
        "composed_interval": confidence_interval(composed),
        "original": mean(original),
        "original_interval": confidence_interval(original),
        "defined_pieces": int(np.isfinite(composed).sum()),
    }


# Means and intervals ------------------------------------------------------------------------------


def mean(values: Sequence[float]) -> float:
    """Return the mean of the defined values; nan without any."""
    defined = _defined(values)
    return float(defined.mean()) if len(defined) else math.nan


def confidence_interval(values: Sequence[float]) -> list[float]:
    """Return the 95 % percentile bootstrap interval of the mean over pieces (Efron 1979).

    Returns:
        Lower and upper end; both nan for fewer than two defined values.
    """
    defined = _defined(values)
    if len(defined) < 2:
        return [math.nan, math.nan]
    return _percentiles(defined[_resample(len(defined))].mean(axis=1))


def _defined(values: Sequence[float]) -> Floats:
    table = np.asarray(values, np.float64)
    return table[np.isfinite(table)]


def _resample(count: int) -> music_metrics.Ints:
    """Return the indices of the pieces in every bootstrap sample, (samples, pieces)."""
    return np.random.default_rng(_SEED).integers(0, count, (BOOTSTRAP_SAMPLES, count))


def _percentiles(values: Floats) -> list[float]:
    return [float(each) for each in np.percentile(values, _PERCENTILES)]


# Baseline -----------------------------------------------------------------------------------------


def read_baseline(path: Path) -> list[dict[str, Any]]:
    """Read a file that `training.evaluate --json` wrote.

    Raises:
        BaselineError: The file cannot be read, or holds no continuations.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        for record in records:
            _ = record["split"], record["model"], record["versions"]["musiclstm"]
            _ = record["continuations"]["per_piece"]["composed"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BaselineError(
            f"{path.name!r} is not a file with continuations that training.evaluate --json wrote "
            f"({type(error).__name__}: {error})."
        ) from error
    return list(records)


def compare_with_baseline(
    found: Mapping[str, Any], baseline: Sequence[Mapping[str, Any]], split: str
) -> dict[str, Any]:
    """Return which share of the gap between a baseline and the original bars is closed.

    Formula: (x - b) / (o - b) with the means x of the continuations, b of the baseline's, and o of
    the original bars, over the pieces of both files. It is 0 at the baseline and 1 at the original;
    nan if b equals o.

    Args:
        found: Result of `compare`.
        baseline: Result of `read_baseline`.
        split: Split of the baseline's record.

    Raises:
        BaselineError: The baseline has no piece in common with `found`.
    """
    own = found["per_piece"]
    known = [each for each in baseline if each["split"] == split]
    other = known[0]["continuations"]["per_piece"] if known else {"piece": [], "prompt_bars": []}
    index_of = {key: index for index, key in enumerate(_keys(other))}
    pairs = [(i, index_of[key]) for i, key in enumerate(_keys(own)) if key in index_of]
    if not pairs:
        raise BaselineError(f"The baseline has none of these pieces of the split {split!r}.")
    rows = np.array(pairs)
    return {
        "model": f"{known[0]['model']} (musiclstm {known[0]['versions']['musiclstm']})",
        "pieces": len(pairs),
        "figures": {
            name: _gap(
                _floats(own["composed"][name])[rows[:, 0]],
                _floats(other["composed"][name])[rows[:, 1]],
                _floats(own["original"][name])[rows[:, 0]],
            )
            for name in own["composed"]
            if name in other["composed"]
        },
    }


def _keys(columns: Mapping[str, Sequence[Any]]) -> list[tuple[str, int]]:
    return list(zip(columns["piece"], columns["prompt_bars"], strict=True))


def _floats(column: Sequence[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in column], np.float64)


def _gap(composed: Floats, baseline: Floats, original: Floats) -> dict[str, Any]:
    table = np.stack([composed, baseline, original])
    table = table[:, np.isfinite(table).all(axis=0)]
    if not table.shape[1]:
        return {"composed": math.nan, "baseline": math.nan, "original": math.nan,
                "closed": math.nan, "closed_interval": [math.nan, math.nan]}  # fmt: skip
    means = table.mean(axis=1)
    resampled = _closed(table[:, _resample(table.shape[1])].mean(axis=2))
    defined = resampled[np.isfinite(resampled)]
    return {
        **dict(zip(("composed", "baseline", "original"), means.tolist(), strict=True)),
        "closed": float(_closed(means)),
        "closed_interval": _percentiles(defined) if len(defined) else [math.nan, math.nan],
    }


def _closed(means: Floats) -> Floats:
    """Return (x - b) / (o - b) for rows x, b, o; nan if o equals b."""
    composed, baseline, original = means
    gap = original - baseline
    return np.where(gap == 0, math.nan, (composed - baseline) / np.where(gap == 0, 1, gap))
