"""Speed of the Trainer, compared with a bare loop."""

from __future__ import annotations

import json

import torch

from benchmarks.speed import trainer

TINY = ["--steps", "3", "--rows", "2", "--window", "8", "--hidden_size", "8", "--layers", "1"]


def test_trainer_and_bare_loop_are_timed(tmp_path, capsys):
    path = tmp_path / "speed.json"
    assert trainer.main([*TINY, "--json", str(path)]) == 0
    facts = json.loads(path.read_text())
    assert facts["steps"] == 3
    assert min(facts["tokens_per_s"].values()) > 0
    assert facts["trainer_over"]["bare loop"] > 0
    assert 0 < facts["features share"] < 1
    assert "| bare loop |" in capsys.readouterr().out


def test_trainer_and_bare_loop_end_with_the_same_weights(monkeypatch):
    models = []

    class RecordedLoop(trainer.BareLoop):
        def __init__(self, model, device, options):
            models.append(model)
            super().__init__(model, device, options)

    make_trainer = trainer._trainer

    def recorded_trainer(options, model, folder):
        found = make_trainer(options, model, folder)
        models.append(found.network)
        found.args.lr_scheduler_type = "constant"  # the bare loop has no schedule
        return found

    monkeypatch.setattr(trainer, "BareLoop", RecordedLoop)
    monkeypatch.setattr(trainer, "_trainer", recorded_trainer)
    monkeypatch.setattr(trainer, "_WEIGHT_DECAY", 0.0)
    monkeypatch.setattr(trainer, "_DROPOUT", 0.0)
    assert trainer.main(TINY) == 0
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_too_few_steps_are_refused(capsys):
    assert trainer.main(["--steps", "1"]) == 1
    assert "--steps must be 2 or more, got 1" in capsys.readouterr().err
