"""Figures of takes beside those of originals: means, bootstrap intervals, distance to a baseline.

Means are taken over the takes of a piece, then over pieces; undefined values are left out.
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
from training.evaluation.music_metrics import Floats, Section

Figures: TypeAlias = dict[str, float]

RESAMPLINGS = 2_000
_PERCENTILES = (2.5, 97.5)
_SEED = 0


class BaselineError(MusicLSTMError):
    """A baseline file cannot be read, or has no figures of these pieces."""


def compared(
    pieces: Sequence[PromptedPiece], takes: Sequence[ContinuationResult]
) -> dict[str, Any]:
    """Return the figures of takes beside those of the pieces' own next bars.

    For takes, `overlap` and the overlaps of single features are with the piece's own next bars, and
    `overlap_with_prompt` is with the prompt. For originals all of them are with the prompt: the
    ceiling of what a continuation can be expected to reach.

    Args:
        pieces: At least one.
        takes: At least one of each piece.

    Returns:
        `figures` holds means and 95 % intervals by name; `per_piece` the values of every piece, in
        columns. Undefined values are nan.
    """
    composed = [_of_takes(number, piece, takes) for number, piece in enumerate(pieces)]
    original = [_of_original(piece) for piece in pieces]
    names = list(original[0])
    columns = [{n: [each[n] for each in side] for n in names} for side in (composed, original)]
    failures = [take.failure for take in takes if take.failure is not None]
    return {
        "pieces": len(pieces),
        "takes": len(takes),
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


def _of_takes(number: int, piece: PromptedPiece, takes: Sequence[ContinuationResult]) -> Figures:
    """Means over the takes of one piece."""
    rows = [_figures(t.prompt, t.music, piece.original) for t in takes if t.piece == number]
    return {name: mean([row[name] for row in rows]) for name in rows[0]}


def _of_original(piece: PromptedPiece) -> Figures:
    return _figures(piece.prompt, piece.original, piece.prompt)


def _figures(prompt: Section, music: Section, reference: Section) -> Figures:
    alike = music_metrics.overlaps(music, reference)
    overlap = with_prompt = alike.pop("overlap")
    if reference is not prompt:
        with_prompt = music_metrics.overlaps(music, prompt)["overlap"]
    return {
        "overlap": overlap,
        "overlap_with_prompt": with_prompt,
        **music_metrics.figures(prompt, music),
        **{f"overlap_{name}": value for name, value in alike.items()},
    }


def _row(composed: Sequence[float], original: Sequence[float]) -> dict[str, Any]:
    return {
        "composed": mean(composed),
        "composed_interval": interval(composed),
        "original": mean(original),
        "original_interval": interval(original),
        "defined_pieces": int(np.isfinite(composed).sum()),
    }


# Means and intervals ------------------------------------------------------------------------------


def mean(values: Sequence[float]) -> float:
    """Return the mean of the values that are defined; nan where none is."""
    known = _known(values)
    return float(known.mean()) if len(known) else math.nan


def interval(values: Sequence[float]) -> list[float]:
    """Return the 95 % percentile bootstrap interval of the mean over pieces (Efron 1979).

    Returns:
        Lower and upper end; two times nan for fewer than two defined values.
    """
    known = _known(values)
    if len(known) < 2:
        return [math.nan, math.nan]
    return _percentiles(known[_drawn(len(known))].mean(axis=1))


def _known(values: Sequence[float]) -> Floats:
    table = np.asarray(values, np.float64)
    return table[np.isfinite(table)]


def _drawn(count: int) -> music_metrics.Ints:
    """Indices of the pieces in every resampling, (resamplings, pieces)."""
    return np.random.default_rng(_SEED).integers(0, count, (RESAMPLINGS, count))


def _percentiles(values: Floats) -> list[float]:
    return [float(each) for each in np.percentile(values, _PERCENTILES)]


# Beside a baseline --------------------------------------------------------------------------------


def read_baseline(path: Path) -> list[dict[str, Any]]:
    """Read what `training.evaluate --json` wrote.

    Raises:
        BaselineError: The file cannot be read or holds no continuations.
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


def beside_baseline(
    found: Mapping[str, Any], baseline: Sequence[Mapping[str, Any]], split: str
) -> dict[str, Any]:
    """Return for every figure the share of the gap between baseline and originals that is closed.

    The share is (x - x0) / (o - x0), where x, x0 and o are the means of takes, of the baseline's
    takes and of the originals over the pieces that both files have. It is 1 at the originals and 0
    at the baseline. nan where originals and baseline have equal means.

    Args:
        found: What `compared` returned.
        baseline: What `read_baseline` returned.
        split: Which of its records to take.

    Raises:
        BaselineError: It has no piece in common with `found`.
    """
    own = found["per_piece"]
    known = [each for each in baseline if each["split"] == split]
    other = known[0]["continuations"]["per_piece"] if known else {"piece": [], "prompt_bars": []}
    places = {key: place for place, key in enumerate(_keys(other))}
    pairs = [(i, places[key]) for i, key in enumerate(_keys(own)) if key in places]
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
    resampled = _closed(table[:, _drawn(table.shape[1])].mean(axis=2))
    defined = resampled[np.isfinite(resampled)]
    return {
        **dict(zip(("composed", "baseline", "original"), means.tolist(), strict=True)),
        "closed": float(_closed(means)),
        "closed_interval": _percentiles(defined) if len(defined) else [math.nan, math.nan],
    }


def _closed(means: Floats) -> Floats:
    """(x - x0) / (o - x0) for rows x, x0, o; nan where o equals x0."""
    composed, baseline, original = means
    gap = original - baseline
    return np.where(gap == 0, math.nan, (composed - baseline) / np.where(gap == 0, 1, gap))
