"""What might make the network better and is not in it: for `benchmarks.search` to find out.

Each candidate changes a `MusicLSTMForCausalLM` in place and leaves its weights' names as they are.
What helps moves into `musiclstm.modeling`; what does not stays here, with its figures in the log.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclstm.modeling import CarriedLSTM, MusicLSTMForCausalLM

State = tuple[Tensor, Tensor, Tensor]  # outputs (batch, steps, hidden), hidden and cell


def apply(network: MusicLSTMForCausalLM, candidates: dict[str, float]) -> MusicLSTMForCausalLM:
    """Change the network as candidates by name ask for; it is also returned.

    Raises:
        ValueError: A value that means nothing.
    """
    for name, value in candidates.items():
        change, least, most = CANDIDATES[name]
        if not least <= value <= most:
            raise ValueError(f"{name} must be from {least:g} to {most:g}, got {value:g}.")
        change(network, value)
    return network


# Weight dropping ----------------------------------------------------------------------------------


def _drop_weights(network: MusicLSTMForCausalLM, share: float) -> None:
    """Silence a share of the recurrent weights, others in every window (Merity et al. 2018)."""
    for layer in network.model.layers:
        _read_with(layer.lstm, _dropping(layer.lstm, share))


def _dropping(lstm: CarriedLSTM, share: float) -> Callable[[Tensor, Tensor, Tensor], State]:
    def read(x: Tensor, hidden: Tensor, cell: Tensor) -> State:
        weight_ih, weight_hh, *biases = lstm.all_weights[0]
        kept = functional.dropout(weight_hh, share, lstm.training)
        found: State = torch._VF.lstm(
            x, (hidden[None], cell[None]), [weight_ih, kept, *biases],
            True, 1, 0.0, lstm.training, False, True,
        )  # fmt: skip
        return found[0], found[1][0], found[2][0]

    return read


# Mogrifier ----------------------------------------------------------------------------------------


def _mogrify(network: MusicLSTMForCausalLM, rounds: float) -> None:
    """Let input and state gate each other before every step (Melis et al. 2020)."""
    for layer in network.model.layers:
        size = layer.lstm.hidden_size
        gates = nn.ModuleList(nn.Linear(size, size) for _ in range(int(rounds)))
        for weight in gates.parameters():
            nn.init.normal_(weight, std=network.config.initializer_range)
        layer.gates = gates
        _read_with(layer.lstm, _stepping(layer.lstm, gates))


def _stepping(lstm: CarriedLSTM, gates: nn.ModuleList) -> Callable[[Tensor, Tensor, Tensor], State]:
    def read(x: Tensor, hidden: Tensor, cell: Tensor) -> State:
        weights = lstm.all_weights[0]
        outputs = []
        for step in x.unbind(1):
            hidden, cell = torch.lstm_cell(*_gated(gates, step, hidden, cell), *weights)
            outputs.append(hidden)
        return torch.stack(outputs, 1), hidden, cell

    return read


def _gated(
    gates: nn.ModuleList, x: Tensor, hidden: Tensor, cell: Tensor
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    for number, gate in enumerate(gates):
        if number % 2 == 0:
            x = 2 * torch.sigmoid(gate(hidden)) * x
        else:
            hidden = 2 * torch.sigmoid(gate(x)) * hidden
    return x, (hidden, cell)


def _read_with(lstm: CarriedLSTM, read: Callable[[Tensor, Tensor, Tensor], State]) -> None:
    """Let a layer read windows another way; padding is not for training and not for this."""

    def replaced(x: Tensor, hidden: Tensor, cell: Tensor, lengths: Tensor | None) -> State:
        assert lengths is None
        return read(x, hidden.to(x.dtype), cell.to(x.dtype))

    lstm._read = replaced  # type: ignore[method-assign]


# Name in `--variant`, what it does, and from which to which value it means something.
CANDIDATES: dict[str, tuple[Callable[[MusicLSTMForCausalLM, float], None], float, float]] = {
    "weight_drop": (_drop_weights, 0.0, 0.9),
    "mogrifier": (_mogrify, 1, 8),
}
