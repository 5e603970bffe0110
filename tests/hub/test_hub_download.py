"""Download of a model from the Hub: complete, or one error message; a repeated call recovers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from musiclstm import CheckpointError, Composer, MusicLSTMForCausalLM, Sampling
from musiclstm.model.checkpoint import load_checkpoint
from musiclstm.model.checkpoint_files import find_checkpoint

NAME = "ann/toy"
WEIGHTS = "model.safetensors"


@pytest.fixture
def files(hub, tiny_checkpoint):
    """Files of a tiny checkpoint, which is on the Hub as ann/toy."""
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    hub.put(NAME, files)
    return files


@pytest.fixture
def logged_out(monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")


def offline(monkeypatch, is_offline: bool = True) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)


def refusal(name=NAME, **options) -> str:
    with pytest.raises(CheckpointError) as found:
        load_checkpoint(name, **options)
    assert "\n" not in str(found.value)
    return str(found.value)


def blobs() -> list[Path]:
    from huggingface_hub import constants

    return [*Path(constants.HF_HUB_CACHE).glob("models--ann--toy/blobs/*")]


def loads(tiny_model) -> bool:
    model, _ = load_checkpoint(NAME)
    old = tiny_model.state_dict()
    return all(torch.equal(w, old[name].half().float()) for name, w in model.state_dict().items())


# -- Downloaded files ------------------------------------------------------------------------------


def test_a_model_on_the_hub_composes_like_its_folder(files, tiny_composer) -> None:
    from_hub = Composer.from_pretrained(NAME).compose(bars=2, sampling=Sampling(seed=7))
    local = tiny_composer.compose(bars=2, sampling=Sampling(seed=7))
    assert from_hub.score.dumps_midi() == local.score.dumps_midi()


def test_nothing_is_fetched_twice(hub, files) -> None:
    first = find_checkpoint(NAME)
    hub.requests.clear()
    assert find_checkpoint(NAME) == first
    assert hub.requests == [f"GET /api/models/{NAME}/revision/main"]


def test_code_and_pickles_are_not_downloaded(hub, files) -> None:
    index = "memorization_index.npz"
    hub.put(NAME, {"pytorch_model.bin": b"pickle", "samples/one.mp3": b"sound", index: b"PK"})
    wanted = {"config.json", WEIGHTS, "miditok_remi.json", "generation_config.json", "facts.json"}
    assert {path.name for path in find_checkpoint(NAME).iterdir()} == wanted | {index}
    assert hub.count("GET", r"\.py|\.bin|samples") == 0


def test_a_revision_is_a_commit_or_a_branch(hub, files) -> None:
    old = hub.repo(NAME).refs["main"].sha
    hub.put(NAME, {"config.json": b"{}"})
    hub.repo(NAME).refs["v1"] = hub.repo(NAME).at(old)
    assert find_checkpoint(NAME, revision="v1") == find_checkpoint(NAME, revision=old)
    assert "is a model of type None" in refusal()


def test_once_loaded_a_model_needs_no_network(files, monkeypatch, tiny_model) -> None:
    load_checkpoint(NAME)
    offline(monkeypatch)
    assert loads(tiny_model)


def test_once_loaded_a_model_loads_while_the_hub_fails(files, hub, monkeypatch, tiny_model) -> None:
    load_checkpoint(NAME)
    hub.fail("GET", "/api/", status=503, times=99)
    assert loads(tiny_model)


# -- Missing ---------------------------------------------------------------------------------------


def test_an_unreachable_hub(files, hub, monkeypatch, tiny_model) -> None:
    with monkeypatch.context() as cut:
        cut.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
        assert refusal() == (
            f"There is no folder '{NAME}', and the Hub cannot be reached to look for a model of "
            "that name; check the name or the connection."
        )
    assert loads(tiny_model)


def test_offline_before_the_first_load(files, monkeypatch, tiny_model) -> None:
    offline(monkeypatch)
    assert "no complete local copy of a model of that name, and HF_HUB_OFFLINE is set" in refusal()
    offline(monkeypatch, False)
    assert loads(tiny_model)


def test_offline_after_an_incomplete_download(files, hub, monkeypatch, tiny_model) -> None:
    hub.fail("GET", "/store/", status=404, times=9)
    refusal()
    offline(monkeypatch)
    assert "no complete local copy of a model of that name" in refusal()
    offline(monkeypatch, False)
    hub.clear_faults()
    assert loads(tiny_model)


def test_an_unknown_name(hub, logged_out) -> None:
    assert refusal("ann/nothing") == (
        "There is no folder and no model 'ann/nothing' on the Hub, or it is private; check the "
        "name, or log in with `hf auth login`."
    )


def test_a_private_model_loads_with_a_token(files, hub, tiny_model, monkeypatch) -> None:
    hub.repo(NAME).private = True
    with monkeypatch.context() as patch:
        patch.delenv("HF_TOKEN")
        assert "or it is private; check the name, or log in with" in refusal()
    assert loads(tiny_model)


def test_a_gated_model_names_its_page(files, hub, tiny_model, logged_out) -> None:
    hub.repo(NAME).gated = True
    assert f"request access on {hub.endpoint}/{NAME}" in refusal()
    hub.repo(NAME).gated = False
    assert loads(tiny_model)


def test_an_invalid_token(files, monkeypatch) -> None:
    token = "hf_" + "SomeOldTokenThatWasTakenBack1234"
    monkeypatch.setenv("HF_TOKEN", token)
    assert "`hf auth login`" in refusal()
    assert token not in refusal()


def test_an_unknown_revision(files, hub) -> None:
    assert refusal(revision="v9") == (
        f"'{NAME}' has no revision 'v9'; see its branches and tags on {hub.endpoint}/{NAME}, or "
        "leave the revision out."
    )


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS, "miditok_remi.json"])
def test_a_file_that_was_not_uploaded(missing, files, hub, tiny_model) -> None:
    hub.put(NAME, {missing: None})
    assert f"'{NAME}' has no {missing}; a checkpoint folder holds" in refusal()
    hub.put(NAME, {missing: files[missing]})
    assert loads(tiny_model)


def test_a_file_that_is_listed_but_not_found(files, hub, tiny_model) -> None:
    hub.fail("HEAD", "/resolve/.*/config.json", status=404, code="EntryNotFound", times=9)
    assert f"The Hub lists a file of '{NAME}'" in refusal()
    hub.clear_faults()
    assert loads(tiny_model)


# -- Other models ----------------------------------------------------------------------------------


def test_another_model_type_is_refused_before_its_weights_are_downloaded(hub) -> None:
    hub.put(
        "ann/words",
        {"config.json": b'{"model_type": "gpt2"}', WEIGHTS: b"large", "vocab.json": b""},
    )
    assert refusal("ann/words") == (
        "'ann/words' is a model of type 'gpt2', not 'musiclstm'; pass one that training.finetune "
        "wrote."
    )
    assert hub.count("GET", WEIGHTS) == hub.count("GET", "/store/") == 0


def test_absurd_sizes_build_no_network(files, hub, monkeypatch, tiny_model) -> None:
    config = json.loads(files["config.json"])
    hub.put(NAME, {"config.json": json.dumps(config | {"hidden_size": 10**9}).encode()})
    with monkeypatch.context() as watched:
        watched.setattr(MusicLSTMForCausalLM, "__init__", lambda *_: pytest.fail("was built"))
        assert f"weights of '{NAME}' are not those of the network in its config.json" in refusal()
    hub.put(NAME, {"config.json": files["config.json"]})
    assert loads(tiny_model)


def test_a_tokenizer_file_with_other_tokens(files, hub, tiny_model) -> None:
    other = json.loads(files["miditok_remi.json"])
    other["musiclstm"]["fingerprint"] = "0123456789abcdef"
    hub.put(NAME, {"miditok_remi.json": json.dumps(other).encode()})
    assert refusal() == (
        f"miditok_remi.json of '{NAME}' has other tokens than this version of musiclstm "
        "(fingerprint '0123456789abcdef' instead of '3d8650d5562d7a19'); use the file "
        "saved with the weights."
    )
    hub.put(NAME, {"miditok_remi.json": files["miditok_remi.json"]})
    assert loads(tiny_model)


def test_weights_trained_with_another_tokenizer(files, hub, tiny_tokenizer, tiny_model) -> None:
    config = json.loads(files["config.json"]) | {"tokenizer_fingerprint": "0123456789abcdef"}
    hub.put(NAME, {"config.json": json.dumps(config).encode()})
    assert refusal() == (
        f"The weights of '{NAME}' were trained with tokenizer 0123456789abcdef, but "
        f"miditok_remi.json is {tiny_tokenizer.fingerprint}; both must come from the same run."
    )
    hub.put(NAME, {"config.json": files["config.json"]})
    assert loads(tiny_model)


def test_a_model_of_version_0_2_is_refused_before_its_weights_are_downloaded(files, hub) -> None:
    hub.put(NAME, {"tokenizer.json": b"{}", "miditok_remi.json": None})
    assert refusal() == (
        f"'{NAME}' is a checkpoint of musiclstm 0.2, which has another network and other tokens; "
        "read it with musiclstm 0.2 (pip install 'musiclstm<0.3'), or train it again."
    )
    assert hub.count("GET", WEIGHTS) == hub.count("GET", "/store/") == 0


def test_invalid_weights(files, hub, tiny_model) -> None:
    hub.put(NAME, {WEIGHTS: b"not weights"})
    assert f"The weights of '{NAME}' cannot be read" in refusal()
    hub.put(NAME, {WEIGHTS: files[WEIGHTS]})
    assert loads(tiny_model)


# -- Damaged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [8, -1])
def test_a_damaged_download_is_repeated(place, files, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", damage=place)
    assert loads(tiny_model)
    assert hub.count("GET", "/store/") == 2


def test_a_download_that_is_damaged_twice(files, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", damage=-1, times=2)
    assert f"{WEIGHTS} of '{NAME}' was damaged in two downloads" in refusal()
    assert hashlib.sha256(files[WEIGHTS]).hexdigest() not in {path.name for path in blobs()}
    assert loads(tiny_model)


def test_small_files_are_verified_too(files, hub, tiny_model) -> None:
    hub.fail("GET", "/resolve/.*/miditok_remi.json", damage=-1)
    assert loads(tiny_model)


def test_a_damaged_cached_file_is_downloaded_again(files, hub, tiny_model) -> None:
    damage_cached_weights()
    assert loads(tiny_model)


def test_a_damaged_cached_file_offline(files, hub, monkeypatch, tiny_model) -> None:
    damage_cached_weights()
    offline(monkeypatch)
    assert f"local copy of {WEIGHTS} of '{NAME}' was damaged" in refusal()
    offline(monkeypatch, False)
    assert loads(tiny_model)


def damage_cached_weights() -> None:
    blob = (find_checkpoint(NAME) / WEIGHTS).resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_an_interrupted_download_is_resumed(files, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", cut_after=5_000)
    assert loads(tiny_model)


def test_a_download_that_is_always_interrupted(files, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", cut_after=0, times=99)
    assert f"The download of '{NAME}' was interrupted (" in refusal()
    hub.clear_faults()
    assert loads(tiny_model)


def test_a_full_disk_names_the_folder(files, monkeypatch, tiny_model) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("huggingface_hub.file_download._chmod_and_move", full)
        assert "(No space left on device)" in refusal()
    assert loads(tiny_model)
