"""Options of `training.finetune`: its own, those of the Trainer, presets, and settings files.

Precedence: command line, then --config, then --preset, then defaults.
"""

from __future__ import annotations

import json
import math
import sys
from argparse import SUPPRESS, Namespace
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
import yaml  # type: ignore[import-untyped]
from transformers import HfArgumentParser, TrainingArguments
from transformers.integrations.integration_utils import get_reporting_integration_callbacks

SCRATCH = "scratch"
_PROG = "python -m training.finetune"

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

# Defaults of all presets.
_COMMON: dict[str, Any] = {
    "eval_strategy": "steps",
    "eval_on_start": True,
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
    # Windows of a batch row must follow each other, with all keys of an item, and the model must
    # return its state.
    "train_sampling_strategy": "sequential",
    "remove_unused_columns": False,
    "use_cache": True,
    # A loss that is not finite ends the run; this filter would hide it.
    "logging_nan_inf_filter": False,
    "ddp_find_unused_parameters": False,
}


# Lowest and highest value, both allowed.
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
# Other values would carry state into the window of another piece, or repeat an epoch.
_FIXED: dict[str, Any] = {
    "train_sampling_strategy": "sequential",
    "dataloader_persistent_workers": False,
    "auto_find_batch_size": False,
    "remove_unused_columns": False,
    "use_cache": True,
}


def _range_text(lowest: float, highest: float) -> str:
    return f"{lowest:g} or more" if highest == math.inf else f"from {lowest:g} to {highest:g}"


def _option(default: Any = MISSING, help: Any = None, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help, **metadata})


@dataclass
class MusicArguments:
    """Options in addition to those of the Trainer."""

    data: str = _option(
        help="Folders, zips, MIDI files, prepared corpora, tables (.parquet, .arrow) or Hub "
        "datasets (user/name, or stream:user/name to keep no copy), separated by commas. a.zip=2 "
        "uses its pieces twice per epoch, b/=0.5 every second epoch."
    )
    model: str = _option("default", "Starting point: default, a folder, a Hub id, or scratch.")
    preset: str = _option(
        "cpu-quick",
        "Defaults for a machine; every other option overrides them.",
        choices=[*PRESETS],
    )
    window: int = _option(512, "Tokens per training window.")
    hidden_size: int = _option(384, "Width of a new network.")
    num_hidden_layers: int = _option(3, "LSTM layers of a new network.")
    config_overrides: str = _option(
        "", "Other fields of a new network, such as layer_norm=false,residual=false."
    )
    dropout: float = _option(0.1, "Variational dropout of embeddings and layers.")
    augment_pitch: int = _option(5, "Transpose by up to this many semitones, 0 to 11.")
    augment_band: float = _option(
        0.0,
        "Share of pieces without drums that are arranged for a band, with drums from "
        "other pieces of --data.",
    )
    augment_merge: float = _option(
        0.0, "Share of pieces in which tracks of one program are merged."
    )
    augment_order: float = _option(0.1, "Share of pieces with a random order of parts.")
    augment_context: float = _option(
        0.2,
        "Share of pieces with some wrong input pitches, and of pieces that lack parts "
        "for a few bars.",
    )
    ema_decay: float = _option(
        0.0, "Decay of the running average of the weights, such as 0.99; 0: no average."
    )
    freeze: str = _option(
        "", "Parts that are not trained: embeddings, 1 (lowest layer) to 3, head."
    )
    layer_decay: float = _option(
        1.0, "Learning rate of a part relative to the part above it; 1: equal rates."
    )
    layer_learning_rates: str = _option(
        "", "Learning rates of single parts, such as embeddings=1e-5,3=1e-3."
    )
    early_stopping_patience: int = _option(
        0, "Stop after this many evaluations without improvement; 0: never."
    )
    bar_score_pieces: int = _option(
        0,
        "Training pieces to which the score of candidates is fitted, about one second each, see "
        "training.bar_score; 0: the score of the starting point.",
    )
    samples: int = _option(2, "Pieces composed at each evaluation; 0: none.")
    config: str | None = _option(
        None, "A .json or .yaml file of options; the command line overrides it."
    )
    leave_out: str = _option(
        "",
        "Pieces to exclude, by their note in the data report: short, free (not on a "
        "beat grid), duplicate (up to transposition), or several separated by commas.",
    )
    workers: int | None = _option(None, "Number of processes that read MIDI; default: all cores.")
    dry_run: bool = _option(False, "Do not train: report the data and the estimated time.")
    hub_repo: str | None = _option(None, SUPPRESS)  # --push_to_hub
    hub_private: bool = _option(False, "Make the repository of --push_to_hub private.")

    def __post_init__(self) -> None:
        """Check ranges and combinations."""
        for name, (lowest, highest) in _BOUNDS.items():
            value = getattr(self, name)
            if value is not None and not lowest <= value <= highest:
                raise ValueError(f"--{name} must be {_range_text(lowest, highest)}, got {value}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(
                f"--ema_decay must be 0 or more and below 1, got {self.ema_decay:g}; 0 is off."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be 0 or more and below 1, got {self.dropout:g}.")
        if self.config_overrides and self.model != SCRATCH:
            raise ValueError(
                f"--config_overrides applies to a new network, but --model is {self.model}; leave "
                f"it out, or use --model {SCRATCH}."
            )
        if self.hub_private and not self.hub_repo:
            raise ValueError(
                "--hub_private needs --push_to_hub; add --push_to_hub user/model, or leave it out."
            )


class TrainingArgumentParser(HfArgumentParser):
    """Parser without abbreviated options whose errors have exit status 1, like all others."""

    def __init__(self, dataclass_types: Any = None, **kwargs: Any) -> None:
        """Create a parser; see `HfArgumentParser`."""
        super().__init__(dataclass_types, allow_abbrev=False, conflict_handler="resolve", **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with status 1."""
        self.exit(1, f"error: {message}; see '{self.prog} --help'.\n")


def parse_overrides(text: str, option: str = "--config_overrides") -> dict[str, Any]:
    """Parse names and JSON values.

    >>> parse_overrides("initializer_range=0.1,layer_norm=false")
    {'initializer_range': 0.1, 'layer_norm': False}

    Raises:
        ValueError: The text has another form.
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


# A settings file becomes words in front of the command line, so that argparse checks its names,
# types and choices. `set_defaults` would check none of them, and --data would still be required.

_COMMA_SEPARATED = ("data", "freeze", "leave_out", "layer_learning_rates")


def _with_config(argv: list[str]) -> list[str]:
    """Return the command line with the options of its --config files inserted at its start."""
    parser = TrainingArgumentParser(prog=_PROG, add_help=False)
    parser.add_argument("--config", type=Path, action="append", default=[])
    found, rest = parser.parse_known_args(argv)
    return [word for path in found.config for word in _config_words(path)] + rest


def _config_words(path: Path) -> list[str]:
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"{path.name!r} cannot be read ({reason}); check --config.") from error
    if not isinstance(settings, dict) or not all(isinstance(name, str) for name in settings):
        raise ValueError(f"{path.name!r} must be a table of options, such as preset: cpu-quick.")
    return [
        word
        for name, value in settings.items()
        if value is not None
        for word in (f"--{name.replace('-', '_')}", *_value_words(name, value))
    ]


def _value_words(name: str, value: Any) -> list[str]:
    if name == "layer_learning_rates" and isinstance(value, dict):
        value = [f"{part}={rate}" for part, rate in value.items()]
    values = value if isinstance(value, list) else [value]
    words = [v if isinstance(v, str) else json.dumps(v, default=str) for v in values]
    return [",".join(words)] if name in _COMMA_SEPARATED else words


def bf16_is_fast() -> bool:
    """Return whether the processor has bfloat16 instructions.

    Without them bfloat16 is slow: on two cores with AVX2, training took eight times as long.
    """
    tests = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in tests)


def parse(argv: list[str] | None = None) -> tuple[MusicArguments, TrainingArguments]:
    """Parse the command line, with its settings file and preset.

    Raises:
        ValueError: An option or the settings file is not valid.
    """
    argv = _with_config(sys.argv[1:] if argv is None else argv)
    parser = TrainingArgumentParser(
        cast("Any", (MusicArguments, TrainingArguments)),  # its annotation excludes dataclasses
        prog=_PROG,
        description="Fine-tune a model on your own MIDI files.",
    )
    _replace_push_to_hub(parser)
    preset, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.error(f"unknown option {' '.join(unknown)}")
    if preset.preset == "gpu" and not torch.accelerator.is_available():
        raise ValueError(
            "The preset gpu needs a GPU that PyTorch can use, and there is none; use --preset cpu "
            "or cpu-quick."
        )
    given = {word[2:].partition("=")[0] for word in argv if word.startswith("--")}
    defaults = {"bf16": bf16_is_fast()} | _COMMON | PRESETS[preset.preset]
    parser.set_defaults(**defaults | _implied(preset, given))
    try:
        music, training = parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())) from error  # several lines in the Trainer
    _check(training)
    return music, training


def _replace_push_to_hub(parser: TrainingArgumentParser) -> None:
    """Replace the Trainer's flag, which takes no name and would upload a pickle file."""
    parser.add_argument(
        *("--push_to_hub", "--push-to-hub"),
        dest="hub_repo",
        metavar="USER/MODEL",
        help="Publish the model at the end in this repository.",
    )
    parser.set_defaults(push_to_hub=False)


def _implied(preset: Namespace, given: set[str]) -> dict[str, Any]:
    """Return defaults that follow from given options."""
    found: dict[str, Any] = {}
    if "num_train_epochs" in given and "max_steps" not in given:
        found["max_steps"] = -1  # the preset's steps would override epochs
    if "eval_steps" in given and "save_steps" not in given:
        found["save_steps"] = preset.eval_steps
    if "eval_strategy" not in given:
        return found
    if preset.eval_strategy == "no":  # without evaluations there is no best model
        found |= {"load_best_model_at_end": False, "metric_for_best_model": None}
        found["eval_on_start"] = False
    elif "save_strategy" not in given:
        found["save_strategy"] = preset.eval_strategy
    return found


def _check(training: TrainingArguments) -> None:
    for name, (lowest, highest) in _TRAINER_BOUNDS.items():
        if not lowest <= (value := getattr(training, name)) <= highest:
            raise ValueError(f"--{name} must be {_range_text(lowest, highest)}, got {value}.")
    if training.hub_token is not None:
        raise ValueError(
            "--hub_token would be saved in plain text with the checkpoints; leave it out, and log "
            "in with `hf auth login`."
        )
    for name in ("hub_private_repo", "hub_model_id", "hub_revision"):
        if getattr(training, name, None) is not None:
            raise ValueError(
                f"--{name} is not supported; use --push_to_hub user/model and --hub_private."
            )
    for name, value in _FIXED.items():
        if (got := getattr(training, name, value)) != value:
            raise ValueError(
                f"--{name} must be {value}, got {got}, because the windows of a piece are read in "
                "order; leave it out."
            )
    try:
        get_reporting_integration_callbacks(training.report_to)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ValueError(f"--report_to is not valid: {reason}; use tensorboard or none.") from error
