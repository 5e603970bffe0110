"""A model comes from the Hub whole, or with one sentence; and once it could come, it comes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch

from musiclstm import CheckpointError, Composer, MusicLSTMForCausalLM, Sampling
from musiclstm.model.checkpoint import find_checkpoint, load_checkpoint

NAME = "ann/toy"
WEIGHTS = "model.safetensors"


@pytest.fixture
def toy(hub, tiny_checkpoint):
    """The toy's files, which stand on the Hub as ann/toy."""
    files = {path.name: path.read_bytes() for path in tiny_checkpoint.iterdir()}
    hub.put(NAME, files)
    return files


@pytest.fixture
def nobody(monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")


def offline(monkeypatch, is_offline: bool = True) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)


def refusal(name=NAME, **how) -> str:
    with pytest.raises(CheckpointError) as found:
        load_checkpoint(name, **how)
    assert "\n" not in str(found.value)
    return str(found.value)


def blobs() -> list[Path]:
    from huggingface_hub import constants

    return [*Path(constants.HF_HUB_CACHE).glob("models--ann--toy/blobs/*")]


def loads(tiny_model) -> bool:
    model, _ = load_checkpoint(NAME)
    old = tiny_model.state_dict()
    return all(torch.equal(w, old[name].half().float()) for name, w in model.state_dict().items())


# -- What arrives ----------------------------------------------------------------------------------


def test_a_name_on_the_hub_is_as_good_as_a_folder(toy, tiny_composer) -> None:
    there = Composer.from_pretrained(NAME).compose(bars=2, sampling=Sampling(seed=7))
    here = tiny_composer.compose(bars=2, sampling=Sampling(seed=7))
    assert there.score.dumps_midi() == here.score.dumps_midi()


def test_nothing_is_fetched_twice(hub, toy) -> None:
    first = find_checkpoint(NAME)
    hub.requests.clear()
    assert find_checkpoint(NAME) == first
    assert hub.requests == [f"GET /api/models/{NAME}/revision/main"]


def test_code_and_pickles_are_left_where_they_are(hub, toy) -> None:
    hub.put(NAME, {"pytorch_model.bin": b"pickle", "samples/one.mp3": b"sound"})
    wanted = {"config.json", WEIGHTS, "miditok_remi.json", "generation_config.json", "facts.json"}
    assert {path.name for path in find_checkpoint(NAME).iterdir()} == wanted
    assert hub.count("GET", r"\.py|\.bin|samples") == 0


def test_a_revision_is_a_commit_or_a_branch(hub, toy) -> None:
    old = hub.repo(NAME).refs["main"].sha
    hub.put(NAME, {"config.json": b"{}"})
    hub.repo(NAME).refs["v1"] = hub.repo(NAME).at(old)
    assert find_checkpoint(NAME, revision="v1") == find_checkpoint(NAME, revision=old)
    assert "is a model of type None" in refusal()


def test_once_loaded_a_model_needs_no_network(toy, monkeypatch, tiny_model) -> None:
    load_checkpoint(NAME)
    offline(monkeypatch)
    assert loads(tiny_model)


def test_once_loaded_a_model_outlives_its_hub(toy, hub, monkeypatch, tiny_model) -> None:
    load_checkpoint(NAME)
    hub.fail("GET", "/api/", status=503, times=99)
    assert loads(tiny_model)


# -- What is not there -----------------------------------------------------------------------------


def test_without_a_way_to_the_hub(toy, hub, monkeypatch, tiny_model) -> None:
    with monkeypatch.context() as cut:
        cut.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
        assert refusal() == (
            f"There is no folder '{NAME}', and the Hub cannot be reached to look for a model of "
            "that name; check the name or the connection."
        )
    assert loads(tiny_model)


def test_offline_before_the_first_load(toy, monkeypatch, tiny_model) -> None:
    offline(monkeypatch)
    assert "no complete local copy of a model of that name, and HF_HUB_OFFLINE is set" in refusal()
    offline(monkeypatch, False)
    assert loads(tiny_model)


def test_offline_after_half_a_load(toy, hub, monkeypatch, tiny_model) -> None:
    hub.fail("GET", "/store/", status=404, times=9)
    refusal()
    offline(monkeypatch)
    assert "no complete local copy of a model of that name" in refusal()
    offline(monkeypatch, False)
    hub.mend()
    assert loads(tiny_model)


def test_a_name_that_nobody_has(hub, nobody) -> None:
    assert refusal("ann/nothing") == (
        "There is no folder and no model 'ann/nothing' on the Hub, or it is private; check the "
        "name, or log in with `hf auth login`."
    )


def test_a_private_model_opens_with_its_token(toy, hub, tiny_model, monkeypatch) -> None:
    hub.repo(NAME).private = True
    with monkeypatch.context() as alone:
        alone.delenv("HF_TOKEN")
        assert "or it is private; check the name, or log in with" in refusal()
    assert loads(tiny_model)


def test_a_gated_model_says_where_to_ask(toy, hub, tiny_model, nobody) -> None:
    hub.repo(NAME).gated = True
    assert f"request access on {hub.endpoint}/{NAME}" in refusal()
    hub.repo(NAME).gated = False
    assert loads(tiny_model)


def test_a_token_that_the_hub_does_not_know(toy, monkeypatch) -> None:
    token = "hf_" + "SomeOldTokenThatWasTakenBack1234"
    monkeypatch.setenv("HF_TOKEN", token)
    assert "`hf auth login`" in refusal()
    assert token not in refusal()


def test_a_revision_that_is_not_there(toy, hub) -> None:
    assert refusal(revision="v9") == (
        f"'{NAME}' has no revision 'v9'; see its branches and tags on {hub.endpoint}/{NAME}, or "
        "leave the revision out."
    )


@pytest.mark.parametrize("missing", ["config.json", WEIGHTS, "miditok_remi.json"])
def test_a_file_that_was_never_uploaded(missing, toy, hub, tiny_model) -> None:
    hub.put(NAME, {missing: None})
    assert f"'{NAME}' has no {missing}; a checkpoint folder holds" in refusal()
    hub.put(NAME, {missing: toy[missing]})
    assert loads(tiny_model)


def test_a_file_that_the_hub_names_but_does_not_give(toy, hub, tiny_model) -> None:
    hub.fail("HEAD", "/resolve/.*/config.json", status=404, code="EntryNotFound", times=9)
    assert f"The Hub lists a file of '{NAME}'" in refusal()
    hub.mend()
    assert loads(tiny_model)


# -- What is something else ------------------------------------------------------------------------


def test_a_model_of_another_kind_is_refused_before_its_weights_are_fetched(hub) -> None:
    hub.put(
        "ann/words",
        {"config.json": b'{"model_type": "gpt2"}', WEIGHTS: b"large", "vocab.json": b""},
    )
    assert refusal("ann/words") == (
        "'ann/words' is a model of type 'gpt2', not 'musiclstm'; pass one that training.finetune "
        "wrote."
    )
    assert hub.count("GET", WEIGHTS) == hub.count("GET", "/store/") == 0


def test_absurd_numbers_build_nothing(toy, hub, monkeypatch, tiny_model) -> None:
    config = json.loads(toy["config.json"])
    hub.put(NAME, {"config.json": json.dumps(config | {"hidden_size": 10**9}).encode()})
    with monkeypatch.context() as watched:
        watched.setattr(MusicLSTMForCausalLM, "__init__", lambda *_: pytest.fail("was built"))
        assert f"weights of '{NAME}' are not those of the network in its config.json" in refusal()
    hub.put(NAME, {"config.json": toy["config.json"]})
    assert loads(tiny_model)


def test_a_tokenizer_file_with_other_tokens(toy, hub, tiny_model) -> None:
    other = json.loads(toy["miditok_remi.json"])
    other["musiclstm"]["fingerprint"] = "0123456789abcdef"
    hub.put(NAME, {"miditok_remi.json": json.dumps(other).encode()})
    assert refusal() == (
        f"miditok_remi.json of '{NAME}' has other tokens than this version of musiclstm "
        "(fingerprint '0123456789abcdef' instead of '3d8650d5562d7a19'); take the file that was "
        "saved together with the weights."
    )
    hub.put(NAME, {"miditok_remi.json": toy["miditok_remi.json"]})
    assert loads(tiny_model)


def test_weights_trained_with_another_tokenizer(toy, hub, tiny_tokenizer, tiny_model) -> None:
    config = json.loads(toy["config.json"]) | {"tokenizer_fingerprint": "0123456789abcdef"}
    hub.put(NAME, {"config.json": json.dumps(config).encode()})
    assert refusal() == (
        f"The weights of '{NAME}' were trained with tokenizer 0123456789abcdef, but "
        f"miditok_remi.json is {tiny_tokenizer.fingerprint}; both must come from the same run."
    )
    hub.put(NAME, {"config.json": toy["config.json"]})
    assert loads(tiny_model)


def test_a_model_of_version_0_2_is_refused_before_its_weights_are_fetched(toy, hub) -> None:
    hub.put(NAME, {"tokenizer.json": b"{}", "miditok_remi.json": None})
    assert refusal() == (
        f"'{NAME}' is a checkpoint of musiclstm 0.2, which has another network and other tokens; "
        "read it with musiclstm 0.2 (pip install 'musiclstm<0.3'), or train it again."
    )
    assert hub.count("GET", WEIGHTS) == hub.count("GET", "/store/") == 0


def test_weights_that_are_none(toy, hub, tiny_model) -> None:
    hub.put(NAME, {WEIGHTS: b"not weights"})
    assert f"The weights of '{NAME}' cannot be read (SafetensorError); fetch" in refusal()
    hub.put(NAME, {WEIGHTS: toy[WEIGHTS]})
    assert loads(tiny_model)


# -- What is damaged on the way --------------------------------------------------------------------


@pytest.mark.parametrize("place", [8, -1])
def test_a_byte_that_changed_on_the_way_is_fetched_anew(place, toy, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", spoil=place)
    assert loads(tiny_model)
    assert hub.count("GET", "/store/") == 2


def test_a_byte_that_changes_every_time_is_one_sentence(toy, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", spoil=-1, times=2)
    assert f"{WEIGHTS} of '{NAME}' was damaged in two downloads" in refusal()
    assert hashlib.sha256(toy[WEIGHTS]).hexdigest() not in {path.name for path in blobs()}
    assert loads(tiny_model)


def test_a_small_file_is_looked_at_as_well(toy, hub, tiny_model) -> None:
    hub.fail("GET", "/resolve/.*/miditok_remi.json", spoil=-1)
    assert loads(tiny_model)


def test_a_copy_that_rots_on_the_disk_is_fetched_anew(toy, hub, tiny_model) -> None:
    spoil_the_copy()
    assert loads(tiny_model)


def test_a_copy_that_rots_offline_says_so(toy, hub, monkeypatch, tiny_model) -> None:
    spoil_the_copy()
    offline(monkeypatch)
    assert f"local copy of {WEIGHTS} of '{NAME}' was damaged" in refusal()
    offline(monkeypatch, False)
    assert loads(tiny_model)


def spoil_the_copy() -> None:
    blob = (find_checkpoint(NAME) / WEIGHTS).resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_download_that_stops_halfway_goes_on(toy, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", cut_after=5_000)
    assert loads(tiny_model)


def test_a_download_that_never_ends_is_one_sentence(toy, hub, tiny_model) -> None:
    hub.fail("GET", "/store/", cut_after=0, times=99)
    sentence = refusal()
    assert sentence.startswith(f"The download of '{NAME}' was interrupted (")
    assert sentence.endswith("call again, files that are whole are not fetched twice.")
    hub.mend()
    assert loads(tiny_model)


def test_a_full_disk_says_where(toy, monkeypatch, tiny_model) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as small:
        small.setattr("huggingface_hub.file_download._chmod_and_move", full)
        assert "(No space left on device); make room there, or set HF_HOME to" in refusal()
    assert loads(tiny_model)
