"""Checkpoint folders: saved, loaded, and refused if their parts do not belong together."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load, load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from musiclstm import CheckpointError, MusicLSTMConfig, MusicLSTMForCausalLM
from musiclstm.model.checkpoint import load_checkpoint, save_checkpoint
from musiclstm.model.checkpoint_files import find_checkpoint, read_facts
from musiclstm.model.step_features import FORMAT_VERSION
from musiclstm.model.stored_weights import load_weights

CODE_FILES = (
    *("config_fields.py", "configuration_musiclstm.py"),
    *("modeling_musiclstm.py", "step_features.py"),
)


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy of the toy that a test may damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "toy")


@pytest.fixture(params=[load_checkpoint, load_weights], ids=["network", "arrays"])
def load_folder(request):
    """Each of the two ways to load a checkpoint."""
    return request.param


def rewrite(file, **changes) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# -- There and back ------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_rounded_to_float16(tiny_checkpoint, tiny_model) -> None:
    model, _ = load_checkpoint(tiny_checkpoint)
    old, new = tiny_model.state_dict(), model.state_dict()
    assert old.keys() == new.keys()
    for name, weight in new.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, old[name].half().float())


def test_a_checkpoint_comes_back_bit_by_bit_in_float32(
    tiny_model, tiny_tokenizer, tmp_path
) -> None:
    save_checkpoint(tmp_path, tiny_model, tiny_tokenizer, dtype=torch.float32)
    model, tokenizer = load_checkpoint(tmp_path)
    assert all(
        torch.equal(weight, tiny_model.state_dict()[name])
        for name, weight in model.state_dict().items()
    )
    assert tokenizer.fingerprint == tiny_tokenizer.fingerprint
    assert not model.training


def test_loading_says_nothing_and_leaves_transformers_as_it_was(tiny_checkpoint, capfd) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_checkpoint(tiny_checkpoint)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_saving_leaves_the_weights_of_the_model_alone(tiny_tokenizer, tmp_path) -> None:
    torch.manual_seed(1)
    model = MusicLSTMForCausalLM(
        MusicLSTMConfig(vocab_size=len(tiny_tokenizer), hidden_size=8, num_hidden_layers=1)
    )
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    save_checkpoint(tmp_path, model, tiny_tokenizer)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name])
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.tokenizer_fingerprint == tiny_tokenizer.fingerprint


def test_a_checkpoint_folder_holds_what_design_says_and_no_pickle(tiny_checkpoint) -> None:
    names = {file.name for file in tiny_checkpoint.iterdir()}
    assert names == {
        *("config.json", "model.safetensors", "miditok_remi.json", "generation_config.json"),
        *("facts.json", *CODE_FILES),
    }
    stored = load_file(tiny_checkpoint / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    assert "lm_head.weight" not in stored  # tied: it is the embedding matrix


def test_the_config_names_its_tokenizer(tiny_checkpoint, tiny_tokenizer) -> None:
    config = MusicLSTMConfig.from_pretrained(tiny_checkpoint)
    assert config.tokenizer_fingerprint == tiny_tokenizer.fingerprint
    assert config.vocab_size == len(tiny_tokenizer)
    assert config.token_names == list(tiny_tokenizer.token_names)


def test_untied_weights_survive_a_checkpoint(tiny_tokenizer, tmp_path) -> None:
    torch.manual_seed(1)
    config = MusicLSTMConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        tie_word_embeddings=False,
    )
    model = MusicLSTMForCausalLM(config)
    save_checkpoint(tmp_path, model, tiny_tokenizer, dtype=torch.float32)
    back, _ = load_checkpoint(tmp_path)
    assert torch.equal(back.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(back.lm_head.weight, back.model.embed_tokens.weight)


def test_plain_transformers_samples_from_a_checkpoint(tiny_checkpoint, tiny_tokenizer) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    how = model.generation_config
    assert how.do_sample
    assert (how.bos_token_id, how.eos_token_id, how.pad_token_id) == (
        tiny_tokenizer.bos_id,
        tiny_tokenizer.eos_id,
        tiny_tokenizer.pad_id,
    )
    begin = torch.tensor([[tiny_tokenizer.bos_id]])
    torch.manual_seed(0)
    assert 2 <= model.generate(begin, max_new_tokens=5).shape[1] <= 6


def test_facts_are_stored_unchanged(tiny_checkpoint, tiny_model, tiny_tokenizer, tmp_path):
    assert read_facts(tmp_path) == {}
    assert read_facts(tiny_checkpoint) == {"steps": 0}
    facts = {"data": "Dvořák", "bits_per_note": 1.5, "steps": [1, 2]}
    save_checkpoint(tmp_path, tiny_model, tiny_tokenizer, facts=facts)
    assert read_facts(tmp_path) == facts
    assert "Dvořák" in (tmp_path / "facts.json").read_text(encoding="utf-8")
    (tmp_path / "facts.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"facts\.json of .* is not a JSON object"):
        read_facts(tmp_path)


# -- Where a checkpoint is found -----------------------------------------------------------------


def test_a_folder_is_found_by_its_path(tiny_checkpoint) -> None:
    assert find_checkpoint(tiny_checkpoint) == tiny_checkpoint
    assert find_checkpoint(str(tiny_checkpoint)) == tiny_checkpoint


@pytest.mark.parametrize("missing", [["miditok_remi.json"], ["config.json", "model.safetensors"]])
def test_a_folder_with_a_file_missing_is_refused(missing, folder) -> None:
    for name in missing:
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {' and no '.join(missing)};"):
        find_checkpoint(folder)


def test_a_name_that_is_neither_folder_nor_hub_id_is_refused() -> None:
    with pytest.raises(CheckpointError, match="'no/such/folder' is neither a folder nor a Hub id"):
        find_checkpoint("no/such/folder")
    with pytest.raises(CheckpointError, match=r"no folder 'no/model' and .* HF_HUB_OFFLINE is set"):
        find_checkpoint("no/model")


# -- Files that do not match ---------------------------------------------------------------------

DEEP = "[" * 100_000
MISMATCHES = [
    ("config.json", {"vocab_size": 99, "token_names": None}, "99 tokens and a tokenizer of"),
    ("config.json", {"tokenizer_fingerprint": "0123456789abcdef"}, "tokenizer 0123456789abcdef"),
    ("config.json", {"step_features_version": FORMAT_VERSION + 1}, f"format {FORMAT_VERSION + 1}"),
    ("config.json", {"model_type": "gpt2"}, "is a model of type 'gpt2'"),
    ("config.json", {"hyperdrive": True}, "is not valid .*'hyperdrive'"),
    ("config.json", {"dropout": 2}, "is not valid .*dropout .* got 2"),
    ("config.json", {"recall_window": 100}, "is not valid .*musiclstm 0.2"),
    ("config.json", {"num_hidden_layers": 1}, "not those of the network"),
    ("config.json", {"hidden_size": 16}, "cannot be read|not those of the network"),
    *(("config.json", content, "is not a JSON object") for content in ("{", "[1, 2]", "", DEEP)),
    ("miditok_remi.json", "{}", "is not a tokenizer file"),
    ("miditok_remi.json", {"musiclstm": {"format_version": 99}}, "has format 99"),
    ("model.safetensors", "", "cannot be read"),
    ("model.safetensors", "not weights", "cannot be read"),
]


@pytest.mark.parametrize(("file", "content", "fact"), MISMATCHES)
def test_files_that_do_not_match_are_refused_with_the_reason(
    file, content, fact, folder, load_folder
) -> None:
    if isinstance(content, dict):
        rewrite(folder / file, **content)
    else:
        (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=fact) as error:
        load_folder(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_token_names_of_another_tokenizer_are_refused(folder, tiny_tokenizer, load_folder) -> None:
    names = list(tiny_tokenizer.token_names)
    names[4:6] = reversed(names[4:6])
    rewrite(folder / "config.json", token_names=names)
    with pytest.raises(CheckpointError, match=r"are not the tokens of miditok_remi\.json"):
        load_folder(folder)


def test_a_checkpoint_of_version_0_2_names_the_version_that_reads_it(folder, load_folder) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert find_checkpoint(folder) == folder  # a file of that version beside the current one
    (folder / "miditok_remi.json").rename(folder / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"musiclstm<0\.3"):
        load_folder(folder)


def test_auto_tokenizer_names_the_tokenizer_to_use(folder) -> None:
    with pytest.raises(ValueError, match=r"musiclstm\.MusicTokenizer"):
        AutoTokenizer.from_pretrained(folder)


def test_damaged_weights_are_refused(folder, load_folder) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    for damaged in (content[:-1_000], pickle.dumps({"lm_head": 1})):
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="cannot be read"):
            load_folder(folder)
    weights = load(content)
    del weights["model.layers.1.lstm.weight_hh_l0"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="not those of the network"):
        load_folder(folder)


def test_a_pickle_beside_the_config_is_not_opened(folder) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_checkpoint(folder)


def test_code_beside_the_weights_is_not_run(folder) -> None:
    for name in CODE_FILES:
        (folder / name).write_text("raise SystemExit('this code must not run')")
    model, _ = load_checkpoint(folder)
    assert type(model) is MusicLSTMForCausalLM


@pytest.mark.parametrize(
    "changes", [{"hidden_size": 10**9}, {"num_hidden_layers": 10**9}, {"num_hidden_layers": 3}]
)
def test_sizes_that_are_not_those_of_the_weights_build_no_model(
    changes, folder, monkeypatch
) -> None:
    monkeypatch.setattr(MusicLSTMForCausalLM, "__init__", lambda *_: pytest.fail("was built"))
    rewrite(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match="not those of the network"):
        load_checkpoint(folder)
