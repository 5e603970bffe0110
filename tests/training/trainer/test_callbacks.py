"""Learning curve, early stop, durations, and samples."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from matplotlib import pyplot as plt
from symusic import Score
from transformers import TrainerControl, TrainerState, TrainingArguments

from musiclstm import Composer
from musiclstm.errors import SoundfontNotFoundError
from training.data.corpus import read_corpus
from training.networks import export_copy
from training.trainer.callbacks import (
    LearningCurveCallback,
    SampleCallback,
    draw_curve,
    format_duration,
    should_stop_early,
)

HISTORY = [
    {"step": 1, "loss": 3.0},
    {"step": 2, "eval_bits_per_note": 9.0},
    {"step": 3, "loss": 2.0},
    {"step": 4, "eval_bits_per_note": 8.0},
]


def evaluate(callback, folder, *, step=4):
    args = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none")
    state = TrainerState(global_step=step, log_history=HISTORY, is_world_process_zero=True)
    callback.on_evaluate(args, state, TrainerControl())


@pytest.mark.parametrize(
    ("bits", "patience", "stalled"),
    [
        ((), 1, False),
        ((9.0, 8.0), 1, False),
        ((9.0, 8.0, 8.0), 1, True),
        ((9.0, 8.0, 8.5), 2, False),
        ((9.0, 8.0, 8.5, 8.1), 2, True),
        ((9.0, 8.0, 8.5, 7.9), 2, False),
        ((9.0, 9.5, 9.6), 0, False),
    ],
)
def test_a_run_stops_after_as_many_evaluations_without_improvement(bits, patience, stalled):
    assert should_stop_early([{"eval_bits_per_note": each} for each in bits], patience) is stalled


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 second"), (5, "5 seconds"), (59.9, "1 minute"), (7_500, "2 h 5 min")],
)
def test_durations_are_rounded_up_or_to_minutes(seconds, text):
    assert format_duration(seconds) == text


# Learning curve.


def test_the_same_history_gives_the_same_files(tmp_path):
    names = ("a.png", "a.svg", "b.png", "b.svg")
    draw_curve(HISTORY, *(tmp_path / name for name in names))
    for ending in ("png", "svg"):
        first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert first == second
    text = (tmp_path / "a.svg").read_text()
    assert "training loss" in text
    assert "held-out bits per note" in text


def test_a_history_without_figures_gives_no_file(tmp_path):
    draw_curve([{"step": 4, "train_loss": 2.5}], tmp_path / "none.svg")
    assert list(tmp_path.iterdir()) == []


def test_the_evaluation_before_training_is_drawn(tmp_path):
    draw_curve([{"step": 0, "eval_bits_per_note": 12.0}, *HISTORY], tmp_path / "with.svg")
    draw_curve(HISTORY, tmp_path / "without.svg")
    markers = [
        (tmp_path / f"{name}.svg").read_text().count('use xlink:href="#m')
        for name in ("with", "without")
    ]
    assert markers[0] > markers[1]


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_full_disk_is_reported_once_and_closes_the_figure(tmp_path, capsys, ending):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / f"learning_curve.{ending}").symlink_to(full)
    callback = LearningCurveCallback()
    evaluate(callback, tmp_path)
    evaluate(callback, tmp_path)
    assert capsys.readouterr().out.count("No space left on device") == 1
    assert plt.get_fignums() == []


# Samples.


@pytest.fixture(scope="module")
def toy(tiny_model, tiny_tokenizer):
    """An untrained network for two instruments: with all of them it would write many parts."""
    model = export_copy(tiny_model)
    model.config.programs = [0, 40]
    return model, tiny_tokenizer


@pytest.fixture
def pieces(scales):
    return read_corpus([scales], workers=1).tokens("valid")


@pytest.fixture
def silent(monkeypatch):
    def fail(*_, **__):
        raise SoundfontNotFoundError("No SoundFont on this machine.")

    monkeypatch.setattr("training.trainer.callbacks.render", fail)


def write_samples(folder, toy, pieces, *, count, step=400):
    """Return the folder of the samples, and what was reported."""
    reports = []
    evaluate(SampleCallback(*toy, pieces, count=count, say=reports.append), folder, step=step)
    return folder / "samples" / f"step-{step:06d}", reports


def test_samples_depend_on_the_weights_alone_and_leave_training_unchanged(
    toy, pieces, tmp_path, silent
):
    rng_state = torch.get_rng_state()
    weights = [p.detach().clone() for p in toy[0].parameters()]
    first, reports = write_samples(tmp_path / "a", toy, pieces, count=2)
    second, _ = write_samples(tmp_path / "b", toy, pieces, count=2, step=7)
    assert second.name == "step-000007"
    assert torch.equal(rng_state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, toy[0].parameters(), strict=True))
    names = ["sample-1.mid", "sample-1.svg", "sample-2.mid", "sample-2.svg"]
    assert sorted(path.name for path in first.iterdir()) == names
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert Score(first / "sample-1.mid").note_num() > 0
    assert reports == ["Samples have no audio: No SoundFont on this machine."]  # once for both


def test_every_second_sample_continues_a_held_out_piece(toy, pieces, tmp_path, silent):
    folder, _ = write_samples(tmp_path, toy, pieces, count=2)
    prompt = toy[1].decode(pieces[0]).tracks[0].notes
    written = Score(folder / "sample-2.mid").tracks[0].notes
    assert [note.pitch for note in written[:8]] == [note.pitch for note in prompt[:8]]


def test_a_failed_sample_is_reported_and_the_next_one_is_written(
    toy, pieces, tmp_path, monkeypatch, silent
):
    def fail_without_prompt(self, **kwargs):
        if "prompt" not in kwargs:
            raise ValueError("no notes.")
        return compose(self, **kwargs)

    compose = Composer.compose
    monkeypatch.setattr(Composer, "compose", fail_without_prompt)
    folder, reports = write_samples(tmp_path, toy, pieces, count=2, step=1400)
    assert reports[0] == "Sample 1 of step 1,400 failed: no notes."
    assert sorted(path.name for path in folder.iterdir()) == ["sample-2.mid", "sample-2.svg"]


def test_an_unwritable_sample_is_reported_once(toy, tmp_path, monkeypatch):
    def write_to_a_full_disk(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("training.trainer.callbacks.Composition.save_midi", write_to_a_full_disk)
    reports = []
    callback = SampleCallback(*toy, [], count=2, say=reports.append)
    evaluate(callback, tmp_path, step=5)
    evaluate(callback, tmp_path, step=10)
    assert len(reports) == 1
    assert "No space left on device" in reports[0]


def test_a_file_in_place_of_the_folder_is_reported(toy, tmp_path):
    (tmp_path / "samples").write_text("a file")
    assert len(write_samples(tmp_path, toy, [], count=1)[1]) == 1


def test_zero_samples_write_nothing(toy, pieces, tmp_path):
    assert not write_samples(tmp_path, toy, pieces, count=0)[0].exists()


@pytest.mark.fluidsynth
def test_samples_have_audio(toy, tmp_path):
    folder, reports = write_samples(tmp_path, toy, [], count=1)
    if reports:
        pytest.skip(reports[0])
    assert (folder / "sample-1.mp3").stat().st_size > 10_000


@pytest.mark.slow
def test_samples_of_mixed_precision_weights_equal_those_of_full_precision(
    toy, pieces, tmp_path, silent
):
    AcceleratorState._reset_state(reset_partial_state=True)  # what earlier tests have set
    model = Accelerator(cpu=True, mixed_precision="bf16").prepare_model(export_copy(toy[0]))
    mixed, _ = write_samples(tmp_path, (model, toy[1]), pieces, count=2)
    full, _ = write_samples(tmp_path / "full", toy, pieces, count=2)
    for name in ("sample-1.mid", "sample-2.mid"):
        assert (mixed / name).read_bytes() == (full / name).read_bytes()


def test_an_export_copy_is_independent_and_in_full_precision(toy):
    model = export_copy(toy[0])
    model.train()
    model.bfloat16()
    rng_state = torch.get_rng_state()
    copy = export_copy(model)
    assert torch.equal(rng_state, torch.get_rng_state())
    assert (copy.dtype, copy.training) == (torch.float32, False)
    assert (model.dtype, model.training) == (torch.bfloat16, True)
    with torch.no_grad():
        next(copy.parameters()).add_(1)
    assert not torch.equal(next(copy.parameters()), next(model.parameters()).float())
