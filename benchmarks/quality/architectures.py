"""Networks for `benchmarks.quality.compare_architectures`, called as `MusicLSTMForCausalLM` is.

- ours: the network of musiclstm; also without step features (same width, so fewer weights), and
  with some features masked.
- transformer: the layers of Llama (Touvron et al. 2023) between tied embeddings, with about as many
  weights as ours. With features, it has the inputs and outputs of ours around these layers.
- stacked LSTM: embedding, four layers of `nn.LSTM`, an untied output matrix; no normalization, no
  residual connections, dropout (Srivastava et al. 2014) of 0.5 between layers and before the
  output; every window starts from a zero state. About as many weights as ours.
- Performance RNN: the same with three layers of 512 units (Oore, Simon, Dieleman, Eck and Simonyan
  2018, "This Time with Feeling"), with carried state and without dropout, as in the authors' code
  (`magenta/models/performance_rnn/performance_model.py`, dropout_keep_prob=1.0). Original size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaModel

from benchmarks.common.report import ReportError
from musiclstm.model import (
    CANDIDATES,
    LSTMLayerState,
    LSTMState,
    MusicLSTMConfig,
    MusicLSTMForCausalLM,
)

OURS, OURS_PLAIN = "ours", "ours without features"
TRANSFORMER, TRANSFORMER_FEATURES = "transformer", "transformer with features"
STACKED_LSTM, PERFORMANCE_RNN = "stacked LSTM", "Performance RNN"
TOLERANCE = 0.05  # largest relative difference in the number of weights
_STACKED_LAYERS, _STACKED_DROPOUT = 4, 0.5
_OORE_LAYERS, _OORE_WIDTH = 3, 512
# Batch size. Most pieces are shorter than the context, so a batch has about as many tokens as 16
# windows of 128.
_TRANSFORMER_ROWS = 2
_NONE = -1

Features: TypeAlias = Mapping[str, Tensor]
# Changes step features before a network reads them; None: no features.
Mask: TypeAlias = Callable[[Features], "Features | None"]


class NetworkOutput(NamedTuple):
    """Output of a network: logits (batch, steps, vocab) and the state for the next call."""

    logits: Tensor
    past_key_values: Any


@dataclass(frozen=True)
class Architecture:
    """An untrained network and how it is trained.

    Attributes:
        name: Name in tables.
        build: Builds the network with random weights from torch's global generator.
        rows, steps: Shape of a training batch.
        uses_features: Whether the network reads step features.
        measured_steps: Tokens per call in the evaluation.
        rate_of: Name of the architecture whose learning-rate search is used.
    """

    name: str
    build: Callable[[], Any]
    rows: int
    steps: int
    uses_features: bool
    measured_steps: int = 256
    rate_of: str = OURS


def architectures(
    config: MusicLSTMConfig, *, rows: int, steps: int, context: int, transformer_layers: int
) -> list[Architecture]:
    """Return ours and the baseline architectures.

    Args:
        config: Config of ours, with token names.
        rows: Batch size of the recurrent networks.
        steps: Window length of the recurrent networks, in tokens.
        context: Context length of the transformers, in tokens, even.
        transformer_layers: Number of layers of both transformers.

    Raises:
        ReportError: A baseline cannot be built with about as many weights.
    """
    weights = count_weights(MusicLSTMForCausalLM(config))
    plain = _with_fields(config, token_names=None)
    width = _plain_width(weights, config.vocab_size, _STACKED_LAYERS)
    small: dict[str, Any] = {"rows": rows, "steps": steps}
    large: dict[str, Any] = {
        "rows": _TRANSFORMER_ROWS,
        "steps": context,
        "measured_steps": context // 2,
    }

    def transformer(config: MusicLSTMConfig) -> Callable[[], Transformer]:
        shape = _transformer_shape(config, weights, layers=transformer_layers)
        return lambda: Transformer(*shape, context=context)

    found = [
        Architecture(OURS, lambda: MusicLSTMForCausalLM(config), uses_features=True, **small),
        Architecture(
            OURS_PLAIN,
            lambda: MaskedFeatures(MusicLSTMForCausalLM(plain), lambda _: None),
            uses_features=False,
            rate_of=OURS_PLAIN,
            **small,
        ),
        Architecture(
            TRANSFORMER, transformer(plain), uses_features=False, rate_of=TRANSFORMER, **large
        ),
        Architecture(
            TRANSFORMER_FEATURES,
            transformer(config),
            uses_features=True,
            rate_of=TRANSFORMER_FEATURES,
            **large,
        ),
        Architecture(
            STACKED_LSTM,
            lambda: PlainLSTM(
                plain, width, _STACKED_LAYERS, dropout=_STACKED_DROPOUT, carries_state=False
            ),
            uses_features=False,
            measured_steps=steps,
            rate_of=STACKED_LSTM,
            **small,
        ),
        Architecture(
            PERFORMANCE_RNN,
            lambda: PlainLSTM(plain, _OORE_WIDTH, _OORE_LAYERS),
            uses_features=False,
            rate_of=PERFORMANCE_RNN,
            **small,
        ),
    ]
    _check_weights(found, weights)
    return found


def ablations(config: MusicLSTMConfig, *, rows: int, steps: int) -> list[Architecture]:
    """Return ours with some step features masked, one architecture for each of `MASKS`."""

    def masked(mask: Mask) -> Callable[[], MaskedFeatures]:
        return lambda: MaskedFeatures(MusicLSTMForCausalLM(config), mask)

    return [
        Architecture(f"without {name}", masked(mask), rows=rows, steps=steps, uses_features=True)
        for name, mask in MASKS.items()
    ]


def count_weights(network: nn.Module) -> int:
    """Return the number of weights; tied weights count once."""
    return sum(p.numel() for p in network.parameters())


def _check_weights(found: Sequence[Architecture], wanted: int) -> None:
    for architecture in found:
        own = count_weights(architecture.build())
        free = architecture.name in (PERFORMANCE_RNN, OURS_PLAIN)
        if not free and abs(own / wanted - 1) > TOLERANCE:
            raise ReportError(
                f"No {architecture.name} has within {TOLERANCE:.0%} of the {wanted:,} weights of "
                f"ours (the nearest: {own:,}); choose another --hidden_size, --layers or "
                "--transformer_layers."
            )


def _with_fields(config: MusicLSTMConfig, **fields: Any) -> MusicLSTMConfig:
    return MusicLSTMConfig.from_dict(config.to_dict() | fields)


# Masks --------------------------------------------------------------------------------------------


def _without(**values: tuple[float, Sequence[int] | None]) -> Mask:
    """Return a mask that sets features to a value: some columns of the last dimension, or all."""

    def mask(features: Features) -> Features:
        found = dict(features)
        for name, (value, columns) in values.items():
            found[name] = array = features[name].clone()
            array[(..., list(columns)) if columns is not None else ...] = value
        return found

    return mask


def _without_candidates(columns: Sequence[int]) -> Mask:
    return _without(candidates=(_NONE, columns), runs=(0, columns), accuracy=(0, columns))


MASKS: dict[str, Mask] = {
    **{f"candidate {name}": _without_candidates([i]) for i, name in enumerate(CANDIDATES)},
    "all candidates": _without_candidates(range(len(CANDIDATES))),
    "reference pitches": _without(pitches=(_NONE, None)),
    "reference positions": _without(positions=(_NONE, None)),
    "histogram of the part": _without(part=(0, None)),
    "histograms of rhythm": _without(onsets=(0, None), durations=(0, None)),
    "numbers of notes and onsets": _without(sizes=(0, None)),
    # The network reads these as logarithms and through circular filters; a mask removes both.
    "recent and piece pitch classes": _without(recent=(0, None), piece=(0, None)),
    "sounding pitch classes": _without(sounding=(0, None)),
    "all pitch classes": _without(recent=(0, None), piece=(0, None), sounding=(0, None)),
    "who plays": _without(parts=(0, [0, 1])),
    "who comes next": _without(parts=(0, [2, 3])),
}


class MaskedFeatures(nn.Module):
    """A network with masked step features."""

    def __init__(self, network: MusicLSTMForCausalLM, mask: Mask) -> None:
        super().__init__()
        self.network, self._mask = network, mask

    @property
    def config(self) -> MusicLSTMConfig:
        """Config of the network."""
        return self.network.config

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.network.device

    def forward(self, input_ids: Tensor, features: Features | None = None, **kwargs: Any) -> Any:
        """Call the network with masked features."""
        masked = None if features is None else self._mask(features)
        return self.network(input_ids, features=masked, **kwargs)


# Plain LSTMs --------------------------------------------------------------------------------------


class PlainLSTM(nn.Module):
    """Embedding, `nn.LSTM` and an untied output matrix, with the default initialization."""

    def __init__(
        self,
        config: MusicLSTMConfig,
        width: int,
        layers: int,
        *,
        dropout: float = 0.0,
        carries_state: bool = True,
    ) -> None:
        """Build the network.

        Args:
            config: Gives the vocabulary size and the ids of special tokens.
            width: Width of the embedding and of the layers.
            layers: Number of layers.
            dropout: Probability that an output of a layer is dropped in training.
            carries_state: Whether a call continues from the state of the last call.
        """
        super().__init__()
        self.config, self._carries = config, carries_state
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, config.vocab_size)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.head.weight.device

    def forward(
        self, input_ids: Tensor, past_key_values: LSTMState | None = None, **_: Any
    ) -> NetworkOutput:
        """Read tokens (batch, steps) from a state; None: zeros."""
        state = past_key_values if self._carries else None
        x, (hidden, cell) = self.lstm(
            self.embedding(input_ids), None if state is None else (state.h, state.c)
        )
        layers = [LSTMLayerState(*each) for each in zip(hidden, cell, strict=True)]
        return NetworkOutput(self.head(self.dropout(x)), LSTMState(layers))


def _plain_width(weights: int, vocab_size: int, layers: int) -> int:
    """Return the width of the `PlainLSTM` whose number of weights is nearest to `weights`."""

    def count(width: int) -> int:
        return vocab_size * (2 * width + 1) + layers * 8 * width * (width + 1)

    return min(_widths(1, 8), key=lambda width: abs(count(width) - weights))


def _widths(step: int, wide_step: int) -> list[int]:
    """Return widths to try; above 64 only multiples of a larger step, which are faster."""
    return [*range(step, 64, step), *range(64, 4096, wide_step)]


# The transformer ----------------------------------------------------------------------------------


class TransformerState(NamedTuple):
    """Context tokens of a transformer and their step features.

    Attributes:
        ids: Token ids, (batch, kept).
        features: Step features by name, (batch, kept, ...); empty without features.
    """

    ids: Tensor
    features: dict[str, Tensor]

    def detach(self) -> TransformerState:
        """Return self; the state has no gradient."""
        return self

    def index_select(self, index: Tensor) -> TransformerState:
        """Return some rows of the batch."""
        return TransformerState(
            self.ids[index], {name: x[index] for name, x in self.features.items()}
        )

    def reset_rows(self, fresh: Tensor) -> TransformerState:
        """Return self; in training the state is always empty."""
        return self


class Transformer(MusicLSTMForCausalLM):
    """Ours with the layers of Llama in place of the LSTM layers.

    In training, each row of a batch is one context, read without its padding. In the evaluation a
    call reads half a context, so a token is predicted from all tokens before it, at most a whole
    context and at least half of it.
    """

    def __init__(self, config: MusicLSTMConfig, body: LlamaConfig, *, context: int) -> None:
        super().__init__(config)
        self.model.layers, self.model.norm = nn.ModuleList(), nn.Identity()
        self.body = LlamaModel(body)
        self._kept = context // 2

    def forward(
        self,
        input_ids: Tensor,
        features: Features | None = None,
        past_key_values: TransformerState | None = None,
        **_: Any,
    ) -> NetworkOutput:
        """Read tokens (batch, steps), in the evaluation at most half a context."""
        given = {} if self.model.step_inputs is None or features is None else dict(features)
        if self.training:
            return NetworkOutput(
                self._read_rows(input_ids, given), TransformerState(input_ids[:, :0], {})
            )
        steps = input_ids.shape[1]
        if past_key_values is not None:
            input_ids = torch.cat([past_key_values.ids, input_ids], dim=1)
            before = past_key_values.features
            given = {name: torch.cat([before[name], x], dim=1) for name, x in given.items()}
        logits = self._read(input_ids, given)[:, -steps:]
        kept = {name: x[:, -self._kept :] for name, x in given.items()}
        return NetworkOutput(logits, TransformerState(input_ids[:, -self._kept :], kept))

    def _read(self, input_ids: Tensor, features: Features) -> Tensor:
        x = self.model.embed_tokens(input_ids)
        if self.model.step_inputs is not None:
            x = x + self.model.step_inputs(features, self.model.embed_tokens)
        hidden = self.body(inputs_embeds=x, use_cache=False).last_hidden_state
        return self._logits(hidden, features or None, 1.0)

    def _read_rows(self, input_ids: Tensor, features: Features) -> Tensor:
        """Return the logits of each row, 0 for padding."""
        lengths = input_ids.ne(self.config.pad_token_id or 0).sum(1).clamp(min=1).tolist()
        rows = [
            self._read(
                input_ids[row : row + 1, :count],
                {name: x[row : row + 1, :count] for name, x in features.items()},
            )[0]
            for row, count in enumerate(lengths)
        ]
        logits = pad_sequence(rows, batch_first=True)
        missing = input_ids.shape[1] - logits.shape[1]
        return nn.functional.pad(logits, (0, 0, 0, missing))


def _transformer_shape(
    config: MusicLSTMConfig, weights: int, *, layers: int
) -> tuple[MusicLSTMConfig, LlamaConfig]:
    """Return the configs of a `Transformer` with a number of weights.

    The inner width of SwiGLU is near 8/3 of the width (Shazeer 2020, Touvron et al. 2023), and
    heads are 64 wide.

    Raises:
        ReportError: Even the narrowest network has more weights.
    """
    found = []
    for width in _widths(8, 64):
        inner = _inner_width(config, weights, width, layers)
        if inner < 1:
            break
        found.append((abs(inner / width - 8 / 3), width, inner))
    if not found:
        raise ReportError(
            f"No transformer of {layers} layers is as small as ours ({weights:,} weights); lower "
            "--transformer_layers or raise --hidden_size."
        )
    _, width, inner = min(found)
    return _transformer_configs(config, width, inner, layers)


def _inner_width(config: MusicLSTMConfig, weights: int, width: int, layers: int) -> int:
    """Return the inner width for a number of weights; below 1: none is small enough."""
    least = count_weights(Transformer(*_transformer_configs(config, width, 1, layers), context=2))
    inner = 1 + (weights - least) // (3 * width * layers)
    return inner - inner % 8 if inner > 64 else inner  # multiples of eight are faster


def _transformer_configs(
    config: MusicLSTMConfig, width: int, inner: int, layers: int
) -> tuple[MusicLSTMConfig, LlamaConfig]:
    body = LlamaConfig(
        vocab_size=1,  # the embeddings of ours are used
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    outer = _with_fields(
        config, hidden_size=width, num_hidden_layers=1, dropout=0.0, embedding_dropout=0.0
    )
    return outer, body
