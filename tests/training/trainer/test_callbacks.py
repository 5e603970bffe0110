"""A word on how it goes, a picture of it, and when to stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import pyplot as plt
from transformers import TrainerControl, TrainerState, TrainingArguments

from training.trainer.callbacks import LearningCurve, draw_curve, duration, has_stalled

HISTORY = [
    {"step": 1, "loss": 3.0},
    {"step": 2, "eval_bits_per_note": 9.0},
    {"step": 3, "loss": 2.0},
    {"step": 4, "eval_bits_per_note": 8.0},
]


def bits(*values):
    return [{"eval_bits_per_note": value} for value in values]


@pytest.mark.parametrize(
    ("values", "patience", "stalled"),
    [
        ((), 1, False),
        ((9.0,), 1, False),
        ((9.0, 8.0), 1, False),
        ((9.0, 8.0, 8.0), 1, True),
        ((9.0, 8.0, 8.5), 2, False),
        ((9.0, 8.0, 8.5, 8.1), 2, True),
        ((9.0, 8.0, 8.5, 7.9), 2, False),
        ((9.0, 9.5, 9.6), 0, False),
    ],
)
def test_a_run_has_stalled_when_so_many_evaluations_were_no_better(values, patience, stalled):
    assert has_stalled(bits(*values), patience) is stalled


def test_the_same_history_gives_the_same_picture(tmp_path):
    names = ("a.png", "a.svg", "b.png", "b.svg")
    draw_curve(HISTORY, *(tmp_path / name for name in names))
    for ending in ("png", "svg"):
        first, second = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "ab")
        assert first == second
    text = (tmp_path / "a.svg").read_text()
    assert "training loss" in text
    assert "held-out bits per note" in text


def test_a_history_of_nothing_is_not_drawn(tmp_path):
    draw_curve([{"step": 4, "train_loss": 2.5}], tmp_path / "none.svg")
    assert list(tmp_path.iterdir()) == []


def test_what_the_model_was_worth_before_it_learnt_is_in_the_picture(tmp_path):
    first = {"step": 0, "eval_bits_per_note": 12.0}
    draw_curve([first], tmp_path / "first.svg")
    draw_curve([first, *HISTORY], tmp_path / "with.svg")
    draw_curve(HISTORY, tmp_path / "without.svg")
    circles = [
        (tmp_path / f"{name}.svg").read_text().count('use xlink:href="#m')
        for name in ("first", "with", "without")
    ]
    assert circles[0] > 0
    assert circles[1] > circles[2]


def end(callback, folder):
    args = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none")
    state = TrainerState(log_history=HISTORY, is_world_process_zero=True)
    callback.on_evaluate(args, state, TrainerControl())
    callback.on_train_end(args, state, TrainerControl())


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_picture_that_finds_no_room_is_told_once_and_the_run_goes_on(tmp_path, capsys, ending):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    (tmp_path / f"learning_curve.{ending}").symlink_to(full)
    end(LearningCurve(), tmp_path)
    assert capsys.readouterr().out == (
        "The learning curve cannot be drawn: No space left on device. "
        "Training continues without it.\n"
    )
    assert plt.get_fignums() == []


def test_a_picture_that_may_not_be_written_is_told_once(tmp_path, capsys):
    (tmp_path / "learning_curve.png").mkdir()
    end(LearningCurve(), tmp_path)
    said = capsys.readouterr().out
    assert said.startswith("The learning curve cannot be drawn: Is a directory.")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (5, "5 seconds"),
        (59.9, "1 minute"),
        (130, "2 minutes"),
        (7_500, "2 h 5 min"),
    ],
)
def test_times_are_told_in_plain_words(seconds, words):
    assert duration(seconds) == words
