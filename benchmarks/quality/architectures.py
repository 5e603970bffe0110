"""The networks that `benchmarks.quality.compare_architectures` compares, all called as `MusicLSTMForCausalLM` is.

- ours: the network of musiclstm; also without step features (as wide, so with fewer weights), and
  with some of them masked.
- transformer: Llama's body (Touvron et al. 2023) between tied embeddings, with about as many
  weights as ours. With features, it has the inputs and outputs of ours around that body.
- seed 1: an obvious first try. Embedding, four layers of `nn.LSTM`, an output matrix of its own; no
  norm, no residual connections, ordinary dropout (Srivastava et al. 2014) of a half between layers
  and before the output; every window begins with a zero state. About as many weights as ours.
- Performance RNN: the same with three layers of 512 (Oore, Simon, Dieleman, Eck and Simonyan 2018,
  "This Time with Feeling"), its state carried, without dropout, as in the authors' code
  (`magenta/models/performance_rnn/performance_model.py`, dropout_keep_prob=1.0). As large as it is.
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
SEED_1, PERFORMANCE_RNN = "seed 1", "Performance RNN"
TOLERANCE = 0.05  # of "about as many weights"
_SEED_1_LAYERS, _SEED_1_DROPOUT = 4, 0.5
_OORE_LAYERS, _OORE_WIDTH = 3, 512
# Of a batch. Most pieces end before the context does, so these are about as many tokens as 16
# windows of 128.
_TRANSFORMER_ROWS = 2
_NONE = -1

Features: TypeAlias = Mapping[str, Tensor]
# What is done to step features before a network reads them; None: it gets none.
Change: TypeAlias = Callable[[Features], "Features | None"]


class Reading(NamedTuple):
    """What a network makes of some tokens: logits (batch, steps, vocab), and its state."""

    logits: Tensor
    past_key_values: Any


@dataclass(frozen=True)
class Contender:
    """One network before training.

    Attributes:
        name: For tables.
        build: Makes it, from the random numbers of torch as they stand.
        rows, steps: Of a training batch.
        uses_features: Whether it reads step features.
        measured_steps: Tokens read at once when it is measured.
        rate_of: The contender whose pilot chooses the learning rate.
    """

    name: str
    build: Callable[[], Any]
    rows: int
    steps: int
    uses_features: bool
    measured_steps: int = 256
    rate_of: str = OURS


def contenders(
    config: MusicLSTMConfig, *, rows: int, steps: int, context: int, transformer_layers: int
) -> list[Contender]:
    """Return ours and its rivals.

    Args:
        config: Of ours, with token names.
        rows: Of a batch of the recurrent networks.
        steps: Of their windows.
        context: Tokens that the transformers learn from and look back on, even.
        transformer_layers: Of both transformers.

    Raises:
        ReportError: No rival of a shape that makes sense has about as many weights.
    """
    weights = weights_of(MusicLSTMForCausalLM(config))
    plain = _changed(config, token_names=None)
    width = _plain_width(weights, config.vocab_size, _SEED_1_LAYERS)
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
        Contender(OURS, lambda: MusicLSTMForCausalLM(config), uses_features=True, **small),
        Contender(
            OURS_PLAIN,
            lambda: Changed(MusicLSTMForCausalLM(plain), lambda _: None),
            uses_features=False,
            rate_of=OURS_PLAIN,
            **small,
        ),
        Contender(
            TRANSFORMER, transformer(plain), uses_features=False, rate_of=TRANSFORMER, **large
        ),
        Contender(
            TRANSFORMER_FEATURES,
            transformer(config),
            uses_features=True,
            rate_of=TRANSFORMER_FEATURES,
            **large,
        ),
        Contender(
            SEED_1,
            lambda: PlainLSTM(
                plain, width, _SEED_1_LAYERS, dropout=_SEED_1_DROPOUT, carries_state=False
            ),
            uses_features=False,
            measured_steps=steps,
            rate_of=SEED_1,
            **small,
        ),
        Contender(
            PERFORMANCE_RNN,
            lambda: PlainLSTM(plain, _OORE_WIDTH, _OORE_LAYERS),
            uses_features=False,
            rate_of=PERFORMANCE_RNN,
            **small,
        ),
    ]
    _check_weights(found, weights)
    return found


def ablations(config: MusicLSTMConfig, *, rows: int, steps: int) -> list[Contender]:
    """Return ours with some step features masked, one contender for each of `MASKS`."""

    def masked(change: Change) -> Callable[[], Changed]:
        return lambda: Changed(MusicLSTMForCausalLM(config), change)

    return [
        Contender(f"without {name}", masked(change), rows=rows, steps=steps, uses_features=True)
        for name, change in MASKS.items()
    ]


def weights_of(network: nn.Module) -> int:
    """Count the weights; tied ones count once."""
    return sum(p.numel() for p in network.parameters())


def _check_weights(found: Sequence[Contender], wanted: int) -> None:
    for contender in found:
        own = weights_of(contender.build())
        free = contender.name in (PERFORMANCE_RNN, OURS_PLAIN)
        if not free and abs(own / wanted - 1) > TOLERANCE:
            raise ReportError(
                f"No {contender.name} has within {TOLERANCE:.0%} of the {wanted:,} weights of ours "
                f"(the nearest: {own:,}); choose another --hidden_size, --layers or "
                "--transformer_layers."
            )


def _changed(config: MusicLSTMConfig, **fields: Any) -> MusicLSTMConfig:
    return MusicLSTMConfig.from_dict(config.to_dict() | fields)


# Masks --------------------------------------------------------------------------------------------


def _without(**values: tuple[float, Sequence[int] | None]) -> Change:
    """Return a change that sets features to a value: some columns of the last dimension, or all."""

    def change(features: Features) -> Features:
        found = dict(features)
        for name, (value, columns) in values.items():
            found[name] = array = features[name].clone()
            array[(..., list(columns)) if columns is not None else ...] = value
        return found

    return change


def _without_candidates(columns: Sequence[int]) -> Change:
    return _without(candidates=(_NONE, columns), runs=(0, columns), accuracy=(0, columns))


MASKS: dict[str, Change] = {
    **{f"candidate {name}": _without_candidates([i]) for i, name in enumerate(CANDIDATES)},
    "all candidates": _without_candidates(range(len(CANDIDATES))),
    "reference pitches": _without(pitches=(_NONE, None)),
    "reference positions": _without(positions=(_NONE, None)),
    "histogram of the part": _without(part=(0, None)),
    "histograms of rhythm": _without(onsets=(0, None), durations=(0, None)),
    "numbers of notes and onsets": _without(sizes=(0, None)),
    # The network reads these as logarithms and by circular filters; a mask takes both away.
    "recent and piece pitch classes": _without(recent=(0, None), piece=(0, None)),
    "sounding pitch classes": _without(sounding=(0, None)),
    "all pitch classes": _without(recent=(0, None), piece=(0, None), sounding=(0, None)),
    "who plays": _without(parts=(0, [0, 1])),
    "who comes next": _without(parts=(0, [2, 3])),
}


class Changed(nn.Module):
    """A network that reads changed step features, or none."""

    def __init__(self, network: MusicLSTMForCausalLM, change: Change) -> None:
        super().__init__()
        self.network, self._change = network, change

    @property
    def config(self) -> MusicLSTMConfig:
        """That of the network."""
        return self.network.config

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.network.device

    def forward(self, input_ids: Tensor, features: Features | None = None, **kwargs: Any) -> Any:
        """Read as the network does."""
        changed = None if features is None else self._change(features)
        return self.network(input_ids, features=changed, **kwargs)


# Plain LSTMs --------------------------------------------------------------------------------------


class PlainLSTM(nn.Module):
    """Embedding, `nn.LSTM`, an output matrix of its own; initial weights are those of torch."""

    def __init__(
        self,
        config: MusicLSTMConfig,
        width: int,
        layers: int,
        *,
        dropout: float = 0.0,
        carries_state: bool = True,
    ) -> None:
        """Build it.

        Args:
            config: For the size of the vocabulary and the ids of special tokens.
            width: Of embedding and layers.
            layers: Number of layers.
            dropout: Share of the outputs of a layer that are set to 0 in training.
            carries_state: Whether a call continues from the state after the call before.
        """
        super().__init__()
        self.config, self._carries = config, carries_state
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, config.vocab_size)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.head.weight.device

    def forward(
        self, input_ids: Tensor, past_key_values: LSTMState | None = None, **_: Any
    ) -> Reading:
        """Read (batch, steps) from a state; None: zeros."""
        state = past_key_values if self._carries else None
        x, (hidden, cell) = self.lstm(
            self.embedding(input_ids), None if state is None else (state.h, state.c)
        )
        layers = [LSTMLayerState(*each) for each in zip(hidden, cell, strict=True)]
        return Reading(self.head(self.dropout(x)), LSTMState(layers))


def _plain_width(weights: int, vocab_size: int, layers: int) -> int:
    """Return the width at which a `PlainLSTM` comes nearest to so many weights."""

    def count(width: int) -> int:
        return vocab_size * (2 * width + 1) + layers * 8 * width * (width + 1)

    return min(_widths(1, 8), key=lambda width: abs(count(width) - weights))


def _widths(step: int, wide_step: int) -> list[int]:
    """Return widths to try: above 64 only multiples of a larger step, which are faster."""
    return [*range(step, 64, step), *range(64, 4096, wide_step)]


# The transformer ----------------------------------------------------------------------------------


class Seen(NamedTuple):
    """The last tokens that a transformer read, and their step features.

    Attributes:
        ids: (batch, kept).
        features: (batch, kept, ...), by name; empty without features.
    """

    ids: Tensor
    features: dict[str, Tensor]

    def detached(self) -> Seen:
        """The same: nothing here has a gradient."""
        return self

    def rows(self, index: Tensor) -> Seen:
        """Return chosen rows."""
        return Seen(self.ids[index], {name: x[index] for name, x in self.features.items()})

    def reset_rows(self, fresh: Tensor) -> Seen:
        """The same: in training every window starts from nothing."""
        return self


class Transformer(MusicLSTMForCausalLM):
    """Llama's body in place of the LSTMs of ours.

    In training every row of a batch is a window with a context of its own, read without its
    padding. When it is measured, half a context at a time, a token is predicted from all tokens
    before it, at least from the last half context.
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
        past_key_values: Seen | None = None,
        **_: Any,
    ) -> Reading:
        """Read (batch, steps) tokens, when measured at most half a context."""
        given = {} if self.model.step_inputs is None or features is None else dict(features)
        if self.training:
            return Reading(self._read_rows(input_ids, given), Seen(input_ids[:, :0], {}))
        steps = input_ids.shape[1]
        if past_key_values is not None:
            input_ids = torch.cat([past_key_values.ids, input_ids], dim=1)
            before = past_key_values.features
            given = {name: torch.cat([before[name], x], dim=1) for name, x in given.items()}
        logits = self._read(input_ids, given)[:, -steps:]
        kept = {name: x[:, -self._kept :] for name, x in given.items()}
        return Reading(logits, Seen(input_ids[:, -self._kept :], kept))

    def _read(self, input_ids: Tensor, features: Features) -> Tensor:
        x = self.model.embed_tokens(input_ids)
        if self.model.step_inputs is not None:
            x = x + self.model.step_inputs(features, self.model.embed_tokens)
        hidden = self.body(inputs_embeds=x, use_cache=False).last_hidden_state
        return self._logits(hidden, features or None, 1.0)

    def _read_rows(self, input_ids: Tensor, features: Features) -> Tensor:
        """Logits of every row, 0 in its padding."""
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
    """Return the configs of a `Transformer` of so many weights, in the usual proportion.

    The inner width of SwiGLU is 8/3 of the width (Shazeer 2020, Touvron et al. 2023), heads are 64
    wide; both as nearly as so many weights allow.

    Raises:
        ReportError: Even the narrowest is too large.
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
    """Return the inner width that gives so many weights; below 1: there is none."""
    least = weights_of(Transformer(*_transformer_configs(config, width, 1, layers), context=2))
    inner = 1 + (weights - least) // (3 * width * layers)
    return inner - inner % 8 if inner > 64 else inner  # multiples of eight are faster


def _transformer_configs(
    config: MusicLSTMConfig, width: int, inner: int, layers: int
) -> tuple[MusicLSTMConfig, LlamaConfig]:
    body = LlamaConfig(
        vocab_size=1,  # embeddings are those of ours
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    outer = _changed(
        config, hidden_size=width, num_hidden_layers=1, dropout=0.0, embedding_dropout=0.0
    )
    return outer, body
