"""Load and save checkpoint folders with the network as a `PreTrainedModel`.

Weights are read from safetensors only, and code files in the folder are never run.
`checkpoint_files` and `stored_weights` check config, tokenizer file and weights before a model is
built.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import logging

from musiclstm.model.checkpoint_files import (
    DEFAULT,
    FACTS_FILE,
    CheckpointFiles,
    check_files,
    refuse_config,
)
from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM, MusicLSTMModel
from musiclstm.model.stored_weights import check_weights
from musiclstm.tokens import TOKENIZER_FILE, MusicTokenizer


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
    files = check_files(name, revision=revision)
    check_weights(files)
    with _quiet_transformers():
        model = MusicLSTMForCausalLM.from_pretrained(
            files.folder,
            config=_config(files),
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
        )
    return model.eval(), MusicTokenizer()


def _config(files: CheckpointFiles) -> MusicLSTMConfig:
    try:
        return MusicLSTMConfig.from_pretrained(files.folder)
    except (StrictDataclassError, TypeError, ValueError) as error:
        refuse_config(files.name, error)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Switch off the progress bar and other output."""
    bar, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


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
