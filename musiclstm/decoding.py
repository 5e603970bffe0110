"""The trained network packed once for single steps, and snapshots of what it remembers.

A seed is read through the whole-sequence path of modeling.py; then every token is one step. One
step is weights times short vectors, so it costs what reading the weights costs: they are packed as
int8 (kernel.py), a quarter of the bytes. Without a compiler torch's own int8 product takes the
steps, and without that the float32 cell on weights side by side. Scores in, scores out: this file
does not know what a token is.

Threads: the compiled step keeps to one. A second one would read faster only weights too big for the
cache, and the free machine's other core renders what is heard (docs/log.md has the measurement).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from musiclstm import kernel
from musiclstm.modeling import (
    AttentionReadout,
    LSTMState,
    MusicLSTMForCausalLM,
    MusicLSTMLayer,
)
from musiclstm.recall import SteppedRecall
from musiclstm.sampling import Votes

Precision: TypeAlias = Literal["int8", "float32"]
MAX_ROWS = 32


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth
class Snapshot:
    """Everything needed to go on from a moment: what comes next, and what is remembered.

    Attributes:
        scores: Logits of the next token, of the network alone, (batch, vocab).
        state: The memory behind them.
    """

    scores: Tensor
    state: LSTMState

    def to_bytes(self) -> bytes:
        """As safetensors, to go on in another process."""
        state = self.state
        return save(
            {
                "scores": self.scores.contiguous(),
                "hidden": state.hidden.contiguous(),
                "cell": state.cell.clone().contiguous(),
                "memory": state.memory.contiguous(),
                "filled": torch.tensor([state.seen, *state.filled.tolist()]),
                "heard": state.heard.contiguous(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """What `to_bytes` wrote."""
        parts = load(data)
        seen, filled = int(parts["filled"][0]), parts["filled"][1:]
        layers = parts["hidden"], parts["cell"]
        state = LSTMState(*layers, parts["memory"], filled, seen, parts["heard"])
        return cls(parts["scores"], state)


class PackedLSTM:
    """A network to listen to: reads sequences, then steps token by token.

    Holds no state of its own, so any number of takes can share it.

    Attributes:
        config: The model's.
        precision: What the weights of a step are: `int8` or `float32`.
        engine: Who takes the steps: `compiled` (kernel.c) or `torch`.
        weight_bytes: What one step reads of them.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        *,
        precision: Precision | None = None,
        compiled: bool | None = None,
    ) -> None:
        """Pack the weights of a model; the model itself is kept for reading seeds.

        Args:
            model: float32 and on the CPU.
            precision: `int8` is four times smaller and as much faster; `float32` gives the model's
                own scores. None: int8 where this machine has a fast product of it.
            compiled: False keeps kernel.c out. None: used for int8 where it can be built.

        Raises:
            ValueError: The model is not float32 on the CPU, where single steps are fastest, or
                this machine cannot do what is asked for.
        """
        weight = model.lm_head.weight
        if weight.dtype != torch.float32 or weight.device.type != "cpu":
            raise ValueError(
                f"Steps are taken in float32 on the CPU, and this model is "
                f"{str(weight.dtype).removeprefix('torch.')} on {weight.device.type}; pass "
                "model.float().cpu()."
            )
        self._model = model.eval()
        self.config = model.config
        self._packed = _pack(model, precision, compiled)
        self.precision, self.engine = self._packed.precision, self._packed.engine
        self.weight_bytes = self._packed.weight_bytes

    @torch.inference_mode()
    def read(self, ids: Sequence[int], snapshot: Snapshot | None = None) -> Snapshot:
        """Read tokens at once, going on from a snapshot or from nothing.

        Raises:
            ValueError: No tokens.
        """
        if not ids:
            raise ValueError("There is nothing to read: ids is empty.")
        output = self._model(
            torch.tensor([list(ids)], device=self._model.device),
            past_key_values=snapshot.state if snapshot else None,
            logits_to_keep=1,
            use_recall=False,
        )
        return Snapshot(output.logits[:, -1], output.past_key_values)

    def stepper(self, snapshots: Sequence[Snapshot]) -> Stepper:
        """Go on from some snapshots, side by side.

        Raises:
            ValueError: No row, more than 32 rows, or a snapshot of another network.
        """
        return Stepper(self._model, self._packed, snapshots)


class Stepper:
    """Some takes side by side, one token a row and step.

    What a row gives does not depend on the other rows.

    Attributes:
        scores: Logits of every row's next token, of the network alone, (rows, vocab) float32; every
            step writes them anew, so copy what is to stay.
    """

    def __init__(
        self, model: MusicLSTMForCausalLM, packed: _Packed, snapshots: Sequence[Snapshot]
    ) -> None:
        self._config, self._packed = model.config, packed
        self._readout = model.model.readout
        self._take(snapshots)

    def _take(self, snapshots: Sequence[Snapshot]) -> None:
        for snapshot in snapshots:
            self._check(snapshot)
        states = [each.state for each in snapshots]
        rows = sum(state.batch_size for state in states)
        if not 1 <= rows <= MAX_ROWS:
            raise ValueError(f"A stepper has from 1 to {MAX_ROWS} rows, got {rows}.")
        self._hidden, self._cell = (
            np.ascontiguousarray(np.concatenate([part.numpy() for part in parts], axis=1))
            for parts in ([s.hidden for s in states], [s.cell for s in states])
        )
        self._memory = torch.cat([state.memory for state in states])
        self._filled = torch.cat([state.filled for state in states])
        self._seen = [state.seen for state in states for _ in range(state.batch_size)]
        heard = torch.cat([state.heard for state in states]).numpy()
        self._recall = SteppedRecall(self._config, heard) if self._config.recall_window else None
        self._desk = self._packed.desk(self._hidden, self._cell)
        self.scores = self._desk.scores
        self.scores[:] = torch.cat([each.scores for each in snapshots]).numpy()

    def _check(self, snapshot: Snapshot) -> None:
        """The compiled step writes where it is told to: sizes must be right."""
        config, hidden = self._config, snapshot.state.hidden
        own = (config.num_hidden_layers, config.hidden_size, config.vocab_size)
        found = (len(hidden), hidden.shape[2], snapshot.scores.shape[1])
        if config.recall_window != (heard := snapshot.state.heard.shape[1]):
            raise ValueError(
                "A snapshot of another network cannot be gone on with: it remembers the last "
                f"{heard} tokens, this one {config.recall_window}."
            )
        if heard and int(snapshot.state.heard.max()) >= config.vocab_size:
            raise ValueError(
                "A snapshot of another network cannot be gone on with: it has heard tokens that "
                f"this one, with {config.vocab_size}, does not know."
            )
        if own != found:
            raise ValueError(
                f"A snapshot of another network cannot be gone on with: it has {found[0]} layers "
                f"of {found[1]} and {found[2]} tokens, this one {own[0]} of {own[1]} and {own[2]}."
            )

    def step(self, ids: Sequence[int]) -> None:
        """Read one token per row; `scores` are those of what comes next.

        Raises:
            ValueError: More or fewer tokens than rows.
            IndexError: No such token.
        """
        if len(ids) != len(self._seen):
            raise ValueError(f"A step has one token a row, {len(self._seen)}; got {len(ids)}.")
        for token in ids:
            if not 0 <= token < self._config.vocab_size:
                last = self._config.vocab_size - 1
                raise IndexError(f"Tokens go from 0 to {last}, got {token}.")
        self._desk.ids[:] = ids
        self._desk.read()
        if self._readout is not None:
            self._look_back(self._readout)
        self._desk.score()
        if self._recall is not None:
            self._recall.read(ids)
        for row in range(len(self._seen)):
            self._seen[row] += 1

    def votes(self, row: int) -> Votes | None:
        """What comes next where a row stood like this before; None: it never did."""
        return None if self._recall is None else self._recall.votes(row)

    @torch.inference_mode()
    def _look_back(self, readout: AttentionReadout) -> None:
        steps = torch.from_numpy(self._desk.outputs)[:, None]
        for row in range(len(steps)):  # copies, one by one: see _TorchDesk
            at = slice(row, row + 1)
            step, memory, filled = steps[at].clone(), self._memory[at].clone(), self._filled[at]
            steps[at] = readout(step, memory, filled)
            self._memory[at], self._filled[at] = readout.remember(step, memory, filled, None)

    def snapshot(self, row: int = 0) -> Snapshot:
        """Where a row stands; stays as it is whatever comes after."""
        at = slice(row, row + 1)
        hidden, cell = (torch.from_numpy(x[:, at].copy()) for x in (self._hidden, self._cell))
        memory, filled = self._memory[at].clone(), self._filled[at].clone()
        heard = None if self._recall is None else torch.from_numpy(self._recall.heard(row))[None]
        state = LSTMState(hidden, cell, memory, filled, self._seen[row], heard)
        return Snapshot(torch.from_numpy(self.scores[at].copy()), state)

    def restore(self, snapshot: Snapshot, row: int = 0) -> None:
        """Let a row go on from a snapshot of one row.

        Raises:
            ValueError: It is of another network.
        """
        self._check(snapshot)
        at, state = slice(row, row + 1), snapshot.state
        self._hidden[:, at], self._cell[:, at] = state.hidden.numpy(), state.cell.numpy()
        self._memory[at], self._filled[at] = state.memory, state.filled
        self._seen[row] = state.seen
        if self._recall is not None:
            self._recall.restore(state.heard[0].numpy(), row)
        self.scores[at] = snapshot.scores.numpy()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only, in this order.

        Raises:
            ValueError: No row is left.
        """
        self._take([self.snapshot(row) for row in rows])


# Who takes the steps ------------------------------------------------------------------------------


class _Desk(Protocol):
    """Some rows in work: `kernel.Desk`, or torch's."""

    ids: np.ndarray
    outputs: np.ndarray
    scores: np.ndarray

    def read(self) -> None: ...

    def score(self) -> None: ...


@dataclass(frozen=True)
class _Packed:
    """Weights made ready by one of the engines."""

    desk: Callable[[np.ndarray, np.ndarray], _Desk]
    weight_bytes: int
    precision: Precision
    engine: Literal["compiled", "torch"]


def _pack(
    model: MusicLSTMForCausalLM, precision: Precision | None, compiled: bool | None
) -> _Packed:
    if precision not in (None, "int8", "float32"):
        raise ValueError(f"precision must be 'int8', 'float32' or None, got {precision!r}.")
    library = None if precision == "float32" or compiled is False else kernel.load()
    if library is not None:
        network = kernel.CompiledNetwork(library, _as_arrays(model))
        return _Packed(network.desk, network.weight_bytes, "int8", "compiled")
    if compiled:
        raise ValueError(
            "compiled=True needs int8, a C compiler and a processor with AVX2 or the dot product "
            "of arm64; leave it out, and torch takes the steps."
        )
    return _pack_for_torch(model, precision)


def _as_arrays(model: MusicLSTMForCausalLM) -> kernel.Weights:
    network = model.model
    weights = [[w.detach() for w in layer.lstm.all_weights[0]] for layer in network.layers]
    norms = [each.norm for each in network.layers] + [network.norm]
    return kernel.Weights(
        of_input=[each[0].numpy() for each in weights],
        of_memory=[each[1].numpy() for each in weights],
        biases=[(each[2] + each[3]).numpy() for each in weights],
        norms=[
            torch.stack([norm.weight, norm.bias]).detach().numpy()
            for norm in norms
            if isinstance(norm, nn.LayerNorm)
        ],
        epsilon=next((norm.eps for norm in norms if isinstance(norm, nn.LayerNorm)), 0.0),
        embeddings=network.embed_tokens.weight.detach().numpy(),
        head=model.lm_head.weight.detach().numpy(),
        residual=model.config.residual,
    )


# Steps by torch -----------------------------------------------------------------------------------

_Product: TypeAlias = Callable[[Tensor], Tensor]


def _pack_for_torch(model: MusicLSTMForCausalLM, precision: Precision | None) -> _Packed:
    matrices = [_side_by_side(layer) for layer in model.model.layers]
    matrices.append(model.lm_head.weight.detach())
    if precision != "float32":
        try:
            products = [_int8_product(each) for each in matrices]
        except (AttributeError, RuntimeError, NotImplementedError) as error:
            if precision == "int8":
                raise ValueError(
                    "This processor and this torch have no fast product of int8; leave precision "
                    "out, and steps are taken in float32."
                ) from error
        else:
            return _by_torch(model, products, sum(each.numel() for each in matrices), "int8")
    products = [_float32_product(each) for each in matrices]
    return _by_torch(model, products, sum(4 * each.numel() for each in matrices), "float32")


def _by_torch(
    model: MusicLSTMForCausalLM, products: list[_Product], weight_bytes: int, precision: Precision
) -> _Packed:
    layers = [
        _PackedLayer(layer, product)
        for layer, product in zip(model.model.layers, products, strict=False)
    ]

    def desk(hidden: np.ndarray, cell: np.ndarray) -> _TorchDesk:
        return _TorchDesk(model, layers, products[-1], hidden, cell)

    return _Packed(desk, weight_bytes, precision, "torch")


def _side_by_side(layer: MusicLSTMLayer) -> Tensor:
    weight_ih, weight_hh, *_ = layer.lstm.all_weights[0]
    return torch.cat([weight_ih, weight_hh], dim=1).detach()


def _float32_product(weight: Tensor) -> _Product:
    return lambda x: functional.linear(x, weight)


def _int8_product(weight: Tensor) -> _Product:
    """Int8 weights, dynamic activations; tried once, as not every processor has it."""
    scales = (weight.abs().amax(dim=1) / 127).clamp(min=torch.finfo(torch.float32).tiny)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the way to make a quantized tensor is deprecated
        zeros = torch.zeros(len(weight), dtype=torch.long)
        values = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(values, None)

    def product(x: Tensor) -> Tensor:
        # The range is halved because two products of full int8 do not fit into 16 bits, which is
        # where processors without a dot product of int8 add them up.
        return torch.ops.quantized.linear_dynamic(x, packed, reduce_range=True)

    with torch.inference_mode():
        product(torch.zeros(1, weight.shape[1]))
    return product


class _PackedLayer:
    """One layer's weights, side by side."""

    def __init__(self, layer: MusicLSTMLayer, product: _Product) -> None:
        _, _, bias_ih, bias_hh = layer.lstm.all_weights[0]
        self._bias = (bias_ih + bias_hh).detach()
        self._product = product
        self._norm: nn.Module = layer.norm
        self._residual = layer.residual

    def step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, hidden) three times in, three times out."""
        both = torch.cat([self._norm(x), hidden], dim=1)
        enter, forget, new, out = (self._product(both) + self._bias).chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        return (x + hidden if self._residual else hidden), hidden, cell


class _TorchDesk:
    """Some rows in work, one after the other.

    Torch rounds a batch differently from a row alone, and a row in the middle of a tensor from one
    at its beginning: so every row is copied out, as if there were no others.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        layers: list[_PackedLayer],
        head: _Product,
        hidden: np.ndarray,
        cell: np.ndarray,
    ) -> None:
        rows, size = hidden.shape[1:]
        self._model, self._layers, self._head = model, layers, head
        self._hidden, self._cell = torch.from_numpy(hidden), torch.from_numpy(cell)
        self.ids = np.zeros(rows, np.int64)
        self.outputs = np.empty((rows, size), np.float32)
        self.scores = np.empty((rows, model.config.vocab_size), np.float32)

    @torch.inference_mode()
    def read(self) -> None:
        """As `kernel.Desk.read`."""
        network = self._model.model
        embedded = functional.embedding(torch.from_numpy(self.ids), network.embed_tokens.weight)
        outputs = torch.from_numpy(self.outputs)
        for row in range(len(embedded)):
            at = slice(row, row + 1)
            x = embedded[at].clone()
            for i, layer in enumerate(self._layers):
                state = self._hidden[i, at].clone(), self._cell[i, at].clone()
                x, self._hidden[i, at], self._cell[i, at] = layer.step(x, *state)
            outputs[at] = network.norm(x)

    @torch.inference_mode()
    def score(self) -> None:
        """As `kernel.Desk.score`."""
        outputs, scores = torch.from_numpy(self.outputs), torch.from_numpy(self.scores)
        for row in range(len(outputs)):
            scores[row] = self._head(outputs[row : row + 1].clone())[0]
