"""Checkpoint folders: saved, loaded, and refused if their parts do not belong together."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from musiclstm import CheckpointError, MusicLSTMConfig, MusicLSTMForCausalLM
from musiclstm.model.checkpoint import find_checkpoint, load_checkpoint, read_facts, save_checkpoint
from musiclstm.model.step_features import FORMAT_VERSION


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy of the toy that a test may damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "toy")


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
        *("facts.json", "configuration_musiclstm.py", "modeling_musiclstm.py", "step_features.py"),
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


def test_facts_are_kept_as_they_were_told(tiny_checkpoint, tiny_model, tiny_tokenizer, tmp_path):
    assert read_facts(tiny_checkpoint) == {"steps": 0}
    facts = {"data": "Dvořák", "bits_per_note": 1.5, "steps": [1, 2]}
    save_checkpoint(tmp_path, tiny_model, tiny_tokenizer, facts=facts)
    assert read_facts(tmp_path) == facts
    assert "Dvořák" in (tmp_path / "facts.json").read_text(encoding="utf-8")


def test_no_facts_are_an_empty_record(tmp_path) -> None:
    assert read_facts(tmp_path) == {}


def test_damaged_facts_are_refused(tmp_path) -> None:
    (tmp_path / "facts.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"facts\.json of .* is not a JSON record; take"):
        read_facts(tmp_path)


# -- Where a checkpoint is found -----------------------------------------------------------------


def test_a_folder_is_found_by_its_path(tiny_checkpoint) -> None:
    assert find_checkpoint(tiny_checkpoint) == tiny_checkpoint
    assert find_checkpoint(str(tiny_checkpoint)) == tiny_checkpoint


@pytest.mark.parametrize(
    ("removed", "sentence"),
    [
        (
            ["miditok_remi.json"],
            "has no miditok_remi.json; a checkpoint folder holds config.json, ",
        ),
        (["config.json", "model.safetensors"], "has no config.json and no model.safetensors; "),
    ],
)
def test_a_folder_with_a_file_missing_is_refused(removed, sentence, folder) -> None:
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match=sentence):
        find_checkpoint(folder)


def test_a_name_that_is_neither_folder_nor_hub_id_is_refused() -> None:
    with pytest.raises(CheckpointError) as refusal:
        find_checkpoint("no/such/folder")
    assert str(refusal.value) == (
        "'no/such/folder' is neither a folder nor a Hub id; pass 'default', a folder, or an id "
        "such as 'user/model'."
    )


def test_offline_a_name_without_a_copy_is_refused_with_a_sentence() -> None:
    with pytest.raises(CheckpointError) as refusal:
        find_checkpoint("nobody/nothing")
    assert str(refusal.value) == (
        "There is no folder 'nobody/nothing' and no whole copy of a model of that name, and "
        "HF_HUB_OFFLINE is set; unset it to fetch the model."
    )


# -- What does not belong together ---------------------------------------------------------------


def refusal_of(folder) -> str:
    with pytest.raises(CheckpointError) as refusal:
        load_checkpoint(folder)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_weights_for_another_number_of_tokens_are_refused(folder, tiny_tokenizer) -> None:
    rewrite(folder / "config.json", vocab_size=99, token_names=None)
    assert refusal_of(folder) == (
        f"'{folder}' has weights for 99 tokens and a tokenizer of {len(tiny_tokenizer)}; "
        "both must come from the same run."
    )


def test_a_tokenizer_with_another_fingerprint_is_refused(folder, tiny_tokenizer) -> None:
    rewrite(folder / "config.json", tokenizer_fingerprint="0123456789abcdef")
    assert refusal_of(folder) == (
        f"The weights of '{folder}' were trained with tokenizer 0123456789abcdef, but "
        f"miditok_remi.json is {tiny_tokenizer.fingerprint}; both must come from the same run."
    )


def test_token_names_that_are_not_those_of_the_tokenizer_are_refused(
    folder, tiny_tokenizer
) -> None:
    names = list(tiny_tokenizer.token_names)
    names[4:6] = reversed(names[4:6])
    rewrite(folder / "config.json", token_names=names)
    assert refusal_of(folder) == (
        f"token_names in config.json of '{folder}' are not the tokens of miditok_remi.json; "
        "both must come from the same run."
    )


def test_step_features_of_another_format_are_refused(folder) -> None:
    rewrite(folder / "config.json", step_features_version=FORMAT_VERSION + 1)
    refusal = refusal_of(folder)
    assert refusal.startswith(f"config.json of '{folder}' describes no network that can be built")
    assert (
        f"The weights were trained with step features of format {FORMAT_VERSION + 1}; this code "
        f"computes format {FORMAT_VERSION}. Read them with the version of musiclstm that made them"
    ) in refusal


def test_a_checkpoint_of_version_0_2_names_the_version_that_reads_it(folder) -> None:
    (folder / "miditok_remi.json").rename(folder / "tokenizer.json")
    assert refusal_of(folder) == (
        f"'{folder}' is a checkpoint of musiclstm 0.2, which has another network and other "
        "tokens; read it with musiclstm 0.2 (pip install 'musiclstm<0.3'), or train it again."
    )


def test_a_file_of_version_0_2_beside_a_whole_checkpoint_is_ignored(folder) -> None:
    (folder / "tokenizer.json").write_text("{}")
    assert find_checkpoint(folder) == folder


def test_auto_tokenizer_names_the_tokenizer_to_use(folder) -> None:
    with pytest.raises(ValueError, match=r"has no text tokenizer; use musiclstm\.MusicTokenizer"):
        AutoTokenizer.from_pretrained(folder)


def test_a_config_of_another_network_is_refused(folder) -> None:
    rewrite(folder / "config.json", model_type="gpt2")
    with pytest.raises(CheckpointError, match="is a model of type 'gpt2', not 'musiclstm'; pass"):
        load_checkpoint(folder)


@pytest.mark.parametrize("content", ["{", "[1, 2]", ""])
def test_a_config_that_is_no_record_is_refused(content, folder) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json of .* is not a JSON record; take the"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hyperdrive": True}, "MusicLSTMConfig has no field 'hyperdrive'"),
        ({"dropout": 2}, "dropout must be from 0 to below 1, got 2"),
        ({"hidden_size": "big"}, "hidden_size"),
        ({"recall_window": 100}, "This config was made for musiclstm 0.2"),
    ],
)
def test_a_config_that_describes_no_network_is_refused(changes, reason, folder) -> None:
    rewrite(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match="describes no network that can be built") as refusal:
        load_checkpoint(folder)
    assert reason in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"not weights", pickle.dumps({"lm_head": 1})])
def test_weights_that_are_no_safetensors_are_refused(content, folder) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"The weights of .* cannot be read \(\w+\); fetch"):
        load_checkpoint(folder)


def test_weights_cut_short_are_refused(folder) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1_000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


def test_a_pickle_beside_the_config_is_not_opened(folder) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_checkpoint(folder)


def test_weights_with_a_layer_missing_are_refused(folder) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.lstm.weight_hh_l0"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"are not those of the network in its config\.json"):
        load_checkpoint(folder)


def test_weights_with_a_layer_too_many_are_refused(folder) -> None:
    rewrite(folder / "config.json", num_hidden_layers=1)
    with pytest.raises(CheckpointError, match=r"are not those of the network in its config\.json"):
        load_checkpoint(folder)


def test_weights_of_another_width_are_refused(folder) -> None:
    rewrite(folder / "config.json", hidden_size=16)
    with pytest.raises(CheckpointError, match=r"weights of .*(cannot be read|are not those)"):
        load_checkpoint(folder)


def test_code_beside_the_weights_is_not_run(folder) -> None:
    for name in ("modeling_musiclstm.py", "configuration_musiclstm.py", "step_features.py"):
        (folder / name).write_text("raise SystemExit('this code must not run')")
    model, _ = load_checkpoint(folder)
    assert type(model) is MusicLSTMForCausalLM


@pytest.mark.parametrize(
    "changes",
    [{"hidden_size": 10**9}, {"num_hidden_layers": 10**9}, {"num_hidden_layers": 3}],
)
def test_numbers_that_the_weights_do_not_bear_out_build_nothing(
    changes, folder, monkeypatch
) -> None:
    monkeypatch.setattr(MusicLSTMForCausalLM, "__init__", lambda *_: pytest.fail("was built"))
    rewrite(folder / "config.json", **changes)
    with pytest.raises(CheckpointError, match=r"are not those of the network in its config\.json"):
        load_checkpoint(folder)


def test_a_config_nested_without_end_is_refused(folder) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="is not a JSON record"):
        load_checkpoint(folder)


def test_a_tokenizer_that_is_none_is_refused_by_the_name_that_was_given(folder) -> None:
    (folder / "miditok_remi.json").write_text("{}")
    assert refusal_of(folder).startswith(f"miditok_remi.json of '{folder}' is not a tokenizer file")


def test_a_tokenizer_of_another_format_is_refused_with_both_formats(folder) -> None:
    rewrite(folder / "miditok_remi.json", musiclstm={"format_version": 99})
    assert f"miditok_remi.json of '{folder}' has format 99; this version" in refusal_of(folder)
