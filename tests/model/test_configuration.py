"""The configuration: fields, files and errors."""

from __future__ import annotations

import json

import pytest
from huggingface_hub.errors import StrictDataclassError

from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.step_features import FORMAT_VERSION
from tests.model.tiny_models import NAMES, VOCAB

REFUSED = [
    *({name: -8} for name in ("vocab_size", "hidden_size", "num_hidden_layers")),
    *({"dropout": value} for value in (1, -0.1, float("nan"))),
    *({"embedding_dropout": 1.5}, {"initializer_range": -0.1}, {"initializer_range": float("nan")}),
    *({"pad_token_id": 682}, {"eos_token_id": -1}, {"programs": [0, 128]}, {"programs": []}),
    {"token_names": NAMES},
]
WRONG_TYPES = [
    {"hidden_size": "big"},
    {"hidden_size": 2.5},
    {"num_hidden_layers": None},
    {"residual": "yes"},
    {"dropout": "little"},
    {"programs": ["piano"]},
    {"token_names": [1, 2]},
    {"step_features_version": "1"},
]
BAD_NAMES = [
    ("Pitch_128", "token_names holds 'Pitch_128': 0 to 127 is allowed"),
    ("PitchDrum_-1", "'PitchDrum_-1': 0 to 127"),
    ("Program_128", "'Program_128': -1 to 127"),
    ("Position_192", "'Position_192': 0 to 191"),
    ("Duration_700.0.1", "'Duration_700.0.1': 1 to 8191"),
    ("TimeSig_0/4", "'TimeSig_0/4': 1 to 8191"),
    ("TimeSig_200/4", "'TimeSig_200/4': 1 to 8191"),
    ("TimeSig_15/32", "'TimeSig_15/32': denominators from 1 to 16"),
    ("Duration_1.2", "a name that cannot be read"),
    ("Duration_1.2.0", "a name that cannot be read"),
    ("TimeSig_4", "a name that cannot be read"),
    ("Pitch_C4", "a name that cannot be read: .*C4"),
]
VERSION_0_2 = {
    **{"vocab_size": 2048, "hidden_size": 384, "num_hidden_layers": 4, "attention_window": 0},
    **{"recall_window": 4096, "recall_distance": 128, "recall_power": 4.95},
}


@pytest.mark.parametrize("values", [*REFUSED, *WRONG_TYPES], ids=str)
def test_a_value_out_of_range_or_of_a_wrong_type_is_refused(values) -> None:
    (name,) = values
    with pytest.raises(StrictDataclassError, match=name):
        MusicLSTMConfig(**values)


@pytest.mark.parametrize(("name", "sentence"), BAD_NAMES)
def test_a_token_name_that_the_features_cannot_read_is_refused(name, sentence) -> None:
    names = [*NAMES[:-1], name]
    with pytest.raises(StrictDataclassError, match=sentence):
        MusicLSTMConfig(vocab_size=VOCAB, token_names=names)


def test_step_features_of_another_format_are_refused() -> None:
    other = FORMAT_VERSION + 1
    with pytest.raises(
        StrictDataclassError, match=f"of format {other}; .* format {FORMAT_VERSION}"
    ):
        MusicLSTMConfig(vocab_size=VOCAB, token_names=NAMES, step_features_version=other)
    assert MusicLSTMConfig(step_features_version=other).token_names is None


def test_the_format_of_the_step_features_is_always_stored(tmp_path) -> None:
    MusicLSTMConfig(vocab_size=VOCAB, token_names=NAMES).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert stored["step_features_version"] == FORMAT_VERSION
    assert stored["token_names"] == NAMES


def test_a_value_assigned_later_is_checked_too() -> None:
    config = MusicLSTMConfig()
    with pytest.raises(StrictDataclassError, match="hidden_size"):
        config.hidden_size = "big"


def test_an_unknown_name_is_refused_and_the_fields_are_listed(tmp_path) -> None:
    with pytest.raises(TypeError, match=r"'hiden_size', 'layers'; .*num_hidden_layers"):
        MusicLSTMConfig(hiden_size=64, layers=2)
    with pytest.raises(TypeError, match="'temperature'"):  # a setting of sampling
        MusicLSTMConfig(temperature=0.9)
    MusicLSTMConfig().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hyperdrive": True}))
    with pytest.raises(TypeError, match="'hyperdrive'"):
        MusicLSTMConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["attention_window", "recall_window", "recall_slope"])
def test_a_config_of_version_0_2_names_the_version_that_reads_it(name, tmp_path) -> None:
    advice = r"musiclstm<0\.3"
    with pytest.raises(TypeError, match=advice):
        MusicLSTMConfig(**{name: 0})
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "musiclstm", **VERSION_0_2}))
    with pytest.raises(TypeError, match=advice):
        MusicLSTMConfig.from_pretrained(tmp_path)


def test_integers_are_accepted_for_fractions() -> None:
    config = MusicLSTMConfig(dropout=0, embedding_dropout=0, initializer_range=1)
    assert (config.dropout, config.embedding_dropout, config.initializer_range) == (0, 0, 1)


def test_a_saved_config_is_loaded_with_every_field(tmp_path) -> None:
    config = MusicLSTMConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        num_hidden_layers=2,
        residual=False,
        layer_norm=False,
        dropout=0.25,
        embedding_dropout=0,
        tie_word_embeddings=False,
        initializer_range=0.1,
        use_cache=False,
        pad_token_id=None,
        bos_token_id=4,
        eos_token_id=5,
        tokenizer_fingerprint="0123456789abcdef",
        programs=[-1, 0, 40],
        token_names=NAMES,
    )
    config.save_pretrained(tmp_path)
    assert MusicLSTMConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_two_configs_share_no_list() -> None:
    one, other = MusicLSTMConfig(programs=[0]), MusicLSTMConfig(programs=[0])
    one.programs.append(40)
    assert other.programs == [0]
    assert MusicLSTMConfig().programs is None
