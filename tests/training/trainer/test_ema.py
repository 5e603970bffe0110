"""The running average of the weights."""

from __future__ import annotations

import pytest
import torch

from training.trainer.ema import WeightAverage


def one_weight(value=0.0):
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(net.weight, value)
    return net


def value_of(net, average):
    with average.applied():
        return net.weight.item()


def test_the_average_follows_the_formula():
    net, expected = one_weight(), 0.0
    average = WeightAverage(net, 0.5)
    for step in range(1, 30):
        torch.nn.init.constant_(net.weight, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert value_of(net, average) == pytest.approx(expected, rel=1e-5)


def test_weights_are_restored_bit_for_bit_in_the_same_memory():
    torch.manual_seed(0)
    net = torch.nn.Linear(9, 9)
    average = WeightAverage(net, 0.9)
    torch.nn.init.normal_(net.weight)
    average.update()
    before, storage = net.weight.detach().clone(), net.weight.data_ptr()
    with average.applied():
        assert not torch.equal(net.weight, before)
    assert torch.equal(net.weight, before)
    assert net.weight.data_ptr() == storage


def test_a_saved_average_continues_as_the_original_does(tmp_path):
    net, other = one_weight(), one_weight()
    average = WeightAverage(net, 0.9)
    for step in range(5):
        torch.nn.init.constant_(net.weight, float(step))
        average.update()
    average.save(tmp_path)
    restored = WeightAverage(other, 0.9)
    restored.load(tmp_path)
    for each, its_average in ((net, average), (other, restored)):
        torch.nn.init.constant_(each.weight, 9.0)
        its_average.update()
    assert value_of(net, average) == value_of(other, restored)


def test_a_checkpoint_without_an_average_restarts_at_the_weights(tmp_path):
    net = one_weight()
    average = WeightAverage(net, 0.9)
    average.update()
    torch.nn.init.constant_(net.weight, 3.0)
    average.load(tmp_path)
    assert (value_of(net, average), average.updates) == (3.0, 0)


def test_frozen_weights_are_not_averaged():
    net = torch.nn.Linear(1, 1)
    net.bias.requires_grad_(False)
    average = WeightAverage(net, 0.9)
    torch.nn.init.constant_(net.bias, 2.0)
    average.update()
    with average.applied():
        assert net.bias.item() == 2.0


def test_copying_to_the_module_keeps_the_average_as_its_weights():
    net = one_weight()
    average = WeightAverage(net, 0.9)
    torch.nn.init.constant_(net.weight, 1.0)
    average.update()
    expected = value_of(net, average)
    average.copy_to_module()
    assert net.weight.item() == expected != 1.0
