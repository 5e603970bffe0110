"""Samples while the network learns."""

from __future__ import annotations

import errno

import pytest
import torch
from accelerate import Accelerator
from symusic import Score
from transformers import TrainerControl, TrainerState, TrainingArguments

from musiclstm import Composer
from musiclstm.audio.soundfonts import find_soundfont
from musiclstm.errors import SoundfontNotFoundError
from training.data.corpus import read_corpus
from training.networks import export_copy
from training.trainer.listening import Listening


@pytest.fixture(scope="module")
def toy(tiny_model, tiny_tokenizer):
    """Untrained, for two instruments: with all of them it would write a thousand parts."""
    model = export_copy(tiny_model)
    model.config.programs = [0, 40]
    return model, tiny_tokenizer


def listen(folder, toy, pieces, *, count, step=400, said=None):
    args = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none")
    state = TrainerState(global_step=step, is_world_process_zero=True)
    say = pytest.fail if said is None else said.append
    callback = Listening(*toy, pieces, count=count, say=say)
    callback.on_evaluate(args, state, TrainerControl())
    return folder / "samples" / f"step-{step:06d}"


@pytest.fixture
def pieces(scales):
    return read_corpus([scales], workers=1).tokens("valid")


def silent(*_, **__):
    raise SoundfontNotFoundError("No SoundFont on this machine.")


def test_samples_are_the_same_for_the_same_weights_and_leave_training_alone(
    toy, pieces, tmp_path, monkeypatch
):
    monkeypatch.setattr("training.trainer.listening.render", silent)
    chance = torch.get_rng_state()
    weights = [p.detach().clone() for p in toy[0].parameters()]
    said = []
    first = listen(tmp_path / "a", toy, pieces, count=2, said=said)
    second = listen(tmp_path / "b", toy, pieces, count=2, step=7, said=said)
    assert second.name == "step-000007"
    assert torch.equal(chance, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, toy[0].parameters(), strict=True))
    names = ["sample-1.mid", "sample-1.svg", "sample-2.mid", "sample-2.svg"]
    assert sorted(path.name for path in first.iterdir()) == names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert Score(first / "sample-1.mid").note_num() > 0
    assert said == ["Samples stay silent: No SoundFont on this machine."] * 2  # once a run


def test_a_sample_that_fails_is_told_and_the_next_one_is_made(toy, pieces, tmp_path, monkeypatch):
    def fail_alone(self, **kwargs):
        if "prompt" not in kwargs:
            raise ValueError("nothing comes to its mind.")
        return compose(self, **kwargs)

    compose = Composer.compose
    monkeypatch.setattr(Composer, "compose", fail_alone)
    monkeypatch.setattr("training.trainer.listening.render", silent)
    said = []
    folder = listen(tmp_path, toy, pieces, count=2, step=1400, said=said)
    assert said[0] == "Sample 1 of step 1,400 is missing: nothing comes to its mind."
    assert sorted(path.name for path in folder.iterdir()) == ["sample-2.mid", "sample-2.svg"]


def test_samples_that_cannot_be_written_are_told_once_and_the_run_goes_on(
    toy, tmp_path, monkeypatch
):
    def write_to_a_full_disk(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.trainer.listening.Composition.save_midi", write_to_a_full_disk)
    said = []
    callback = Listening(*toy, [], count=2, say=said.append)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    for step in (5, 10):
        state = TrainerState(global_step=step, is_world_process_zero=True)
        callback.on_evaluate(args, state, TrainerControl())
    sentence = "The samples cannot be written: No space left on device. Training continues without"
    assert said == [f"{sentence} them."]


def test_a_folder_of_samples_that_cannot_be_made_is_told(toy, tmp_path):
    (tmp_path / "samples").write_text("a file is in the way")
    said = []
    listen(tmp_path, toy, [], count=1, said=said)
    assert len(said) == 1
    assert said[0].startswith("The samples cannot be written: ")


def test_every_second_sample_goes_on_from_a_held_out_piece(toy, pieces, tmp_path, monkeypatch):
    monkeypatch.setattr("training.trainer.listening.render", silent)
    folder = listen(tmp_path, toy, pieces, count=2, said=[])
    _, tokenizer = toy
    opening = tokenizer.decode(pieces[0]).tracks[0].notes
    heard = Score(folder / "sample-2.mid").tracks[0].notes
    assert [note.pitch for note in heard[:8]] == [note.pitch for note in opening[:8]]


def test_no_samples_asked_for_none_are_made(toy, pieces, tmp_path):
    assert not listen(tmp_path, toy, pieces, count=0).exists()


@pytest.mark.fluidsynth
def test_samples_can_be_heard(toy, tmp_path):
    try:
        find_soundfont()
    except SoundfontNotFoundError as error:
        pytest.skip(str(error))
    folder = listen(tmp_path, toy, [], count=1)
    assert (folder / "sample-1.mp3").stat().st_size > 10_000


def test_samples_come_from_weights_trained_in_half_precision_too(toy, pieces, tmp_path):
    model, tokenizer = toy
    model = export_copy(model)
    model = Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model)
    said = []
    folder = listen(tmp_path, (model, tokenizer), pieces, count=2, said=said)
    twin = listen(tmp_path / "twin", toy, pieces, count=2, said=said)
    for name in ("sample-1.mid", "sample-2.mid"):
        assert (folder / name).read_bytes() == (twin / name).read_bytes()


def test_a_plain_copy_is_in_full_precision_and_on_its_own(toy):
    model = export_copy(toy[0])
    model.train()
    model.bfloat16()
    chance = torch.get_rng_state()
    twin = export_copy(model)
    assert torch.equal(chance, torch.get_rng_state())
    assert twin.dtype == torch.float32
    assert not twin.training
    assert model.dtype == torch.bfloat16
    assert model.training
    with torch.no_grad():
        next(twin.parameters()).add_(1)
    assert not torch.equal(next(twin.parameters()), next(model.parameters()).float())
