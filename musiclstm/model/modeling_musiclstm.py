"""A stack of LSTMs with copy gates and relative outputs for music.

Reads top to bottom: the state, the step features, one layer, the outputs, the network. Travels to
the Hub beside the weights: of our modules it imports the configuration and the step features alone.

Shapes are written (batch, steps, hidden). The step features are computed from the ids read so far;
they enter the input and the logits of every step:

    x      = embed(token) + program + track + following + age
           + sum over candidates c of W_c embed(candidate_c)
    hidden = LSTM stack(x)
    logits = embed^T hidden + bias
           + for each candidate: its gate, on its token
           + on Pitch tokens, where one may follow: heads over intervals to reference pitches,
             logarithms of three histograms, circular filters over pitch classes, log-odds of more
             notes
           + on Position tokens, where one may follow: heads over distances to two references, the
             logarithm of a histogram, log-odds of more onsets
           + on Duration tokens, where one follows: the logarithm of a histogram

Without `token_names` in the configuration there are no step features: a plain LSTM and its head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, LinearAttentionCacheLayerMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .configuration_musiclstm import MusicLSTMConfig
from .step_features import (
    CANDIDATES,
    CONTEXT_SIZES,
    MAX_TRACKS,
    PITCH_CLASSES,
    PITCH_REACH,
    POSITION_REACH,
    REFERENCE_PITCHES,
    FeatureArrays,
    Kind,
    StepFeatures,
    TokenTable,
)

Features = Mapping[str, Tensor]  # names and shapes of `FeatureArrays`, (batch, steps, ...)

# transformers 5.24 renames `past_key_values` of outputs to `cache`.
CACHE_NAME = (
    "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
)
PROGRAMS, AGES = 130, 10  # rows of the embeddings: none, drums, 128 programs; bars

# State --------------------------------------------------------------------------------------------


class RowReader:
    """Step features of one row, read without a change to what was there before.

    Reading returns the reader for the next tokens; this one can be read from again, so that states
    can be kept and branches can share their past. The first continuation takes over the tables;
    further ones repeat the tokens since a copy that is at most `_REPEATED` tokens old.
    """

    _REPEATED = 256

    def __init__(
        self, table: TokenTable, base: StepFeatures | None = None, since: tuple[int, ...] = ()
    ) -> None:
        self._table, self._since = table, since
        self._base = StepFeatures(table) if base is None else base  # copied before it is read from
        self._next: list[StepFeatures] = []  # that has read `since`, until a continuation takes it

    def fresh(self) -> RowReader:
        """The reader before the first token."""
        return RowReader(self._table)

    def read(self, ids: Sequence[int]) -> tuple[FeatureArrays, RowReader]:
        """Features after each token, and the reader that continues from there."""
        try:
            reader = self._next.pop()  # atomic: two threads cannot take the same
        except IndexError:
            reader = self._base.copy()
            reader.read(self._since)
        arrays = reader.read(ids)
        since = (*self._since, *ids)
        if len(since) > self._REPEATED:
            later = RowReader(self._table, reader.copy())
        else:
            later = RowReader(self._table, self._base, since)
        later._next.append(reader)
        return arrays, later

    def __deepcopy__(self, memo: dict[int, Any]) -> RowReader:
        """Itself, as reading changes nothing that can be seen."""
        return self


class LSTMLayerState(LinearAttentionCacheLayerMixin):
    """Hidden state and cell of one layer, (batch, hidden) each.

    transformers calls them recurrent states 0 and 1. Tensors are replaced and never written into.
    """

    is_compileable = False
    device: Any
    dtype: Any
    recurrent_states: Any

    def __init__(self, hidden: Tensor, cell: Tensor) -> None:
        super().__init__(number_of_states=2)
        self.is_recurrent_states_initialized = {0: True, 1: True}
        self.has_previous_state = {0: True, 1: True}
        self._become(hidden, cell)

    def _become(self, hidden: Tensor, cell: Tensor) -> None:
        self.recurrent_states = {0: hidden, 1: cell}
        self.device, self.dtype = hidden.device, hidden.dtype

    @property
    def hidden(self) -> Tensor:
        """Output of the layer at the last step, (batch, hidden)."""
        return self.recurrent_states[0]

    @property
    def cell(self) -> Tensor:
        """Cell of the layer at the last step, (batch, hidden)."""
        return self.recurrent_states[1]

    @property
    def batch_size(self) -> int:
        """Number of rows."""
        return self.hidden.shape[0]

    def map(self, change: Callable[[Tensor], Tensor]) -> LSTMLayerState:
        """The state with both tensors changed."""
        return LSTMLayerState(change(self.hidden), change(self.cell))

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the state is complete when it is made."""

    def update_conv_state(self, *args: Any, **kwargs: Any) -> Tensor:
        """Refuse: an LSTM has no convolution."""
        raise NotImplementedError("An LSTM has no convolution state.")

    def update_recurrent_state(
        self, recurrent_states: Tensor, state_idx: int = 0, **kwargs: Any
    ) -> Tensor:
        """Replace the hidden state (0) or the cell (1)."""
        self._become(*(self.recurrent_states | {state_idx: recurrent_states}).values())
        return recurrent_states

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take the rows that `beam_idx` (rows,) names."""
        index = beam_idx.to(self.hidden.device)
        self._become(self.hidden.index_select(0, index), self.cell.index_select(0, index))

    def reset(self) -> None:
        """Set both to 0."""
        self._become(torch.zeros_like(self.hidden), torch.zeros_like(self.cell))

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: the state before a token cannot be computed from the state after it."""
        raise ValueError("An LSTM state cannot be cropped; keep a copy from before instead.")

    @property
    def is_croppable(self) -> bool:
        """Never."""
        return False


class LSTMState(Cache):
    """State of the network: some kilobytes for each row, however long the piece.

    transformers calls this a cache and passes it as `past_key_values`; `generate()` carries it,
    reorders it for beams and returns it. A forward pass returns a new state and leaves the one it
    was given as it was.

    Attributes:
        layers: Hidden state and cell of each layer.
        seen: Steps read so far, padding included.
        readers: Step features of each row. None: nothing was read yet, the network has no step
            features, or the caller computes them.
    """

    layers: list[Any]

    def __init__(
        self,
        layers: Sequence[LSTMLayerState],
        seen: int = 0,
        readers: list[RowReader] | None = None,
    ) -> None:
        super().__init__(layers=[*layers])
        self.seen, self.readers = seen, readers

    @classmethod
    def zeros(
        cls,
        config: MusicLSTMConfig,
        batch_size: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> LSTMState:
        """The state before the first token."""
        zeros = torch.zeros(batch_size, config.hidden_size, dtype=dtype, device=device)
        return cls([LSTMLayerState(zeros, zeros) for _ in range(config.num_hidden_layers)])

    @property
    def hidden(self) -> Tensor:
        """Output of every layer at the last step, (layers, batch, hidden)."""
        return torch.stack([layer.hidden.to(self.layers[0].device) for layer in self.layers])

    @property
    def cell(self) -> Tensor:
        """Cell of every layer at the last step, (layers, batch, hidden)."""
        return torch.stack([layer.cell.to(self.layers[0].device) for layer in self.layers])

    @property
    def batch_size(self) -> int:
        """Number of rows."""
        return self.layers[0].batch_size

    def rows(self, index: Tensor) -> LSTMState:
        """The state of chosen rows, in the order and as often as `index` (rows,) names them."""
        layers = [
            layer.map(lambda x: x.index_select(0, index.to(x.device))) for layer in self.layers
        ]
        readers = self.readers and [self.readers[row] for row in index.tolist()]
        return LSTMState(layers, self.seen, readers)

    def detached(self) -> LSTMState:
        """The same numbers without their gradients."""
        return LSTMState(
            [layer.map(Tensor.detach) for layer in self.layers], self.seen, self.readers
        )

    def reset_rows(self, fresh: Tensor) -> LSTMState:
        """The state with those rows reset where `fresh`, bool (batch,), is true."""
        layers = [
            layer.map(lambda x: x.masked_fill(fresh.to(x.device)[:, None], 0))
            for layer in self.layers
        ]
        readers = self.readers and [
            reader.fresh() if new else reader
            for reader, new in zip(self.readers, fresh.tolist(), strict=True)
        ]
        return LSTMState(layers, self.seen, readers)

    # What transformers asks of a cache.

    def _become(self, other: LSTMState) -> None:
        self.layers, self.seen, self.readers = other.layers, other.seen, other.readers

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Steps read so far."""
        return self.seen

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No limit."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take for each beam the row that it continues."""
        self._become(self.rows(beam_idx))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep chosen rows."""
        self._become(self.rows(indices))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times."""
        self._become(self.rows(torch.arange(self.batch_size).repeat_interleave(repeats)))

    def reset(self) -> None:
        """Reset every row."""
        self._become(LSTMState([layer.map(torch.zeros_like) for layer in self.layers]))

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: the state before a token cannot be computed from the state after it."""
        self.layers[0].crop(tokens_to_remove)

    @property
    def is_initialized(self) -> bool:
        """Always: the state is complete when it is made."""
        return True

    def __repr__(self) -> str:
        layers, batch, hidden = len(self), self.batch_size, self.layers[0].hidden.shape[1]
        return f"LSTMState({layers=}, {batch=}, {hidden=}, seen={self.seen})"


# Step features ------------------------------------------------------------------------------------

_SHAPES = {
    field.name: getattr(FeatureArrays.empty(1, 1), field.name).shape[2:]
    for field in fields(FeatureArrays)
}


def feature_tensors(arrays: FeatureArrays) -> dict[str, Tensor]:
    """Step features as the tensors that `forward` takes; they share the memory of the arrays.

    Args:
        arrays: (batch, steps, ...).
    """
    return {name: torch.from_numpy(getattr(arrays, name)) for name in _SHAPES}


def _check_features(features: Features, batch: int, steps: int) -> None:
    for name, shape in _SHAPES.items():
        if name not in features:
            raise ValueError(f"features lacks {name!r}; it needs {', '.join(_SHAPES)}.")
        if features[name].shape != (batch, steps, *shape):
            raise ValueError(
                f"features[{name!r}] must be of shape {(batch, steps, *shape)}, "
                f"got {tuple(features[name].shape)}."
            )


@lru_cache(maxsize=8)
def _token_table(names: tuple[str, ...]) -> TokenTable:
    return TokenTable(names)


def _read_rows(
    readers: list[RowReader], ids: Tensor, mask: Tensor | None
) -> tuple[dict[str, Tensor], list[RowReader]]:
    """Features of (batch, steps) ids, on their device, and the readers after them.

    Padding is not read; its features are those of `FeatureArrays.empty`.
    """
    arrays = FeatureArrays.empty(*ids.shape)
    real = np.ones(ids.shape, bool) if mask is None else mask.cpu().numpy()
    after = []
    for row, (tokens, here) in enumerate(zip(ids.cpu().numpy(), real, strict=True)):
        read, reader = readers[row].read(tokens[here].tolist())
        for name in _SHAPES:
            getattr(arrays, name)[row, here] = getattr(read, name)
        after.append(reader)
    return {name: x.to(ids.device) for name, x in feature_tensors(arrays).items()}, after


class StepInputs(nn.Module):
    """Embeddings of who plays and who comes next, and projections of the candidates."""

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.program = PartEmbedding(PROGRAMS, size)
        self.track = PartEmbedding(MAX_TRACKS, size)
        self.following = PartEmbedding(PROGRAMS, size)
        self.age = PartEmbedding(AGES, size)
        self.candidate_inputs = CandidateInputs(len(CANDIDATES) * size, size, bias=False)

    def forward(self, features: Features, embed: nn.Embedding) -> Tensor:
        """What the step features add to the embedded token, (batch, steps, hidden)."""
        parts = features["parts"].long()
        tables = self.program, self.track, self.following, self.age
        x = self.candidate_inputs(features["candidates"].long(), embed)
        for column, table in enumerate(tables):
            x = x + table(parts[..., column]).to(x.device)
        return x


class PartEmbedding(nn.Embedding):
    """Embedding of a column of the feature `parts`."""


class CandidateInputs(nn.Linear):
    """Sum of one projection per candidate of the candidate's embedding."""

    def forward(self, candidates: Tensor, embed: nn.Embedding) -> Tensor:  # type: ignore[override]
        """(batch, steps, candidates) ids, negative for none, to (batch, steps, hidden)."""
        if self.training and candidates[..., 0].numel() > embed.num_embeddings:
            return self._by_table(candidates, embed)
        present, ids = candidates >= 0, candidates.clamp(min=0)
        # (batch, steps, candidates, hidden)
        embedded = embed(ids).to(ids.device) * present[..., None]
        return super().forward(embedded.flatten(-2))

    def _by_table(self, candidates: Tensor, embed: nn.Embedding) -> Tensor:
        # Where there are more steps than tokens, it is faster to project every token once.
        size, count, vocab = self.out_features, candidates.shape[-1], embed.num_embeddings
        weight = self.weight.view(size, count, size).transpose(0, 1).reshape(count * size, size)
        ids = torch.arange(vocab, device=candidates.device)
        table = nn.functional.linear(embed(ids).to(ids.device), weight)  # (vocab, count * size)
        table = table.view(vocab * count, size).float()
        column = torch.arange(count, device=candidates.device)
        index = torch.where(candidates >= 0, candidates * count + column, vocab * count)
        summed = nn.functional.embedding_bag(
            index.flatten(0, 1),
            torch.cat([table, table.new_zeros(1, size)]),  # the last row stands for none
            mode="sum",
            padding_idx=vocab * count,
        )
        return summed.view(*candidates.shape[:2], size)


# One layer ----------------------------------------------------------------------------------------


class Padding(NamedTuple):
    """How to put the padding of each row last.

    Attributes:
        order: Real steps first, in order, (batch, steps).
        inverse: The way back, (batch, steps).
        lengths: Real steps, (batch,), on the CPU.
    """

    order: Tensor
    inverse: Tensor
    lengths: Tensor


def _padding(mask: Tensor | None) -> Padding | None:
    """An LSTM would read padding like tokens; packed behind the real steps, it is skipped."""
    if mask is None or bool(mask.all()):
        return None
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    return Padding(order, order.argsort(dim=1), mask.sum(1).cpu())


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order.to(x.device)[..., None].expand(-1, -1, x.shape[-1]))


class VariationalDropout(nn.Module):
    """Dropout of the same features at every step of a window (Gal and Ghahramani 2016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, hidden) in and out; unchanged when not training."""
        if not self.training or self.share == 0:
            return x
        mask = torch.empty_like(x[:, :1]).bernoulli_(1 - self.share)  # (batch, 1, hidden)
        return x * mask / (1 - self.share)


class StatefulLSTM(nn.LSTM):
    """One layer of LSTM that starts from a state and skips padding.

    The weights are looked up at every call: accelerate's offloading and sharded training put them
    in place only while this module runs.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, size, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, hidden: Tensor, cell: Tensor, padding: Padding | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, steps, hidden) and two (batch, hidden) in; the same three out."""
        if x.shape[1] == 1 and padding is None:
            return self._step(x, hidden, cell)
        if x.device.type == "cpu" and _autocast_fails():
            with torch.autocast("cpu", enabled=False):
                return self._read(x.float(), hidden.float(), cell.float(), padding)
        return self._read(x, hidden, cell, padding)

    def _step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # nn.LSTM on a CPU packs the weights again for every call: ten times slower for one step.
        hidden, cell = torch.lstm_cell(x[:, 0], (hidden, cell), *self.all_weights[0])
        return hidden[:, None], hidden, cell

    def _read(
        self, x: Tensor, hidden: Tensor, cell: Tensor, padding: Padding | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if padding is not None:
            return self._read_padded(x, hidden, cell, padding)
        # As nn.LSTM calls it: biases, layers, dropout, training, bidirectional, batch first.
        state, options = (hidden[None], cell[None]), (True, 1, 0.0, self.training, False, True)
        out, new_hidden, new_cell = torch.lstm(x, state, [*self.all_weights[0]], *options)
        return out, new_hidden[0], new_cell[0]

    def _read_padded(
        self, x: Tensor, hidden: Tensor, cell: Tensor, padding: Padding
    ) -> tuple[Tensor, Tensor, Tensor]:
        order, inverse, lengths = padding
        packed = pack_padded_sequence(
            _reorder(x, order), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        rows, options = packed.sorted_indices, (True, 1, 0.0, self.training, False)
        state = (hidden[None, rows], cell[None, rows])
        weights: list[Tensor] = [*self.all_weights[0]]
        data, last_hidden, last_cell = torch.lstm(
            packed.data, packed.batch_sizes, state, weights, *options
        )
        out, _ = pad_packed_sequence(
            packed._replace(data=data), batch_first=True, total_length=x.shape[1]
        )
        back = packed.unsorted_indices
        moved = (lengths > 0).to(x.device)[:, None]  # a row of padding alone keeps its state
        return (
            _reorder(out, inverse),
            torch.where(moved, last_hidden[0, back], hidden),
            torch.where(moved, last_cell[0, back], cell),
        )


@cache
def _cpu_runs_bfloat16() -> bool:
    """Return whether this processor runs an LSTM in bfloat16; False without oneDNN (macOS arm64).

    torch has no public function for it.
    """
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return False


def _autocast_fails() -> bool:
    """Whether torch fails on an LSTM in the dtype of autocast instead of using another one."""
    dtype = torch.get_autocast_dtype("cpu")
    runs = dtype == torch.bfloat16 and _cpu_runs_bfloat16()
    return torch.is_autocast_enabled("cpu") and not runs


class MusicLSTMLayer(GradientCheckpointingLayer):
    """Norm, LSTM, dropout, and the residual connection around them."""

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm = nn.LayerNorm(size) if config.layer_norm else nn.Identity()
        self.lstm = StatefulLSTM(size)
        self.dropout = VariationalDropout(config.dropout)
        self.residual = config.residual

    def forward(
        self, x: Tensor, hidden: Tensor, cell: Tensor, padding: Padding | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, steps, hidden) and two (batch, hidden) in; the same three out."""
        read, hidden, cell = self.lstm(self.norm(x).to(hidden.dtype), hidden, cell, padding)
        read = self.dropout(read)
        return (x + read if self.residual else read), hidden, cell


# Outputs ------------------------------------------------------------------------------------------


class CopyGates(nn.Linear):
    """What each candidate adds to the logit of its token."""

    def forward(self, hidden: Tensor, features: Features) -> Tensor:  # type: ignore[override]
        """(batch, steps, hidden) to (batch, steps, candidates), 0 where there is no candidate."""
        present = features["candidates"] >= 0
        accuracy = present * (features["accuracy"] * (3 / 255) - 1.5)
        trust = torch.cat([features["runs"].float().log1p(), present, accuracy], dim=-1)
        return super().forward(torch.cat([hidden, trust.to(hidden.dtype)], dim=-1)) * present


class ContextHead(nn.Linear):
    """Logits of Pitch, Position and Duration tokens relative to earlier notes.

    One projection of the output gives all weights: relative pitch heads, two relative position
    heads, weights of three histograms of pitches (part, recent, piece) and of the usual number of
    notes, circular filters over three sources (recent, piece, sounding), weights of two histograms
    of rhythm (onsets, durations) and of the usual number of onsets.

    Attributes:
        tokens: Ids of the Pitch, Position and Duration tokens, (tokens,).
        pitches: Values of the Pitch tokens, (pitches,).
        positions: Values of the Position tokens, (positions,).
        durations: Values of the Duration tokens, (durations,).
    """

    INITIAL_WEIGHT = 0.2  # of histograms and log-odds
    tokens: Tensor
    pitches: Tensor
    positions: Tensor
    durations: Tensor

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__(config.hidden_size, sum(CONTEXT_SIZES))
        self._names = config.token_names or []
        for name, values in self.tables().items():
            self.register_buffer(name, values, persistent=False)

    def tables(self) -> dict[str, Tensor]:
        """Values of the buffers."""
        table = _token_table(tuple(self._names))
        ids = {
            kind: [token for token, each in enumerate(table.kind) if each == kind]
            for kind in (Kind.PITCH, Kind.POSITION, Kind.DURATION)
        }
        return {
            "tokens": torch.tensor([token for each in ids.values() for token in each]),
            "pitches": _values(table, ids[Kind.PITCH]),
            "positions": _values(table, ids[Kind.POSITION]),
            "durations": _values(table, ids[Kind.DURATION]),
        }

    def forward(self, hidden: Tensor, features: Features) -> Tensor:  # type: ignore[override]
        """(batch, steps, hidden) to logits of `tokens`, (batch, steps, tokens)."""
        scores = super().forward(hidden).float().split(CONTEXT_SIZES, dim=-1)
        relative_pitch, after_onset, around_end, weights, filters, rhythm = scores
        pitch = self._relative_pitch(relative_pitch, features["pitches"])
        pitch = pitch + _histogram(weights[..., :1], features["part"], self.pitches)
        pitch = pitch + self._pitch_classes(weights[..., 1:3], filters, features)
        more_notes, more_onsets = _log_odds(features["sizes"])
        pitch = pitch + weights[..., 3:] * more_notes
        position = self._relative_position(after_onset, around_end, features["positions"])
        position = position + _histogram(rhythm[..., :1], features["onsets"], self.positions)
        position = position + rhythm[..., 2:] * more_onsets
        duration = _histogram(rhythm[..., 1:2], features["durations"], self.durations)
        terms = (1, pitch), (2, position), (4, duration)
        follows = features["follows"][..., None]
        return torch.cat([x * ((follows & bit) > 0) for bit, x in terms], dim=-1)

    def _relative_pitch(self, scores: Tensor, references: Tensor) -> Tensor:
        scores = scores.unflatten(-1, (REFERENCE_PITCHES, -1))
        return _shifted(scores, references, self.pitches, -PITCH_REACH)

    def _relative_position(self, onset: Tensor, end: Tensor, references: Tensor) -> Tensor:
        both = references[..., :1], references[..., 1:]
        from_onset = _shifted(onset.unsqueeze(-2), both[0], self.positions, 0)
        return from_onset + _shifted(end.unsqueeze(-2), both[1], self.positions, -POSITION_REACH)

    def _pitch_classes(self, weights: Tensor, filters: Tensor, features: Features) -> Tensor:
        histograms = torch.stack([features["recent"], features["piece"]], dim=-2).float()
        shares = histograms / histograms.sum(-1, keepdim=True).clamp(min=1e-6)
        bits = torch.arange(PITCH_CLASSES, device=filters.device)
        sounding = (features["sounding"].long()[..., None] >> bits) & 1
        sources = torch.cat([shares, sounding.unsqueeze(-2)], dim=-2)  # (..., sources, 12)
        classes = (weights.unsqueeze(-1) * ((histograms + 1e-2).log() + 4.6)).sum(-2)
        classes = classes + _circular(filters.unflatten(-1, (3, PITCH_CLASSES)), sources)
        index = (self.pitches % PITCH_CLASSES).expand(*classes.shape[:-1], -1)
        return classes.gather(-1, index)  # (batch, steps, pitches)


def _values(table: TokenTable, tokens: list[int]) -> Tensor:
    return torch.tensor([table.value[token] for token in tokens], dtype=torch.long)


def _histogram(weight: Tensor, histogram: Tensor, values: Tensor) -> Tensor:
    """Weighted logarithm of a histogram at some values, from 0 where it is empty, to 6.9.

    Args:
        weight: (batch, steps, 1).
        histogram: Shares, (batch, steps, bins).
        values: (values,); those beyond the last bin count in it.
    """
    bins = values.clamp(max=histogram.shape[-1] - 1)
    return weight * ((histogram.float()[..., bins] + 1e-3).log() + 6.9)


def _log_odds(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Log-odds that an onset has more notes, and that a bar has more onsets, from the sizes.

    Args:
        sizes: The feature, (batch, steps, 4).

    Returns:
        (batch, steps, 1) each; 0 where nothing is known.
    """
    counts = (sizes.float() + 25.0).log()
    return counts[..., :1] - counts[..., 1:2], counts[..., 2:3] - counts[..., 3:]


def _shifted(scores: Tensor, references: Tensor, values: Tensor, low: int) -> Tensor:
    """Sum of heads over differences, each shifted to its reference.

    Args:
        scores: For differences from `low` on, (batch, steps, references, differences); 0 beyond.
        references: (batch, steps, references); a negative one does not count.
        values: Of the tokens, (values,).
        low: The first difference.

    Returns:
        For value v the sum over references r of score_r(v - r), (batch, steps, values).
    """
    table = nn.functional.pad(scores, (1, 1))
    references = references.long()
    references = references.masked_fill(references < 0, 10_000)  # out of reach of every value
    index = (values - (references[..., None] + low - 1)).clamp(0, table.shape[-1] - 1)
    return table.gather(-1, index).sum(-2)


def _circular(filters: Tensor, sources: Tensor) -> Tensor:
    """Sum over sources s and pitch classes q of source_s[q] * filter_s[(p - q) mod 12].

    Args:
        filters: (batch, steps, sources, 12).
        sources: (batch, steps, sources, 12).

    Returns:
        (batch, steps, 12).
    """
    place = torch.arange(PITCH_CLASSES, device=sources.device)
    shifted = sources[
        ..., (place[:, None] - place) % PITCH_CLASSES
    ]  # (..., sources, class, interval)
    return (filters.unsqueeze(-2) * shifted).sum((-3, -1))


# The network --------------------------------------------------------------------------------------


class MusicLSTMPreTrainedModel(PreTrainedModel):
    """Configuration, initial weights, and what transformers may assume."""

    config: MusicLSTMConfig
    config_class = MusicLSTMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    # transformers reads a plain list
    _no_split_modules = ["MusicLSTMLayer", "StepInputs", "ContextHead"]  # noqa: RUF012
    _can_record_outputs = {"hidden_states": MusicLSTMLayer}  # noqa: RUF012
    _is_stateful = True
    _supports_sdpa = False

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any
    ) -> nn.Embedding:
        """As in transformers; refused where `token_names` names every token."""
        names = self.config.token_names
        if names is not None and new_num_tokens not in (None, len(names)):
            raise ValueError(
                f"token_names of the config names {len(names)} tokens; the vocabulary cannot be "
                f"resized to {new_num_tokens}."
            )
        return super().resize_token_embeddings(new_num_tokens, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Orthogonal recurrence, open forget gates (Jozefowicz et al. 2015), small embeddings."""
        if isinstance(module, nn.LSTM):
            _init_lstm(module)
        elif isinstance(module, ContextHead):
            _init_context_head(module)
        elif isinstance(module, nn.Linear):
            by_width = isinstance(module, (CandidateInputs, CopyGates))
            std = (3 * self.config.hidden_size) ** -0.5 if by_width else None
            init.normal_(module.weight, std=std or self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            part = isinstance(module, PartEmbedding)
            init.normal_(module.weight, std=0.02 if part else self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)


def _init_lstm(lstm: nn.LSTM) -> None:
    size = lstm.hidden_size
    weight_ih, weight_hh, bias_ih, bias_hh = lstm.all_weights[0]
    init.xavier_uniform_(weight_ih)
    gates = [nn.init.orthogonal_(torch.empty(size, size)) for _ in range(4)]
    init.copy_(weight_hh, torch.cat(gates))
    forget = torch.zeros(4 * size)  # gates stand in the order input, forget, cell, output
    forget[size : 2 * size] = 1.0
    init.copy_(bias_ih, forget)
    init.zeros_(bias_hh)


def _init_context_head(head: ContextHead) -> None:
    init.zeros_(head.weight)
    bias = [torch.zeros(size) for size in CONTEXT_SIZES]
    for weights in (3, 5):  # of CONTEXT_SIZES: those of pitches, those of rhythm
        bias[weights] += head.INITIAL_WEIGHT
    init.copy_(head.bias, torch.cat(bias))
    for name, values in head.tables().items():
        init.copy_(getattr(head, name), values)


class MusicLSTMModel(MusicLSTMPreTrainedModel):
    """The stack: embeddings, layers, final norm."""

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        self.step_inputs = StepInputs(config) if config.token_names is not None else None
        self.embedding_dropout = VariationalDropout(config.embedding_dropout)
        self.layers = nn.ModuleList(MusicLSTMLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size) if config.layer_norm else nn.Identity()
        self.post_init()

    @capture_outputs  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: LSTMState | None = None,
        inputs_embeds: Tensor | None = None,
        features: Features | None = None,
        use_cache: bool | None = None,
        cache: LSTMState | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Read tokens; see `MusicLSTMForCausalLM.forward` for the arguments."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds, and not both.")
        state, readers = _as_state(past_key_values, cache), None
        if features is None:
            features, readers = self.read_features(input_ids, attention_mask, state)
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        mask = _mask_of_steps(attention_mask, *x.shape[:2])
        _refuse_unsupported(mask, **kwargs)
        if features is not None:
            x = x + self._embed_features(features, *x.shape[:2]).to(x)
        if state is None:
            dtype = self.embed_tokens.weight.dtype
            state = LSTMState.zeros(self.config, x.shape[0], dtype=dtype, device=x.device)
        _check_sizes(state, self.config, x.shape[0])
        outputs, layers = self._read(self.embedding_dropout(x), state, _padding(mask))
        use_cache = self.config.use_cache if use_cache is None else use_cache
        new_state = LSTMState(layers, state.seen + x.shape[1], readers) if use_cache else None
        rest: dict[str, Any] = {CACHE_NAME: new_state}
        return BaseModelOutputWithPast(last_hidden_state=outputs, **rest)

    def read_features(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, state: LSTMState | None
    ) -> tuple[dict[str, Tensor] | None, list[RowReader] | None]:
        """Step features of the tokens, and the readers after them.

        A network without step features has neither.

        Args:
            input_ids: (batch, steps).
            attention_mask: As for `forward`; padding is not read.
            state: After the tokens before these.

        Raises:
            ValueError: There are no ids, or the tokens before these were not read by readers.
        """
        names = self.config.token_names
        if names is None:
            return None, None
        if input_ids is None:
            raise ValueError(
                "This network needs step features, which cannot be computed from inputs_embeds; "
                "pass features as well, or input_ids instead."
            )
        readers = None if state is None else state.readers
        if readers is None and state is not None and state.seen:
            raise ValueError(
                "The tokens before these were read with features of the caller; pass the features "
                "of these too."
            )
        if readers is None:
            readers = [RowReader(_token_table(tuple(names))) for _ in range(len(input_ids))]
        return _read_rows(readers, input_ids, _mask_of_steps(attention_mask, *input_ids.shape))

    def _embed_features(self, features: Features, batch: int, steps: int) -> Tensor:
        if self.step_inputs is None:
            raise ValueError("This network has no step features: its config has no token_names.")
        _check_features(features, batch, steps)
        return self.step_inputs(features, self.embed_tokens)

    def _read(
        self, x: Tensor, state: LSTMState, padding: Padding | None
    ) -> tuple[Tensor, list[LSTMLayerState]]:
        states = []
        for layer, before in zip(self.layers, state.layers, strict=True):
            x, hidden, cell = layer(x, before.hidden, before.cell, padding)
            states.append(LSTMLayerState(hidden, cell))
        return self.norm(x), states


def _as_state(past_key_values: object, cache: object) -> LSTMState | None:
    state = past_key_values if cache is None else cache
    if state is None or isinstance(state, LSTMState):
        return state
    raise TypeError(
        "past_key_values must be the LSTMState that an earlier call returned, or None; got a "
        f"{type(state).__name__}. An LSTM has no keys and values."
    )


def _check_sizes(state: LSTMState, config: MusicLSTMConfig, batch: int) -> None:
    if (len(state), state.batch_size) != (config.num_hidden_layers, batch):
        raise ValueError(
            f"past_key_values has {len(state)} layers and {state.batch_size} rows; the network has "
            f"{config.num_hidden_layers} layers, and there are {batch} rows of tokens."
        )


def _mask_of_steps(mask: Tensor | None, batch: int, steps: int) -> Tensor | None:
    """The part of the mask that belongs to these steps, bool (batch, steps)."""
    if mask is None:
        return None
    if mask.ndim != 2 or mask.shape[0] != batch or mask.shape[1] < steps:
        raise ValueError(
            f"attention_mask must be (batch, steps), here {(batch, steps)}, or longer by the steps "
            f"read before; got {tuple(mask.shape)}."
        )
    return mask[:, mask.shape[1] - steps :].bool()


def _refuse_unsupported(
    mask: Tensor | None,
    position_ids: Tensor | None = None,
    cu_seq_lens_q: Tensor | None = None,
    output_attentions: bool | None = None,
    **kwargs: Any,
) -> None:
    """Refuse several pieces in one row, which would be read as one, and what an LSTM lacks."""
    if output_attentions:
        raise ValueError("An LSTM has no attention weights; leave output_attentions out.")
    if cu_seq_lens_q is not None or (position_ids is not None and _restarts(position_ids, mask)):
        raise ValueError(
            "position_ids that restart within a row are not supported: pieces packed into one "
            "row would be read as one. Give each piece its own row, padded, with attention_mask."
        )


def _restarts(position_ids: Tensor, mask: Tensor | None) -> bool:
    back = position_ids[..., 1:] <= position_ids[..., :-1]
    if mask is not None and mask.shape == position_ids.shape:
        back = back & mask[:, 1:] & mask[:, :-1]  # padding has any position
    return bool(back.any())


class MusicLSTMForCausalLM(MusicLSTMPreTrainedModel, GenerationMixin):
    """The whole network: the stack and the logits of the next token."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__(config)
        self.model = MusicLSTMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.gates: CopyGates | None = None
        self.context_head: ContextHead | None = None
        if config.token_names is not None:
            count = len(CANDIDATES)
            self.gates = CopyGates(config.hidden_size + 3 * count, count)
            self.context_head = ContextHead(config)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the first forward pass makes the state

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: LSTMState | None = None,
        inputs_embeds: Tensor | None = None,
        features: Features | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        copy_weight: float = 1.0,
        cache: LSTMState | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Read tokens and compute the logits of the next token after each.

        Args:
            input_ids: Tokens, (batch, steps).
            attention_mask: 1 for real tokens and 0 for padding, anywhere in the row, (batch, steps)
                or longer by the steps read before; None: no padding.
            past_key_values: The state after the tokens before these; None: the first ones.
            inputs_embeds: Embeddings in place of tokens, (batch, steps, hidden); a network with
                step features needs `features` with them.
            features: Step features with the names and shapes of `FeatureArrays`, integers in any
                integer dtype. None: computed here from the ids, on the CPU. A state after given
                features has to be continued with given features.
            labels: The same tokens again, (batch, steps); shifted here, -100 is not counted. Pass
                `shift_labels` as well where windows of a piece follow each other: they are not
                shifted, and the last step of a window counts too.
            use_cache: Return the state; None: as in the config.
            logits_to_keep: Number of last steps to compute logits for (0: all), or their indices.
            copy_weight: Factor of the gates of the copy candidates; below 1 there are fewer
                repetitions.
            cache: Name of `past_key_values` from transformers 5.24 on.
            **kwargs: `output_hidden_states=True` returns the input of the first layer and the
                output of each, the last one normalized; `return_dict=False` gives a plain tuple;
                `shift_labels`, `num_items_in_batch` and others go to the loss.

        Returns:
            Logits (batch, steps, vocab) in the dtype of the weights; `past_key_values` (`cache`
            from transformers 5.24 on) for the next call.

        Raises:
            TypeError: `past_key_values` is another kind of cache.
            ValueError: Shapes do not fit, several pieces stand in one row, or there is nothing to
                compute the step features from.
        """
        state, readers = _as_state(past_key_values, cache), None
        if features is None and input_ids is not None:
            features, readers = self.model.read_features(input_ids, attention_mask, state)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=state,
            inputs_embeds=inputs_embeds,
            features=features,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )
        new_state = outputs.get(CACHE_NAME)
        if new_state is not None:
            new_state.readers = readers
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        kept = None if features is None else {name: x[:, keep] for name, x in features.items()}
        logits = self._logits(outputs.last_hidden_state[:, keep], kept, copy_weight)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, **kwargs)
        rest: dict[str, Any] = {CACHE_NAME: new_state}
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, **rest
        )

    def _logits(self, hidden: Tensor, features: Features | None, copy_weight: float) -> Tensor:
        logits = self.lm_head(hidden)  # (batch, steps, vocab)
        if features is None or self.gates is None or self.context_head is None:
            return logits
        gates = copy_weight * self.gates(hidden, features).to(logits.device)
        context = self.context_head(hidden, features).to(logits.device)
        candidates = features["candidates"].long().clamp(min=0).to(logits.device)
        tokens = self.context_head.tokens.to(logits.device)
        tokens = torch.cat([candidates, tokens.expand(*context.shape)], dim=-1)
        scores = torch.cat([gates.float(), context], dim=-1)
        # Summed in float32 and rounded once: under autocast too, the logits are float32.
        return logits.float().scatter_add(-1, tokens, scores).to(self.dtype)


MusicLSTMConfig.register_for_auto_class()
MusicLSTMModel.register_for_auto_class("AutoModel")
MusicLSTMForCausalLM.register_for_auto_class("AutoModelForCausalLM")
