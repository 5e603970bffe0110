"""Parts that learn at their own rate, or not at all."""

from __future__ import annotations

import pytest

from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM
from training.trainer.param_groups import (
    Rates,
    freeze,
    parts_of,
    read_parts,
    read_rates,
    split_groups,
)

PARTS = ["embeddings", "1", "2", "head"]


def model():
    names = ["PAD_None", "BOS_None", "EOS_None", "Bar_None", "Pitch_60", "Position_0"]
    size = {"vocab_size": len(names), "hidden_size": 8, "num_hidden_layers": 2}
    return MusicLSTMForCausalLM(MusicLSTMConfig(**size, token_names=names))


def test_the_parts_are_named_from_the_bottom_to_the_top():
    assert parts_of(model()) == PARTS


def test_every_weight_is_in_one_group_and_each_part_has_its_rate():
    net = model()
    plain = [{"params": list(net.parameters()), "lr": 1.0, "weight_decay": 0.1}]
    groups = split_groups(plain, net, Rates(0.5, {"1": 7.0}), 1.0)
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


def test_frozen_parts_are_counted_and_no_others():
    net = model()
    count = freeze(net, ["embeddings", "2"])
    kept = {name for name, p in net.named_parameters() if not p.requires_grad}
    assert kept == {
        "model.embed_tokens.weight",
        *(f"model.step_inputs.{name}" for name, _ in net.model.step_inputs.named_parameters()),
        *(f"model.layers.1.{name}" for name, _ in net.model.layers[1].named_parameters()),
    }
    assert count == sum(p.numel() for p in net.parameters() if not p.requires_grad)


def test_to_freeze_everything_is_refused():
    with pytest.raises(
        ValueError, match="--freeze leaves nothing to learn; keep one part out of it"
    ):
        freeze(model(), PARTS)


def test_options_are_read_as_they_are_written():
    assert read_parts(" embeddings, 2,", PARTS, "--freeze") == ["embeddings", "2"]
    assert read_rates("embeddings=1e-5,2=0.1", PARTS).own == {"embeddings": 1e-5, "2": 0.1}
    assert read_rates("", PARTS).plain
    assert not read_rates("", PARTS, 0.8).plain


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: read_parts("3", PARTS, "--freeze"),
            "--freeze does not know the part '3'; this network has embeddings, 1, 2, head",
        ),
        (
            lambda: read_rates("tail=1", PARTS),
            "--layer_learning_rates does not know the part 'tail'; this network has embeddings, 1",
        ),
        (lambda: read_rates("1=fast", PARTS), "takes pairs such as embeddings=1e-5,4=1e-3, got"),
        (lambda: read_rates("1", PARTS), "takes pairs such as .*, got '1'"),
        (lambda: read_rates("=3", PARTS), "takes pairs such as .*, got '=3'"),
        (lambda: Rates(0.0), "--layer_decay must be above 0 and at most 1, got 0; 1 is off"),
        (lambda: Rates(1.5), "--layer_decay must be above 0 and at most 1, got 1.5"),
    ],
)
def test_options_that_mean_nothing_are_one_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_an_untied_output_matrix_belongs_to_the_head():
    config = MusicLSTMConfig(
        vocab_size=12, hidden_size=8, num_hidden_layers=1, tie_word_embeddings=False
    )
    net = MusicLSTMForCausalLM(config)
    freeze(net, ["head"])
    assert not net.lm_head.weight.requires_grad
    assert net.model.embed_tokens.weight.requires_grad
