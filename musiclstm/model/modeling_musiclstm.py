"""A stack of LSTMs with copy gates and relative outputs for music.

Read it top to bottom: state, step features, one layer, outputs, network. The file is copied to the
Hub beside the weights. Of this package it imports only the configuration and the step features.

Shapes are written (batch, steps, hidden). The step features of `step_features.py` are computed from
the ids read so far; they enter the input and the logits of every step:

    x      = embed(token) + program + track + following + age
           + sum over candidates c of W_c embed(candidate_c)
    hidden = LSTM stack(x)
    logits = embed^T hidden + bias
           + for each candidate: its gate, added to the logit of its token
           + for Pitch tokens, where one may follow: heads over intervals to reference pitches,
             logarithms of three histograms, circular filters over pitch classes, log-odds of more
             notes
           + for Position tokens, where one may follow: heads over distances to two references, the
             logarithm of a histogram, log-odds of more onsets
           + for Duration tokens, where one must follow: the logarithm of a histogram

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
    PART_SIZES,
    PITCH_CLASSES,
    PITCH_REACH,
    POSITION_REACH,
    REFERENCE_PITCHES,
    FeatureArrays,
    StepFeatures,
    TokenKind,
    TokenTable,
)

Features = Mapping[str, Tensor]  # names and shapes of `FeatureArrays`, (batch, steps, ...)

# transformers 5.24 renames `past_key_values` of outputs to `cache`.
CACHE_NAME = (
    "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
)

# State --------------------------------------------------------------------------------------------


class FeatureReader:
    """Immutable reader of the step features of one row.

    `read` returns a reader for the next tokens and leaves this one unchanged: a state can be kept,
    and branches share their past. The first continuation reuses the feature tables. Further ones
    copy an earlier `StepFeatures` and read at most `_MAX_REREAD` tokens again.
    """

    _MAX_REREAD = 256

    def __init__(
        self, table: TokenTable, base: StepFeatures | None = None, ids: tuple[int, ...] = ()
    ) -> None:
        self._table, self._ids = table, ids  # ids: read since `base`
        self._base = StepFeatures(table) if base is None else base  # never read from, only copied
        self._up_to_date: list[StepFeatures] = []  # at most one; the first continuation removes it

    def restarted(self) -> FeatureReader:
        """Return a reader before the first token."""
        return FeatureReader(self._table)

    def read(self, ids: Sequence[int]) -> tuple[FeatureArrays, FeatureReader]:
        """Return the features after each token, (steps, ...), and the reader after them."""
        try:
            features = self._up_to_date.pop()  # atomic, so two threads never get the same one
        except IndexError:
            features = self._base.copy()
            features.read(self._ids)
        arrays = features.read(ids)
        all_ids = (*self._ids, *ids)
        if len(all_ids) > self._MAX_REREAD:
            after = FeatureReader(self._table, features.copy())
        else:
            after = FeatureReader(self._table, self._base, all_ids)
        after._up_to_date.append(features)
        return arrays, after

    def __deepcopy__(self, memo: dict[int, Any]) -> FeatureReader:
        """Return this reader, because it is immutable."""
        return self


class LSTMLayerState(LinearAttentionCacheLayerMixin):
    """Hidden state h and cell state c of one layer, (batch, hidden) each.

    transformers calls them recurrent states 0 and 1. Tensors are replaced, never written into.
    """

    is_compileable = False
    device: Any
    dtype: Any
    recurrent_states: Any

    def __init__(self, h: Tensor, c: Tensor) -> None:
        super().__init__(number_of_states=2)
        self.is_recurrent_states_initialized = {0: True, 1: True}
        self.has_previous_state = {0: True, 1: True}
        self._assign(h, c)

    def _assign(self, h: Tensor, c: Tensor) -> None:
        self.recurrent_states = {0: h, 1: c}
        self.device, self.dtype = h.device, h.dtype

    @property
    def h(self) -> Tensor:
        """Hidden state, (batch, hidden)."""
        return self.recurrent_states[0]

    @property
    def c(self) -> Tensor:
        """Cell state, (batch, hidden)."""
        return self.recurrent_states[1]

    @property
    def batch_size(self) -> int:
        """Batch size."""
        return self.h.shape[0]

    def map(self, function: Callable[[Tensor], Tensor]) -> LSTMLayerState:
        """Return a state with a function applied to both tensors."""
        return LSTMLayerState(function(self.h), function(self.c))

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the tensors exist from the start."""

    def update_conv_state(self, *args: Any, **kwargs: Any) -> Tensor:
        """Raise, because an LSTM has no convolution."""
        raise NotImplementedError("An LSTM has no convolution state.")

    def update_recurrent_state(
        self, recurrent_states: Tensor, state_idx: int = 0, **kwargs: Any
    ) -> Tensor:
        """Replace the hidden state (0) or the cell state (1)."""
        self._assign(*(self.recurrent_states | {state_idx: recurrent_states}).values())
        return recurrent_states

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Select rows by index, (rows,)."""
        index = beam_idx.to(self.h.device)
        self._assign(self.h.index_select(0, index), self.c.index_select(0, index))

    def reset(self) -> None:
        """Set both to 0."""
        self._assign(torch.zeros_like(self.h), torch.zeros_like(self.c))

    def crop(self, tokens_to_remove: int) -> None:
        """Raise, because an earlier state cannot be computed from a later one."""
        raise ValueError("An LSTM state cannot be cropped; keep the earlier state instead.")

    @property
    def is_croppable(self) -> bool:
        """Always False."""
        return False


class LSTMState(Cache):
    """State of the network: a few kilobytes per row, whatever the length of the piece.

    transformers calls this a cache and passes it as `past_key_values`; `generate()` carries it,
    reorders it for beams and returns it. A forward pass returns a new state and leaves its argument
    unchanged.

    Attributes:
        layers: Hidden state and cell state of each layer.
        num_tokens_seen: Steps read so far, padding included.
        readers: Reader of the step features of each row. None: nothing was read yet, the network
            has no step features, or the caller computes them.
    """

    layers: list[Any]

    def __init__(
        self,
        layers: Sequence[LSTMLayerState],
        num_tokens_seen: int = 0,
        readers: list[FeatureReader] | None = None,
    ) -> None:
        super().__init__(layers=[*layers])
        self.num_tokens_seen, self.readers = num_tokens_seen, readers

    @classmethod
    def zeros(
        cls,
        config: MusicLSTMConfig,
        batch_size: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> LSTMState:
        """Return the state before the first token."""
        zeros = torch.zeros(batch_size, config.hidden_size, dtype=dtype, device=device)
        return cls([LSTMLayerState(zeros, zeros) for _ in range(config.num_hidden_layers)])

    @property
    def h(self) -> Tensor:
        """Hidden states, (layers, batch, hidden)."""
        return torch.stack([layer.h.to(self.layers[0].device) for layer in self.layers])

    @property
    def c(self) -> Tensor:
        """Cell states, (layers, batch, hidden)."""
        return torch.stack([layer.c.to(self.layers[0].device) for layer in self.layers])

    @property
    def batch_size(self) -> int:
        """Batch size."""
        return self.layers[0].batch_size

    def index_select(self, index: Tensor) -> LSTMState:
        """Return the state of the rows in `index`, (rows,); an index may repeat."""
        layers = [
            layer.map(lambda x: x.index_select(0, index.to(x.device))) for layer in self.layers
        ]
        readers = self.readers and [self.readers[row] for row in index.tolist()]
        return LSTMState(layers, self.num_tokens_seen, readers)

    def detach(self) -> LSTMState:
        """Return the state without gradients."""
        layers = [layer.map(Tensor.detach) for layer in self.layers]
        return LSTMState(layers, self.num_tokens_seen, self.readers)

    def reset_rows(self, reset: Tensor) -> LSTMState:
        """Return the state with the initial state in rows where `reset`, bool (batch,), is true."""
        layers = [
            layer.map(lambda x: x.masked_fill(reset.to(x.device)[:, None], 0))
            for layer in self.layers
        ]
        readers = self.readers and [
            reader.restarted() if restart else reader
            for reader, restart in zip(self.readers, reset.tolist(), strict=True)
        ]
        return LSTMState(layers, self.num_tokens_seen, readers)

    # The interface of `Cache`.

    def _assign(self, other: LSTMState) -> None:
        self.layers, self.readers = other.layers, other.readers
        self.num_tokens_seen = other.num_tokens_seen

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of steps read so far."""
        return self.num_tokens_seen

    @property
    def is_linear(self) -> list[bool]:
        """Return False for each layer, so that `generate()` leaves out ids that were read.

        transformers 5.24 passes all ids again to a cache of nothing but linear layers.
        """
        return [False] * len(self.layers)

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """Return -1: there is no limit."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Select for each beam the row that it continues."""
        self._assign(self.index_select(beam_idx))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Select rows."""
        self._assign(self.index_select(indices))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times."""
        self._assign(self.index_select(torch.arange(self.batch_size).repeat_interleave(repeats)))

    def reset(self) -> None:
        """Reset every row."""
        self._assign(LSTMState([layer.map(torch.zeros_like) for layer in self.layers]))

    def crop(self, tokens_to_remove: int) -> None:
        """Raise, because an earlier state cannot be computed from a later one."""
        self.layers[0].crop(tokens_to_remove)

    @property
    def is_initialized(self) -> bool:
        """Always True: the tensors exist from the start."""
        return True

    def __repr__(self) -> str:
        layers, batch, hidden = len(self), self.batch_size, self.layers[0].h.shape[1]
        return f"LSTMState({layers=}, {batch=}, {hidden=}, seen={self.num_tokens_seen})"


# Step features ------------------------------------------------------------------------------------

_SHAPES = {
    field.name: getattr(FeatureArrays.empty(1, 1), field.name).shape[2:]
    for field in fields(FeatureArrays)
}


def feature_tensors(arrays: FeatureArrays) -> dict[str, Tensor]:
    """Return step features, (batch, steps, ...), as tensors that share memory with the arrays."""
    return {name: torch.from_numpy(getattr(arrays, name)) for name in _SHAPES}


@lru_cache(maxsize=8)
def _token_table(names: tuple[str, ...]) -> TokenTable:
    return TokenTable(names)


def _read_rows(
    readers: list[FeatureReader], ids: Tensor, mask: Tensor | None
) -> tuple[dict[str, Tensor], list[FeatureReader]]:
    """Return the features of (batch, steps) ids, on their device, and the readers after them.

    Padding is not read; its features are those of `FeatureArrays.empty`.
    """
    arrays = FeatureArrays.empty(*ids.shape)
    real = np.ones(ids.shape, bool) if mask is None else mask.cpu().numpy()
    after = []
    for row, (tokens, is_real) in enumerate(zip(ids.cpu().numpy(), real, strict=True)):
        read, reader = readers[row].read(tokens[is_real].tolist())
        for name in _SHAPES:
            getattr(arrays, name)[row, is_real] = getattr(read, name)
        after.append(reader)
    return {name: x.to(ids.device) for name, x in feature_tensors(arrays).items()}, after


class StepInputs(nn.Module):
    """Embeddings of the current and the following part, and projections of the candidates."""

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.program, self.track, self.following, self.age = (
            PartEmbedding(rows, size) for rows in PART_SIZES
        )
        self.candidate_inputs = CandidateInputs(len(CANDIDATES) * size, size, bias=False)

    def forward(self, features: Features, embed: nn.Embedding) -> Tensor:
        """Return what the step features add to the embedded token, (batch, steps, hidden)."""
        parts = features["parts"].long()
        tables = self.program, self.track, self.following, self.age
        x = self.candidate_inputs(features["candidates"].long(), embed)
        for column, table in enumerate(tables):
            x = x + table(parts[..., column]).to(x.device)
        return x


class PartEmbedding(nn.Embedding):
    """Embedding of one column of the feature `parts`."""


class CandidateInputs(nn.Linear):
    """Sum over the candidates of a projection of the candidate's embedding."""

    def forward(self, candidates: Tensor, embed: nn.Embedding) -> Tensor:  # type: ignore[override]
        """Map ids (batch, steps, candidates), negative for none, to (batch, steps, hidden)."""
        if self.training and candidates[..., 0].numel() > embed.num_embeddings:
            return self._project_vocabulary(candidates, embed)
        present, ids = candidates >= 0, candidates.clamp(min=0)
        x = embed(ids).to(ids.device)  # (batch, steps, candidates, hidden)
        x = (x * present[..., None]).flatten(-2)  # (batch, steps, candidates * hidden)
        return super().forward(x)  # (batch, steps, hidden)

    def _project_vocabulary(self, candidates: Tensor, embed: nn.Embedding) -> Tensor:
        # Where there are more steps than tokens, it is faster to project every token once.
        size, count, vocab = self.out_features, candidates.shape[-1], embed.num_embeddings
        weight = self.weight.view(size, count, size).transpose(0, 1)
        weight = weight.reshape(count * size, size)
        ids = torch.arange(vocab, device=candidates.device)
        table = nn.functional.linear(embed(ids).to(ids.device), weight)
        table = table.view(vocab * count, size).float()  # (vocab * candidates, hidden)
        column = torch.arange(count, device=candidates.device)
        index = torch.where(candidates >= 0, candidates * count + column, vocab * count)
        x = nn.functional.embedding_bag(
            index.flatten(0, 1),
            torch.cat([table, table.new_zeros(1, size)]),  # the last row means no candidate
            mode="sum",
            padding_idx=vocab * count,
        )  # (batch * steps, hidden)
        return x.view(*candidates.shape[:2], size)  # (batch, steps, hidden)


# One layer ----------------------------------------------------------------------------------------


class Padding(NamedTuple):
    """Permutation that moves the padding of each row to its end.

    Attributes:
        order: Indices of real steps, then of padding, (batch, steps).
        inverse: The inverse permutation, (batch, steps).
        lengths: Number of real steps, (batch,), on the CPU.
    """

    order: Tensor
    inverse: Tensor
    lengths: Tensor


def _left_align(mask: Tensor | None) -> Padding | None:
    """Return the permutation for a mask, bool (batch, steps); None without padding."""
    if mask is None or bool(mask.all()):
        return None
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    return Padding(order, order.argsort(dim=1), mask.sum(1).cpu())


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order.to(x.device)[..., None].expand(-1, -1, x.shape[-1]))


class VariationalDropout(nn.Module):
    """Dropout of the same features at every step of a window (Gal and Ghahramani 2016)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, steps, hidden) to the same shape; the identity outside of training."""
        if not self.training or self.p == 0:
            return x
        mask = torch.empty_like(x[:, :1]).bernoulli_(1 - self.p)  # (batch, 1, hidden)
        return x * mask / (1 - self.p)  # (batch, steps, hidden)


class StatefulLSTM(nn.LSTM):
    """One LSTM layer that starts from a state and skips padding.

    Every call looks the weights up again, because accelerate's offloading and sharded training
    materialize them only while this module runs.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, size, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, h: Tensor, c: Tensor, padding: Padding | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map x (batch, steps, hidden) and h, c (batch, hidden) to the output and the new h, c."""
        if x.shape[1] == 1 and padding is None:
            return self._run_step(x, h, c)
        if x.device.type == "cpu" and _autocast_fails():
            with torch.autocast("cpu", enabled=False):
                return self._run_steps(x.float(), h.float(), c.float(), padding)
        return self._run_steps(x, h, c, padding)

    def _run_step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # nn.LSTM on a CPU packs the weights at every call, which makes one step ten times slower.
        h, c = torch.lstm_cell(x[:, 0], (h, c), *self.all_weights[0])
        return h[:, None], h, c

    def _run_steps(
        self, x: Tensor, h: Tensor, c: Tensor, padding: Padding | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        if padding is not None:
            return self._run_padded(x, h, c, padding)
        # The arguments of nn.LSTM: biases, layers, dropout, training, bidirectional, batch_first.
        state, options = (h[None], c[None]), (True, 1, 0.0, self.training, False, True)
        out, new_h, new_c = torch.lstm(x, state, [*self.all_weights[0]], *options)
        return out, new_h[0], new_c[0]

    def _run_padded(
        self, x: Tensor, h: Tensor, c: Tensor, padding: Padding
    ) -> tuple[Tensor, Tensor, Tensor]:
        order, inverse, lengths = padding
        packed = pack_padded_sequence(
            _reorder(x, order), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )  # (real steps of all rows, hidden)
        rows, options = packed.sorted_indices, (True, 1, 0.0, self.training, False)
        state = (h[None, rows], c[None, rows])
        weights: list[Tensor] = [*self.all_weights[0]]
        data, new_h, new_c = torch.lstm(packed.data, packed.batch_sizes, state, weights, *options)
        out, _ = pad_packed_sequence(
            packed._replace(data=data), batch_first=True, total_length=x.shape[1]
        )  # (batch, steps, hidden)
        rows = packed.unsorted_indices
        changed = (lengths > 0).to(x.device)[:, None]  # a row of padding keeps its state
        return (
            _reorder(out, inverse),
            torch.where(changed, new_h[0, rows], h),
            torch.where(changed, new_c[0, rows], c),
        )


@cache
def _cpu_runs_bfloat16() -> bool:
    """Return whether this CPU runs an LSTM in bfloat16; False without oneDNN (macOS arm64).

    torch has no public function for it.
    """
    try:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    except (AttributeError, RuntimeError):
        return False


def _autocast_fails() -> bool:
    """Return whether autocast is on with a dtype in which torch cannot run an LSTM on the CPU."""
    dtype = torch.get_autocast_dtype("cpu")
    runs = dtype == torch.bfloat16 and _cpu_runs_bfloat16()
    return torch.is_autocast_enabled("cpu") and not runs


class MusicLSTMLayer(GradientCheckpointingLayer):
    """Norm, LSTM, dropout and residual connection."""

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm = nn.LayerNorm(size) if config.layer_norm else nn.Identity()
        self.lstm = StatefulLSTM(size)
        self.dropout = VariationalDropout(config.dropout)
        self.residual = config.residual

    def forward(
        self, x: Tensor, h: Tensor, c: Tensor, padding: Padding | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Map x (batch, steps, hidden) and h, c (batch, hidden) to the output and the new h, c."""
        out, h, c = self.lstm(self.norm(x).to(h.dtype), h, c, padding)
        out = self.dropout(out)
        return (x + out if self.residual else out), h, c


# Outputs ------------------------------------------------------------------------------------------


class CopyGates(nn.Linear):
    """Gate of each candidate: what it adds to the logit of its token."""

    def forward(self, hidden: Tensor, features: Features) -> Tensor:  # type: ignore[override]
        """Map (batch, steps, hidden) to (batch, steps, candidates), 0 without a candidate."""
        present = features["candidates"] >= 0
        accuracy = present * (features["accuracy"] * (3 / 255) - 1.5)  # from -1.5 to 1.5
        reliability = torch.cat([features["runs"].float().log1p(), present, accuracy], dim=-1)
        x = torch.cat([hidden, reliability.to(hidden.dtype)], dim=-1)
        return super().forward(x) * present  # (batch, steps, candidates)


class ContextHead(nn.Linear):
    """Logits of Pitch, Position and Duration tokens relative to earlier notes.

    One projection of the output gives all weights: relative pitch heads; two relative position
    heads; weights of three pitch histograms (part, recent, piece) and of the number of notes in an
    onset; circular filters over three sources (recent, piece, sounding); weights of two rhythm
    histograms (onsets, durations) and of the number of onsets in a bar.

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
        """Return the buffers, which are not stored in checkpoints."""
        table = _token_table(tuple(self._names))
        ids = {
            kind: [token for token, each in enumerate(table.kind) if each == kind]
            for kind in (TokenKind.PITCH, TokenKind.POSITION, TokenKind.DURATION)
        }
        return {
            "tokens": torch.tensor([token for each in ids.values() for token in each]),
            "pitches": _values(table, ids[TokenKind.PITCH]),
            "positions": _values(table, ids[TokenKind.POSITION]),
            "durations": _values(table, ids[TokenKind.DURATION]),
        }

    def forward(self, hidden: Tensor, features: Features) -> Tensor:  # type: ignore[override]
        """Map (batch, steps, hidden) to logits of `tokens`, (batch, steps, tokens)."""
        heads = super().forward(hidden).float().split(CONTEXT_SIZES, dim=-1)
        relative_pitch, after_onset, around_end, weights, filters, rhythm = heads
        more_notes, more_onsets = _log_odds(features["sizes"])  # (batch, steps, 1) each

        pitch = self._relative_pitch(relative_pitch, features["pitches"])
        pitch = pitch + _histogram(weights[..., :1], features["part"], self.pitches)
        pitch = pitch + self._pitch_classes(weights[..., 1:3], filters, features)
        pitch = pitch + weights[..., 3:] * more_notes  # (batch, steps, pitches)

        position = self._relative_position(after_onset, around_end, features["positions"])
        position = position + _histogram(rhythm[..., :1], features["onsets"], self.positions)
        position = position + rhythm[..., 2:] * more_onsets  # (batch, steps, positions)

        duration = _histogram(rhythm[..., 1:2], features["durations"], self.durations)

        terms = (1, pitch), (2, position), (4, duration)  # by the bit of `follows`
        follows = features["follows"][..., None]
        return torch.cat([x * ((follows & bit) > 0) for bit, x in terms], dim=-1)

    def _relative_pitch(self, scores: Tensor, references: Tensor) -> Tensor:
        scores = scores.unflatten(-1, (REFERENCE_PITCHES, -1))  # (batch, steps, 5, intervals)
        return _shifted(scores, references, self.pitches, -PITCH_REACH)

    def _relative_position(self, onset: Tensor, end: Tensor, references: Tensor) -> Tensor:
        both = references[..., :1], references[..., 1:]
        from_onset = _shifted(onset.unsqueeze(-2), both[0], self.positions, 0)
        return from_onset + _shifted(end.unsqueeze(-2), both[1], self.positions, -POSITION_REACH)

    def _pitch_classes(self, weights: Tensor, filters: Tensor, features: Features) -> Tensor:
        histograms = torch.stack([features["recent"], features["piece"]], dim=-2).float()
        normalized = histograms / histograms.sum(-1, keepdim=True).clamp(min=1e-6)
        bits = torch.arange(PITCH_CLASSES, device=filters.device)
        sounding = (features["sounding"].long()[..., None] >> bits) & 1  # (batch, steps, 12)
        sources = torch.cat([normalized, sounding.unsqueeze(-2)], dim=-2)  # (batch, steps, 3, 12)
        logits = (weights.unsqueeze(-1) * ((histograms + 1e-2).log() + 4.6)).sum(-2)
        logits = logits + _circular(filters.unflatten(-1, (3, PITCH_CLASSES)), sources)
        index = (self.pitches % PITCH_CLASSES).expand(*logits.shape[:-1], -1)
        return logits.gather(-1, index)  # (batch, steps, pitches)


def _values(table: TokenTable, tokens: list[int]) -> Tensor:
    return torch.tensor([table.value[token] for token in tokens], dtype=torch.long)


def _histogram(weight: Tensor, histogram: Tensor, values: Tensor) -> Tensor:
    """Return `weight * (log(histogram[values] + 1e-3) + 6.9)`, (batch, steps, values).

    The second factor is 0 for an empty bin and 6.9 for a full one.

    Args:
        weight: (batch, steps, 1).
        histogram: Frequencies from 0 to 1, (batch, steps, bins).
        values: Bin of each token, (values,); the last bin also holds larger values.
    """
    bins = values.clamp(max=histogram.shape[-1] - 1)
    return weight * ((histogram.float()[..., bins] + 1e-3).log() + 6.9)


def _log_odds(sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-odds that the onset has more notes, and that the bar has more onsets.

    Args:
        sizes: The feature, (batch, steps, 4).

    Returns:
        (batch, steps, 1) each; 0 without counts.
    """
    counts = (sizes.float() + 25.0).log()
    return counts[..., :1] - counts[..., 1:2], counts[..., 2:3] - counts[..., 3:]


def _shifted(scores: Tensor, references: Tensor, values: Tensor, low: int) -> Tensor:
    """Return the sum over references r of score_r(v - r) for each value v, (batch, steps, values).

    Args:
        scores: For differences from `low` on, (batch, steps, references, differences); 0 beyond.
        references: (batch, steps, references); negative ones are ignored.
        values: Pitch or position of each token, (values,).
        low: The first difference.
    """
    table = nn.functional.pad(scores, (1, 1))
    references = references.long()
    references = references.masked_fill(references < 0, 10_000)  # beyond every difference
    index = (values - (references[..., None] + low - 1)).clamp(0, table.shape[-1] - 1)
    return table.gather(-1, index).sum(-2)


def _circular(filters: Tensor, sources: Tensor) -> Tensor:
    """Return sum over sources s, pitch classes q of source_s[q] * filter_s[(p - q) mod 12].

    Args:
        filters: (batch, steps, sources, 12).
        sources: (batch, steps, sources, 12).

    Returns:
        For each pitch class p, (batch, steps, 12).
    """
    classes = torch.arange(PITCH_CLASSES, device=sources.device)
    index = (classes[:, None] - classes) % PITCH_CLASSES
    shifted = sources[..., index]  # (batch, steps, sources, 12 classes, 12 intervals)
    return (filters.unsqueeze(-2) * shifted).sum((-3, -1))  # (batch, steps, 12)


# The network --------------------------------------------------------------------------------------


class MusicLSTMPreTrainedModel(PreTrainedModel):
    """Configuration, initial weights and declarations for transformers."""

    config: MusicLSTMConfig
    config_class = MusicLSTMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MusicLSTMLayer", "StepInputs", "ContextHead"]  # noqa: RUF012
    _can_record_outputs = {"hidden_states": MusicLSTMLayer}  # noqa: RUF012
    _is_stateful = True
    _supports_sdpa = False

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any
    ) -> nn.Embedding:
        """Resize as in transformers; raise if `token_names` fixes the vocabulary."""
        names = self.config.token_names
        if names is not None and new_num_tokens not in (None, len(names)):
            raise ValueError(
                f"The vocabulary cannot be resized to {new_num_tokens} tokens: token_names of the "
                f"config has {len(names)}."
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
    forget = torch.zeros(4 * size)  # order of the gates: input, forget, cell, output
    forget[size : 2 * size] = 1.0
    init.copy_(bias_ih, forget)
    init.zeros_(bias_hh)


def _init_context_head(head: ContextHead) -> None:
    init.zeros_(head.weight)
    bias = [torch.zeros(size) for size in CONTEXT_SIZES]
    for weights in (3, 5):  # of histograms and log-odds
        bias[weights] += head.INITIAL_WEIGHT
    init.copy_(head.bias, torch.cat(bias))
    for name, values in head.tables().items():
        init.copy_(getattr(head, name), values)


class MusicLSTMModel(MusicLSTMPreTrainedModel):
    """Embeddings, LSTM layers and final norm."""

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
        """Run the layers; see `MusicLSTMForCausalLM.forward` for the arguments."""
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
        x, layers = self._run_layers(self.embedding_dropout(x), state, _left_align(mask))
        use_cache = self.config.use_cache if use_cache is None else use_cache
        num_seen = state.num_tokens_seen + x.shape[1]
        new_state: dict[str, Any] = {
            CACHE_NAME: LSTMState(layers, num_seen, readers) if use_cache else None
        }
        return BaseModelOutputWithPast(last_hidden_state=x, **new_state)

    def read_features(
        self, input_ids: Tensor | None, attention_mask: Tensor | None, state: LSTMState | None
    ) -> tuple[dict[str, Tensor] | None, list[FeatureReader] | None]:
        """Return the step features of the tokens, and the readers after them.

        A network without step features returns None for both.

        Args:
            input_ids: (batch, steps).
            attention_mask: As for `forward`; padding is not read.
            state: After the previous tokens.

        Raises:
            ValueError: There are no ids, or the caller computed the features of the previous
                tokens.
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
        if readers is None and state is not None and state.num_tokens_seen:
            raise ValueError(
                "The previous tokens were read with features of the caller; pass the features of "
                "these tokens too."
            )
        if readers is None:
            readers = [FeatureReader(_token_table(tuple(names))) for _ in range(len(input_ids))]
        return _read_rows(readers, input_ids, _mask_of_steps(attention_mask, *input_ids.shape))

    def _embed_features(self, features: Features, batch: int, steps: int) -> Tensor:
        if self.step_inputs is None:
            raise ValueError("This network has no step features: its config has no token_names.")
        _check_features(features, batch, steps)
        return self.step_inputs(features, self.embed_tokens)

    def _run_layers(
        self, x: Tensor, state: LSTMState, padding: Padding | None
    ) -> tuple[Tensor, list[LSTMLayerState]]:
        new_states = []
        for layer, layer_state in zip(self.layers, state.layers, strict=True):
            x, h, c = layer(x, layer_state.h, layer_state.c, padding)
            new_states.append(LSTMLayerState(h, c))
        return self.norm(x), new_states


class MusicLSTMForCausalLM(MusicLSTMPreTrainedModel, GenerationMixin):
    """`MusicLSTMModel` with the logits of the next token."""

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
        """Compute the logits of the next token after each token.

        Args:
            input_ids: Tokens, (batch, steps).
            attention_mask: 1 for real tokens and 0 for padding, anywhere in the row, (batch, steps)
                or longer by the steps read before; None: no padding.
            past_key_values: The state after the previous tokens; None: there are none.
            inputs_embeds: Embeddings in place of tokens, (batch, steps, hidden); a network with
                step features needs `features` with them.
            features: Step features with the names and shapes of `FeatureArrays`, integers in any
                integer dtype. None: computed here from the ids, on the CPU. After a call with
                `features`, continue the state with `features` too.
            labels: The input ids, (batch, steps); shifted here, -100 is ignored. For consecutive
                windows of a piece pass `shift_labels` too: they are not shifted, so that the last
                step of a window counts.
            use_cache: Return the state; None: as in the config.
            logits_to_keep: Number of last steps to compute logits for (0: all), or their indices.
            copy_weight: Factor of the gates of the copy candidates; a value below 1 gives fewer
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
            ValueError: Shapes do not fit, a row packs several pieces, or the step features cannot
                be computed.
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
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            **{CACHE_NAME: new_state},
        )

    def _logits(self, hidden: Tensor, features: Features | None, copy_weight: float) -> Tensor:
        logits = self.lm_head(hidden)  # (batch, steps, vocab)
        if features is None or self.gates is None or self.context_head is None:
            return logits
        gates = copy_weight * self.gates(hidden, features).to(logits.device)
        context = self.context_head(hidden, features).to(logits.device)
        candidates = features["candidates"].long().clamp(min=0).to(logits.device)
        tokens = self.context_head.tokens.to(logits.device).expand(*context.shape)
        tokens = torch.cat([candidates, tokens], dim=-1)  # (batch, steps, candidates + tokens)
        terms = torch.cat([gates.float(), context], dim=-1)
        # Summed in float32 and rounded once, so the logits are float32 under autocast too.
        return logits.float().scatter_add(-1, tokens, terms).to(self.dtype)  # (batch, steps, vocab)


# Checks of arguments ---------------------------------------------------------------------------


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
    """Return the part of the mask that belongs to these steps, bool (batch, steps)."""
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
    """Raise if a row packs several pieces, which an LSTM would read as one, or asks for attention.

    The other keyword arguments of transformers are ignored.
    """
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


def _check_features(features: Features, batch: int, steps: int) -> None:
    for name, shape in _SHAPES.items():
        if name not in features:
            raise ValueError(f"features lacks {name!r}; it needs {', '.join(_SHAPES)}.")
        if features[name].shape != (batch, steps, *shape):
            raise ValueError(
                f"features[{name!r}] must be of shape {(batch, steps, *shape)}, "
                f"got {tuple(features[name].shape)}."
            )


MusicLSTMConfig.register_for_auto_class()
MusicLSTMModel.register_for_auto_class("AutoModel")
MusicLSTMForCausalLM.register_for_auto_class("AutoModelForCausalLM")
