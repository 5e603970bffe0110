"""Token files, pre-training runs, their checkpoints, and the two commands."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

import musiclstm
from musiclstm.errors import CheckpointError
from musiclstm.model.modeling_musiclstm import VariationalDropout
from training.data.augmentation import AugmentationSettings
from training.data.corpus import read_corpus
from training.errors import TrainingError
from training.evaluation.bits_per_note import bits_per_note
from training.prepare import main as prepare_main
from training.prepare import prepare
from training.pretrain import main
from training.pretraining.corpora import EncodedCorpora, evaluation_sets
from training.pretraining.run import PretrainingRun
from training.pretraining.settings import PretrainingSettings
from training.trainer.checkpoints import write_manifest

EXAMPLES = Path(musiclstm.__file__).parent / "examples"
TINY = PretrainingSettings(
    hidden_size=16, num_hidden_layers=1, rows=2, steps=32, warmup=1, max_steps=3
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICLSTM_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = prepare([str(EXAMPLES)], workers=1)
    split = np.zeros(len(found.split), np.int16)
    split[-1] = 1  # the last piece is for validation
    return replace(found, split=split)


def run_of(corpora, out, settings=TINY, resume=None):
    return PretrainingRun(corpora, settings, AugmentationSettings(), out, "cpu", resume)


def train(run):
    run.train(save_every=0, evaluate_every=0)
    return run


@pytest.fixture(scope="module")
def trained(corpora, tmp_path_factory):
    """The folder of a run of three steps."""
    folder = tmp_path_factory.mktemp("trained")
    train(run_of(corpora, folder)).save()
    return folder


@pytest.fixture
def run_folder(trained, tmp_path):
    """A copy of that folder."""
    return shutil.copytree(trained, tmp_path / "run")


# Token files.


def test_a_token_file_is_loaded_as_it_was_saved(corpora, tmp_path):
    corpora.save(tmp_path / "tokens.npz")
    loaded = EncodedCorpora.load(tmp_path / "tokens.npz")
    assert (loaded.corpora, loaded.token_names) == (corpora.corpora, corpora.token_names)
    assert loaded.pieces_of("valid") == [len(corpora.split) - 1]
    for index in range(len(corpora.split)):
        assert (loaded.piece(index) == corpora.piece(index)).all()


def test_preparing_a_folder_without_usable_files_fails(tmp_path, capsys):
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    status = prepare_main(["--data", str(tmp_path), "--out", str(tmp_path / "x.npz")])
    assert status == 1
    assert "None of 1 MIDI files can be used" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()


def test_a_token_file_has_the_splits_of_the_corpus(scales, tmp_path, capsys):
    copy = shutil.copytree(scales, tmp_path / "scales")
    shutil.copy(copy / "scale-00.mid", copy / "same.mid")
    (copy / "broken.mid").write_bytes(b"MThd")
    found = prepare([str(copy)], workers=1)
    corpus = read_corpus([scales], workers=1)
    for split in ("train", "valid", "test"):
        pieces = {found.piece(index).tobytes() for index in found.pieces_of(split)}
        assert pieces == {np.asarray(ids, np.uint16).tobytes() for ids in corpus.tokens(split)}
        assert len(pieces) == len(found.pieces_of(split)) > 0
    assert capsys.readouterr().err.count("left out") == 2


@pytest.mark.parametrize(("count", "indices"), [(3, [0, 1, 3]), (9, [0, 1, 2, 3])])
def test_held_out_pieces_come_from_all_corpora(corpora, count, indices):
    split, corpus = np.ones(4, np.int16), np.array([0, 0, 0, 1], np.int16)
    names = ["openscore-lieder", "openewld-pd"]
    found = evaluation_sets(
        replace(corpora, corpora=names, corpus=corpus, split=split), "valid", count
    )
    assert found == {"older": indices}


# Training and measuring.


def test_training_reduces_the_bits_of_the_training_pieces(corpora, tmp_path):
    run = run_of(corpora, tmp_path, replace(TINY, max_steps=20))
    pieces = corpora.pieces_of("train")
    before = bits_per_note(run.model, corpora, pieces)["bits_per_note"]
    train(run)
    assert bits_per_note(run.model, corpora, pieces)["bits_per_note"] < 0.9 * before


def test_bits_do_not_depend_on_the_window(corpora, tmp_path):
    run = run_of(corpora, tmp_path)
    pieces = corpora.pieces_of("train")
    whole = bits_per_note(run.model, corpora, pieces, max_tokens=300, steps=301, rows=8)
    parts = bits_per_note(run.model, corpora, pieces, max_tokens=300, steps=17, rows=3)
    assert parts["bits_per_note"] == pytest.approx(whole["bits_per_note"], rel=1e-5)


def test_the_end_of_a_piece_counts_only_if_the_piece_is_read_completely(corpora, tmp_path):
    run = run_of(corpora, tmp_path)
    piece = corpora.pieces_of("train")[0]
    length = len(corpora.piece(piece))
    truncated, whole = (
        bits_per_note(run.model, corpora, [piece], max_tokens=limit)
        for limit in (length, length + 1)
    )
    assert "other" not in truncated  # the kind of EOS
    assert whole["other"] > 0


# Checkpoints.


def test_a_resumed_run_has_weights_moments_and_step_of_the_checkpoint(corpora, tmp_path):
    first = train(run_of(corpora, tmp_path))
    first.save()
    second = run_of(corpora, tmp_path / "second", replace(TINY, seed=5), resume=tmp_path)
    assert (second.step, second.tokens) == (3, first.tokens)
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name])
    moments = [run.optimizer.state_dict()["state"] for run in (first, second)]
    assert moments[0].keys() == moments[1].keys()
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])


def test_a_run_is_resumed_from_weights_alone(corpora, run_folder, tmp_path):
    folder = run_folder / "checkpoint-3"
    folder = folder.rename(tmp_path / "weights")
    for name in ("optimizer.safetensors", "progress.json", "manifest.json"):
        (folder / name).unlink()
    run = run_of(corpora, tmp_path / "second", replace(TINY, seed=5), resume=folder)
    weight = "model.embed_tokens.weight"
    assert run.step == 0
    stored = load_file(folder / "model.safetensors")[weight]
    assert torch.equal(run.model.state_dict()[weight], stored)


def test_a_resumed_network_keeps_its_size_and_takes_the_new_dropout(corpora, trained, tmp_path):
    settings = replace(TINY, hidden_size=24, dropout=0.5)
    run = run_of(corpora, tmp_path, settings, resume=trained)
    config = run.model.config
    assert run.settings.hidden_size == config.hidden_size == 16
    assert (run.settings.dropout, config.dropout, config.embedding_dropout) == (0.5, 0.5, 0.5)
    assert {m.p for m in run.model.modules() if isinstance(m, VariationalDropout)} == {0.5}


def test_a_checkpoint_of_other_tokens_is_refused(corpora, trained, tmp_path):
    with pytest.raises(CheckpointError, match=f"tokens {corpora.fingerprint}, not 0123"):
        run_of(replace(corpora, fingerprint="0123"), tmp_path, resume=trained)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step_features_version": 0}, "step features of format 0"),
        ({"hidden_size": "x"}, "hidden_size"),
        ({"hidden_size": 24}, "its weights are not those of the network"),
        ({"model_type": "gpt2"}, "it is a model of type 'gpt2', not 'musiclstm'"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(corpora, run_folder, tmp_path, changes, words):
    path = run_folder / "checkpoint-3" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_manifest(path.parent)
    with pytest.raises(CheckpointError, match=words):
        run_of(corpora, tmp_path / "second", resume=path.parent)


@pytest.mark.parametrize(
    ("file", "tensor", "words"),
    [
        ("model.safetensors", "model.embed_tokens.weight", "not those of the network"),
        ("optimizer.safetensors", "0.exp_avg", "belongs to another network"),
    ],
)
def test_tensors_of_another_network_are_refused(corpora, run_folder, tmp_path, file, tensor, words):
    path = run_folder / "checkpoint-3" / file
    tensors = load_file(path)
    tensors[tensor] = torch.zeros(3)
    save_file(tensors, path, metadata={"format": "pt"})
    write_manifest(path.parent)
    with pytest.raises(CheckpointError, match=words):
        run_of(corpora, tmp_path / "second", resume=path.parent)


@pytest.mark.parametrize("name", ["optimizer.safetensors", "progress.json"])
def test_truncated_files_are_refused_even_without_a_manifest(corpora, run_folder, tmp_path, name):
    folder = (run_folder / "checkpoint-3").rename(tmp_path / "weights")
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        run_of(corpora, tmp_path / "second", resume=folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        run_of(corpora, tmp_path / "second", resume=folder)


@pytest.mark.parametrize("stops_at", ["save_optimizer", "write_record", "write_manifest"])
def test_a_save_that_is_killed_leaves_the_checkpoint_before_it(
    corpora, run_folder, monkeypatch, stops_at
):
    weights = load_file(run_folder / "checkpoint-3" / "model.safetensors")
    run = train(run_of(corpora, run_folder, resume=run_folder))

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"training.pretraining.run.{stops_at}", kill)
        with pytest.raises(KeyboardInterrupt):
            run.save()
    resumed = run_of(corpora, run_folder, resume=run_folder)
    assert resumed.step == 3
    assert all(torch.equal(resumed.model.state_dict()[name], weights[name]) for name in weights)


def test_the_last_two_checkpoints_are_kept(corpora, run_folder):
    run = run_of(corpora, run_folder, resume=run_folder)
    for _ in range(2):
        train(run).save()
    assert sorted(path.name for path in run_folder.iterdir()) == ["checkpoint-6", "checkpoint-9"]


def test_weights_that_are_nan_are_not_saved(corpora, run_folder):
    run = train(run_of(corpora, run_folder, resume=run_folder))
    with torch.no_grad():
        run.model.model.embed_tokens.weight[3, 3] = torch.nan
    with pytest.raises(TrainingError, match="at step 6; --resume from the last checkpoint"):
        run.save()
    assert [path.name for path in run_folder.iterdir()] == ["checkpoint-3"]


# progress.json.


def progress_of(folder):
    return json.loads((folder / "progress.json").read_text())


def test_every_session_is_recorded(corpora, run_folder):
    settings = replace(TINY, learning_rate=1e-3, max_steps=2)
    train(run_of(corpora, run_folder, settings, run_folder)).save()
    progress = progress_of(run_folder / "checkpoint-5")
    one, two = progress["sessions"]
    assert (one["from"], one["first_step"], one["steps"]) == ("scratch", 0, 3)
    assert (two["from"], two["first_step"], two["steps"]) == ("checkpoint-3", 3, 2)
    assert one["tokens"] + two["tokens"] == progress["tokens"]
    assert [each["settings"]["learning_rate"] for each in (one, two)] == [3e-3, 1e-3]


def test_a_checkpoint_of_version_0_3_counts_as_one_session(corpora, run_folder):
    folder = run_folder / "checkpoint-3"
    earlier = {"step": 3, "tokens": 99, "minutes": 1.5, "settings": vars(TINY), "log": []}
    (folder / "progress.json").write_text(json.dumps(earlier))
    write_manifest(folder)
    train(run_of(corpora, run_folder, resume=run_folder)).save()
    one, two = progress_of(run_folder / "checkpoint-6")["sessions"]
    assert one == {
        "from": "scratch", "first_step": 0, "steps": 3, "tokens": 99, "minutes": 1.5,
        "settings": vars(TINY),
    }  # fmt: skip
    assert (two["first_step"], two["steps"]) == (3, 3)


def test_the_corpora_of_a_run_are_recorded(corpora, trained):
    (corpus,) = progress_of(trained / "checkpoint-3")["corpora"]
    assert (corpus["name"], corpus["weight"]) == (corpora.corpora[0], 1.0)
    for split in ("train", "valid"):
        pieces = corpora.pieces_of(split)
        names = [corpora.token_names[i] for each in pieces for i in corpora.piece(each)]
        notes = sum(name.startswith(("Pitch_", "PitchDrum_")) for name in names)
        assert corpus[split] == {"pieces": len(pieces), "notes": notes}


# Settings.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"warmup": 0}, "--warmup must be 1 or more, got 0."),
        ({"hidden_size": 0}, "--hidden_size must be 1 or more, got 0."),
        ({"dropout": 1.0}, "--dropout must be from 0 to below 1, got 1."),
        ({"decay": 100}, "0 to 1, got 100."),
        ({"decay": 0.2, "max_steps": 0}, "give --minutes or --max_steps"),
    ],
)
def test_invalid_settings_are_refused(changes, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        replace(TINY, **changes)


def test_a_session_ends_at_the_first_of_its_limits():
    settings = replace(TINY, max_steps=10, minutes=4.0)
    assert settings.completed(5, 1.0) == 0.5
    assert settings.completed(1, 3.0) == 0.75
    assert replace(TINY, max_steps=0).completed(500, 60.0) == 0


def test_the_learning_rate_rises_stays_and_falls():
    settings = replace(TINY, warmup=10, learning_rate=1.0, decay=0.5)
    rates = [settings.learning_rate_at(*at) for at in ((0, 0.0), (9, 0.1), (500, 0.5), (900, 0.9))]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.2])
    assert replace(settings, decay=0.0).learning_rate_at(900, 0.9) == 1.0
    schedules = {decay: replace(TINY, decay=decay).schedule for decay in (0.0, 0.3, 1.0)}
    assert schedules == {0.0: "constant", 0.3: "constant, then linear to 0", 1.0: "linear to 0"}


# The command.


def test_pretraining_imports_neither_miditok_nor_symusic():
    code = "import sys; sys.modules.update(miditok=None, symusic=None); import training.pretrain"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.fixture
def command(corpora, tmp_path):
    """Runs the command with a tiny network; returns the exit status."""
    corpora.save(tmp_path / "tokens.npz")
    options = ["--hidden_size", "16", "--num_hidden_layers", "1", "--rows", "2", "--steps", "32"]
    paths = ["--tokens", str(tmp_path / "tokens.npz"), "--out", str(tmp_path / "run")]
    return lambda *more: main([*paths, *options, *more])


def test_the_command_trains_evaluates_and_saves(command, tmp_path, capsys):
    assert command("--max_steps", "2") == 0
    assert "bits_per_note" in capsys.readouterr().out
    folder = tmp_path / "run" / "checkpoint-2"
    progress = progress_of(folder)
    assert progress["step"] == progress["log"][-1]["step"] == 2
    (session,) = progress["sessions"]
    assert session["augmentation"]["transpose"] == 5
    assert (session["device"], session["versions"]["torch"]) == ("cpu", torch.__version__)
    assert session["machine"].endswith("1 thread")
    assert (folder / "model.safetensors").is_file()


def test_a_run_is_not_overwritten_but_resumed(command, run_folder, capsys):
    killed = shutil.copytree(run_folder / "checkpoint-3", run_folder / "checkpoint-7")
    (killed / "manifest.json").unlink()
    assert command("--max_steps", "2") == 1
    assert "holds checkpoints after step 0" in capsys.readouterr().err
    assert killed.is_dir()
    assert command("--max_steps", "1", "--resume", str(run_folder)) == 0
    assert "checkpoint-7" in capsys.readouterr().out
    names = sorted(path.name for path in run_folder.iterdir())
    assert names == ["checkpoint-3", "checkpoint-4"]


@pytest.mark.parametrize("content", [b"", b"PK", b"text", "truncated", "other", "array"])
def test_an_invalid_token_file_is_refused(command, tmp_path, capsys, content):
    path = tmp_path / "tokens.npz"
    if content == "truncated":
        path.write_bytes(path.read_bytes()[:-500])
    elif content == "other":
        np.savez(path, other=np.zeros(3))
    elif content == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    else:
        path.write_bytes(content)
    assert command("--max_steps", "1") == 1
    assert f"error: {str(path)!r} is damaged" in capsys.readouterr().err


def test_a_full_disk_is_reported(command, monkeypatch, capsys):
    def fail(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("training.pretraining.run.save_optimizer", fail)
    assert command("--max_steps", "1") == 1
    assert "The disk is full" in capsys.readouterr().err


def test_the_help_explains_every_setting(command, capsys):
    with pytest.raises(SystemExit):
        command("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "Limit of this session; 0: none. (default: 0)" in text
    for name in (*vars(PretrainingSettings()), *vars(AugmentationSettings())):
        assert re.search(rf"--{name} {name.upper()} [A-Z]", text), name


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--decay", "0.5"], "--decay needs the end of the run"),
        (["--resume", "nowhere"], "'nowhere' cannot be used: it has no config.json."),
        (["--tokens", "nowhere.npz"], "'nowhere.npz'"),
    ],
)
def test_errors_are_one_line_and_status_1(command, options, words, capsys):
    assert command(*options) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1
