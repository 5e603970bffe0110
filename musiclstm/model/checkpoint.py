"""Load and save checkpoint folders: config, weights and tokenizer file.

A folder is the bundled one, a local one, or one from the Hub. Weights are read from safetensors
only, and code files in the folder are never run. Config, tokenizer file and weight shapes are
checked before a model is built.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import logging

from musiclstm.errors import CheckpointError
from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.hub_download import fetch
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM, MusicLSTMModel
from musiclstm.tokens import TOKENIZER_FILE, MusicTokenizer
from musiclstm.tokens.files import FILE_OF_0_2, check_tokenizer_file, refuse_version_0_2

DEFAULT = "default"
FACTS_FILE = "facts.json"
WEIGHTS_FILE = "model.safetensors"
_NEEDED = ("config.json", WEIGHTS_FILE, TOKENIZER_FILE)
_SMALL = ("config.json", TOKENIZER_FILE, "generation_config.json", FACTS_FILE)


class _NoTextTokenizer:
    """Tokenizer class for `AutoTokenizer` that raises and names the tokenizer to use."""

    @classmethod
    def from_pretrained(cls, *_: Any, **__: Any) -> NoReturn:
        raise ValueError(
            "A musiclstm checkpoint has no text tokenizer; use "
            f"musiclstm.MusicTokenizer.from_folder(folder), or miditok.REMI with {TOKENIZER_FILE}."
        )


AutoConfig.register(MusicLSTMConfig.model_type, MusicLSTMConfig)
AutoModel.register(MusicLSTMConfig, MusicLSTMModel)
AutoModelForCausalLM.register(MusicLSTMConfig, MusicLSTMForCausalLM)
AutoTokenizer.register(MusicLSTMConfig, tokenizer_class=_NoTextTokenizer)


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
    _check_files(folder, name, _NEEDED)
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    """Download small files first, so that other models are refused before their weights."""
    folder = fetch(name, [*_SMALL, FILE_OF_0_2], revision=revision)
    refuse_version_0_2(folder, name)
    _check_files(folder, name, ["config.json"])
    _read_config(folder, name)
    return fetch(name, [*_SMALL, WEIGHTS_FILE], revision=folder.name)


def _check_files(folder: Path, name: str | Path, files: Iterable[str]) -> None:
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise CheckpointError(
            f"{str(name)!r} has no {' and no '.join(missing)}; a checkpoint folder holds "
            f"{', '.join(_NEEDED)}. Pass one that training.finetune wrote."
        )


def load_checkpoint(
    name: str | Path = DEFAULT, *, revision: str | None = None
) -> tuple[MusicLSTMForCausalLM, MusicTokenizer]:
    """Load a model, in float32 and evaluation mode, and its tokenizer.

    Args:
        name: As for `find_checkpoint`.
        revision: As for `find_checkpoint`.

    Raises:
        CheckpointError: A file is missing or unreadable, or files do not match.
    """
    folder = find_checkpoint(name, revision=revision)
    config = _read_config(folder, name)
    check_tokenizer_file(folder, name)
    tokenizer = MusicTokenizer()
    _check_pair(config, tokenizer, name)
    try:
        _check_shapes(config, folder / WEIGHTS_FILE, name)
        with _quiet_transformers():
            loaded: Any = MusicLSTMForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"The weights of {str(name)!r} cannot be read ({type(error).__name__}); download or "
            f"copy {WEIGHTS_FILE} again."
        ) from error
    model, report = loaded
    if report["missing_keys"] or report["unexpected_keys"]:
        raise CheckpointError(_other_network(name))
    return model.eval(), tokenizer


def _check_shapes(config: MusicLSTMConfig, weights: Path, name: str | Path) -> None:
    """Compare the sizes in the config with the stored weights."""
    with safe_open(weights, framework="pt") as stored:
        names = set(stored.keys())
        embeddings = "model.embed_tokens.weight"
        shape = stored.get_slice(embeddings).get_shape() if embeddings in names else None
    layers = {each.split(".")[2] for each in names if each.startswith("model.layers.")}
    if shape != [config.vocab_size, config.hidden_size] or len(layers) != config.num_hidden_layers:
        raise CheckpointError(_other_network(name))


def _other_network(name: str | Path) -> str:
    return (
        f"The weights of {str(name)!r} are not those of the network in its config.json; both must "
        "come from the same run."
    )


def _read_config(folder: Path, name: str | Path) -> MusicLSTMConfig:
    record = _read_record(folder / "config.json", name)
    kind = record.get("model_type")
    if kind != MusicLSTMConfig.model_type:
        raise CheckpointError(
            f"{str(name)!r} is a model of type {kind!r}, not {MusicLSTMConfig.model_type!r}; pass "
            "one that training.finetune wrote."
        )
    try:
        return MusicLSTMConfig.from_pretrained(folder)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"config.json of {str(name)!r} is not valid ({reason}); use the file saved with the "
            "weights, or a newer musiclstm."
        ) from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Switch off the progress bar and the table of missing weights, which raise here."""
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


def _check_pair(config: MusicLSTMConfig, tokenizer: MusicTokenizer, name: str | Path) -> None:
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


def save_checkpoint(
    folder: str | Path,
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    *,
    facts: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write config, weights, tokenizer file, generation config, code files and facts.

    Args:
        folder: Created if missing.
        model: The weights are not changed; the config gets the fingerprint of the tokenizer.
        tokenizer: The tokenizer that the weights were trained with.
        facts: Contents of facts.json. None: the file is not written.
        dtype: Precision of the stored weights.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.config.tokenizer_fingerprint = tokenizer.fingerprint
    weights = {
        name: tensor.to(dtype)
        for name, tensor in model.state_dict().items()
        if name not in model.all_tied_weights_keys  # stored once, under the other name
    }
    model.generation_config = GenerationConfig(
        do_sample=True,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
    )
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save(folder)
    if facts is not None:
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        (folder / FACTS_FILE).write_text(text, encoding="utf-8")


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
