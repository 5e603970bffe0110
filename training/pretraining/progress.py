"""Progress of a pre-training run beside its weights: progress.json and optimizer moments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from musiclstm.errors import CheckpointError
from training.trainer.checkpoints import read_record

OPTIMIZER_FILE, PROGRESS_FILE = "optimizer.safetensors", "progress.json"
_REQUIRED_KEYS = {"step", "tokens", "minutes", "log"}
_SESSION_KEYS = ("settings", "augmentation", "device", "machine", "versions")
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def read_progress(checkpoint: Path) -> dict[str, Any] | None:
    """Return the contents of progress.json; None if there is no such file.

    Raises:
        CheckpointError: The file is damaged.
    """
    if not (checkpoint / PROGRESS_FILE).exists():
        return None
    progress = read_record(checkpoint / PROGRESS_FILE)
    if not progress.keys() >= _REQUIRED_KEYS or not progress.keys() & {"sessions", "settings"}:
        raise CheckpointError(
            f"{str(checkpoint)!r} cannot be used: {PROGRESS_FILE} is damaged; remove it to begin "
            "at step 0 with the weights alone."
        )
    return progress


def sessions_of(progress: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the sessions of a run, the oldest first.

    Version 0.3 recorded the last session only; it is returned as one session.
    """
    if "sessions" in progress:
        return list(progress["sessions"])
    session = {name: progress[name] for name in _SESSION_KEYS if name in progress}
    totals = {name: progress[name] for name in ("tokens", "minutes")}
    return [{"from": "scratch", "first_step": 0, "steps": progress["step"], **totals, **session}]


def save_optimizer(optimizer: torch.optim.AdamW, checkpoint: Path) -> None:
    """Write the optimizer moments into a checkpoint."""
    moments = optimizer.state_dict()["state"]
    tensors = {
        f"{index}.{key}": value for index, each in moments.items() for key, value in each.items()
    }
    save_file(tensors, checkpoint / OPTIMIZER_FILE)


def load_optimizer(optimizer: torch.optim.AdamW, checkpoint: Path) -> None:
    """Set the optimizer moments to those of a checkpoint, if it has any.

    Raises:
        CheckpointError: They cannot be read, or belong to another network.
    """
    path = checkpoint / OPTIMIZER_FILE
    if not path.is_file():
        return
    refusal = f"{str(checkpoint)!r} cannot be used: {OPTIMIZER_FILE}"
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{refusal} is damaged; remove it.") from error
    parameters = [weight for group in optimizer.param_groups for weight in group["params"]]
    expected = {
        f"{index}.{key}": torch.Size() if key == "step" else weight.shape
        for index, weight in enumerate(parameters)
        for key in _MOMENTS
    }
    if stored and {name: tensor.shape for name, tensor in stored.items()} != expected:
        raise CheckpointError(f"{refusal} belongs to another network; remove it.")
    state = optimizer.state_dict()
    for name, tensor in stored.items():
        index, _, key = name.partition(".")
        state["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(state)
