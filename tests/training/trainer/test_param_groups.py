"""Learning rates per part, and frozen parts."""

from __future__ import annotations

import pytest

from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM
from training.trainer.param_groups import (
    LearningRates,
    freeze,
    parse_parts,
    parse_rates,
    parts_of,
    split_groups,
)

PARTS = ["embeddings", "1", "2", "head"]


def model(**kwargs):
    names = ["PAD_None", "BOS_None", "EOS_None", "Bar_None", "Pitch_60", "Position_0"]
    sizes = {"vocab_size": len(names), "hidden_size": 8, "num_hidden_layers": 2}
    return MusicLSTMForCausalLM(MusicLSTMConfig(**sizes, token_names=names, **kwargs))


def test_every_weight_is_in_the_group_of_its_part():
    net = model()
    assert parts_of(net) == PARTS
    plain = [{"params": list(net.parameters()), "lr": 1.0, "weight_decay": 0.1}]
    groups = split_groups(plain, net, LearningRates(0.5, {"1": 7.0}), 1.0)
    assert [group["lr"] for group in groups] == [1.0, 0.5, 7.0, 0.125]
    assert {group["weight_decay"] for group in groups} == {0.1}
    found = [parameter for group in groups for parameter in group["params"]]
    assert len(found) == len(set(found)) == len(list(net.parameters()))
    embeddings = {net.model.embed_tokens.weight, *net.model.step_inputs.parameters()}
    assert set(groups[-1]["params"]) == embeddings
    assert set(groups[2]["params"]) == set(net.model.layers[0].parameters())
    heads = (net.model.norm, net.gates, net.context_head)
    assert set(groups[0]["params"]) == {
        net.lm_head.bias,
        *(parameter for head in heads for parameter in head.parameters()),
    }


def test_frozen_parts_are_counted_and_no_others_are_frozen():
    net = model()
    count = freeze(net, ["embeddings", "2"])
    frozen = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {
        "model.embed_tokens.weight",
        *(f"model.step_inputs.{name}" for name, _ in net.model.step_inputs.named_parameters()),
        *(f"model.layers.1.{name}" for name, _ in net.model.layers[1].named_parameters()),
    }
    assert count == sum(p.numel() for p in net.parameters() if not p.requires_grad)


def test_an_untied_output_matrix_belongs_to_the_head():
    net = model(tie_word_embeddings=False)
    freeze(net, ["head"])
    assert not net.lm_head.weight.requires_grad
    assert net.model.embed_tokens.weight.requires_grad


def test_options_are_parsed():
    assert parse_parts(" embeddings, 2,", PARTS, "--freeze") == ["embeddings", "2"]
    assert parse_rates("embeddings=1e-5,2=0.1", PARTS).overrides == {"embeddings": 1e-5, "2": 0.1}
    assert parse_rates("", PARTS).is_uniform
    assert not parse_rates("", PARTS, 0.8).is_uniform


@pytest.mark.parametrize(
    ("call", "fact"),
    [
        (lambda: parse_parts("3", PARTS, "--freeze"), "--freeze.*'3'.*embeddings, 1, 2, head"),
        (lambda: parse_rates("tail=1", PARTS), "--layer_learning_rates.*'tail'"),
        (lambda: parse_rates("1=fast", PARTS), "got '1=fast'"),
        (lambda: parse_rates("1", PARTS), "got '1'"),
        (lambda: parse_rates("=3", PARTS), "got '=3'"),
        (lambda: LearningRates(0.0), "--layer_decay .* got 0"),
        (lambda: LearningRates(1.5), "--layer_decay .* got 1.5"),
        (lambda: freeze(model(), PARTS), "--freeze names every part"),
    ],
)
def test_invalid_options_are_refused(call, fact):
    with pytest.raises(ValueError, match=fact):
        call()
