import json
import re
import shutil
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
from training.pretraining.corpora import EncodedCorpora, held_out_sets
from training.pretraining.run import PretrainingRun
from training.pretraining.settings import PretrainingSettings
from training.trainer.checkpoints import write_manifest

SEEDS = Path(musiclstm.__file__).parent / "examples"
TINY = PretrainingSettings(
    hidden_size=16, num_hidden_layers=1, rows=2, steps=32, warmup=1, max_steps=3
)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUSICLSTM_CACHE", str(tmp_path_factory.mktemp("cache")))
        found = prepare([str(SEEDS)], workers=1)
    split = np.zeros(len(found.split), np.int16)
    split[-1] = 1  # the last piece is for validation
    return EncodedCorpora(**(vars(found) | {"split": split}))


def run_of(corpora, out, settings=TINY, resume=None):
    return PretrainingRun(corpora, settings, AugmentationSettings(), out, "cpu", resume)


def trained(corpora, out, settings=TINY):
    """A run that has trained and saved."""
    run = run_of(corpora, out, settings)
    run.train(save_every=0, evaluate_every=0)
    run.save()
    return run


def test_encoded_corpora_are_read_back_as_they_were(corpora, tmp_path):
    corpora.save(tmp_path / "tokens.npz")
    again = EncodedCorpora.load(tmp_path / "tokens.npz")
    assert again.corpora == corpora.corpora
    assert again.token_names == corpora.token_names
    assert again.pieces_of("valid") == [len(corpora.split) - 1]
    for index in range(len(corpora.split)):
        assert (again.piece(index) == corpora.piece(index)).all()


def test_preparing_nothing_is_one_sentence(tmp_path, capsys):
    (tmp_path / "broken.mid").write_bytes(b"MThd")
    status = prepare_main(["--data", str(tmp_path), "--out", str(tmp_path / "x.npz")])
    assert status == 1
    assert "None of 1 MIDI files can be used" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()


def test_pieces_are_prepared_with_the_splits_of_a_fine_tuning(scales, tmp_path, capsys):
    copy = shutil.copytree(scales, tmp_path / "scales")
    shutil.copy(copy / "scale-00.mid", copy / "same.mid")
    (copy / "broken.mid").write_bytes(b"MThd")
    found = prepare([str(copy)], workers=1)
    corpus = read_corpus([scales], workers=1)
    for split in ("train", "valid", "test"):
        streams = {found.piece(index).tobytes() for index in found.pieces_of(split)}
        assert streams == {np.asarray(ids, np.uint16).tobytes() for ids in corpus.tokens(split)}
        assert len(streams) == len(found.pieces_of(split)) > 0
    assert capsys.readouterr().err.count("left out") == 2


def test_training_lowers_the_bits_of_what_is_trained_on(corpora, tmp_path):
    run = run_of(corpora, tmp_path, PretrainingSettings(**(vars(TINY) | {"max_steps": 40})))
    train = corpora.pieces_of("train")
    before = bits_per_note(run.model, corpora, train)["bits_per_note"]
    run.train(save_every=0, evaluate_every=0)
    assert bits_per_note(run.model, corpora, train)["bits_per_note"] < 0.8 * before


def test_bits_do_not_depend_on_how_much_is_read_at_once(corpora, tmp_path):
    run = run_of(corpora, tmp_path)
    pieces = corpora.pieces_of("train")
    whole = bits_per_note(run.model, corpora, pieces, most_tokens=300, steps=301, rows=8)
    parts = bits_per_note(run.model, corpora, pieces, most_tokens=300, steps=17, rows=3)
    assert parts["bits_per_note"] == pytest.approx(whole["bits_per_note"], rel=1e-5)


def test_the_end_of_a_piece_counts_where_the_piece_is_read_to_its_end(corpora, tmp_path):
    run = run_of(corpora, tmp_path)
    piece = corpora.pieces_of("train")[0]
    length = len(corpora.piece(piece))
    cut, whole = (
        bits_per_note(run.model, corpora, [piece], most_tokens=most)
        for most in (length, length + 1)
    )
    assert "other" not in cut  # the type of EOS
    assert whole["other"] > 0


@pytest.mark.parametrize(("count", "chosen"), [(3, [0, 1, 3]), (9, [0, 1, 2, 3])])
def test_held_out_pieces_are_taken_from_all_corpora(corpora, count, chosen):
    split, corpus = np.ones(4, np.int16), np.array([0, 0, 0, 1], np.int16)
    names = {"corpora": ["openscore-lieder", "openewld-pd"], "corpus": corpus, "split": split}
    found = held_out_sets(EncodedCorpora(**(vars(corpora) | names)), "valid", count)
    assert found == {"older": chosen}


# Checkpoints.


def other_seed(**changes):
    return replace(TINY, seed=5, **changes)


def test_a_resumed_run_has_weights_moments_and_step_of_the_checkpoint(corpora, tmp_path):
    first = trained(corpora, tmp_path)
    second = run_of(corpora, tmp_path / "second", other_seed(), resume=tmp_path)
    assert (second.step, second.tokens) == (3, first.tokens)
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name])
    moments = [run.optimizer.state_dict()["state"] for run in (first, second)]
    assert moments[0].keys() == moments[1].keys()
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])


def test_a_run_is_resumed_from_weights_alone(corpora, tmp_path):
    first = trained(corpora, tmp_path)
    folder = shutil.copytree(tmp_path / "checkpoint-3", tmp_path / "weights")
    for name in ("optimizer.safetensors", "progress.json", "manifest.json"):
        (folder / name).unlink()
    second = run_of(corpora, tmp_path / "second", other_seed(), resume=folder)
    assert second.step == 0
    weight = "model.embed_tokens.weight"
    assert torch.equal(second.model.state_dict()[weight], first.model.state_dict()[weight])


def test_a_resumed_network_has_the_size_of_the_checkpoint(corpora, tmp_path):
    trained(corpora, tmp_path)
    second = run_of(corpora, tmp_path / "second", other_seed(hidden_size=24), resume=tmp_path)
    assert second.settings.hidden_size == second.model.config.hidden_size == 16


def test_a_resumed_network_has_the_dropout_of_the_new_session(corpora, tmp_path):
    trained(corpora, tmp_path, replace(TINY, dropout=0.25))
    second = run_of(corpora, tmp_path / "second", other_seed(dropout=0.5), resume=tmp_path)
    config = second.model.config
    assert (second.settings.dropout, config.dropout, config.embedding_dropout) == (0.5, 0.5, 0.5)
    shares = {each.p for each in second.model.modules() if isinstance(each, VariationalDropout)}
    assert shares == {0.5}


def test_a_checkpoint_of_other_tokens_is_refused(corpora, tmp_path):
    trained(corpora, tmp_path)
    others = EncodedCorpora(**(vars(corpora) | {"fingerprint": "0123"}))
    with pytest.raises(CheckpointError, match=f"tokens {corpora.fingerprint}, not 0123"):
        run_of(others, tmp_path / "second", resume=tmp_path)


def test_weights_that_lack_a_part_of_the_network_are_refused(corpora, tmp_path):
    trained(corpora, tmp_path)
    path = tmp_path / "checkpoint-3" / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(name for name in weights if "layers" in name))
    save_file(weights, path, metadata={"format": "pt"})
    write_manifest(path.parent)
    with pytest.raises(CheckpointError, match="not those of the network"):
        run_of(corpora, tmp_path / "second", resume=path.parent)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"step_features_version": 0}, "step features of format 0"),
        ({"hidden_size": "x"}, "hidden_size"),
        ({"model_type": "gpt2"}, "it is a model of type 'gpt2', not 'musiclstm'"),
    ],
)
def test_a_config_of_no_network_of_ours_is_refused(corpora, tmp_path, changes, reason):
    trained(corpora, tmp_path)
    path = tmp_path / "checkpoint-3" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_manifest(path.parent)
    with pytest.raises(CheckpointError, match=reason):
        run_of(corpora, tmp_path / "second", resume=path.parent)


def test_moments_of_another_network_are_refused(corpora, tmp_path):
    trained(corpora, tmp_path)
    path = tmp_path / "checkpoint-3" / "optimizer.safetensors"
    moments = load_file(path)
    moments["0.exp_avg"] = torch.zeros(3)
    save_file(moments, path)
    write_manifest(path.parent)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        run_of(corpora, tmp_path / "second", resume=path.parent)


def test_a_checkpoint_without_its_progress_is_refused_by_name(corpora, tmp_path):
    trained(corpora, tmp_path)
    (tmp_path / "checkpoint-3" / "progress.json").unlink()
    with pytest.raises(CheckpointError, match=r"progress\.json is missing"):
        run_of(corpora, tmp_path / "second", resume=tmp_path / "checkpoint-3")


@pytest.mark.parametrize("name", ["optimizer.safetensors", "progress.json"])
def test_files_cut_short_are_refused_where_no_manifest_tells(corpora, tmp_path, name):
    trained(corpora, tmp_path)
    folder = (tmp_path / "checkpoint-3").rename(tmp_path / "weights")
    (folder / "manifest.json").unlink()
    (folder / name).write_bytes((folder / name).read_bytes()[:100])
    with pytest.raises(CheckpointError, match=f"{name} is damaged"):
        run_of(corpora, tmp_path / "second", resume=folder)


# progress.json.


def progress_of(folder):
    return json.loads((folder / "progress.json").read_text())


def test_every_session_is_recorded(corpora, tmp_path):
    first = trained(corpora, tmp_path)
    second = run_of(corpora, tmp_path, other_seed(learning_rate=1e-3, max_steps=2), tmp_path)
    second.train(save_every=0, evaluate_every=0)
    second.save()
    progress = progress_of(tmp_path / "checkpoint-5")
    one, two = progress["sessions"]
    assert (one["from"], one["first_step"], one["steps"]) == ("scratch", 0, 3)
    assert (two["from"], two["first_step"], two["steps"]) == ("checkpoint-3", 3, 2)
    assert (one["tokens"], one["tokens"] + two["tokens"]) == (first.tokens, progress["tokens"])
    assert [each["settings"]["learning_rate"] for each in (one, two)] == [3e-3, 1e-3]


def test_a_checkpoint_of_an_earlier_version_counts_as_one_session(corpora, tmp_path):
    trained(corpora, tmp_path)
    folder = tmp_path / "checkpoint-3"
    earlier = {"step": 3, "tokens": 99, "minutes": 1.5, "settings": vars(TINY), "log": []}
    (folder / "progress.json").write_text(json.dumps(earlier))
    write_manifest(folder)
    second = run_of(corpora, tmp_path, resume=tmp_path)
    second.train(save_every=0, evaluate_every=0)
    second.save()
    one, two = progress_of(tmp_path / "checkpoint-6")["sessions"]
    assert one == {
        "from": "scratch", "first_step": 0, "steps": 3, "tokens": 99, "minutes": 1.5,
        "settings": vars(TINY),
    }  # fmt: skip
    assert (two["first_step"], two["steps"]) == (3, 3)


def test_the_corpora_of_a_run_are_recorded(corpora, tmp_path):
    trained(corpora, tmp_path)
    (corpus,) = progress_of(tmp_path / "checkpoint-3")["corpora"]
    assert (corpus["name"], corpus["weight"]) == (corpora.corpora[0], 1.0)
    for split in ("train", "valid"):
        pieces = corpora.pieces_of(split)
        names = [corpora.token_names[i] for each in pieces for i in corpora.piece(each)]
        notes = sum(name.startswith(("Pitch_", "PitchDrum_")) for name in names)
        assert corpus[split] == {"pieces": len(pieces), "notes": notes}


# A save that is stopped.


@pytest.mark.parametrize("stops_at", ["save_moments", "write_record", "write_manifest"])
def test_a_save_that_is_killed_leaves_the_checkpoint_before_it(
    corpora, tmp_path, monkeypatch, stops_at
):
    first = trained(corpora, tmp_path)
    weights = {name: weight.clone() for name, weight in first.model.state_dict().items()}
    first.train(save_every=0, evaluate_every=0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"training.pretraining.run.{stops_at}", killed)
        with pytest.raises(KeyboardInterrupt):
            first.save()
    second = run_of(corpora, tmp_path, resume=tmp_path)
    assert second.step == 3
    assert all(torch.equal(w, weights[n]) for n, w in second.model.state_dict().items())


def test_the_last_two_checkpoints_are_kept(corpora, tmp_path):
    run = trained(corpora, tmp_path)
    for _ in range(2):
        run.train(save_every=0, evaluate_every=0)
        run.save()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-6", "checkpoint-9"]


def test_a_network_that_is_no_longer_a_number_is_not_saved(corpora, tmp_path):
    run = trained(corpora, tmp_path)
    run.train(save_every=0, evaluate_every=0)
    with torch.no_grad():
        run.model.model.embed_tokens.weight[3, 3] = torch.nan
    with pytest.raises(TrainingError, match="at step 6; --resume from the last checkpoint"):
        run.save()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


# Learning rate.


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"warmup": 0}, "--warmup must be 1 or more, got 0."),
        ({"hidden_size": 0}, "--hidden_size must be 1 or more, got 0."),
        ({"dropout": 1.0}, "--dropout must be from 0 to below 1, got 1."),
        ({"decay": 100}, "--decay is a share of the run, 0 to 1, got 100."),
        ({"decay": 0.2, "max_steps": 0}, "--decay needs the end of the run"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        replace(TINY, **changes)


def test_the_schedule_is_told_in_words():
    assert TINY.schedule == "constant"
    assert replace(TINY, decay=0.3).schedule == "constant, then linear to 0"
    assert replace(TINY, decay=1.0).schedule == "linear to 0"


def test_a_session_ends_at_the_first_of_its_limits():
    settings = replace(TINY, max_steps=10, minutes=4.0)
    assert settings.completed(5, 1.0) == 0.5
    assert settings.completed(1, 3.0) == 0.75
    assert replace(TINY, max_steps=0).completed(500, 60.0) == 0


def test_the_rate_rises_then_stays_then_falls(corpora, tmp_path):
    settings = PretrainingSettings(**(vars(TINY) | {"warmup": 10, "learning_rate": 1.0}))
    run = run_of(corpora, tmp_path, settings)
    assert run.rate(1.0) == pytest.approx(0.1)
    run.step = 9
    assert run.rate(1.0) == pytest.approx(1.0)
    run.step = 500
    assert run.rate(0.25) == pytest.approx(0.25)


# The command.


@pytest.fixture
def command(corpora, tmp_path):
    """Runs the command on a tiny network; returns the exit status."""
    corpora.save(tmp_path / "tokens.npz")
    options = ["--hidden_size", "16", "--num_hidden_layers", "1", "--rows", "2", "--steps", "32"]
    paths = ["--tokens", str(tmp_path / "tokens.npz"), "--out", str(tmp_path / "run")]
    return lambda *more: main([*paths, *options, *more])


def test_the_command_trains_measures_and_saves(command, tmp_path, capsys):
    assert command("--max_steps", "2") == 0
    assert "bits_per_note" in capsys.readouterr().out
    folder = tmp_path / "run" / "checkpoint-2"
    progress = json.loads((folder / "progress.json").read_text())
    assert progress["step"] == progress["log"][-1]["step"] == 2
    (session,) = progress["sessions"]
    assert session["augmentation"]["transpose"] == 5
    assert (session["device"], session["versions"]["torch"]) == ("cpu", torch.__version__)
    assert session["machine"].endswith("1 thread")
    assert (folder / "model.safetensors").is_file()


def test_a_network_of_another_shape_than_its_config_is_one_sentence(command, tmp_path, capfd):
    assert command("--max_steps", "1") == 0
    folder = tmp_path / "run" / "checkpoint-1"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 24}))
    write_manifest(folder)
    capfd.readouterr()
    assert command("--max_steps", "1", "--resume", str(folder), "--out", str(tmp_path / "b")) == 1
    error = capfd.readouterr().err
    reason = "its weights are not those of the network in its config.json."
    assert error == f"error: {str(folder)!r} cannot be used: {reason}\n"


def test_a_run_is_not_written_over(command, tmp_path, capsys):
    assert command("--max_steps", "2") == 0
    assert command("--max_steps", "2") == 1
    assert "holds checkpoints after step 0; name another folder" in capsys.readouterr().err
    assert command("--max_steps", "2", "--resume", str(tmp_path / "run")) == 0
    assert (tmp_path / "run" / "checkpoint-4").is_dir()


def test_a_run_that_was_killed_while_saving_is_resumed_into_its_folder(command, tmp_path, capsys):
    run = tmp_path / "run"
    assert command("--max_steps", "2") == 0
    killed = shutil.copytree(run / "checkpoint-2", run / "checkpoint-4")
    (killed / "manifest.json").unlink()
    assert command("--max_steps", "1", "--resume", str(run)) == 0
    assert "Left out checkpoint-4: it was never written to its end." in capsys.readouterr().out
    assert sorted(path.name for path in run.iterdir()) == ["checkpoint-2", "checkpoint-3"]


def test_whole_checkpoints_after_the_step_of_a_run_are_kept(command, tmp_path, capsys):
    run = tmp_path / "run"
    assert command("--max_steps", "2") == 0
    killed = shutil.copytree(run / "checkpoint-2", run / "checkpoint-4")
    (killed / "manifest.json").unlink()
    assert command("--max_steps", "2") == 1
    assert "holds checkpoints after step 0" in capsys.readouterr().err
    assert killed.is_dir()


@pytest.mark.parametrize("content", [b"", b"PK", b"text"])
def test_tokens_that_cannot_be_read_are_one_sentence(command, tmp_path, capsys, content):
    (tmp_path / "tokens.npz").write_bytes(content)
    assert command("--max_steps", "1") == 1
    path = str(tmp_path / "tokens.npz")
    sentence = f"error: {path!r} is damaged, or no file of training.prepare; write it again.\n"
    assert capsys.readouterr().err == sentence


def test_tokens_cut_short_or_of_another_kind_are_one_sentence(command, tmp_path, capsys):
    path = tmp_path / "tokens.npz"
    path.write_bytes(path.read_bytes()[:-500])
    assert command("--max_steps", "1") == 1
    np.savez(path, other=np.zeros(3))
    assert command("--max_steps", "1") == 1
    np.save(tmp_path / "array.npy", np.zeros(3))
    assert command("--max_steps", "1", "--tokens", str(tmp_path / "array.npy")) == 1
    assert capsys.readouterr().err.count("is damaged, or no file of training.prepare") == 3


def test_a_full_disk_is_one_sentence(command, monkeypatch, capsys):
    def full(*_):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("training.pretraining.run.save_moments", full)
    assert command("--max_steps", "1") == 1
    sentence = "error: The disk is full; make room and --resume from the last checkpoint.\n"
    assert capsys.readouterr().err == sentence


def test_the_help_explains_every_setting_and_that_limits_are_those_of_a_session(command, capsys):
    with pytest.raises(SystemExit):
        command("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "Limit of this session; 0: none. (default: 0)" in text
    assert "a resumed one keeps its own. (default: 384)" in text
    assert "Semitones up or down at most. (default: 5)" in text
    for name in (*vars(PretrainingSettings()), *vars(AugmentationSettings())):
        assert re.search(rf"--{name} {name.upper()} [A-Z]", text), name


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--decay", "0.5"], "error: --decay needs the end of the run"),
        (["--resume", "nowhere"], "error: 'nowhere' cannot be used: it has no config.json."),
        (["--tokens", "nowhere.npz"], "error: [Errno 2] No such file or directory: 'nowhere.npz'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_1(command, options, sentence, capsys):
    assert command(*options) == 1
    error = capsys.readouterr().err
    assert error.startswith(sentence)
    assert error.count("\n") == 1
