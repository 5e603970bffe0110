"""A word on how it goes, a picture of it, and when to stop."""

from __future__ import annotations

import pytest

from training.callbacks import draw_curve, duration, has_stalled

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


def test_a_history_of_nothing_can_be_drawn(tmp_path):
    draw_curve([], tmp_path / "none.svg")
    assert (tmp_path / "none.svg").read_text().startswith("<?xml")


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
