"""Candidates change what they say they change, and nothing else."""

from __future__ import annotations

import pytest
import torch

from benchmarks.candidates import apply
from musiclstm import MusicLSTMConfig, MusicLSTMForCausalLM

IDS = torch.arange(3, 27).reshape(2, 12)


@pytest.fixture
def network():
    torch.manual_seed(1)
    config = MusicLSTMConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, dropout=0.0, embedding_dropout=0.0
    )
    return MusicLSTMForCausalLM(config)


def test_weights_drop_only_while_it_learns(network):
    plain = network.eval()(IDS).logits
    apply(network, {"weight_drop": 0.5})
    assert torch.allclose(network.eval()(IDS).logits, plain, atol=1e-6)
    first, second = (network.train()(IDS).logits for _ in range(2))
    assert not torch.allclose(first, second)


def test_dropped_weights_leave_state_and_gradient_whole(network):
    apply(network, {"weight_drop": 0.5}).train()
    output = network(IDS)
    network(IDS, past_key_values=output.past_key_values.detached()).logits.sum().backward()
    for layer in network.model.layers:
        assert layer.lstm.weight_hh_l0.grad.abs().sum() > 0


def test_open_gates_are_a_plain_lstm(network):
    plain = network.eval()(IDS)
    apply(network, {"mogrifier": 3}).eval()
    for layer in network.model.layers:
        for gate in layer.gates:
            torch.nn.init.zeros_(gate.weight)  # 2 * sigmoid(0) = 1
            torch.nn.init.zeros_(gate.bias)
    found = network(IDS)
    assert torch.allclose(found.logits, plain.logits, atol=1e-5)
    assert torch.allclose(found.past_key_values.cell, plain.past_key_values.cell, atol=1e-5)


def test_a_mogrifier_learns_its_gates(network):
    apply(network, {"mogrifier": 2}).train()
    network(IDS).logits.sum().backward()
    assert all(g.weight.grad.abs().sum() > 0 for each in network.model.layers for g in each.gates)


@pytest.mark.parametrize("wish", [{"weight_drop": 1.0}, {"mogrifier": 0}])
def test_what_means_nothing_is_refused(network, wish):
    with pytest.raises(ValueError, match="must be from"):
        apply(network, wish)
