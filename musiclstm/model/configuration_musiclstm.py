"""Configuration of the network.

The file is copied to the Hub beside the weights. Of this package it imports only `config_fields`.
"""

# No `from __future__ import annotations` here: it would switch the type checks of `@strict` off.
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from .config_fields import ConfigFields, check_field_names

# Keywords of saved configs and of transformers that are no attributes of its class.
_FOREIGN_NAMES = {
    *("model_type", "auto_map", "torch_dtype", "name_or_path"),
    *("attn_implementation", "experts_implementation", "output_attentions"),
}


@strict
class MusicLSTMConfig(ConfigFields, PreTrainedConfig):
    """Configuration of `MusicLSTMForCausalLM`; see `ConfigFields` for its fields.

    Raises:
        TypeError: An unknown name, or a config of musiclstm 0.2.
        StrictDataclassError: A value of the wrong type or out of range.
    """

    model_type = "musiclstm"
    # The Trainer concatenates all other outputs of an evaluation.
    keys_to_ignore_at_inference = ["past_key_values", "cache"]  # noqa: RUF012  (a list is read)

    def __post_init__(self, **kwargs: Any) -> None:
        """Raise for unknown names, which transformers would store silently."""
        check_field_names(kwargs, (name for name in kwargs if _is_known(name)))
        # transformers adds the class that is saved; the base model can be loaded from it too.
        kwargs.setdefault("auto_map", {"AutoModel": "modeling_musiclstm.MusicLSTMModel"})
        super().__post_init__(**kwargs)


def _is_known(name: str) -> bool:
    return name in _FOREIGN_NAMES or name.startswith("_") or hasattr(PreTrainedConfig, name)
