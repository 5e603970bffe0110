"""Bundling a checkpoint: the facts are those of the run that trained the weights."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from musiclstm.errors import CheckpointError, CorpusError
from musiclstm.model.checkpoint import load_checkpoint
from musiclstm.model.checkpoint_files import read_facts
from training.pretraining.settings import PretrainingSettings
from training.trainer.checkpoints import checkpoint_path, write_manifest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bundle_weights.py"
SETTINGS = PretrainingSettings(hidden_size=8, num_hidden_layers=1, decay=0.5, max_steps=9)
VERSION_0_3 = {  # contents of progress.json in version 0.3
    "step": 9, "tokens": 18_432, "minutes": 1.5, "settings": vars(SETTINGS), "log": [],
}  # fmt: skip
MACHINE = {
    "device": "cuda:0", "machine": "arm64, 3 threads", "versions": {"torch": "9.9"},
    "augmentation": {"transpose": 2},
}  # fmt: skip
SESSION = {
    "from": "scratch", "first_step": 0, "steps": 5, "tokens": 10_000, "minutes": 1.0,
    "settings": vars(SETTINGS), **MACHINE,
}  # fmt: skip


@pytest.fixture
def bundle(tiny_checkpoint, tmp_path):
    """Bundles a checkpoint with the given progress.json; returns the target and the status."""
    script = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
    target = tmp_path / "pretrained"
    script.main.__globals__["PRETRAINED"] = target
    source = tmp_path / "run"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).write_bytes((tiny_checkpoint / name).read_bytes())

    def run(progress, *options, folder=source):
        (source / "progress.json").write_text(json.dumps(progress))
        return target, script.main([str(folder), *map(str, options)])

    return run


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "open-hymnal"
    folder.mkdir()
    pieces = [
        {"file": "a.mid", "split": "train", "notes": 70},
        {"file": "b.mid", "split": "train", "notes": 50},
        {"file": "c.mid", "split": "test", "notes": 30},
    ]
    manifest = {"licence": "Public Domain", "source": "example.org", "pieces": pieces}
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


def sessions(*changes):
    """progress.json of a run with several sessions."""
    totals = {"step": 9, "tokens": 18_432, "minutes": 1.5, "log": []}
    return totals | {"sessions": [SESSION | each for each in changes]}


def columns(target, *names):
    return [tuple(run[name] for name in names) for run in read_facts(target)["runs"]]


# Runs.


def test_a_run_of_version_0_3_is_described_by_its_progress(bundle, corpus, capfd):
    target, status = bundle(VERSION_0_3 | MACHINE, corpus)
    assert status == 0
    assert capfd.readouterr() == ("pretrained: 0.2 MB of weights\n", "")
    facts = read_facts(target)
    (run,) = facts["runs"]
    assert {name: run[name] for name in MACHINE} == MACHINE
    assert (run["steps"], run["tokens_seen"]) == (9, 18_432)
    assert run["schedule"] == "constant, then linear to 0"
    (data,) = facts["data"]
    assert (data["train"], data["weight"]) == ({"pieces": 2, "notes": 120}, 2.0)
    assert facts["credits"][0]["source"] == "example.org"
    load_checkpoint(target)
    assert not list(target.glob("*.py"))


def test_missing_values_are_given_or_unknown(bundle):
    given = {"device": "cpu", "machine": "x86_64, 1 thread"}
    target, _ = bundle(VERSION_0_3, "--run", json.dumps(given))
    (run,) = read_facts(target)["runs"]
    assert (run["device"], run["machine"]) == ("cpu", "x86_64, 1 thread")
    assert run["versions"] == run["augmentation"] == "unknown"


def test_every_session_is_a_run_with_its_own_settings(bundle):
    constant = vars(SETTINGS) | {"learning_rate": 1e-3, "decay": 0.0}
    second = {"from": "checkpoint-5", "first_step": 5, "steps": 4, "tokens": 8_432}
    target, _ = bundle(sessions({"settings": constant}, second))
    assert columns(target, "from", "steps", "tokens_seen", "learning_rate", "schedule") == [
        ("scratch", 5, 10_000, 1e-3, "constant"),
        ("checkpoint-5", 4, 8_432, 3e-3, "constant, then linear to 0, stopped at 44%"),
    ]


def test_sessions_that_version_0_3_did_not_record_are_given(bundle):
    first = {"steps": 5, "tokens": 10_000, "minutes": 1.0, "settings": {"learning_rate": 0.01}}
    target, _ = bundle(VERSION_0_3 | {"minutes": 3.1}, "--run", json.dumps([first | MACHINE]))
    assert columns(
        target, "from", "steps", "tokens_seen", "minutes", "learning_rate", "device"
    ) == [
        ("scratch", 5, 10_000, 1.0, 0.01, "cuda:0"),
        ("checkpoint-5", 4, 8_432, 2.1, 3e-3, "unknown"),
    ]


def test_a_fine_tuned_model_is_bundled_with_its_own_facts(bundle, tiny_checkpoint, tmp_path):
    model = shutil.copytree(tiny_checkpoint, tmp_path / "tuned")
    (model / "facts.json").write_text(json.dumps({"runs": [{"command": "training.finetune"}]}))
    folder = checkpoint_path(model, 5)
    shutil.copytree(tiny_checkpoint, folder)
    write_manifest(folder)
    target, _ = bundle(VERSION_0_3, folder=model)
    assert read_facts(target) == {"runs": [{"command": "training.finetune"}]}


# Corpora.


def recorded(name, weight):
    pieces = {split: {"pieces": 1, "notes": 40} for split in ("train", "valid", "test")}
    return {"name": name, "weight": weight, **pieces}


def test_the_counts_of_a_corpus_are_those_that_the_run_recorded(bundle, corpus):
    trained_on = [recorded("open-hymnal", 3.5), recorded("pop909", 0.0)]
    target, _ = bundle(sessions({}) | {"corpora": trained_on}, corpus)
    (data,) = read_facts(target)["data"]
    assert data == recorded("open-hymnal", 3.5) | {"licence": "Public Domain"}


def test_corpora_other_than_those_of_the_run_or_without_a_notice_are_refused(bundle, corpus):
    trained_on = [recorded("open-hymnal", 2.0), recorded("freedoom", 5.0)]
    with pytest.raises(CorpusError, match="trained on open-hymnal, freedoom"):
        bundle(sessions({}) | {"corpora": trained_on}, corpus)
    with pytest.raises(CorpusError, match=r"NOTICE\.txt does not mention hymnal"):
        bundle(VERSION_0_3, corpus.rename(corpus.parent / "hymnal"))


# Checkpoints.


@pytest.mark.parametrize("name", ["checkpoint-4", "renamed"])
def test_an_incomplete_checkpoint_is_refused(bundle, tmp_path, name):
    folder = shutil.copytree(tmp_path / "run", tmp_path / name)
    (folder / "progress.json").write_text(json.dumps(VERSION_0_3))
    if name == "renamed":
        write_manifest(folder)
        (folder / "progress.json").unlink()
    with pytest.raises(CheckpointError, match=f"'{name}' cannot be resumed"):
        bundle(VERSION_0_3, folder=folder)


def test_weights_for_other_tokens_are_refused(bundle, tmp_path):
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["tokenizer_fingerprint"] = "0123"
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="trained with the tokens 0123"):
        bundle(VERSION_0_3)
    assert not (tmp_path / "pretrained").exists()


def test_the_latest_checkpoint_of_a_run_is_bundled(bundle, tmp_path):
    target, _ = bundle(VERSION_0_3)
    for step in (4, 12):
        folder = checkpoint_path(tmp_path / "all", step)
        shutil.copytree(tmp_path / "run", folder)
        (folder / "progress.json").write_text(json.dumps(VERSION_0_3 | {"step": step}))
        write_manifest(folder)
    assert bundle(VERSION_0_3, folder=tmp_path / "all") == (target, 0)
    assert read_facts(target)["runs"][0]["steps"] == 12
