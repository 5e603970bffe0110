"""Weights read with numpy: equal to those of the network, in every type, and refused otherwise."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig

from musiclstm import CheckpointError, MusicLSTMConfig, MusicLSTMForCausalLM
from musiclstm.model.checkpoint import load_checkpoint, save_checkpoint
from musiclstm.model.checkpoint_files import read_config
from musiclstm.model.stored_weights import load_weights, stored_shapes


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy of the toy that a test may damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "toy")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_arrays_equal_the_network(dtype, tiny_model, tiny_tokenizer, tmp_path) -> None:
    save_checkpoint(tmp_path, tiny_model, tiny_tokenizer, dtype=dtype)
    stored, (model, _) = load_weights(tmp_path), load_checkpoint(tmp_path)
    expected = model.state_dict()
    assert stored.arrays.keys() == expected.keys()
    for name, array in stored.arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, expected[name].numpy())
    assert stored.num_parameters == model.num_parameters()
    assert stored.folder == tmp_path.resolve()


@pytest.mark.parametrize(
    "values",
    [{}, {"tie_word_embeddings": False}, {"layer_norm": False}, {"num_hidden_layers": 3}],
    ids=str,
)
@pytest.mark.parametrize("features", [True, False], ids=["features", "plain"])
def test_names_and_shapes_are_those_of_the_network(features, values, tiny_tokenizer) -> None:
    names = list(tiny_tokenizer.token_names) if features else None
    config = MusicLSTMConfig(hidden_size=8, token_names=names, **values)
    arrays = MusicLSTMForCausalLM(config).state_dict()
    if config.tie_word_embeddings:
        del arrays["lm_head.weight"]
    assert stored_shapes(config) == {name: tuple(array.shape) for name, array in arrays.items()}


def test_weights_of_another_type_are_refused(folder) -> None:
    file = folder / "model.safetensors"
    arrays = load_file(file)
    arrays["gates.bias"] = arrays["gates.bias"].double()
    save_file(arrays, file)
    with pytest.raises(CheckpointError, match="stored as F16, F64; float16, bfloat16 and float32"):
        load_weights(folder)


def test_weights_with_an_unknown_array_are_refused(folder) -> None:
    file = folder / "model.safetensors"
    save_file(load_file(file) | {"attention.weight": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match="not those of the network"):
        load_weights(folder)


# Config -------------------------------------------------------------------------------------------


def test_a_config_has_the_same_values_without_transformers(tiny_checkpoint) -> None:
    read, own = (
        read_config(tiny_checkpoint, "toy"),
        MusicLSTMConfig.from_pretrained(tiny_checkpoint),
    )
    assert {name: getattr(own, name) for name in vars(read)} == vars(read)


def test_every_name_that_transformers_stores_is_accepted(folder) -> None:
    file = folder / "config.json"
    everything = {**PreTrainedConfig().to_dict(), **json.loads(file.read_text())}
    file.write_text(json.dumps(everything))
    assert read_config(folder, "toy").vocab_size == everything["vocab_size"]


@pytest.mark.parametrize(
    ("name", "value", "fact"),
    [
        ("hidden_size", "32", "hidden_size must be int, got '32'"),
        ("hidden_size", 32.0, "hidden_size must be int"),
        ("num_hidden_layers", True, "num_hidden_layers must be int, got True"),
        ("residual", 1, "residual must be bool, got 1"),
        ("programs", [0, "1"], "programs must be"),
        ("token_names", "Pitch_60", "token_names must be"),
        ("bos_token_id", "x" * 500, "bos_token_id must be"),
        ("hidden_size", 0, "hidden_size must be 1 or more"),
        ("programs", [200], "programs must be from -1"),
    ],
)
def test_values_of_a_wrong_type_or_size_are_refused(name, value, fact, folder) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    with pytest.raises(CheckpointError, match=f"config.json of .* is not valid .*{fact}") as error:
        load_weights(folder)
    assert len(str(error.value)) < 400
