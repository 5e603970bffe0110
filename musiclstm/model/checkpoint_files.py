"""Files of a checkpoint folder: find them, read config and facts, and check that they match.

A folder is the bundled one, a local one, or one from the Hub. Code files in it are never run.
Nothing here imports torch or transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, NoReturn, get_args, get_origin

from musiclstm.errors import CheckpointError, shorten
from musiclstm.model.config_fields import ConfigFields, check_field_names
from musiclstm.tokens import TOKENIZER_FILE, MusicTokenizer
from musiclstm.tokens.files import FILE_OF_0_2, check_tokenizer_file, refuse_version_0_2

DEFAULT = "default"
CONFIG_FILE = "config.json"
FACTS_FILE = "facts.json"
WEIGHTS_FILE = "model.safetensors"
MEMORIZATION_FILE = "memorization_index.npz"  # optional
BAR_SCORE_FILE = "bar_score.json"  # optional: which of several candidates for a bar is kept
MODEL_TYPE = "musiclstm"
_NEEDED = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)
_SMALL = (CONFIG_FILE, TOKENIZER_FILE, "generation_config.json", FACTS_FILE, BAR_SCORE_FILE)
# What transformers stores in a config besides the fields of the model.
_NAMES_OF_TRANSFORMERS = {
    *("architectures", "auto_map", "dtype", "torch_dtype", "model_type", "name_or_path"),
    *("transformers_version", "attn_implementation", "experts_implementation"),
    *("output_attentions", "output_hidden_states", "return_dict", "problem_type"),
    *("id2label", "label2id", "is_encoder_decoder", "chunk_size_feed_forward"),
}


@dataclass(frozen=True)
class CheckpointFiles:
    """A folder whose files match.

    Attributes:
        name: Name in error messages.
        folder: Where the files are.
        config: Contents of config.json.
    """

    name: str
    folder: Path
    config: ConfigFields

    @property
    def weights(self) -> Path:
        """Path of the weights."""
        return self.folder / WEIGHTS_FILE


def check_files(name: str | Path = DEFAULT, *, revision: str | None = None) -> CheckpointFiles:
    """Find a checkpoint, and check its config and its tokenizer file.

    Args:
        name: As for `find_checkpoint`.
        revision: As for `find_checkpoint`.

    Raises:
        CheckpointError: A file is missing or unreadable, or files do not match.
    """
    folder = find_checkpoint(name, revision=revision)
    config = read_config(folder, name)
    check_tokenizer_file(folder, name)
    _check_tokens(config, MusicTokenizer(), name)
    return CheckpointFiles(str(name), folder, config)


def find_checkpoint(name: str | Path, *, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint.

    Args:
        name: "default" for the bundled weights, a folder, or a Hub id such as "user/model".
        revision: Branch, tag or commit on the Hub; None: its main branch.

    Raises:
        CheckpointError: There is no such folder or model, or a file is missing in it.
    """
    if str(name) == DEFAULT:
        folder = Path(__file__).parents[1] / "pretrained"
    elif Path(name).is_dir():
        folder = Path(name)
    else:
        folder = _from_hub(str(name), revision)
    refuse_version_0_2(folder, name)
    _check_existence(folder, name, _NEEDED)
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    """Download small files first, so that other models are refused before their weights."""
    from musiclstm.model.hub_download import fetch  # imports huggingface_hub

    folder = fetch(name, [*_SMALL, FILE_OF_0_2], revision=revision)
    refuse_version_0_2(folder, name)
    _check_existence(folder, name, [CONFIG_FILE])
    read_config(folder, name)
    return fetch(name, [*_SMALL, WEIGHTS_FILE, MEMORIZATION_FILE], revision=folder.name)


def _check_existence(folder: Path, name: str | Path, files: Iterable[str]) -> None:
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(
            f"{str(name)!r} has no {' and no '.join(missing)}; a checkpoint folder holds "
            f"{', '.join(_NEEDED)}. Pass one that training.finetune wrote."
        )


def _check_tokens(config: ConfigFields, tokenizer: MusicTokenizer, name: str | Path) -> None:
    if config.vocab_size != len(tokenizer):
        raise CheckpointError(
            f"{str(name)!r} has weights for {config.vocab_size} tokens and a tokenizer of "
            f"{len(tokenizer)}; both must come from the same run."
        )
    if config.tokenizer_fingerprint not in (None, tokenizer.fingerprint):
        raise CheckpointError(
            f"The weights of {str(name)!r} were trained with tokenizer "
            f"{config.tokenizer_fingerprint}, but {TOKENIZER_FILE} is {tokenizer.fingerprint}; "
            "both must come from the same run."
        )
    names = config.token_names
    if names is not None and tuple(names) != tuple(tokenizer.token_names):
        raise CheckpointError(
            f"token_names in config.json of {str(name)!r} are not the tokens of {TOKENIZER_FILE}; "
            "both must come from the same run."
        )


# Config -------------------------------------------------------------------------------------------


def read_config(folder: Path, name: str | Path) -> ConfigFields:
    """Read and check config.json.

    Args:
        folder: The checkpoint folder.
        name: Name of the checkpoint in errors.

    Raises:
        CheckpointError: The file is damaged, of another model, or holds invalid values.
    """
    record = _read_record(folder / CONFIG_FILE, name)
    kind = record.get("model_type")
    if kind != MODEL_TYPE:
        raise CheckpointError(
            f"{str(name)!r} is a model of type {kind!r}, not {MODEL_TYPE!r}; pass one that "
            "training.finetune wrote."
        )
    try:
        return _config(record)
    except (TypeError, ValueError) as error:
        refuse_config(name, error)


def refuse_config(name: str | Path, error: Exception) -> NoReturn:
    """Raise the `CheckpointError` for an invalid config."""
    reason = " ".join(str(error).split()).rstrip(".")
    raise CheckpointError(
        f"config.json of {str(name)!r} is not valid ({reason}); use the file saved with the "
        "weights, or a newer musiclstm."
    ) from error


def _config(record: dict[str, Any]) -> ConfigFields:
    private = {name for name in record if name.startswith("_")}
    check_field_names(record, _NAMES_OF_TRANSFORMERS | private)
    own = {field.name: field.type for field in fields(ConfigFields) if field.name in record}
    for name, kind in own.items():
        if not _is_of(kind, record[name]):
            expected = getattr(kind, "__name__", str(kind))
            raise TypeError(f"{name} must be {expected}, got {shorten(record[name])}")
    config = ConfigFields(**{name: record[name] for name in own})
    config.validate_architecture()
    return config


def _is_of(kind: Any, value: Any) -> bool:
    """Return whether a value is of the type in an annotation of `ConfigFields`."""
    if isinstance(kind, UnionType):
        return any(_is_of(each, value) for each in get_args(kind))
    if get_origin(kind) is list:
        (of_item,) = get_args(kind)
        return isinstance(value, list) and all(_is_of(of_item, each) for each in value)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


# Facts --------------------------------------------------------------------------------------------


def read_facts(folder: str | Path) -> dict[str, Any]:
    """Return the contents of facts.json; empty if the file is missing.

    Raises:
        CheckpointError: The file is damaged.
    """
    path = Path(folder) / FACTS_FILE
    return _read_record(path, Path(folder).name) if path.is_file() else {}


def _read_record(path: Path, name: str | Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(_no_record(path, name)) from error
    if not isinstance(content, dict):
        raise CheckpointError(_no_record(path, name))
    return content


def _no_record(path: Path, name: str | Path) -> str:
    return (
        f"{path.name} of {str(name)!r} is not a JSON object; use the file saved with the weights."
    )
