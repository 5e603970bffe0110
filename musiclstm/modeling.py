"""The network: token ids and a state in, scores for the next token and the new state out.

Reads top to bottom: the state, one layer, the attention read-out, the stack, recall, the head.
Travels to the Hub beside the weights, so it imports nothing of ours but the configuration. It does
not know what a token means, how one is chosen, or that there is music.

Every shape is written (batch, steps, hidden) or (layers, batch, hidden).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils.generic import ModelOutput, can_return_tuple

from .configuration import MusicLSTMConfig

# Not every processor can read an LSTM in bfloat16, and none in float16 under autocast.
_HAS_BFLOAT16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()


class LSTMState(Cache):
    """All the network remembers: some kilobytes, however long the piece.

    transformers calls such a thing a cache and passes it as `past_key_values`; `generate()` then
    carries it, reorders it for beams and returns it. Tensors are replaced, never written into, so
    a state that somebody keeps stays as it was.

    Attributes:
        hidden: Output of every layer at the last step, (layers, batch, hidden).
        cell: Cell of every layer at the last step, (layers, batch, hidden).
        memory: The last `window` outputs for the attention read-out, newest last,
            (batch, window, hidden); window 0 without a read-out.
        filled: How many rows of `memory` are real, (batch,).
        seen: Steps read so far, padding included; what `generate()` counts by.
        heard: The last tokens for recall, newest last, -1 where there was none yet,
            (batch, recall_window); window 0 without recall.
    """

    def __init__(
        self,
        hidden: Tensor,
        cell: Tensor,
        memory: Tensor,
        filled: Tensor,
        seen: int = 0,
        heard: Tensor | None = None,
    ) -> None:
        super().__init__(layers=[])
        self.hidden, self.cell, self.memory, self.filled = hidden, cell, memory, filled
        self.seen = seen
        self.heard = memory.new_empty(len(memory), 0, dtype=torch.int16) if heard is None else heard

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
        like: Any = {"dtype": dtype, "device": device}
        layers = torch.zeros(config.num_hidden_layers, batch_size, config.hidden_size, **like)
        memory = torch.zeros(batch_size, config.attention_window, config.hidden_size, **like)
        filled = torch.zeros(batch_size, dtype=torch.long, device=device)
        kind = torch.int16 if config.vocab_size <= torch.iinfo(torch.int16).max else torch.int32
        heard = torch.full((batch_size, config.recall_window), -1, dtype=kind, device=device)
        return cls(layers, layers, memory, filled, heard=heard)

    def rows(self, index: Tensor) -> LSTMState:
        """The state of chosen rows, in the order and as often as `index` (rows,) names them."""
        return LSTMState(
            self.hidden.index_select(1, index),
            self.cell.index_select(1, index),
            self.memory.index_select(0, index),
            self.filled.index_select(0, index),
            self.seen,
            self.heard.index_select(0, index),
        )

    def detached(self) -> LSTMState:
        """The same numbers without the history of how they came about."""
        tensors = self.hidden.detach(), self.cell.detach(), self.memory.detach()
        return LSTMState(*tensors, self.filled, self.seen, self.heard)

    def reset_rows(self, fresh: Tensor) -> LSTMState:
        """Forget everything in the rows where `fresh`, bool (batch,), is true."""
        return LSTMState(
            self.hidden.masked_fill(fresh[None, :, None], 0),
            self.cell.masked_fill(fresh[None, :, None], 0),
            self.memory.masked_fill(fresh[:, None, None], 0),
            self.filled.masked_fill(fresh, 0),
            self.seen,
            self.heard.masked_fill(fresh[:, None], -1),
        )

    # What transformers asks of a cache.

    def _become(self, other: LSTMState) -> None:
        self.hidden, self.cell = other.hidden, other.cell
        self.memory, self.filled = other.memory, other.filled
        self.seen, self.heard = other.seen, other.heard

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Steps read so far."""
        return self.seen

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """No limit."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Let every beam go on from the one it grew out of."""
        self._become(self.rows(beam_idx.to(self.hidden.device)))

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep chosen rows."""
        self._become(self.rows(indices.to(self.hidden.device)))

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times."""
        rows = torch.arange(self.hidden.shape[1], device=self.hidden.device)
        self._become(self.rows(rows.repeat_interleave(repeats)))

    def reset(self) -> None:
        """Forget everything in every row."""
        rows = torch.ones(self.hidden.shape[1], dtype=torch.bool, device=self.hidden.device)
        self._become(self.reset_rows(rows))
        self.seen = 0

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse: what an LSTM has read it cannot unread."""
        raise ValueError("An LSTM state cannot be cropped; keep a copy from before instead.")

    @property
    def batch_size(self) -> int:
        """Rows."""
        return self.hidden.shape[1]

    @property
    def is_initialized(self) -> bool:
        """Always: it is made whole."""
        return True

    @property
    def is_croppable(self) -> bool:
        """Never."""
        return False

    def __len__(self) -> int:
        return self.hidden.shape[0]

    def __repr__(self) -> str:
        layers, batch, hidden = self.hidden.shape
        return f"LSTMState({layers=}, {batch=}, {hidden=}, seen={self.seen})"


class LockedDropout(nn.Module):
    """Silences the same features at every step of a window (Gal and Ghahramani 2016)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(batch, steps, hidden) in and out; unchanged when not training."""
        if not self.training or self.share == 0:
            return x
        mask = torch.empty_like(x[:, :1]).bernoulli_(1 - self.share)  # (batch, 1, hidden)
        return x * mask / (1 - self.share)


class CarriedLSTM(nn.LSTM):
    """One layer of LSTM that goes on from a state and skips padding.

    The weights are looked up at every call: what keeps them elsewhere (accelerate's offloading,
    sharded training) puts them in place only while this very module runs.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, size, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, hidden: Tensor, cell: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, steps, hidden) and two (batch, hidden) in; the same three out."""
        if x.shape[1] == 1 and lengths is None:
            return self._step(x, hidden, cell)
        if x.device.type == "cpu" and _autocast_fails():
            with torch.autocast("cpu", enabled=False):
                return self._read(x.float(), hidden.float(), cell.float(), lengths)
        return self._read(x, hidden, cell, lengths)

    def _step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Through nn.LSTM, oneDNN would pack the weights anew for every step: ten times slower.
        hidden, cell = torch.lstm_cell(x[:, 0], (hidden, cell), *self.all_weights[0])
        return hidden[:, None], hidden, cell

    def _read(
        self, x: Tensor, hidden: Tensor, cell: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        self._flat_weights = [*self.all_weights[0]]
        state = (hidden[None].contiguous(), cell[None].contiguous())
        if lengths is None:
            out, (new_hidden, new_cell) = super().forward(x, state)
            return out, new_hidden[0], new_cell[0]
        packed = pack_padded_sequence(
            x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        packed_out, (new_hidden, new_cell) = super().forward(packed, state)
        out, _ = pad_packed_sequence(packed_out, batch_first=True, total_length=x.shape[1])
        moved = (lengths > 0)[:, None]  # a row of nothing but padding stays where it was
        return out, torch.where(moved, new_hidden[0], hidden), torch.where(moved, new_cell[0], cell)


def _autocast_fails() -> bool:
    """Whether torch would fail to read an LSTM as it is told to, instead of helping itself."""
    dtype = torch.get_autocast_dtype("cpu")
    return torch.is_autocast_enabled("cpu") and not (_HAS_BFLOAT16 and dtype == torch.bfloat16)


class MusicLSTMLayer(GradientCheckpointingLayer):
    """One floor of the stack: norm, LSTM, dropout, and the way around them."""

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.norm = nn.LayerNorm(size) if config.layer_norm else nn.Identity()
        self.lstm = CarriedLSTM(size)
        self.dropout = LockedDropout(config.dropout)
        self.residual = config.residual

    def forward(
        self, x: Tensor, hidden: Tensor, cell: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, steps, hidden) and two (batch, hidden) in; the same three out."""
        read, hidden, cell = self.lstm(self.norm(x).to(hidden.dtype), hidden, cell, lengths)
        read = self.dropout(read)
        return (x + read if self.residual else read), hidden, cell


class AttentionReadout(nn.Module):
    """Lets every output look back at the last `window` outputs, itself included.

    Scaled dot products (Vaswani et al. 2017) over the outputs themselves; what is found is mixed
    with the output by one linear layer, as in Luong et al. 2015.
    """

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__()
        self.window = config.attention_window
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.mix = nn.Linear(2 * config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, memory: Tensor, filled: Tensor) -> Tensor:
        """(batch, steps, hidden) in and out; memory (batch, window, hidden), filled (batch,)."""
        past = torch.cat([memory.to(x.dtype), x], dim=1)  # (batch, window + steps, hidden)
        scores = self.query(x) @ past.transpose(1, 2) / x.shape[-1] ** 0.5
        scores = scores.masked_fill(~self._visible(x.shape[1], filled), float("-inf"))
        found = scores.softmax(-1).to(x.dtype) @ past  # (batch, steps, hidden)
        return x + self.mix(torch.cat([x, found], dim=-1))

    def _visible(self, steps: int, filled: Tensor) -> Tensor:
        place = torch.arange(self.window + steps, device=filled.device)
        now = place[self.window :, None]  # where each step stands in `past`
        near = (place <= now) & (place > now - self.window)  # (steps, window + steps)
        real = place >= self.window - filled[:, None]  # (batch, window + steps)
        return near[None] & real[:, None]

    def remember(
        self, x: Tensor, memory: Tensor, filled: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The last `window` real outputs after reading x, and how many of them are real."""
        steps = x.shape[1] if lengths is None else lengths
        past = torch.cat([memory.to(x.dtype), x], dim=1)
        return _last(past, lengths, self.window), (filled + steps).clamp(max=self.window)


def _last(past: Tensor, lengths: Tensor | None, window: int) -> Tensor:
    """Of (batch, window + steps, ...) the last `window`; `lengths` steps of a row are real."""
    if lengths is None:
        return past[:, past.shape[1] - window :].clone()  # a view would keep all of `past`
    places = lengths[:, None] + torch.arange(window, device=past.device)
    return past[torch.arange(len(past), device=past.device)[:, None], places]


@dataclass
class MusicLSTMOutput(ModelOutput):
    """What a forward pass gives.

    Attributes:
        loss: Mean negative log-likelihood in nats per token; only with labels.
        logits: Scores of the next token, (batch, steps, vocab).
        last_hidden_state: Outputs of the stack, (batch, steps, hidden); from `MusicLSTMModel` only.
        past_key_values: The state after the last step, ready for the next call.
        hidden_states: Embeddings and what every layer gave, each (batch, steps, hidden); on demand.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    past_key_values: LSTMState | None = None
    hidden_states: tuple[Tensor, ...] | None = None


class MusicLSTMPreTrainedModel(PreTrainedModel):
    """What stack and head share: the config, fresh weights, what transformers may assume."""

    config: MusicLSTMConfig
    config_class = MusicLSTMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MusicLSTMLayer"]  # noqa: RUF012  (transformers reads a plain list)
    _is_stateful = True
    _supports_sdpa = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Orthogonal recurrence, open forget gates (Jozefowicz et al. 2015), small embeddings."""
        if isinstance(module, nn.LSTM):
            _init_lstm(module)
        elif isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
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


class MusicLSTMModel(MusicLSTMPreTrainedModel):
    """The stack: embeddings, layers, last norm, read-out."""

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(
            config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id
        )
        self.embedding_dropout = LockedDropout(config.embedding_dropout)
        self.layers = nn.ModuleList(MusicLSTMLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size) if config.layer_norm else nn.Identity()
        self.readout = AttentionReadout(config) if config.attention_window else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        """The embedding table."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding table."""
        assert isinstance(value, nn.Embedding)
        self.embed_tokens = value

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: LSTMState | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> MusicLSTMOutput:
        """Read tokens; see `MusicLSTMForCausalLM.forward` for the arguments."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Pass either input_ids or inputs_embeds, and not both.")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        state = past_key_values
        if state is None:
            dtype = self.embed_tokens.weight.dtype
            state = LSTMState.zeros(self.config, x.shape[0], dtype=dtype, device=x.device)
        order, lengths = _valid_first(attention_mask, x.shape[1])
        if order is not None:
            x = _reorder(x, order)
        outputs, hiddens, new_state = self._read(self.embedding_dropout(x), state, lengths)
        if order is not None:
            back = order.argsort(dim=1)
            outputs, hiddens = _reorder(outputs, back), [_reorder(h, back) for h in hiddens]
        if use_cache is None:
            use_cache = self.config.use_cache
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return MusicLSTMOutput(
            last_hidden_state=outputs,
            past_key_values=new_state if use_cache else None,
            hidden_states=tuple(hiddens) if output_hidden_states else None,
        )

    def _read(
        self, x: Tensor, state: LSTMState, lengths: Tensor | None
    ) -> tuple[Tensor, list[Tensor], LSTMState]:
        hiddens, last_hidden, last_cell = [x], [], []
        for layer, hidden, cell in zip(self.layers, state.hidden, state.cell, strict=True):
            x, hidden, cell = layer(x, hidden, cell, lengths)
            hiddens.append(x)
            last_hidden.append(hidden.to(state.hidden.device))  # layers may live on several
            last_cell.append(cell.to(state.cell.device))
        x = self.norm(x)
        memory, filled = state.memory, state.filled
        if self.readout is not None:
            read = self.readout(x, memory, filled)
            memory, filled = self.readout.remember(x, memory, filled, lengths)
            x = read
        new = LSTMState(torch.stack(last_hidden), torch.stack(last_cell), memory, filled)
        new.seen, new.heard = state.seen + x.shape[1], state.heard
        return x, hiddens, new


def _valid_first(mask: Tensor | None, steps: int) -> tuple[Tensor | None, Tensor | None]:
    """The order that puts padding last, (batch, steps), and the real lengths, (batch,).

    An LSTM would read padding as if it were music; with padding last, packing skips it.
    """
    if mask is None:
        return None, None
    mask = mask[:, -steps:].bool()
    if bool(mask.all()):
        return None, None
    order = (~mask).to(torch.int8).argsort(dim=1, stable=True)
    return order, mask.sum(1)


def _reorder(x: Tensor, order: Tensor) -> Tensor:
    return x.gather(1, order[..., None].expand(-1, -1, x.shape[-1]))


class Votes(NamedTuple):
    """What earlier places say comes next; everything is (votes,).

    Attributes:
        row: Of the batch.
        column: Of `past`, after which the token would come.
        token: Which one.
        odds: ln of what it gains, as a share of what the network gives to all tokens together.
    """

    row: Tensor
    column: Tensor
    token: Tensor
    odds: Tensor


class Recall(nn.Module):
    """Lets the scores lean towards what came next where the last tokens had stood before.

    Music comes back, note for note, over more bars than an LSTM can hold. So the last `window`
    tokens are kept as they are, and every place at least `distance` back that ends like the present
    one has a vote for the token that followed it, of weight `n ** power` where n tokens in a row
    agree. The vote is mixed into what the network expects, the more the more tokens agree:

        p = (1 - share) softmax(logits) + share vote,  ln(share / (1 - share)) = bias + slope ln(n)

    A cache as that of Grave et al. 2017, with places found by what came before them, as in PPM
    (Cleary and Witten 1984). It has no weights, and stands aside while the network learns.
    """

    longest = 32  # agreements count up to here; all of it lies among the last `window` tokens
    _at_once = 256  # steps compared with their past in one go

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__()
        self.window, self.distance = config.recall_window, config.recall_distance
        self.power, self.bias, self.slope = (
            float(each) for each in (config.recall_power, config.recall_bias, config.recall_slope)
        )

    def forward(self, logits: Tensor, past: Tensor, order: Tensor | None) -> Tensor:
        """Scores that lean.

        Args:
            logits: Of the last so many steps, (batch, kept, vocab).
            past: The tokens heard before, and those of all the steps, (batch, window + steps).
            order: Which step is where in `past`, (batch, steps); None: as they come.
        """
        skipped = past.shape[1] - self.window - logits.shape[1]
        votes = self._votes(past, self.window + (skipped if order is None else 0))
        step = votes.column - self.window
        return _lean(logits, votes, (step if order is None else order[votes.row, step]) - skipped)

    def _votes(self, past: Tensor, first: int) -> Votes:
        """For the token after each column of past, (batch, columns), from `first` on."""
        ends = [*range(first, past.shape[1], self._at_once), past.shape[1]]
        votes = [self._some_votes(past, *span) for span in itertools.pairwise(ends)]
        return Votes(*(torch.cat(parts) for parts in zip(*votes, strict=True)))

    def _some_votes(self, past: Tensor, begin: int, end: int) -> Votes:
        row, column, place, agree = self._agreements(past, begin, end)
        moment = row * (end - begin) + column - begin
        weight = agree**self.power
        sums = agree.new_zeros(len(past) * (end - begin))
        total = sums.index_add(0, moment, weight)
        longest = sums.scatter_reduce(0, moment, agree, "amax")
        tokens = max(int(past.max()) + 1, 1)
        both, voice = torch.unique(
            moment * tokens + past[row, place + 1].long(), return_inverse=True
        )
        vote = agree.new_zeros(len(both)).index_add(0, voice, weight)
        moment, token = both // tokens, both % tokens
        odds = self.bias + self.slope * longest[moment].log() + (vote / total[moment]).log()
        return Votes(moment // (end - begin), begin + moment % (end - begin), token, odds)

    def _agreements(
        self, past: Tensor, begin: int, end: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Row, column, an earlier place like it, and how many tokens agree; each (found,)."""
        farthest = self.window - self.longest
        first, last = begin - farthest, end - self.distance
        back = (
            torch.arange(begin, end, device=past.device)[:, None]
            - torch.arange(first, last, device=past.device)[None]
        )
        within = (back >= self.distance) & (back <= farthest)
        now, then = past[:, begin:end, None], past[:, None, first:last]
        known = (past[:, None, first:last] >= 0) & (past[:, None, first + 1 : last + 1] >= 0)
        row, column, place = ((now == then) & known & within).nonzero(as_tuple=True)
        column, place = column + begin, place + first
        agree = torch.ones(len(row), device=past.device)
        going_on = torch.arange(len(row), device=past.device)
        for earlier in range(1, self.longest):
            before = past[row[going_on], column[going_on] - earlier]
            there = past[row[going_on], place[going_on] - earlier]
            going_on = going_on[(before == there) & (there >= 0)]
            agree[going_on] += 1
        return row, column, place, agree


def _lean(logits: Tensor, votes: Votes, step: Tensor) -> Tensor:
    """Add to the probabilities of (batch, steps, vocab) what the votes at these steps give."""
    real = step >= 0
    at = votes.row[real], step[real], votes.token[real]
    gained = logits.logsumexp(-1)[at[:2]] + votes.odds[real]
    return logits.index_put(at, torch.logaddexp(logits[at].float(), gained).to(logits.dtype))


class MusicLSTMForCausalLM(MusicLSTMPreTrainedModel, GenerationMixin):
    """The whole network: the stack and the scores of the next token."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: MusicLSTMConfig) -> None:
        super().__init__(config)
        self.model = MusicLSTMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.recall = Recall(config) if config.recall_window else None
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the first forward pass makes the state

    def prepare_inputs_for_generation(  # type: ignore[override]
        self, input_ids: Tensor, inputs_embeds: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """As transformers does it, for the network alone unless `use_recall` is passed.

        What `generate()` cuts off the scores (`min_p`, `top_p`) would be every way out of a passage
        that is coming back; `musiclstm.Composer` cuts before it lets scores lean.
        """
        kwargs = {"use_recall": False, "inputs_embeds": inputs_embeds, **kwargs}
        base: Any = super()
        return dict(base.prepare_inputs_for_generation(input_ids, **kwargs))

    def _with_recall(
        self,
        logits: Tensor,
        past: Tensor,
        mask: Tensor | None,
        use_recall: bool | None,
    ) -> tuple[Tensor, Tensor]:
        """Scores that lean where they shall, and the last tokens heard, (batch, window).

        `past` is all that was heard and read, (batch, window + steps).
        """
        assert self.recall is not None
        window = self.recall.window
        order, lengths = _valid_first(mask, past.shape[1] - window)
        if order is not None:
            past = torch.cat([past[:, :window], past[:, window:].gather(1, order)], dim=1)
        if not self.training if use_recall is None else use_recall:
            logits = self.recall(logits, past, order)
        return logits, _last(past, lengths, window)

    def _past(self, state: LSTMState | None, ids: Tensor | None, outputs: Tensor) -> Tensor:
        """All that was heard and read, (batch, window + steps); -1: no token, or a vector."""
        rows, steps = outputs.shape[:2]
        if state is None or state.heard.shape[1] != self.config.recall_window:
            state = LSTMState.zeros(self.config, rows)
        heard = state.heard.to(outputs.device)
        now = heard.new_full((rows, steps), -1) if ids is None else ids.to(heard)
        return torch.cat([heard, now], dim=1)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: LSTMState | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int = 0,
        use_recall: bool | None = None,
        **kwargs: Any,
    ) -> MusicLSTMOutput:
        """Read tokens and score the next one after each.

        Args:
            input_ids: Tokens, (batch, steps).
            attention_mask: 1 for real tokens and 0 for padding, anywhere in the row, (batch, steps)
                or longer by what was read before; None: no padding.
            past_key_values: The state after the tokens before these; None: a fresh one.
            inputs_embeds: Vectors in place of tokens, (batch, steps, hidden).
            labels: The same tokens again, (batch, steps); shifted here, -100 is not counted. Pass
                `shift_labels` as well when a window goes on in the next one: then labels are taken
                as already shifted and the last step of the window counts too.
            use_cache: False: return no state; None: what the config says.
            output_hidden_states: True: return what every layer gave; None: what the config says.
            logits_to_keep: Score only the last so many steps; 0 scores all.
            use_recall: Let scores lean towards what was heard before, where the config has it;
                False: the network alone; None: unless it is training.
            **kwargs: Handed on to the loss, such as `shift_labels` or `num_items_in_batch`;
                `return_dict=False` gives a plain tuple.

        Returns:
            A `MusicLSTMOutput`; its `past_key_values` goes into the next call.
        """
        if kwargs.get("output_attentions"):
            raise ValueError("An LSTM has no attention weights; leave output_attentions out.")
        stack = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            return_dict=True,
        )
        logits = self.lm_head(stack.last_hidden_state[:, -logits_to_keep:])  # 0: all of them
        if self.recall is not None:
            past = self._past(past_key_values, input_ids, stack.last_hidden_state)
            logits, heard = self._with_recall(logits, past, attention_mask, use_recall)
            if stack.past_key_values is not None:
                stack.past_key_values.heard = heard
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config.vocab_size, **kwargs)
        return MusicLSTMOutput(
            loss=loss,
            logits=logits,
            past_key_values=stack.past_key_values,
            hidden_states=stack.hidden_states,
        )


MusicLSTMConfig.register_for_auto_class()
MusicLSTMModel.register_for_auto_class("AutoModel")
MusicLSTMForCausalLM.register_for_auto_class("AutoModelForCausalLM")
