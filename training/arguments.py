"""Options of `training.finetune`: ours, the Trainer's, and presets that fill both in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import torch
from transformers import HfArgumentParser, TrainingArguments

PRESETS: dict[str, dict[str, Any]] = {
    # Ten to thirty minutes on two cores.
    "cpu-quick": {
        "max_steps": 400,
        "per_device_train_batch_size": 4,
        "window": 256,
        "eval_steps": 100,
        "save_steps": 100,
        "logging_steps": 10,
        "learning_rate": 1e-3,
        "use_cpu": True,
        "bf16": True,
    },
    # Hours on two cores.
    "cpu": {
        "num_train_epochs": 3.0,
        "per_device_train_batch_size": 8,
        "window": 512,
        "eval_steps": 500,
        "save_steps": 500,
        "logging_steps": 25,
        "learning_rate": 2e-3,
        "use_cpu": True,
        "bf16": True,
    },
    "gpu": {
        "num_train_epochs": 20.0,
        "per_device_train_batch_size": 64,
        "window": 1024,
        "eval_steps": 250,
        "save_steps": 250,
        "logging_steps": 10,
        "learning_rate": 2e-3,
        "bf16": True,
    },
}

# What is always so unless a flag says otherwise.
_COMMON: dict[str, Any] = {
    "eval_strategy": "steps",
    "save_strategy": "steps",
    "save_total_limit": 3,
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_bits_per_note",
    "greater_is_better": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 100,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "adam_beta2": 0.98,
    "report_to": "tensorboard",
    # The windows of a row must come in order, every key of an item is wanted, and a model that
    # returns its state must go on doing so after it was saved.
    "train_sampling_strategy": "sequential",
    "remove_unused_columns": False,
    "use_cache": True,
}


@dataclass
class MusicArguments:
    """What the Trainer does not know about."""

    data: str = field(metadata={"help": "Folders, zips or MIDI files, separated by commas."})
    model: str = field(
        default="default",
        metadata={"help": "What to start from: default, a folder, a Hub id, or scratch."},
    )
    preset: str = field(
        default="cpu-quick",
        metadata={
            "help": "Settings to start from; any flag overrules them.",
            "choices": [*PRESETS],
        },
    )
    window: int = field(
        default=512, metadata={"help": "Tokens through which the gradient flows at once."}
    )
    vocab_size: int = field(default=2048, metadata={"help": "Tokens, merges included (scratch)."})
    hidden_size: int = field(default=512, metadata={"help": "Width of the network (scratch)."})
    num_hidden_layers: int = field(default=4, metadata={"help": "LSTM layers (scratch)."})
    dropout: float | None = field(
        default=None, metadata={"help": "Locked dropout; none given: as the model has it."}
    )
    augment_pitch: int = field(default=5, metadata={"help": "Semitones up or down, 0 to 11."})
    augment_velocity: int = field(default=0, metadata={"help": "Steps of loudness up or down."})
    augment_tempo: int = field(default=2, metadata={"help": "Steps of tempo up or down."})
    workers: int | None = field(default=None, metadata={"help": "Processes that read MIDI."})


class _Parser(HfArgumentParser):
    """Takes whole names only, and ends with status 1 as every other slip does."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")


def parse(argv: list[str] | None = None) -> tuple[MusicArguments, TrainingArguments]:
    """Read the command line; the chosen preset fills in what it does not say.

    Raises:
        ValueError: A name that nobody knows, or settings that this machine cannot follow.
    """
    parser = _Parser(
        cast("Any", (MusicArguments, TrainingArguments)),  # its own type leaves dataclasses out
        prog="python -m training.finetune",
        description="Teach a model your own MIDI: a folder, a zip, or several.",
        allow_abbrev=False,
    )
    preset, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"nobody knows {' '.join(unknown)}")
    if preset.preset == "gpu" and not torch.accelerator.is_available():
        raise ValueError(
            "The preset gpu needs a GPU that PyTorch can use, and there is none here; take "
            "--preset cpu or cpu-quick."
        )
    parser.set_defaults(**_COMMON, **PRESETS[preset.preset])
    music, training = parser.parse_args_into_dataclasses(argv)
    return music, training
