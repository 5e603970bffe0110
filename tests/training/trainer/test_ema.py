"""The running average of the weights."""

from __future__ import annotations

import torch

from training.trainer.ema import WeightAverage


def one_weight(value=0.0):
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(net.weight, value)
    return net


def value_of(net, average):
    with average.applied():
        return net.weight.item()


def test_it_follows_the_formula_with_a_short_memory_at_first():
    net = one_weight()
    average, expected = WeightAverage(net, 0.5), 0.0
    for step in range(1, 30):
        torch.nn.init.constant_(net.weight, float(step))
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(value_of(net, average), expected, rtol=1e-5, atol=0)


def test_the_weights_come_back_to_the_last_bit():
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


def test_a_saved_average_goes_on_as_if_nothing_had_happened(tmp_path):
    net, other = one_weight(), one_weight()
    average = WeightAverage(net, 0.9)
    for step in range(5):
        torch.nn.init.constant_(net.weight, float(step))
        average.update()
    average.save(tmp_path)
    restored = WeightAverage(other, 0.9)
    restored.load(tmp_path)
    for both in ((net, average), (other, restored)):
        torch.nn.init.constant_(both[0].weight, 9.0)
        both[1].update()
    assert value_of(net, average) == value_of(other, restored)


def test_without_a_saved_average_it_begins_at_the_weights(tmp_path):
    net = one_weight()
    average = WeightAverage(net, 0.9)
    torch.nn.init.constant_(net.weight, 3.0)
    average.load(tmp_path)
    assert value_of(net, average) == 3.0
    assert average.updates == 0


def test_frozen_weights_are_left_alone():
    net = torch.nn.Linear(1, 1)
    net.bias.requires_grad_(False)
    torch.nn.init.constant_(net.bias, 1.0)
    average = WeightAverage(net, 0.9)
    torch.nn.init.constant_(net.bias, 2.0)
    average.update()
    with average.applied():
        assert net.bias.item() == 2.0


def test_to_settle_makes_the_average_the_weights():
    net = one_weight()
    average = WeightAverage(net, 0.9)
    torch.nn.init.constant_(net.weight, 1.0)
    average.update()
    wanted = value_of(net, average)
    average.settle()
    assert net.weight.item() == wanted != 1.0
