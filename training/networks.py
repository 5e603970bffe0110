"""Create, load and copy the networks that are trained.

Imports neither MidiTok nor symusic, so that a pre-training runs without them.
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
        tokens: Token names by id.
        fingerprint: Fingerprint of the tokenizer.
        dropout: Dropout of embeddings and layers, 0 to below 1.
        fields: Other fields of the config.
    """
    token_fields: dict[str, Any] = {
        "vocab_size": len(tokens),
        "token_names": list(tokens),
        "tokenizer_fingerprint": fingerprint,
        "step_features_version": FORMAT_VERSION,
        **{
            f"{name.lower()}_token_id": tokens.index(f"{name}_None")
            for name in ("PAD", "BOS", "EOS")
        },
    }
    other_fields = {"dropout": dropout, "embedding_dropout": dropout} | fields
    return MusicLSTMConfig(**token_fields, **other_fields)


def load_network(folder: Path, tokens: Sequence[str], fingerprint: str) -> MusicLSTMForCausalLM:
    """Load the network of a checkpoint of `training.pretrain`.

    Args:
        folder: Folder of the checkpoint.
        tokens: Token names by id.
        fingerprint: Fingerprint of the tokenizer.

    Raises:
        CheckpointError: The checkpoint cannot be read, contains another model, or was trained with
            other tokens or step features.
    """
    if not (folder / "config.json").is_file():  # transformers would use the default config
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
            ignore_mismatched_sizes=True,  # reported below
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
    trained_with = model.config.tokenizer_fingerprint
    if trained_with != fingerprint or model.config.token_names != list(tokens):
        raise CheckpointError(
            f"{str(folder)!r} was trained with the tokens {trained_with}, not {fingerprint}; use "
            "the version of musiclstm that made it."
        )
    network: MusicLSTMForCausalLM = model
    return network


def set_dropout(model: MusicLSTMForCausalLM, p: float) -> None:
    """Set the dropout of embeddings and layers in place, 0 to below 1."""
    model.config.dropout = model.config.embedding_dropout = p
    for module in model.modules():
        if isinstance(module, VariationalDropout):
            module.p = p


def export_copy(model: MusicLSTMForCausalLM) -> MusicLSTMForCausalLM:
    """Return a copy with float32 weights on the CPU, in evaluation mode.

    Accelerate replaces the `forward` of a network that it trains in half precision; a copy of the
    object would keep that method and return bfloat16.
    """
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn, then replaced
        copied = MusicLSTMForCausalLM(copy.deepcopy(model.config)).float()
    weights = {name: weight.float() for name, weight in model.state_dict().items()}
    copied.load_state_dict(weights)
    return copied.eval()
