"""The score by which one of several candidates for a bar is chosen, as a file."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np

from musiclstm.core.bar_features import BAR_FEATURES, BAR_SCORE, FEATURE_BINS
from musiclstm.errors import CheckpointError, shorten
from musiclstm.model import BAR_SCORE_FILE

_BUNDLED = Path(__file__).parents[2] / "pretrained"


def read_bar_score(folder: Path | None) -> np.ndarray:
    """Return the `BAR_SCORE` of a checkpoint folder; that of the bundled checkpoint without a file.

    Raises:
        CheckpointError: The file does not hold a score for these features.
    """
    path = None if folder is None else folder / BAR_SCORE_FILE
    if path is None or not path.is_file():
        return _default()
    try:
        stored = json.loads(path.read_text("utf-8"))
        return _from_dict(stored)
    except (
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"{BAR_SCORE_FILE} must hold weight, edges and log_odds of each of the "
            f"{len(BAR_FEATURES)} features of this version, got {shorten(str(error))} in "
            f"{shorten(str(folder))}; delete it to use the score of the bundled model, or fit it "
            "again with training.bar_score."
        ) from error


def scaled_bar_score(score: np.ndarray, similarity: float) -> np.ndarray:
    """Return the score with its weights, those of similarities with the prompt, times a factor."""
    if similarity == 1:
        return score
    scaled = score.copy()
    scaled["weights"] *= np.float32(similarity)
    return scaled


def write_bar_score(folder: Path, score: np.ndarray) -> None:
    """Write a `BAR_SCORE` into a checkpoint folder."""
    columns = {
        name: {
            "weight": float(score["weights"][i]),
            "edges": score["edges"][i].tolist(),
            "log_odds": score["log_odds"][i].tolist(),
        }
        for i, name in enumerate(BAR_FEATURES)
    }
    (folder / BAR_SCORE_FILE).write_text(json.dumps(columns, indent=1) + "\n", "utf-8")


@cache
def _default() -> np.ndarray:
    return _from_dict(json.loads((_BUNDLED / BAR_SCORE_FILE).read_text("utf-8")))


def _from_dict(stored: dict[str, dict[str, object]]) -> np.ndarray:
    if set(stored) != set(BAR_FEATURES):
        raise ValueError("other features")
    score = np.zeros((), BAR_SCORE)
    for i, name in enumerate(BAR_FEATURES):
        score["weights"][i] = stored[name]["weight"]
        score["edges"][i] = _numbers(stored[name]["edges"], FEATURE_BINS - 1)
        score["log_odds"][i] = _numbers(stored[name]["log_odds"], FEATURE_BINS)
    if not all(np.isfinite(score[name]).all() for name in BAR_SCORE.names or ()):
        raise ValueError("a number is not finite")
    if (np.diff(score["edges"]) < 0).any():
        raise ValueError("edges must ascend")
    score.flags.writeable = False
    return score


def _numbers(values: object, count: int) -> np.ndarray:
    found = np.array(values, np.float32)
    if found.shape != (count,):
        raise ValueError(f"{count} numbers expected")
    return found
