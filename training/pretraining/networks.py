"""Networks to train: new ones, those of a checkpoint, and copies.

Needs neither MidiTok nor symusic.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from musiclstm.errors import CheckpointError
from musiclstm.model import (
    FORMAT_VERSION,
    MusicLSTMConfig,
    MusicLSTMForCausalLM,
    VariationalDropout,
)
from training.trainer.checkpoints import read_record

_UNREADABLE = (OSError, RuntimeError, SafetensorError, StrictDataclassError, TypeError, ValueError)


def config_for(
    tokens: Sequence[str], fingerprint: str, *, dropout: float, **fields: Any
) -> MusicLSTMConfig:
    """Return the config of a new network.

    Args:
        tokens: Names of the tokens by id.
        fingerprint: Of the tokenizer.
        dropout: Of embeddings and layers.
        fields: Other fields of the config.
    """
    settled: dict[str, Any] = {
        "vocab_size": len(tokens),
        "token_names": list(tokens),
        "tokenizer_fingerprint": fingerprint,
        "step_features_version": FORMAT_VERSION,
        **{
            f"{name.lower()}_token_id": tokens.index(f"{name}_None")
            for name in ("PAD", "BOS", "EOS")
        },
    }
    shape = {"dropout": dropout, "embedding_dropout": dropout} | fields
    return MusicLSTMConfig(**settled, **shape)


def load_network(folder: Path, tokens: Sequence[str], fingerprint: str) -> MusicLSTMForCausalLM:
    """Read the network of a checkpoint of `training.pretrain`.

    Args:
        folder: The checkpoint.
        tokens: Names of the tokens by id.
        fingerprint: Of the tokenizer.

    Raises:
        CheckpointError: It cannot be read, is another model, or was trained with other tokens or
            step features.
    """
    if not (folder / "config.json").is_file():  # transformers would take the default config
        raise CheckpointError(f"{str(folder)!r} cannot be used: it has no config.json.")
    kind = read_record(folder / "config.json").get("model_type", MusicLSTMConfig.model_type)
    if kind != MusicLSTMConfig.model_type:
        raise CheckpointError(
            f"{str(folder)!r} cannot be used: it is a model of type {kind!r}, not "
            f"{MusicLSTMConfig.model_type!r}."
        )
    try:
        loaded: Any = MusicLSTMForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # they are refused below
            output_loading_info=True,
        )
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(f"{str(folder)!r} cannot be used: {reason}.") from error
    model, report = loaded
    if any(report[f"{reason}_keys"] for reason in ("missing", "unexpected", "mismatched")):
        raise CheckpointError(
            f"{str(folder)!r} cannot be used: its weights are not those of the network in its "
            "config.json."
        )
    known = model.config.tokenizer_fingerprint
    if known != fingerprint or model.config.token_names != list(tokens):
        raise CheckpointError(
            f"{str(folder)!r} was trained with the tokens {known}, not {fingerprint}; use the "
            "version of musiclstm that made it."
        )
    found: MusicLSTMForCausalLM = model
    return found


def set_dropout(model: MusicLSTMForCausalLM, share: float) -> None:
    """Set the dropout of embeddings and layers, in the config and in the network.

    Args:
        model: Changed in place.
        share: 0 to below 1.
    """
    model.config.dropout = model.config.embedding_dropout = share
    for module in model.modules():
        if isinstance(module, VariationalDropout):
            module.p = share


def export_copy(model: MusicLSTMForCausalLM) -> MusicLSTMForCausalLM:
    """Return the same weights in float32 on the CPU, in evaluation mode; `model` stays as it is.

    Accelerate puts a `forward` of its own into a network that it trains in half precision; a copy
    of the object would keep it and answer in bfloat16.
    """
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and then replaced
        twin = MusicLSTMForCausalLM(copy.deepcopy(model.config)).float()
    weights = {name: weight.float() for name, weight in model.state_dict().items()}
    twin.load_state_dict(weights)
    return twin.eval()
