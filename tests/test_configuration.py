"""The shape of the network: what it holds, and the sentences that refuse what it cannot be."""

from __future__ import annotations

import json

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from musiclstm import MusicLSTMConfig

REFUSED = [
    ({"vocab_size": 0}, "vocab_size must be 1 or more, got 0."),
    ({"hidden_size": -8}, "hidden_size must be 1 or more, got -8."),
    ({"num_hidden_layers": 0}, "num_hidden_layers must be 1 or more, got 0."),
    ({"dropout": 1}, "dropout must be from 0 to below 1, got 1."),
    ({"dropout": -0.1}, "dropout must be from 0 to below 1, got -0.1."),
    ({"embedding_dropout": 1.5}, "embedding_dropout must be from 0 to below 1, got 1.5."),
    ({"attention_window": -1}, r"attention_window must be 0 \(none\) or more, got -1."),
    ({"recall_distance": 0}, "recall_distance must be 1 or more, got 0."),
    (
        {"recall_window": 191},
        r"recall_window must be 0 \(none\) or at least 192, 64 more than recall_distance, got 191.",
    ),
    ({"recall_window": 70, "recall_distance": 7}, "at least 71, 64 more than recall_distance, got"),
    ({"recall_window": -1}, r"recall_window must be 0 \(none\) or at least 192, .*, got -1."),
    ({"recall_power": -0.1}, "recall_power must be from 0 to 16, got -0.1."),
    ({"recall_power": 16.1}, "recall_power must be from 0 to 16, got 16.1."),
    ({"recall_bias": -51}, "recall_bias must be from -50 to 50, got -51."),
    ({"recall_bias": float("nan")}, "recall_bias must be from -50 to 50, got nan."),
    ({"recall_slope": 50.5}, "recall_slope must be from -50 to 50, got 50.5."),
    ({"initializer_range": -0.1}, "initializer_range must be 0 or more, got -0.1."),
    ({"pad_token_id": 2048}, r"pad_token_id must be None or from 0 to 2047 .*, got 2048."),
    ({"eos_token_id": -1}, r"eos_token_id must be None or from 0 to 2047 .*, got -1."),
    ({"programs": [0, 128]}, r"programs must be from -1 \(drums\) to 127, got \[0, 128\]."),
    ({"programs": []}, "programs must name at least one instrument; None means all."),
]
WRONG_TYPES = [
    {"hidden_size": "big"},
    {"hidden_size": 2.5},
    {"num_hidden_layers": None},
    {"residual": "yes"},
    {"dropout": "little"},
    {"recall_window": 192.5},
    {"recall_bias": "low"},
    {"programs": ["piano"]},
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED)
def test_a_value_no_network_can_have_is_refused_with_a_sentence(values, sentence) -> None:
    with pytest.raises(StrictDataclassError, match=sentence):
        MusicLSTMConfig(**values)


@pytest.mark.parametrize("values", WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_by_its_name(values) -> None:
    (name,) = values
    with pytest.raises(StrictDataclassError, match=name):
        MusicLSTMConfig(**values)


def test_a_value_assigned_later_is_checked_too() -> None:
    config = MusicLSTMConfig()
    with pytest.raises(StrictDataclassError, match="hidden_size"):
        config.hidden_size = "big"


def test_a_misspelt_name_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(TypeError) as refusal:
        MusicLSTMConfig(hiden_size=64, layers=2)
    sentence = str(refusal.value)
    assert sentence.startswith("MusicLSTMConfig has no field 'hiden_size', 'layers'; it knows ")
    assert "hidden_size, num_hidden_layers" in sentence
    assert "model_type" not in sentence


def test_how_to_sample_is_no_field_of_the_network() -> None:
    with pytest.raises(TypeError, match="has no field 'temperature'"):
        MusicLSTMConfig(temperature=0.9)


def test_whole_numbers_serve_as_shares() -> None:
    config = MusicLSTMConfig(dropout=0, embedding_dropout=0, initializer_range=1)
    assert (config.dropout, config.embedding_dropout, config.initializer_range) == (0, 0, 1)


def test_recall_may_be_anything_within_its_limits() -> None:
    config = MusicLSTMConfig(
        recall_window=65, recall_distance=1, recall_power=16, recall_bias=-50, recall_slope=50
    )
    assert (config.recall_window, config.recall_distance) == (65, 1)
    assert (config.recall_power, config.recall_bias, config.recall_slope) == (16, -50, 50)
    assert MusicLSTMConfig().recall_window == 0


def test_a_saved_config_comes_back_with_every_field(tmp_path) -> None:
    config = MusicLSTMConfig(
        vocab_size=300,
        hidden_size=24,
        num_hidden_layers=3,
        residual=False,
        layer_norm=False,
        dropout=0.25,
        embedding_dropout=0,
        attention_window=7,
        recall_window=90,
        recall_distance=20,
        recall_power=2,
        recall_bias=-1.5,
        recall_slope=0.5,
        tie_word_embeddings=False,
        initializer_range=0.1,
        use_cache=False,
        pad_token_id=None,
        bos_token_id=4,
        eos_token_id=5,
        tokenizer_fingerprint="0123456789abcdef",
        programs=[-1, 0, 40],
    )
    config.save_pretrained(tmp_path)
    assert MusicLSTMConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_transformers_finds_the_config_by_its_type(tmp_path) -> None:
    MusicLSTMConfig(hidden_size=24).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "musiclstm"
    found = AutoConfig.from_pretrained(tmp_path)
    assert type(found) is MusicLSTMConfig
    assert found.hidden_size == 24


def test_a_file_with_a_name_from_the_future_is_refused(tmp_path) -> None:
    MusicLSTMConfig().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hyperdrive": True}))
    with pytest.raises(TypeError, match="has no field 'hyperdrive'"):
        MusicLSTMConfig.from_pretrained(tmp_path)


def test_two_configs_share_no_list() -> None:
    one, other = MusicLSTMConfig(programs=[0]), MusicLSTMConfig(programs=[0])
    one.programs.append(40)
    assert other.programs == [0]
    assert MusicLSTMConfig().programs is None
