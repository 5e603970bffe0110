"""The networks that `benchmarks.quality` compares, all called in the same way.

`network(ids, past_key_values=state)` takes ids (batch, steps) and gives `.logits`
(batch, steps, vocab) and `.past_key_values`, the state to go on from, as `MusicLSTMForCausalLM`
does; so `training.metrics.held_out` can read each of them.

- ours: the stack of musiclstm.
- seed 1: what one writes first. Embedding, four layers of `nn.LSTM`, an output matrix of its own;
  no norm, no way around a layer, ordinary dropout (Srivastava et al. 2014) of a half between layers
  and before the output; every window begins with a zero state. About as many weights as ours.
- Performance RNN: the same with three layers of 512 (Oore, Simon, Dieleman, Eck and Simonyan 2018,
  "This Time with Feeling"), its state carried and without dropout, as the authors' own code has it
  (`magenta/models/performance_rnn/performance_model.py`, dropout_keep_prob=1.0). As large as it is.
- transformer: Llama (Touvron et al. 2023) with tied embeddings. About as many weights as ours.

Knows neither music nor how one learns.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.reporting import ReportError
from musiclstm.configuration import MusicLSTMConfig
from musiclstm.modeling import LSTMState, MusicLSTMForCausalLM

OURS, SEED_1, PERFORMANCE_RNN, TRANSFORMER = "ours", "seed 1", "Performance RNN", "transformer"
TOLERANCE = 0.05  # of "about as many weights"
_SEED_1_LAYERS, _SEED_1_DROPOUT = 4, 0.5
_OORE_LAYERS, _OORE_WIDTH = 3, 512

# Writes one token: its id (1, 1) and what the step before gave (None: nothing was read) in; scores
# of the next one (vocab,) and what the next step needs out.
Step: TypeAlias = Callable[[Tensor, Any], tuple[Tensor, Any]]


class Reading(NamedTuple):
    """What a network makes of some tokens: scores (batch, steps, vocab) and its state."""

    logits: Tensor
    past_key_values: Any


@dataclass(frozen=True)
class Contender:
    """One network before it has learnt anything.

    Attributes:
        name: For tables.
        build: Makes it, from the random numbers of torch as they stand.
        window: Tokens that it learns from at once.
        context: None where its state is carried from window to window. Else it reads window by
            window, held-out pieces too, and so many tokens of each but the first of a piece are
            only read, because the window before has predicted them.
    """

    name: str
    build: Callable[[], nn.Module]
    window: int
    context: int | None = None

    @property
    def carries(self) -> bool:
        """Whether it goes on from the state in which the window before ended."""
        return self.context is None

    def reader(self, network: nn.Module) -> nn.Module:
        """The network as held-out pieces are read, for `held_out`."""
        if self.context is None:
            return network
        return Windowed(network, self.window, context=self.context)

    def stepper(self, network: nn.Module) -> Step:
        """The network as it writes, one token at a time."""
        if isinstance(network, LlamaForCausalLM):
            return CachedSteps(network, self.window)
        stack: Any = network

        def step(token: Tensor, state: Any) -> tuple[Tensor, Any]:
            output = stack(token, past_key_values=state)
            return output.logits[0, -1], output.past_key_values

        return step


def contenders(config: MusicLSTMConfig, *, window: int, transformer_layers: int) -> list[Contender]:
    """Ours and its rivals, for windows of so many tokens.

    Raises:
        ReportError: No rival of a shape that makes sense has about as many weights.
    """
    config = copy.deepcopy(config)
    config.recall_window = 0  # any network could have it; here they are compared
    vocab_size = config.vocab_size
    weights = weights_of(MusicLSTMForCausalLM(config))
    width = _plain_width(weights, vocab_size, _SEED_1_LAYERS)
    llama = _llama_config(config, weights, window=window, layers=transformer_layers)
    found = [
        Contender(OURS, lambda: MusicLSTMForCausalLM(config), window),
        Contender(
            SEED_1,
            lambda: PlainLSTM(vocab_size, width, _SEED_1_LAYERS, dropout=_SEED_1_DROPOUT),
            window,
            context=0,
        ),
        Contender(
            PERFORMANCE_RNN, lambda: PlainLSTM(vocab_size, _OORE_WIDTH, _OORE_LAYERS), window
        ),
        Contender(TRANSFORMER, lambda: LlamaForCausalLM(llama), window, context=window // 2),
    ]
    _check_weights(found, weights)
    return found


def weights_of(network: nn.Module) -> int:
    """How many; tied ones count once."""
    return sum(p.numel() for p in network.parameters())


def _check_weights(found: Sequence[Contender], wanted: int) -> None:
    for contender in found:
        own = weights_of(contender.build())
        if contender.name != PERFORMANCE_RNN and abs(own / wanted - 1) > TOLERANCE:
            raise ReportError(
                f"No {contender.name} has within {TOLERANCE:.0%} of the {wanted:,} weights of ours "
                f"(the nearest: {own:,}); choose another --hidden_size, --layers or "
                "--transformer_layers."
            )


# Plain LSTMs --------------------------------------------------------------------------------------


class PlainLSTM(nn.Module):
    """Embedding, `nn.LSTM`, an output matrix of its own; weights begin as torch makes them."""

    def __init__(self, vocab_size: int, width: int, layers: int, *, dropout: float = 0.0) -> None:
        """Build it; `dropout` silences every output of a layer for itself."""
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, vocab_size)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.head.weight.device

    def forward(self, input_ids: Tensor, past_key_values: LSTMState | None = None) -> Reading:
        """Read (batch, steps) from a state; None: zeros."""
        state = self._zeros(len(input_ids)) if past_key_values is None else past_key_values
        x = self.embedding(input_ids)
        one = input_ids.shape[1] == 1 and not self.training
        x, hidden, cell = (self._step if one else self._read)(x, state.hidden, state.cell)
        seen = state.seen + input_ids.shape[1]
        after = LSTMState(hidden.float(), cell.float(), state.memory, state.filled, seen)
        return Reading(self.head(self.dropout(x)), after)

    def _read(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, (hidden, cell) = self.lstm(x, (hidden, cell))
        return x, hidden, cell

    def _step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As modeling.py does it, so that nobody packs weights anew for every token it writes."""
        read, hiddens, cells = x[:, 0], [], []
        for weights, *before in zip(self.lstm.all_weights, hidden, cell, strict=True):
            read, memory = torch.lstm_cell(read, before, *weights)
            hiddens.append(read)
            cells.append(memory)
        return read[:, None], torch.stack(hiddens), torch.stack(cells)

    def _zeros(self, batch: int) -> LSTMState:
        weight = self.head.weight
        layers = weight.new_zeros(self.lstm.num_layers, batch, self.lstm.hidden_size)
        nothing = weight.new_zeros(batch, 0, self.lstm.hidden_size)
        filled = torch.zeros(batch, dtype=torch.long, device=weight.device)
        return LSTMState(layers, layers, nothing, filled)


def _plain_width(weights: int, vocab_size: int, layers: int) -> int:
    """The width at which a `PlainLSTM` comes nearest to so many weights."""

    def count(width: int) -> int:
        return vocab_size * (2 * width + 1) + layers * 8 * width * (width + 1)

    return min(_widths(1, 8), key=lambda width: abs(count(width) - weights))


def _widths(step: int, wide_step: int) -> list[int]:
    """Widths worth trying: above 64 only such as processors like."""
    return [*range(step, 64, step), *range(64, 8192, wide_step)]


# The transformer ----------------------------------------------------------------------------------


def _llama_config(
    config: MusicLSTMConfig, weights: int, *, window: int, layers: int
) -> LlamaConfig:
    width, inner = _llama_shape(weights, config.vocab_size, layers)
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        tie_word_embeddings=True,
        max_position_embeddings=window,
        use_cache=False,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


def _llama_shape(weights: int, vocab_size: int, layers: int) -> tuple[int, int]:
    """Width and inner width that give so many weights, in the usual proportion.

    The inner width of SwiGLU is 8/3 of the width (Shazeer 2020, Touvron et al. 2023), heads are 64
    wide; both as nearly as so many weights allow.

    Raises:
        ReportError: Even the narrowest is too large.
    """

    def inner(width: int) -> int:
        body = (weights - (vocab_size + 1) * width) / layers - 4 * width * width - 2 * width
        found = int(body // (3 * width))
        return found - found % 8 if found > 64 else found  # processors like eights

    shapes = [(width, inner(width)) for width in _widths(8, 64) if inner(width) >= 1]
    if not shapes:
        raise ReportError(
            f"No transformer of {layers} layers is as small as ours ({weights:,} weights, "
            f"{vocab_size:,} tokens); lower --transformer_layers or raise --hidden_size."
        )
    return min(shapes, key=lambda shape: abs(shape[1] / shape[0] - 8 / 3))


class Seen(NamedTuple):
    """What a network without a state has to read again.

    Attributes:
        ids: The last tokens it read, (batch, kept).
        total: How many it read of every row, those that are not kept among them.
    """

    ids: Tensor
    total: int

    def rows(self, index: Tensor) -> Seen:
        """Those of chosen rows."""
        return Seen(self.ids.index_select(0, index), self.total)


class Windowed(nn.Module):
    """A network that begins anew with every window, called as if it carried a state.

    Windows of a piece begin `window - context` tokens apart. The first predicts all of its tokens,
    every later one its last `window - context`. So a token is predicted from all that came before
    it in the piece, or from the last ones: at least `context + 1`, at most `window`. Where calls
    cut the piece makes no difference.
    """

    def __init__(self, network: nn.Module, window: int, *, context: int) -> None:
        """Take a network that has been trained on windows of so many tokens; 0 <= context."""
        super().__init__()
        self.network, self._window, self._stride = network, window, window - context

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def forward(self, input_ids: Tensor, past_key_values: Seen | None = None) -> Reading:
        """Scores of (batch, steps) tokens that follow those seen."""
        past = Seen(input_ids[:, :0], 0) if past_key_values is None else past_key_values
        known = torch.cat([past.ids, input_ids], dim=1)
        end = past.total + input_ids.shape[1]
        first = end - known.shape[1]  # place of the first token that is known
        at, found = past.total, []
        while at < end:
            begin = self._begin(at)
            stop = min(begin + self._window, end)
            read: Any = self.network(known[:, begin - first : stop - first])
            found.append(read.logits[:, at - begin :])
            at = stop
        kept = known[:, self._begin(end) - first :]
        return Reading(torch.cat(found, dim=1), Seen(kept, end))

    def _begin(self, place: int) -> int:
        """Where the window that predicts from a place begins."""
        return max(0, -(-(place + 1 - self._window) // self._stride)) * self._stride


class CachedSteps:
    """A transformer that writes with its key and value cache, one token at a time.

    It must not look back further than it has learnt to. Where its context is full it reads the last
    half of it anew, so that what it writes is predicted from exactly what `Windowed` with a context
    of half a window lets it see.
    """

    def __init__(self, network: LlamaForCausalLM, window: int) -> None:
        """Take it with the context it was trained with."""
        self._network: Any = network
        self._window = window

    def __call__(self, token: Tensor, state: Any) -> tuple[Tensor, Any]:
        """A `Step`; its state is the tokens in the cache, (1, kept), and the cache."""
        ids, cache = state or (token[:, :0], None)
        ids = torch.cat([ids, token], dim=1)
        if ids.shape[1] > self._window:
            ids, cache = ids[:, -(self._window // 2 + 1) :], None
        unread = ids if cache is None else token
        output = self._network(unread, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[0, -1], (ids, output.past_key_values)
