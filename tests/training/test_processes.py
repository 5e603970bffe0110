"""Training in two processes equals training in one; each process reads its own rows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]

# Run by every process: 8 rows in all, divided among the processes.
SCRIPT = """
import sys
import numpy as np
from transformers import TrainingArguments, set_seed
from musiclstm.model import MusicLSTMConfig, MusicLSTMForCausalLM
from training.trainer.trainer import StatefulTrainer
from training.data.dataset import StatefulWindowDataset

folder, accumulation, world = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

class Plain:
    pad_id, bos_id, eos_id = 0, 1, 2
    token_names = [
        "PAD_None", "BOS_None", "EOS_None", "Bar_None", "TimeSig_4/4", "Program_0", "Program_40",
        *(f"Position_{i}" for i in (0, 12, 24)), *(f"Pitch_{i}" for i in range(60, 68)),
        "Duration_1.0.12", "Duration_0.6.12"]
    def save(self, folder):
        pass

rows = 8 // accumulation // world
args = TrainingArguments(
    output_dir=folder, per_device_train_batch_size=rows,
    gradient_accumulation_steps=accumulation, train_sampling_strategy="sequential",
    remove_unused_columns=False, use_cache=True, use_cpu=True, report_to="none",
    disable_tqdm=True, learning_rate=1e-2, max_steps=12, save_strategy="steps", save_steps=6,
    eval_strategy="steps", eval_steps=6, logging_steps=1, ddp_find_unused_parameters=False,
    ddp_backend="gloo" if world > 1 else None,
)
set_seed(0)
model = MusicLSTMForCausalLM(MusicLSTMConfig(
    vocab_size=20, hidden_size=16, num_hidden_layers=2, dropout=0.0, embedding_dropout=0.0,
    token_names=Plain.token_names))
rng = np.random.default_rng(0)
pieces = [rng.integers(3, 20, int(n)) for n in rng.integers(10, 60, 40)]
windows = StatefulWindowDataset(
    pieces, Plain(), rows=8, batch_size=8 // accumulation, steps=8)
held = [rng.integers(3, 20, 30) for _ in range(5)]
run = StatefulTrainer(
    model, args, windows, tokenizer=Plain(), held_out_pieces=held, ema_decay=0.9)
run.train(resume_from_checkpoint=sys.argv[4] if len(sys.argv) > 4 else None)
"""


def train(folder, *, world, accumulation, resume=None):
    port = free_port()
    common = [sys.executable, "-c", SCRIPT, str(folder), str(accumulation), str(world)]
    command = common + ([str(resume)] if resume else [])
    processes = []
    for rank in range(world):
        variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "MASTER_PORT": port}
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        if world > 1:
            env |= {"MASTER_ADDR": "127.0.0.1"} | {k: str(v) for k, v in variables.items()}
        processes.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, error = process.communicate(timeout=240)
        assert process.returncode == 0, error[-2000:]
    return folder / "checkpoint-12"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def bits(checkpoint):
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [row["eval_bits_per_note"] for row in history if "eval_bits_per_note" in row]


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_processes_give_the_weights_of_one(tmp_path, accumulation):
    one = train(tmp_path / "one", world=1, accumulation=accumulation)
    two = train(tmp_path / "two", world=2, accumulation=accumulation)
    for file in ("model.safetensors", "average.safetensors"):
        mine, theirs = load_file(one / file), load_file(two / file)
        assert mine.keys() == theirs.keys()
        for name in mine:
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-4, atol=1e-5)
    assert bits(two) == pytest.approx(bits(one), rel=1e-5)
    assert len(bits(two)) == 2
    states = [load_file(two / f"lstm_state_{rank}.safetensors") for rank in range(2)]
    whole = load_file(one / "lstm_state_0.safetensors")
    for slot in range(accumulation):
        both = torch.cat([state[f"{slot}.hidden"] for state in states], dim=1)
        torch.testing.assert_close(both, whole[f"{slot}.hidden"], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_resumed_processes_equal_two_uninterrupted_ones(tmp_path):
    whole = train(tmp_path / "whole", world=2, accumulation=1)
    middle = tmp_path / "whole" / "checkpoint-6"
    resumed = train(tmp_path / "resumed", world=2, accumulation=1, resume=middle)
    for file in ("model.safetensors", "average.safetensors"):
        mine, theirs = load_file(whole / file), load_file(resumed / file)
        for name in mine:
            assert torch.equal(mine[name], theirs[name])


@pytest.mark.slow
def test_the_command_runs_in_two_processes_of_which_the_first_prints(scales, tmp_path):
    folder = tmp_path / "out"
    printed = run_command(
        *("--data", str(scales), "--output_dir", str(folder), "--model", "scratch"),
        *("--hidden_size", "16", "--num_hidden_layers", "1"),
        *("--window", "32", "--per_device_train_batch_size", "1", "--max_steps", "3"),
        *("--save_steps", "3", "--eval_steps", "3", "--logging_steps", "1", "--samples", "0"),
        *("--ema_decay", "0.9", "--warmup_steps", "0", "--workers", "1", "--report_to", "none"),
        *("--use_cpu", "true", "--bf16", "false", "--ddp_backend", "gloo"),
        *("--disable_tqdm", "true"),
    )
    lines = [line for line in printed.splitlines() if line.strip()]
    assert len(lines) == len(set(lines))
    for begin in (f"{scales.name}: train", "step 0:", "step 1 of 3", "step 3:", f"Saved {folder}:"):
        assert len([line for line in lines if line.startswith(begin)]) == 1
    assert_average_is_exported(folder)
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["runs"][0]["steps"] == 3
    assert facts["valid"]["notes"] > 0


def run_command(*options):
    """Run the command as `torchrun` does; return what both processes printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--master_port", str(free_port()), "-m", "training.finetune", *options]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def assert_average_is_exported(folder):
    """Compare the exported weights with the average of the checkpoint in half precision."""
    weights = load_file(folder / "model.safetensors")
    average = load_file(folder / "checkpoint-3" / "average.safetensors")
    assert average.keys() <= weights.keys()
    for name, tensor in average.items():
        assert torch.equal(weights[name], tensor.to(weights[name].dtype))
