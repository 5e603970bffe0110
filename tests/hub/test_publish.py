"""Publishing of a checkpoint: files of the repository, samples, messages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from symusic import Score

import musiclstm
from hub.publish import main, publish
from musiclstm import CheckpointError, PublishError, read_recipe
from musiclstm.model.checkpoint import load_checkpoint

TOKEN = "hf_" + "LoopbackTokenOfNobody" + "1234567890"
NAME = "ann/toy"
CODE = (
    *("config_fields.py", "configuration_musiclstm.py"),
    *("modeling_musiclstm.py", "step_features.py"),
)
PLAIN = {
    *(".gitattributes", ".musiclstm.json", "README.md", "config.json", "facts.json"),
    *("generation_config.json", "model.safetensors", "miditok_remi.json", *CODE),
}
RUN = {
    "steps": 2, "tokens_seen": 64, "minutes": 0.1, "window": 32, "rows": 2, "learning_rate": 0.001,
    "schedule": "cosine", "device": "cpu", "machine": "x86_64",
}  # fmt: skip


@pytest.fixture
def trained(tiny_checkpoint, tmp_path):
    """A tiny checkpoint with the other files of a training run."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "my run")
    (folder / "training_args.bin").write_bytes(b"pickle")
    (folder / "checkpoint-2").mkdir()
    (folder / "checkpoint-2" / "optimizer.pt").write_bytes(b"pickle")
    (folder / "memorization_index.npz").write_bytes(b"names of pieces")
    (folder / "learning_curve.png").write_bytes(b"\x89PNG a picture")
    (folder / "modeling_musiclstm.py").write_text("raise SystemExit('not the code of the library')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"_name_or_path": str(folder), "auto_map": {"AutoModel": "elsewhere.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_only_the_needed_files_are_published(hub, trained) -> None:
    publish(trained, NAME, samples=0)
    files = hub.files(NAME)
    assert files.keys() == PLAIN | {"learning_curve.png", "memorization_index.npz"}
    assert hub.history(NAME) == ["Publish a model made with musiclstm", "initial commit"]
    for name in ("model.safetensors", "miditok_remi.json"):
        assert files[name] == (trained / name).read_bytes()


def test_the_code_is_that_of_the_library(hub, trained) -> None:
    publish(trained, NAME, samples=0)
    for name in CODE:
        ours = (Path(musiclstm.__file__).parent / "model" / name).read_bytes()
        assert hub.files(NAME)[name] == ours
    config = json.loads(hub.files(NAME)["config.json"])
    assert config["auto_map"] == {
        "AutoConfig": "configuration_musiclstm.MusicLSTMConfig",
        "AutoModel": "modeling_musiclstm.MusicLSTMModel",
        "AutoModelForCausalLM": "modeling_musiclstm.MusicLSTMForCausalLM",
    }


def test_no_file_contains_a_local_path(hub, trained) -> None:
    publish(trained, NAME, samples=0)
    for content in hub.files(NAME).values():
        assert str(trained.parent).encode() not in content


def test_the_card_passes_the_validation_of_the_hub(hub, trained) -> None:
    facts = {
        "runs": [{**RUN, "from": "bob/first"}],
        "data": [{"name": "ann/songs", "licence": "CC0-1.0"}],
        "test": {"bits_per_note": 6.5},
    }
    (trained / "facts.json").write_text(json.dumps(facts))
    publish(trained, NAME, samples=0)
    card = ModelCard(hub.files(NAME)["README.md"].decode())
    card.validate(repo_type="model")  # a request to the Hub
    assert (card.data.base_model, card.data.datasets) == ("bob/first", ["ann/songs"])
    card.data.license = None
    with pytest.raises(ValueError, match=r"license.* is missing"):
        card.validate(repo_type="model")


def test_a_second_publishing_changes_nothing(hub, trained) -> None:
    first = publish(trained, NAME, samples=0)
    assert publish(trained, NAME, samples=0) == first


@pytest.mark.fluidsynth
def test_a_sample_has_midi_audio_and_piano_roll(hub, tiny_checkpoint) -> None:
    publish(tiny_checkpoint, NAME, samples=1)
    files = hub.files(NAME)
    (sample,) = json.loads(files["facts.json"])["samples"]
    midi = files[sample["files"]["midi"]]
    assert Score.from_midi(midi).note_num() > 0
    assert read_recipe(midi).model_info.model == NAME
    assert files[sample["files"]["roll"]].startswith(b"\x89PNG")
    assert len(files[sample["files"]["sound"]]) > 10_000
    card = ModelCard(files["README.md"].decode()).text
    address = f"{hub.endpoint}/{NAME}/resolve/main/{sample['files']['sound']}"
    assert f'<audio controls src="{address}"></audio>' in card
    assert hub.count("PUT") == 3  # weights, sound, picture


def test_without_fluidsynth_samples_have_no_audio_and_a_log_line(
    hub, tiny_checkpoint, monkeypatch
) -> None:
    def silent(*_: object) -> None:
        raise musiclstm.RendererMissingError("There is no FluidSynth.")

    logged: list[str] = []
    monkeypatch.setattr("hub.bundle.render", silent)
    publish(tiny_checkpoint, NAME, samples=1, log=logged.append)
    (sample,) = json.loads(hub.files(NAME)["facts.json"])["samples"]
    assert sample["files"].keys() == {"midi", "roll"}
    assert logged == [f"{sample['files']['midi']} has no audio: There is no FluidSynth."]


def test_without_matplotlib_piano_rolls_are_svg(hub, tiny_checkpoint, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("hub.bundle.render", _Silent)
    publish(tiny_checkpoint, NAME, samples=1)
    (sample,) = json.loads(hub.files(NAME)["facts.json"])["samples"]
    assert b"<svg" in hub.files(NAME)[sample["files"]["roll"]]


class _Silent:
    """Replaces rendered audio in tests of other subjects."""

    def __init__(self, _: object) -> None:
        pass

    def save(self, path: Path) -> None:
        path.write_bytes(b"silence")


def test_samples_are_reproducible(hub, tiny_checkpoint, monkeypatch) -> None:
    monkeypatch.setattr("hub.bundle.render", _Silent)
    first = publish(tiny_checkpoint, NAME, samples=1)
    assert publish(tiny_checkpoint, NAME, samples=1) == first


def test_a_sample_that_cannot_be_composed_is_left_out_with_a_log_line(
    hub, tiny_checkpoint, monkeypatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise musiclstm.ScoreError("No notes.")

    logged: list[str] = []
    monkeypatch.setattr("musiclstm.generation.composer.Composer.compose", fail)
    publish(tiny_checkpoint, NAME, samples=1, log=logged.append)
    assert json.loads(hub.files(NAME)["facts.json"])["samples"] == []
    assert logged == ["There is no sample 01-minuet-in-g: No notes."]
    assert "## Samples" not in hub.files(NAME)["README.md"].decode()


def test_a_published_model_can_be_loaded_by_name(hub, trained) -> None:
    publish(trained, NAME, samples=0, private=True)
    assert hub.repo(NAME).private
    model, tokenizer = load_checkpoint(NAME)
    assert model.config.tokenizer_fingerprint == tokenizer.fingerprint


def test_audio_links_contain_the_branch(hub, tiny_checkpoint, monkeypatch) -> None:
    monkeypatch.setattr("hub.bundle.render", _Silent)
    publish(tiny_checkpoint, NAME, samples=1, revision="trial")
    assert f"{NAME}/resolve/trial/samples/" in hub.files(NAME, "trial")["README.md"].decode()
    assert "README.md" not in hub.files(NAME)


# -- The command -----------------------------------------------------------------------------------


def test_a_dry_run_prints_what_it_would_send(hub, trained, capsys, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert main([str(trained), NAME, "--dry_run", "--samples", "0"]) == 0
    printed = capsys.readouterr().out
    assert "  model.safetensors\n" in printed
    assert f"Would be sent to {hub.endpoint}/{NAME} (13 files, " in printed
    assert hub.requests == []


@pytest.mark.parametrize(
    ("arguments", "key_fact"),
    [
        (["no-folder/x/y", NAME], "is neither a folder nor a Hub id"),
        (["MODEL", "toy"], "'toy' is not a valid name"),
        (["MODEL", "ann/-toy"], "'ann/-toy' is not a valid name"),
        (["MODEL", "ann/to..y"], "is not a valid name"),
        (["MODEL", NAME, "--samples", "99"], "--samples must be 0 to 8, got 99"),
        (["MODEL", "bob/toy", "--samples", "0"], "may not write to 'bob/toy'"),
    ],
)
def test_wrong_arguments_are_one_line(arguments, key_fact, hub, trained, capsys) -> None:
    assert main([str(trained) if each == "MODEL" else each for each in arguments]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert key_fact in printed
    assert printed.count("\n") == 1
    assert hub.repos == {}


def test_a_card_changed_by_hand_needs_overwrite(hub, trained, capsys) -> None:
    arguments = [str(trained), NAME, "--samples", "0"]
    assert main(arguments) == 0
    hub.put(NAME, {"README.md": b"---\nlicense: mit\n---\n# My own words"})
    assert main(arguments) == 1
    assert "holds README.md, which this command did not write" in capsys.readouterr().err
    assert hub.files(NAME)["README.md"].endswith(b"My own words")
    assert main([*arguments, "--overwrite"]) == 0
    assert b"stack of LSTM layers" in hub.files(NAME)["README.md"]


def test_a_checkpoint_that_cannot_be_loaded_is_not_published(hub, trained) -> None:
    (trained / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(CheckpointError, match="cannot be read"):
        publish(trained, NAME)
    assert hub.requests == []


def test_a_missing_login_is_refused_first(hub, trained, monkeypatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("hub.publish.write_bundle", lambda *_, **__: pytest.fail("too late"))
    with pytest.raises(PublishError, match="No user is logged in"):
        publish(trained, NAME)


def test_the_command_never_prints_the_token(hub, trained, child_environment) -> None:
    """Run in a process of its own, to catch output of libraries and tracebacks too."""
    hub.fail("PUT", "/store/", status=403, times=99)
    command = [sys.executable, "-m", "hub.publish", str(trained), NAME, "--samples", "0"]
    verbose = {**child_environment, "HF_DEBUG": "0", "HF_HUB_VERBOSITY": "debug"}
    done = subprocess.run(command, env=verbose, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"may not write to '{NAME}'" in done.stderr.splitlines()[-1]
    assert TOKEN not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert os.environ["HF_TOKEN"] == TOKEN


@pytest.mark.network
@pytest.mark.skipif("HF_TOKEN" not in os.environ, reason="needs a token that may write")
def test_the_real_hub_accepts_it(tiny_checkpoint, monkeypatch) -> None:
    from huggingface_hub import HfApi, constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    api = HfApi()
    name = f"{api.whoami()['name']}/musiclstm-test-of-publishing"
    try:
        first = publish(tiny_checkpoint, name, private=True, samples=0)
        assert publish(tiny_checkpoint, name, private=True, samples=0) == first
        model, _ = load_checkpoint(name)
        assert model.config.hidden_size == 32
    finally:
        api.delete_repo(name, missing_ok=True)
