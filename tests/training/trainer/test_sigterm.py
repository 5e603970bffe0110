"""SIGTERM ends a run after a checkpoint that resumes bit for bit."""

from __future__ import annotations

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
from training.errors import SIGTERM_STATUS, StoppedError
from training.trainer.callbacks import SigtermCallback
from training.trainer.checkpoints import checkpoints, validation_error
from training.trainer.trainer import StatefulTrainer

QUICK = [
    *("--model", "scratch", "--hidden_size", "16", "--num_hidden_layers", "1"),
    *("--window", "32", "--per_device_train_batch_size", "2"),
    *("--max_steps", "5", "--save_steps", "5", "--eval_strategy", "no", "--samples", "0"),
    *("--warmup_steps", "0", "--learning_rate", "0.01", "--ema_decay", "0.5"),
    *("--report_to", "none", "--bf16", "false", "--disable_tqdm", "true", "--workers", "1"),
]

# Of two processes, only the second receives SIGTERM.
SECOND_PROCESS_RECEIVES = """
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


def state_at_step_7(folder):
    args = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none")
    return args, TrainerState(global_step=7), TrainerControl()


def test_a_stopped_run_resumes_to_the_weights_of_an_uninterrupted_one(
    scales, tmp_path, monkeypatch, capsys
):
    loss, out = StatefulTrainer.compute_loss, tmp_path / "out"

    def interrupted(self, *args, **kwargs):
        if self.state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StatefulTrainer, "compute_loss", interrupted)
        assert finetune.main(command(scales, out)) == SIGTERM_STATUS == 143
    assert "Stopped at step 3 after SIGTERM." in capsys.readouterr().out
    assert [path.name for path in checkpoints(out)] == ["checkpoint-3"]
    assert validation_error(out / "checkpoint-3") is None
    assert not (out / "model.safetensors").exists()
    assert finetune.main(command(scales, out)) == 0
    assert "Resuming from checkpoint-3." in capsys.readouterr().out
    assert finetune.main(command(scales, tmp_path / "whole")) == 0
    weights = [(each / "model.safetensors").read_bytes() for each in (out, tmp_path / "whole")]
    assert weights[0] == weights[1]


def test_the_previous_handler_is_restored_after_training():
    received = []
    before = signal.signal(signal.SIGTERM, lambda *_: received.append("previous"))
    try:
        with SigtermCallback(any_process=bool).handle_sigterm():
            os.kill(os.getpid(), signal.SIGTERM)
        assert received == []
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == ["previous"]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_thread_other_than_the_main_one_keeps_the_handler():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def run():
        with SigtermCallback(any_process=bool).handle_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_process_stops_if_another_one_received_sigterm(tmp_path):
    args, state, control = state_at_step_7(tmp_path)
    callback = SigtermCallback(any_process=lambda _: True)
    callback.on_step_end(args, state, control)
    assert control.should_save
    with pytest.raises(StoppedError, match="step 7"):
        callback.on_save(args, state, control)


def test_sigterm_during_a_save_stops_at_that_checkpoint(tmp_path):
    args, state, control = state_at_step_7(tmp_path)
    callback = SigtermCallback(any_process=bool)
    with callback.handle_sigterm():
        callback.on_step_end(args, state, control)
        assert not control.should_save
        callback.on_save(args, state, control)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StoppedError, match="step 7"):
            callback.on_save(args, state, control)


@pytest.mark.slow
def test_two_processes_stop_together(scales, tmp_path):
    out = tmp_path / "out"
    words = [*command(scales, out), "--use_cpu", "true", "--ddp_backend", "gloo"]
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    common["PYTHONPATH"] = str(Path(__file__).parents[3])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SECOND_PROCESS_RECEIVES, *words],
            env=os.environ | common | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in "01"
    ]
    assert [process.wait(timeout=240) for process in processes] == [SIGTERM_STATUS] * 2
    assert [path.name for path in checkpoints(out)] == ["checkpoint-3"]
    assert validation_error(out / "checkpoint-3") is None
