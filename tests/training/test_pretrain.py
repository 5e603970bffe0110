import json
from pathlib import Path

import numpy as np
import pytest
import torch

import musiclstm
from training.data.augmentation import AugmentationSettings
from training.data.encoded_corpora import EncodedCorpora
from training.prepare import main as prepare_main
from training.prepare import prepare
from training.pretrain import Run, Settings, bits_of, main

SEEDS = Path(musiclstm.__file__).parent / "seeds"
TINY = Settings(hidden_size=16, num_hidden_layers=1, rows=2, steps=32, warmup=1, max_steps=3)


@pytest.fixture(scope="module")
def corpora():
    found = prepare([str(SEEDS)])
    split = np.zeros(len(found.split), np.int16)
    split[-1] = 1  # the last piece is for validation
    return EncodedCorpora(**(vars(found) | {"split": split}))


def run_of(corpora, out, settings=TINY):
    return Run(corpora, settings, AugmentationSettings(), out, "cpu")


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
    assert "can be read" in capsys.readouterr().err
    assert not (tmp_path / "x.npz").exists()


def test_training_lowers_the_bits_of_what_is_trained_on(corpora, tmp_path):
    run = run_of(corpora, tmp_path, Settings(**(vars(TINY) | {"max_steps": 40})))
    train = corpora.pieces_of("train")
    before = bits_of(run.model, corpora, train)["bits_per_note"]
    run.train(save_every=0, evaluate_every=0)
    assert bits_of(run.model, corpora, train)["bits_per_note"] < 0.8 * before


def test_bits_do_not_depend_on_how_much_is_read_at_once(corpora, tmp_path):
    run = run_of(corpora, tmp_path)
    pieces = corpora.pieces_of("train")
    whole = bits_of(run.model, corpora, pieces, most_tokens=300, steps=301, rows=8)
    parts = bits_of(run.model, corpora, pieces, most_tokens=300, steps=17, rows=3)
    assert parts["bits_per_note"] == pytest.approx(whole["bits_per_note"], rel=1e-5)


def test_a_resumed_run_has_weights_moments_and_step_of_the_checkpoint(corpora, tmp_path):
    first = run_of(corpora, tmp_path)
    first.train(save_every=0, evaluate_every=0)
    second = run_of(corpora, tmp_path / "second", Settings(**(vars(TINY) | {"seed": 5})))
    second.resume(tmp_path)
    assert (second.step, second.tokens) == (3, first.tokens)
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name])
    moments = [run.optimizer.state_dict()["state"] for run in (first, second)]
    assert moments[0].keys() == moments[1].keys()
    assert all(torch.equal(moments[0][i]["exp_avg"], moments[1][i]["exp_avg"]) for i in moments[0])


def test_a_run_goes_on_from_weights_alone(corpora, tmp_path):
    first = run_of(corpora, tmp_path)
    first.train(save_every=0, evaluate_every=0)
    for name in ("optimizer.safetensors", "progress.json"):
        (tmp_path / name).unlink()
    second = run_of(corpora, tmp_path / "second", Settings(**(vars(TINY) | {"seed": 5})))
    second.resume(tmp_path)
    assert second.step == 0
    weight = "model.embed_tokens.weight"
    assert torch.equal(second.model.state_dict()[weight], first.model.state_dict()[weight])


def test_the_rate_rises_then_stays_then_falls(corpora, tmp_path):
    settings = Settings(**(vars(TINY) | {"warmup": 10, "learning_rate": 1.0}))
    run = run_of(corpora, tmp_path, settings)
    assert run.rate(1.0) == pytest.approx(0.1)
    run.step = 9
    assert run.rate(1.0) == pytest.approx(1.0)
    run.step = 500
    assert run.rate(0.25) == pytest.approx(0.25)


def test_the_command_trains_saves_and_measures(corpora, tmp_path, capsys):
    corpora.save(tmp_path / "tokens.npz")
    options = ["--hidden_size", "16", "--num_hidden_layers", "1", "--rows", "2", "--steps", "32"]
    paths = ["--tokens", str(tmp_path / "tokens.npz"), "--out", str(tmp_path / "run")]
    assert main([*paths, *options, "--max_steps", "2"]) == 0
    assert "bits_per_note" in capsys.readouterr().out
    progress = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert progress["step"] == 2
    assert (tmp_path / "run" / "model.safetensors").is_file()
