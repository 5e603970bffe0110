"""The trained network packed once for single steps, and snapshots of what it remembers.

One step of an LSTM is a matrix times a short vector: each layer's two weight matrices stand here
side by side, so that one product does a layer. A seed is read through the whole-sequence path of
modeling.py instead. Scores in, scores out: this file does not know what a token is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional

from musiclstm.modeling import LSTMState, MusicLSTMForCausalLM, MusicLSTMLayer


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth
class Snapshot:
    """Everything needed to go on from a moment: what comes next, and what is remembered.

    Attributes:
        scores: Logits of the next token, (batch, vocab).
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
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Snapshot:
        """What `to_bytes` wrote."""
        parts = load(data)
        seen, filled = int(parts["filled"][0]), parts["filled"][1:]
        state = LSTMState(parts["hidden"], parts["cell"], parts["memory"], filled, seen)
        return cls(parts["scores"], state)


class PackedLSTM:
    """A network to listen to: reads sequences, then steps token by token.

    Holds no state of its own, so any number of takes can share it.
    """

    def __init__(self, model: MusicLSTMForCausalLM) -> None:
        """Pack the weights of a model; the model itself is kept for reading seeds.

        Raises:
            ValueError: The model is not float32 on the CPU, where single steps are fastest.
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
        self._layers = [_PackedLayer(layer) for layer in model.model.layers]

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
        )
        return Snapshot(output.logits[:, -1], output.past_key_values)

    @torch.inference_mode()
    def step(self, ids: Tensor, snapshot: Snapshot) -> Snapshot:
        """Read one token per row, (batch,)."""
        network, state = self._model.model, snapshot.state
        x = functional.embedding(ids, network.embed_tokens.weight)  # (batch, hidden)
        hidden, cell = torch.empty_like(state.hidden), torch.empty_like(state.cell)
        for i, layer in enumerate(self._layers):
            x, hidden[i], cell[i] = layer.step(x, state.hidden[i], state.cell[i])
        x = network.norm(x)
        memory, filled = state.memory, state.filled
        if network.readout is not None:
            steps = x[:, None]
            x = network.readout(steps, memory, filled)[:, 0]
            memory, filled = network.readout.remember(steps, memory, filled, None)
        scores = self._model.lm_head(x)
        return Snapshot(scores, LSTMState(hidden, cell, memory, filled, state.seen + 1))


class _PackedLayer:
    """One layer's weights, side by side."""

    def __init__(self, layer: MusicLSTMLayer) -> None:
        weight_ih, weight_hh, bias_ih, bias_hh = layer.lstm.all_weights[0]
        self._weight = torch.cat([weight_ih, weight_hh], dim=1).detach()
        self._bias = (bias_ih + bias_hh).detach()
        self._norm: nn.Module = layer.norm
        self._residual = layer.residual

    def step(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(batch, hidden) three times in, three times out."""
        both = torch.cat([self._norm(x), hidden], dim=1)
        enter, forget, new, out = functional.linear(both, self._weight, self._bias).chunk(4, dim=1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
        hidden = out.sigmoid() * cell.tanh()
        return (x + hidden if self._residual else hidden), hidden, cell
