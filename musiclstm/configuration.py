"""The shape of the network, as data.

Travels to the Hub beside the weights, so it imports nothing else of ours. Knows no music: what a
token means is the tokenizer's business; the fingerprint only says *which* tokenizer.
"""

# No `from __future__ import annotations` here: it would switch the type checks of `@strict` off.
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

# What a saved config, or transformers itself, hands over besides our own fields.
_FOREIGN_FIELDS = {
    *("model_type", "auto_map", "torch_dtype", "name_or_path"),
    *("attn_implementation", "experts_implementation", "output_attentions"),
}
_LEAST_RECALL = 64  # tokens among which places can lie and be compared


@strict
class MusicLSTMConfig(PreTrainedConfig):
    """Everything needed to build a `MusicLSTMForCausalLM` before its weights are read.

    Args:
        vocab_size: Tokens the network knows, special ones included.
        hidden_size: Width of embeddings, of every layer and of the output; one size, one name.
        num_hidden_layers: How many LSTM layers are stacked.
        residual: Add each layer's input to its output.
        layer_norm: Normalise what enters each layer and what leaves the last one.
        dropout: Share of a layer's outputs silenced while training, the same ones at every step
            of a window (locked dropout, Gal and Ghahramani 2016), 0 to 1.
        embedding_dropout: The same for the embeddings, 0 to 1.
        attention_window: How many past outputs the attention read-out looks back on; 0 builds none.
        recall_window: Among how many past tokens an earlier place like this one is looked for, the
            up to 32 that are compared included; 0 looks for none.
        recall_distance: Places nearer than so many tokens do not count, 1 or more: music that
            copies what it has just copied never leaves it again. 64 below the window, or less.
        recall_power: How much more a long agreement counts than a short one, 0 to 16.
        recall_bias: Log-odds of what came next there, where one token agrees, -50 to 50.
        recall_slope: How much they rise with the logarithm of the tokens that agree, -50 to 50.
        tie_word_embeddings: Use the embedding matrix as the output matrix too.
        initializer_range: Standard deviation of fresh embeddings and read-out weights.
        use_cache: Return the state with every forward pass.
        pad_token_id: Fills short rows.
        bos_token_id: Opens a piece.
        eos_token_id: Closes a piece.
        tokenizer_fingerprint: Identity of the tokenizer the weights were trained with; None before
            there is one.
        programs: MIDI programs (0 to 127, -1 for drums) the weights have heard in training; others
            are played by a relative. None: all.

    Raises:
        TypeError: A name that is not a field.
        StrictDataclassError: A value of the wrong type or out of range; the message says which.
    """

    model_type = "musiclstm"
    # A Trainer that measures gathers all outputs but these; by default 5.17 spares none.
    keys_to_ignore_at_inference = ["past_key_values"]  # noqa: RUF012  (a plain list is read)

    vocab_size: int = 2048
    hidden_size: int = 512
    num_hidden_layers: int = 4
    residual: bool = True
    layer_norm: bool = True
    dropout: float | int = 0.1
    embedding_dropout: float | int = 0.1
    attention_window: int = 0
    recall_window: int = 0
    recall_distance: int = 128
    recall_power: float | int = 4.95
    recall_bias: float | int = -4.1
    recall_slope: float | int = 2.5
    tie_word_embeddings: bool = True
    initializer_range: float | int = 0.05
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    tokenizer_fingerprint: str | None = None
    programs: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Refuse misspelt names, which transformers would keep in silence."""
        unknown = sorted(
            name
            for name in kwargs
            if name not in _FOREIGN_FIELDS
            and not name.startswith("_")
            and not hasattr(PreTrainedConfig, name)
        )
        if unknown:
            raise TypeError(
                f"MusicLSTMConfig has no field {', '.join(map(repr, unknown))}; "
                f"it knows {', '.join(_own_fields())}."
            )
        # The class that is saved is added by transformers; the stack can be had of its weights too.
        kwargs.setdefault("auto_map", {"AutoModel": "modeling.MusicLSTMModel"})
        super().__post_init__(**kwargs)

    def validate_architecture(self) -> None:
        """Refuse sizes and shares that no network can have."""
        for name in ("vocab_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("dropout", "embedding_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)}.")
        if self.attention_window < 0:
            raise ValueError(
                f"attention_window must be 0 (none) or more, got {self.attention_window}."
            )
        if self.initializer_range < 0:
            raise ValueError(f"initializer_range must be 0 or more, got {self.initializer_range}.")
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"{name} must be None or from 0 to {self.vocab_size - 1} (vocab_size is "
                    f"{self.vocab_size}), got {token}."
                )
        self._validate_recall()
        self._validate_programs()

    def _validate_recall(self) -> None:
        if self.recall_distance < 1:
            raise ValueError(f"recall_distance must be 1 or more, got {self.recall_distance}.")
        least = self.recall_distance + _LEAST_RECALL
        if self.recall_window != 0 and self.recall_window < least:
            raise ValueError(
                f"recall_window must be 0 (none) or at least {least}, {_LEAST_RECALL} more than "
                f"recall_distance, got {self.recall_window}."
            )
        for name, least, most in (("power", 0, 16), ("bias", -50, 50), ("slope", -50, 50)):
            value = getattr(self, f"recall_{name}")
            if not least <= value <= most:
                raise ValueError(f"recall_{name} must be from {least} to {most}, got {value}.")

    def _validate_programs(self) -> None:
        if self.programs is None:
            return
        if not self.programs:
            raise ValueError("programs must name at least one instrument; None means all.")
        if any(not -1 <= program <= 127 for program in self.programs):
            raise ValueError(f"programs must be from -1 (drums) to 127, got {self.programs}.")


def _own_fields() -> list[str]:
    return [name for name in MusicLSTMConfig.__annotations__ if name != "model_type"]
