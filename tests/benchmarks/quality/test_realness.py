"""The judge of continuations: its piano roll, its training, and its figures."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.quality import realness
from benchmarks.quality.realness import Example, compare, wins
from benchmarks.quality.realness_judge import COLUMNS, Judge, passage, rolls, train
from musiclstm.midi import DRUMS
from training.data.splits import half_of
from training.evaluation.continuations import choose_pieces


def notes(*rows):
    """A passage of notes: first column, end column, pitch, instrument."""
    return np.array(rows, np.int64).T.reshape(4, -1)


def scale(step, start=60):
    """Two bars of prompt upwards, then two bars that go on by `step` semitones a note."""
    pitches = [start + i for i in range(8)] + [start + 8 + step * i for i in range(8)]
    return notes(*((6 * i, 6 * i + 6, pitch, 0) for i, pitch in enumerate(pitches)))


def test_bars_of_every_meter_have_the_same_columns():
    prompt = SimpleNamespace(
        bars=1, bar_lines=np.array([0.0, 3.0]), onset=np.array([1.0, 2.0]),
        duration=np.array([1.0, 0.01]), pitch=np.array([60, 36]), instrument=np.array([0, DRUMS]),
    )  # fmt: skip
    music = SimpleNamespace(
        bars=2, bar_lines=np.array([3.0, 7.0, 10.0]), onset=np.array([5.0]),
        duration=np.array([9.0]), pitch=np.array([64]), instrument=np.array([40]),
    )  # fmt: skip
    found = passage(prompt, music).T.tolist()
    third = COLUMNS // 3
    assert found == [
        [third, 2 * third, 60, 0],
        [2 * third, 2 * third + 1, 36, DRUMS],
        [COLUMNS + COLUMNS // 2, 3 * COLUMNS, 64, 40],
    ]


def test_a_roll_holds_onsets_sounding_notes_drums_and_families():
    pitched, others = rolls([notes((0, 30, 60, 41), (24, 25, 36, DRUMS))], 2, [2])
    assert pitched.shape == (1, 2, 2, 88, COLUMNS)
    assert pitched[0, :, 0].nonzero().tolist() == [[0, 62 - 21, 0]]
    assert pitched[0, :, 1].sum((1, 2)).tolist() == [24, 6]
    assert others[0].nonzero().tolist() == [[0, 47 + 5, 0], [1, 1, 0]]


def test_the_judge_learns_and_is_the_same_after_storing(tmp_path):
    pairs = [(scale(1, start), scale(-3, start)) for start in range(50, 62)]
    judge = Judge(2, 2, seed=1)
    train(judge, pairs, epochs=40, seed=1)
    real, composed = (judge.score([pair[i] for pair in pairs]) for i in (0, 1))
    assert wins(real, composed[:, None]).mean() > 0.9
    judge.save(tmp_path / "judge.safetensors")
    assert (Judge.load(tmp_path / "judge.safetensors").score([pairs[0][0]]) == real[:1]).all()


def test_the_auc_is_the_share_of_pairs_in_the_right_order():
    found = wins(np.array([2.0, 1.0]), np.array([[1.0, 0.0], [3.0, 2.0]]))
    assert found.tolist() == [[1.0, 0.25], [0.75, 0.0]]
    judge = SimpleNamespace(prompt_bars=2, score=lambda x: np.array([n[2, -1] for n in x], float))
    examples = [
        Example(name, scale(1), scale(1), (scale(-1), scale(down)))
        for name, down in (("pop909/a", -1), ("freedoom/b", 2))
    ]
    figures = compare(examples, {"trained": judge})["figures"]["trained"]
    assert figures["auc"]["all"]["auc"] == 0.75
    assert figures["auc"]["unseen"]["auc"] == 1.0
    assert figures["auc"]["bands"] == {"pieces": 1, "auc": 0.5, "interval": [0.5, 0.5]}
    assert figures["control"] == 0.5


def test_only_one_half_of_the_training_pieces_is_chosen(data):
    plan = realness.ContinuationPlan(6, 1, 2, 2)
    halves = [choose_pieces(data.split(","), "train", plan, half=half) for half in (0, 1, None)]
    assert sorted(p.name for p in halves[0] + halves[1]) == sorted(p.name for p in halves[2])
    assert all(half_of(piece.name) == half for half in (0, 1) for piece in halves[half])


def test_a_stored_judge_is_used_again(data, tiny_checkpoint, tmp_path, capsys):
    bars = ["--pieces", "2", "--takes", "2", "--prompt_bars", "2", "--bars", "3"]
    arguments = ["--data", data, "--model", str(tiny_checkpoint), *bars]
    stored, paths = str(tmp_path / "judge.safetensors"), [tmp_path / "a.json", tmp_path / "b.json"]
    training = ["--train_pieces", "2", "--epochs", "1", "--save_judge", stored]
    again = ["--train_pieces", "0", "--judge", stored]
    assert realness.main([*arguments, *training, "--json", str(paths[0])]) == 0
    assert realness.main([*arguments, *again, "--json", str(paths[1])]) == 0
    first, second = (json.loads(path.read_text(encoding="utf-8"))["figures"] for path in paths)
    assert first == {"trained": second["stored"], "notes per bar": second["notes per bar"]}
    assert "stored judge: " in capsys.readouterr().out
    assert realness.main([*arguments[:-1], "4", *again]) == 1
    assert "use --prompt_bars 2 --bars 3." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--train_pieces", "0"], "name one by --judge."),
        (["--split", "train"], "--split must be valid or test, got 'train'"),
        (["--prompt_bars", "60"], "0 pieces of the split 'test' have 76 bars"),
        (["--judge", "missing"], "'missing' is not a judge that --save_judge wrote"),
    ],
)
def test_invalid_options_are_refused(data, tiny_checkpoint, capsys, options, fact):
    assert realness.main(["--data", data, "--model", str(tiny_checkpoint), *options]) == 1
    assert fact in capsys.readouterr().err
