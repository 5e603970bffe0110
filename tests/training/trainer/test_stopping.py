"""A run that the system asks to stop loses nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from training import finetune
from training.trainer.checkpoints import checkpoints, validation_error
from training.trainer.stopping import STOPPED, SigtermCallback, StoppedError
from training.trainer.trainer import StatefulTrainer

QUICK = [
    *("--model", "scratch", "--hidden_size", "16", "--num_hidden_layers", "1"),
    *("--window", "32", "--per_device_train_batch_size", "2"),
    *("--max_steps", "5", "--save_steps", "5", "--eval_strategy", "no", "--samples", "0"),
    *("--warmup_steps", "0", "--learning_rate", "0.01", "--ema_decay", "0.5"),
    *("--report_to", "none", "--bf16", "false", "--disable_tqdm", "true", "--workers", "1"),
]


# Of two processes, only the second is asked.
SECOND_ASKED = """
import os, signal, sys
from training import finetune
from training.trainer.trainer import StatefulTrainer

loss = StatefulTrainer.compute_loss

def interrupted(self, *args, **kwargs):
    if os.environ["RANK"] == "1" and self.state.global_step == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return loss(self, *args, **kwargs)

StatefulTrainer.compute_loss = interrupted
sys.exit(finetune.main(sys.argv[1:]))
"""


def command(scales, folder):
    return ["--data", str(scales), "--output_dir", str(folder), *QUICK]


def weights(folder):
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def asked(monkeypatch):
    """SIGTERM arrives in the middle of the third step."""
    loss = StatefulTrainer.compute_loss

    def interrupted(self, *args, **kwargs):
        if self.state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, *args, **kwargs)

    monkeypatch.setattr(StatefulTrainer, "compute_loss", interrupted)


def test_a_stopped_run_saves_says_so_and_ends_with_the_weights_of_an_undisturbed_one(
    asked, scales, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    assert finetune.main(command(scales, out)) == STOPPED == 143
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Stopped at step 3 because the system asked for it (SIGTERM); nothing is lost: run the "
        "same command again to go on from there."
    )
    assert [path.name for path in checkpoints(out)] == ["checkpoint-3"]
    assert validation_error(out / "checkpoint-3") is None
    assert not (out / "model.safetensors").exists()
    monkeypatch.undo()
    monkeypatch.setenv("MUSICLSTM_CACHE", str(tmp_path / "cache"))
    assert finetune.main(command(scales, out)) == 0
    assert "Resuming from checkpoint-3." in capsys.readouterr().out
    assert finetune.main(command(scales, tmp_path / "whole")) == 0
    assert weights(out) == weights(tmp_path / "whole")


def test_outside_a_training_sigterm_does_what_it_did_before():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("theirs"))
    try:
        stop = SigtermCallback(agree=lambda yes: yes)
        with stop.listening():
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ["theirs"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_another_thread_nothing_is_heard_and_nothing_fails():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def listen():
        with SigtermCallback(agree=lambda yes: yes).listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("told", [False, True])
def test_processes_stop_together_when_one_of_them_was_asked(told, tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    state, control = TrainerState(global_step=7), TrainerControl()
    stop = SigtermCallback(agree=lambda _: told)
    stop.on_step_end(args, state, control)
    assert control.should_save is told
    if told:
        with pytest.raises(StoppedError, match="Stopped at step 7 because"):
            stop.on_save(args, state, control)
    else:
        stop.on_save(args, state, control)


def test_a_run_that_is_asked_while_it_saves_stops_at_that_checkpoint(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    state, control = TrainerState(global_step=7), TrainerControl()
    stop = SigtermCallback(agree=lambda yes: yes)
    with stop.listening():
        stop.on_step_end(args, state, control)
        assert not control.should_save
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError, match="Stopped at step 7 because"):
            stop.on_save(args, state, control)


@pytest.mark.slow
def test_two_processes_stop_together(scales, tmp_path):
    out = tmp_path / "out"
    words = [*command(scales, out), "--use_cpu", "true", "--ddp_backend", "gloo"]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SECOND_ASKED, *words],
            env=os.environ
            | common
            | {"RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        for rank in "01"
    ]
    assert [process.wait(timeout=240) for process in processes] == [STOPPED, STOPPED]
    assert [path.name for path in checkpoints(out)] == ["checkpoint-3"]
    assert validation_error(out / "checkpoint-3") is None
