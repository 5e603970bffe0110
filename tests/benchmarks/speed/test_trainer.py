"""The command that measures training: the Trainer against a bare loop."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.speed import trainer as training

TINY = [
    *("--steps", "3", "--rows", "2", "--window", "8", "--hidden_size", "8", "--layers", "1"),
]


def test_trainer_and_bare_loop_take_as_many_turns(tmp_path, capsys):
    out = tmp_path / "speed.json"
    assert training.main([*TINY, "--json", str(out)]) == 0
    facts = json.loads(out.read_text())
    assert facts["steps"] == 3
    if not torch.cuda.is_available():
        assert list(facts["tokens_per_s"]) == ["Trainer", "bare loop"]
    assert min(facts["tokens_per_s"].values()) > 0
    assert facts["trainer_over"]["bare loop"] > 0
    assert 0 < facts["features share"] < 1
    printed = capsys.readouterr().out
    assert "| bare loop |" in printed
    assert f"Step features take {100 * facts['features share']:.1f} % of a step" in printed


def test_both_learn_the_same_from_the_same_batches(monkeypatch):
    twins = []

    class Remembered(training.BareLoop):
        def __init__(self, model, device, options):
            twins.append(model)
            super().__init__(model, device, options)

    monkeypatch.setattr(training, "BareLoop", Remembered)
    make = training._trainer

    def remembering(options, model, folder):
        trainer = make(options, model, folder)
        twins.append(trainer.network)
        trainer.args.lr_scheduler_type = "constant"  # the bare loop has no schedule
        return trainer

    monkeypatch.setattr(training, "_trainer", remembering)
    monkeypatch.setattr(training, "_WEIGHT_DECAY", 0.0)
    monkeypatch.setattr(training, "_DROPOUT", 0.0)
    assert training.main(TINY) == 0
    for a, b in zip(*(net.parameters() for net in twins), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("main", "option", "sentence"),
    [
        (training.main, ("--steps", "1"), "--steps must be 2 or more, got 1."),
    ],
)
def test_numbers_that_mean_nothing_are_one_sentence(main, option, sentence, capsys):
    assert main([*option]) == 1
    assert capsys.readouterr().err == f"error: {sentence}\n"
