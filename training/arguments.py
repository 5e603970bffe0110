"""Options of `training.finetune`: ours, the Trainer's, and presets that fill both in."""

from __future__ import annotations

import json
import math
import sys
from argparse import SUPPRESS, Namespace
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import torch
from transformers import HfArgumentParser, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from training.configfile import with_config_file

SCRATCH = "scratch"

PRESETS: dict[str, dict[str, Any]] = {
    # Minutes on two cores.
    "cpu-quick": {
        "max_steps": 600,
        "per_device_train_batch_size": 4,
        "window": 256,
        "eval_steps": 100,
        "save_steps": 100,
        "logging_steps": 20,
        "learning_rate": 1e-3,
        "use_cpu": True,
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
    "eval_on_start": True,  # what the model is worth before it learns
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
    # A loss that is no number ends the run, with a sentence; here it would be averaged away.
    "logging_nan_inf_filter": False,
    "ddp_find_unused_parameters": False,
}


# From and to, both included.
_BOUNDS: dict[str, tuple[float, float]] = {
    "window": (2, math.inf),
    "augment_pitch": (0, 11),
    "augment_band": (0, 1),
    "augment_merge": (0, 1),
    "augment_order": (0, 1),
    "augment_context": (0, 1),
    "early_stopping_patience": (0, math.inf),
    "samples": (0, math.inf),
    "workers": (1, math.inf),
}
_TRAINER_BOUNDS: dict[str, tuple[float, float]] = {
    "per_device_train_batch_size": (1, math.inf),
    "gradient_accumulation_steps": (1, math.inf),
    "label_smoothing_factor": (0, 0.99),
    "learning_rate": (0, math.inf),
}
# Otherwise the state would go on from another piece's window, or epochs would repeat themselves.
_FIXED: dict[str, Any] = {
    "train_sampling_strategy": "sequential",
    "dataloader_persistent_workers": False,
    "auto_find_batch_size": False,
    "remove_unused_columns": False,
    "use_cache": True,
}


def _between(least: float, most: float) -> str:
    return f"{least:g} or more" if most == math.inf else f"from {least:g} to {most:g}"


@dataclass
class MusicArguments:
    """What the Trainer does not know about."""

    data: str = field(
        metadata={
            "help": "Folders, zips, MIDI files, tables (.parquet, .arrow) or data sets of the Hub "
            "(user/name, or stream:user/name to keep no copy), separated by commas; a.zip=2 shows "
            "its pieces twice an epoch, b/=0.5 every other time."
        }
    )
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
    hidden_size: int = field(default=384, metadata={"help": "Width of the network (scratch)."})
    num_hidden_layers: int = field(default=3, metadata={"help": "LSTM layers (scratch)."})
    config_overrides: str = field(
        default="",
        metadata={
            "help": "Other fields of MusicLSTMConfig, as layer_norm=false,residual=false (scratch)."
        },
    )
    dropout: float = field(
        default=0.1, metadata={"help": "Locked dropout of embeddings and layers."}
    )
    augment_pitch: int = field(default=5, metadata={"help": "Semitones up or down, 0 to 11."})
    augment_band: float = field(
        default=0.0,
        metadata={
            "help": "Share of pieces without drums that are arranged for a band, with drums of "
            "other pieces of --data."
        },
    )
    augment_merge: float = field(
        default=0.0,
        metadata={"help": "Share of pieces in which tracks of one program become one part."},
    )
    augment_order: float = field(
        default=0.1, metadata={"help": "Share of pieces whose parts have a random order."}
    )
    augment_context: float = field(
        default=0.2,
        metadata={
            "help": "Share of pieces in which some pitches that are read are wrong, and of those "
            "that lack some parts for a few bars."
        },
    )
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Of the running average of the weights, such as 0.99; 0: no average."},
    )
    freeze: str = field(
        default="",
        metadata={"help": "Parts that stay as they are: embeddings, 1 (lowest layer) to 4, head."},
    )
    layer_decay: float = field(
        default=1.0,
        metadata={"help": "A part learns so many times as fast as the one above it; 1: all alike."},
    )
    layer_learning_rates: str = field(
        default="", metadata={"help": "Parts with their own rate, such as embeddings=1e-5,4=1e-3."}
    )
    early_stopping_patience: int = field(
        default=0,
        metadata={"help": "Stop after so many evaluations that were no better; 0: never."},
    )
    samples: int = field(
        default=2, metadata={"help": "Pieces composed at each evaluation, to be heard; 0: none."}
    )
    config: str | None = field(
        default=None,
        metadata={"help": "A .json or .yaml file of settings; the command line wins over it."},
    )
    leave_out: str = field(
        default="",
        metadata={
            "help": "Pieces that are not wanted, by what the data report says of them: short, free "
            "(not on a beat grid), duplicate (up to transposition), or several with commas."
        },
    )
    workers: int | None = field(default=None, metadata={"help": "Processes that read MIDI."})
    dry_run: bool = field(
        default=False,
        metadata={"help": "Train nothing: report what would be read and how long it would take."},
    )
    hub_repo: str | None = field(default=None, metadata={"help": SUPPRESS})  # --push_to_hub
    hub_private: bool = field(
        default=False, metadata={"help": "Nobody else may see what --push_to_hub publishes."}
    )

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"--{name} must be {_between(least, most)}, got {value}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(
                f"--ema_decay must be 0 or more and below 1, got {self.ema_decay:g}; 0 is off."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be 0 or more and below 1, got {self.dropout:g}.")
        if self.config_overrides and self.model != SCRATCH:
            raise ValueError(
                f"--config_overrides shapes a new network, and --model {self.model} has its shape; "
                f"leave it out, or take --model {SCRATCH}."
            )
        if self.hub_private and not self.hub_repo:
            raise ValueError(
                "--hub_private says who may see what is published, and nothing is; add "
                "--push_to_hub user/model."
            )


class _Parser(HfArgumentParser):
    """Takes whole names only, and ends with status 1 as every other slip does."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")


def read_overrides(text: str, option: str = "--config_overrides") -> dict[str, Any]:
    """Fields and values that an option names; what they may be, the config itself knows.

    >>> read_overrides("initializer_range=0.1,layer_norm=false")
    {'initializer_range': 0.1, 'layer_norm': False}

    Raises:
        ValueError: Something else than names and plain values.
    """
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = json.loads(value)
        except ValueError:
            raise ValueError(
                f"{option} takes names and values, such as layer_norm=false,residual=false; "
                f"got {part!r}."
            ) from None
    return found


def bf16_is_fast() -> bool:
    """Whether this processor has instructions for bfloat16; without, it is slower than float32.

    Not by a little: on two cores with AVX2 alone, the default network learned an eighth as fast.
    """
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in tests)


def parse(argv: list[str] | None = None) -> tuple[MusicArguments, TrainingArguments]:
    """Read the command line; the chosen preset fills in what it does not say.

    Raises:
        ValueError: A name that nobody knows, or settings that this machine cannot follow.
        ConfigFileError: The file of settings cannot be used.
    """
    argv = with_config_file(sys.argv[1:] if argv is None else argv)
    parser = _Parser(
        cast("Any", (MusicArguments, TrainingArguments)),  # its own type leaves dataclasses out
        prog="python -m training.finetune",
        description="Teach a model your own MIDI: a folder, a zip, or several.",
        allow_abbrev=False,
        conflict_handler="resolve",
    )
    _replace_push_to_hub(parser)
    preset, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"nobody knows {' '.join(unknown)}")
    if preset.preset == "gpu" and not torch.accelerator.is_available():
        raise ValueError(
            "The preset gpu needs a GPU that PyTorch can use, and there is none here; take "
            "--preset cpu or cpu-quick."
        )
    given = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    filled = {"bf16": bf16_is_fast()} | _COMMON | PRESETS[preset.preset]
    parser.set_defaults(**filled | _following(preset, given))
    try:
        music, training = parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise ValueError(
            " ".join(str(error).split())
        ) from error  # the Trainer's take several lines
    _check(training)
    return music, training


def _replace_push_to_hub(parser: _Parser) -> None:
    """Give our meaning to a flag of the Trainer, which takes no name and would ship a pickle."""
    parser.add_argument(
        *("--push_to_hub", "--push-to-hub"),
        dest="hub_repo",
        metavar="USER/MODEL",
        help="Publish the model at the end, under this name.",
    )
    parser.set_defaults(push_to_hub=False)


def _following(preset: Namespace, given: set[str]) -> dict[str, Any]:
    """What a flag that was given asks of others that were not."""
    found: dict[str, Any] = {}
    if "num_train_epochs" in given and "max_steps" not in given:
        found["max_steps"] = -1  # that of a preset would win
    if "eval_steps" in given and "save_steps" not in given:
        found["save_steps"] = preset.eval_steps
    if "eval_strategy" not in given:
        return found
    if preset.eval_strategy == "no":  # there is no best without a measure
        found |= {"load_best_model_at_end": False, "metric_for_best_model": None}
        found["eval_on_start"] = False
    elif "save_strategy" not in given:
        found["save_strategy"] = preset.eval_strategy
    return found


def _check(training: TrainingArguments) -> None:
    for name, (least, most) in _TRAINER_BOUNDS.items():
        if not least <= (value := getattr(training, name)) <= most:
            raise ValueError(f"--{name} must be {_between(least, most)}, got {value}.")
    if training.hub_token is not None:
        raise ValueError(
            "--hub_token would be written down in plain text beside the checkpoints; log in with "
            "`hf auth login` instead, and leave it out."
        )
    for name in ("hub_private_repo", "hub_model_id", "hub_revision"):
        if getattr(training, name, None) is not None:
            raise ValueError(
                f"--{name} is not followed here; take --push_to_hub user/model and --hub_private."
            )
    for name, value in _FIXED.items():
        if (got := getattr(training, name, value)) != value:
            raise ValueError(
                f"--{name} must stay {value}, got {got}: the windows of a piece have to come one "
                "after the other; leave it out."
            )
    try:
        get_reporting_integration_callbacks(training.report_to)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(
            f"--report_to cannot be followed: {reason}; tensorboard is there."
        ) from error
