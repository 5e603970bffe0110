"""Fields of config.json: names, default values and permitted values.

The file is copied to the Hub beside `configuration_musiclstm`. It imports only `step_features`, so
the library checks a config without transformers.
"""

# No `from __future__ import annotations` here: types are read from the annotations.
from collections.abc import Iterable
from dataclasses import dataclass, fields

from .step_features import FORMAT_VERSION, TokenKind, TokenTable

_FIELDS_OF_VERSION_0_2 = {
    *("attention_window", "recall_window", "recall_distance"),
    *("recall_power", "recall_bias", "recall_slope"),
}
# Lowest and highest value by kind of token, as in core/token_table.c: durations in positions, the
# length of a bar in 1/48 quarters.
_RANGES = {
    TokenKind.PITCH: (0, 127),
    TokenKind.DRUM: (0, 127),
    TokenKind.PROGRAM: (-1, 127),
    TokenKind.POSITION: (0, 191),
    TokenKind.DURATION: (1, 8_191),
    TokenKind.TIME_SIGNATURE: (1, 8_191),
}


@dataclass(kw_only=True, repr=False, eq=False)
class ConfigFields:
    """Fields of `MusicLSTMConfig`.

    Args:
        vocab_size: Number of tokens, special ones included.
        hidden_size: Width of embeddings and layers.
        num_hidden_layers: Number of LSTM layers.
        residual: Add each layer's input to its output.
        layer_norm: Normalize the input of each layer and the output of the last one.
        dropout: Dropout probability of layer outputs, 0 to below 1; the same features at every
            step of a window (variational dropout, Gal and Ghahramani 2016).
        embedding_dropout: The same for the input of the first layer.
        tie_word_embeddings: Use the embedding matrix as the output matrix too.
        initializer_range: Standard deviation of initial embeddings and output weights.
        use_cache: Return the state from every forward pass.
        pad_token_id: Padding token.
        bos_token_id: Token at the start of a piece.
        eos_token_id: Token at the end of a piece.
        tokenizer_fingerprint: Fingerprint of the tokenizer used in training.
        programs: MIDI programs (0 to 127, -1 for drums) in the training data. None: all.
        token_names: Name of each token, such as `Pitch_60`, in order of ids. The step features are
            defined by them. None: the network has no step features.
        step_features_version: Format of the step features used in training.
    """

    vocab_size: int = 682
    hidden_size: int = 448
    num_hidden_layers: int = 3
    residual: bool = True
    layer_norm: bool = True
    dropout: float | int = 0.1
    embedding_dropout: float | int = 0.1
    tie_word_embeddings: bool = True
    initializer_range: float | int = 0.05
    use_cache: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    tokenizer_fingerprint: str | None = None
    programs: list[int] | None = None
    token_names: list[str] | None = None
    step_features_version: int = FORMAT_VERSION

    def validate_architecture(self) -> None:
        """Raise for values out of range.

        Raises:
            ValueError: A value is out of range.
        """
        for name in ("vocab_size", "hidden_size", "num_hidden_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        for name in ("dropout", "embedding_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be from 0 to below 1, got {getattr(self, name)}.")
        if not self.initializer_range >= 0:
            raise ValueError(f"initializer_range must be 0 or more, got {self.initializer_range}.")
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            token = getattr(self, name)
            if token is not None and not 0 <= token < self.vocab_size:
                raise ValueError(
                    f"{name} must be None or from 0 to {self.vocab_size - 1} (vocab_size is "
                    f"{self.vocab_size}), got {token}."
                )
        self._validate_programs()
        if self.token_names is not None:
            self._validate_token_names(self.token_names)

    def _validate_programs(self) -> None:
        if self.programs is None:
            return
        if not self.programs:
            raise ValueError("programs must name at least one instrument; None means all.")
        if any(not -1 <= program <= 127 for program in self.programs):
            raise ValueError(f"programs must be from -1 (drums) to 127, got {self.programs}.")

    def _validate_token_names(self, names: list[str]) -> None:
        if len(names) != self.vocab_size:
            raise ValueError(
                f"token_names must name every token: vocab_size is {self.vocab_size}, "
                f"got {len(names)} names."
            )
        if self.step_features_version != FORMAT_VERSION:
            raise ValueError(
                f"The weights were trained with step features of format "
                f"{self.step_features_version}; this version computes format {FORMAT_VERSION}. "
                "Use the version of musiclstm that trained them."
            )
        try:
            table = TokenTable(names)
        except (ValueError, IndexError, ZeroDivisionError) as error:
            raise ValueError(f"token_names holds a name that cannot be read: {error}.") from error
        for name, kind, value in zip(names, table.kind, table.value, strict=True):
            low, high = _RANGES.get(kind, (value, value))
            if not low <= value <= high:
                raise ValueError(f"token_names holds {name!r}: {low} to {high} is allowed.")
        for name, kind, unit in zip(names, table.kind, table.unit, strict=True):
            if kind == TokenKind.TIME_SIGNATURE and not 1 <= unit <= 16:
                raise ValueError(
                    f"token_names holds {name!r}: denominators from 1 to 16 are allowed."
                )


def check_field_names(names: Iterable[str], known: Iterable[str]) -> None:
    """Raise for names that are neither fields nor `known`.

    Raises:
        TypeError: An unknown name, or a config of musiclstm 0.2.
    """
    others = {*names} - {field.name for field in fields(ConfigFields)} - {*known}
    if _FIELDS_OF_VERSION_0_2 & others:
        raise TypeError(
            "This config was made for musiclstm 0.2; read it with musiclstm 0.2 "
            "(pip install 'musiclstm<0.3')."
        )
    if others:
        raise TypeError(
            f"MusicLSTMConfig has no field {', '.join(map(repr, sorted(others)))}; "
            f"its fields are {', '.join(field.name for field in fields(ConfigFields))}."
        )
