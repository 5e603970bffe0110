"""Progress of a pre-training beside its weights: progress.json and moments of the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from musiclstm.errors import CheckpointError
from training.pretraining.encoded_corpora import SPLITS, EncodedCorpora
from training.trainer.checkpoints import read_record

OPTIMIZER_FILE, PROGRESS_FILE = "optimizer.safetensors", "progress.json"
_NEEDED = {"step", "tokens", "minutes", "log"}
_OF_A_SESSION = ("settings", "augmentation", "device", "machine", "versions")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def read_progress(folder: Path) -> dict[str, Any] | None:
    """Return the contents of progress.json; None if there is no such file.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not (folder / PROGRESS_FILE).exists():
        return None
    progress = read_record(folder / PROGRESS_FILE)
    if not progress.keys() >= _NEEDED or not progress.keys() & {"sessions", "settings"}:
        raise CheckpointError(
            f"{str(folder)!r} cannot be used: {PROGRESS_FILE} is damaged; remove it to begin at "
            "step 0 with the weights alone."
        )
    return progress


def sessions_of(progress: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the sessions of a run, the oldest first.

    A file of an earlier version describes its last session only; it counts as one session.
    """
    if "sessions" in progress:
        return list(progress["sessions"])
    own = {name: progress[name] for name in _OF_A_SESSION if name in progress}
    figures = {name: progress[name] for name in ("tokens", "minutes")}
    return [{"from": "scratch", "first_step": 0, "steps": progress["step"], **figures, **own}]


def corpora_record(corpora: EncodedCorpora, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return name, weight, and pieces and notes by split of each corpus.

    Args:
        corpora: What is trained on.
        weights: By name; 1.0 where a name is missing.
    """
    is_note = np.array([name.startswith("Pitch") for name in corpora.token_names])
    pieces = range(len(corpora.split))
    notes = np.array([np.count_nonzero(is_note[corpora.piece(each)]) for each in pieces])
    record = []
    for number, name in enumerate(corpora.corpora):
        row: dict[str, Any] = {"name": name, "weight": weights.get(name, 1.0)}
        for code, split in enumerate(SPLITS):
            own = (corpora.corpus == number) & (corpora.split == code)
            row[split] = {"pieces": int(own.sum()), "notes": int(notes[own].sum())}
        record.append(row)
    return record


def save_moments(optimizer: torch.optim.AdamW, folder: Path) -> None:
    """Write the moments of the optimizer into a checkpoint."""
    moments = optimizer.state_dict()["state"]
    tensors = {f"{i}.{key}": value for i, own in moments.items() for key, value in own.items()}
    save_file(tensors, folder / OPTIMIZER_FILE)


def load_moments(optimizer: torch.optim.AdamW, folder: Path) -> None:
    """Set the moments of the optimizer to those of a checkpoint, if it has any.

    Raises:
        CheckpointError: They cannot be read, or belong to another network.
    """
    path = folder / OPTIMIZER_FILE
    if not path.is_file():
        return
    refusal = f"{str(folder)!r} cannot be used: {OPTIMIZER_FILE}"
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{refusal} is damaged; remove it.") from error
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    wanted = {
        f"{i}.{key}": torch.Size() if key == "step" else each.shape
        for i, each in enumerate(parameters)
        for key in _MOMENTS
    }
    if stored and {name: tensor.shape for name, tensor in stored.items()} != wanted:
        raise CheckpointError(f"{refusal} belongs to another network; remove it.")
    state = optimizer.state_dict()
    for name, tensor in stored.items():
        index, _, key = name.partition(".")
        state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(state)
