"""A checkpoint folder to model and tokenizer, and back: the only place where they meet on disk.

A folder is the bundled default, one of your own, or one that the Hub holds. Weights are safetensors
and nothing else; code that lies beside them is never run. What a folder says of itself is compared
with what it holds before anything is built. Knows no music.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, GenerationConfig
from transformers.utils import logging

from musiclstm.configuration import MusicLSTMConfig
from musiclstm.download import fetch
from musiclstm.errors import CheckpointError
from musiclstm.modeling import MusicLSTMForCausalLM, MusicLSTMModel
from musiclstm.tokenization import TOKENIZER_FILE, MusicTokenizer

DEFAULT = "default"
FACTS_FILE = "facts.json"
WEIGHTS_FILE = "model.safetensors"
_NEEDED = ("config.json", WEIGHTS_FILE, TOKENIZER_FILE)
_SMALL = ("config.json", TOKENIZER_FILE, "generation_config.json", FACTS_FILE)
_WINDOW_LIMIT = 2**16  # of read-out and recall; nothing in the weights speaks of it

AutoConfig.register(MusicLSTMConfig.model_type, MusicLSTMConfig)
AutoModel.register(MusicLSTMConfig, MusicLSTMModel)
AutoModelForCausalLM.register(MusicLSTMConfig, MusicLSTMForCausalLM)


def find_checkpoint(name: str | Path, *, revision: str | None = None) -> Path:
    """The folder behind a name.

    Args:
        name: "default" for the bundled weights, a folder, or a Hub id such as "user/model".
        revision: Branch, tag or commit on the Hub; None: its main branch.

    Raises:
        CheckpointError: There is no such folder or model, or a file is missing in it.
    """
    if str(name) == DEFAULT:
        folder = Path(__file__).parent / "pretrained"
    elif Path(name).is_dir():
        folder = Path(name)
    else:
        folder = _from_hub(str(name), revision)
    _check_files(folder, name, _NEEDED)
    return folder


def _from_hub(name: str, revision: str | None) -> Path:
    """Small files first: what is no model of ours is refused before its weights are fetched."""
    folder = fetch(name, _SMALL, revision=revision)
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
    """Read a model, float32 and ready to listen, and the tokenizer it was trained with.

    Raises:
        CheckpointError: Something is missing, unreadable, or does not belong together.
    """
    folder = find_checkpoint(name, revision=revision)
    config = _read_config(folder, name)
    tokenizer = _read_tokenizer(folder, name)
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
            f"The weights of {str(name)!r} cannot be read ({type(error).__name__}); fetch or copy "
            f"{WEIGHTS_FILE} again."
        ) from error
    model, report = loaded
    if report["missing_keys"] or report["unexpected_keys"]:
        raise CheckpointError(_other_network(name))
    return model.eval(), tokenizer


def _check_shapes(config: MusicLSTMConfig, weights: Path, name: str | Path) -> None:
    """Refuse numbers that the weights do not bear out, however large, before a network is built."""
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


def _read_tokenizer(folder: Path, name: str | Path) -> MusicTokenizer:
    try:
        return MusicTokenizer.from_folder(folder)
    except CheckpointError as error:  # speaks of the folder, which for the Hub is a number
        raise CheckpointError(
            f"{TOKENIZER_FILE} of {str(name)!r} is not a REMI tokenizer of MidiTok; take the file "
            "that was saved together with the weights."
        ) from error


def _read_config(folder: Path, name: str | Path) -> MusicLSTMConfig:
    kind = _read_record(folder / "config.json", name).get("model_type")
    if kind != MusicLSTMConfig.model_type:
        raise CheckpointError(
            f"{str(name)!r} is a model of type {kind!r}, not {MusicLSTMConfig.model_type!r}; pass "
            "one that training.finetune wrote."
        )
    try:
        config = MusicLSTMConfig.from_pretrained(folder)
        for window in ("attention_window", "recall_window"):
            if (size := getattr(config, window)) > _WINDOW_LIMIT:
                raise ValueError(f"{window} is {size}, more than {_WINDOW_LIMIT}")
        return config
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise CheckpointError(
            f"config.json of {str(name)!r} describes no network that can be built ({reason}); take "
            "the file saved with the weights, or a newer musiclstm."
        ) from error


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No bar for weights that load in a moment, no table of what `CheckpointError` says."""
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


def save_checkpoint(
    folder: str | Path,
    model: MusicLSTMForCausalLM,
    tokenizer: MusicTokenizer,
    *,
    facts: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write everything another room needs: config, weights, tokenizer, generation config, facts.

    Weights are rounded to `dtype` on the way; those of the model stay as they are. Its config is
    given the fingerprint of the tokenizer.
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
    """What was measured of a checkpoint; empty where nothing was written down.

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
        f"{path.name} of {str(name)!r} is not a JSON record; take the file saved with the weights."
    )
