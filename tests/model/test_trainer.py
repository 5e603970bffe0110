"""A plain Trainer with a plain collator trains a network with step features."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM, feature_tensors
from musiclstm.model.step_features import StepFeatures, TokenTable
from tests.model.tiny_models import NAMES, build, streams

# Older ones call it gradient checkpointing.
ACTIVATION = hasattr(MusicLSTMForCausalLM, "activation_checkpointing_enable")
CHECKPOINTING = "activation_checkpointing" if ACTIVATION else "gradient_checkpointing"

Row = dict[str, torch.Tensor | dict[str, torch.Tensor]]


def rows(count: int = 8, steps: int = 30) -> list[Row]:
    """Items of a dataset: ids, labels and step features."""
    table = TokenTable(NAMES)
    return [
        {
            "input_ids": ids,
            "labels": ids,
            "features": feature_tensors(StepFeatures(table).read(ids.tolist())),
        }
        for ids in streams(count, steps)
    ]


def trainer(folder, model: MusicLSTMForCausalLM, *, steps: int = 4, **how) -> Trainer:
    arguments = TrainingArguments(
        folder,
        **{"max_steps": steps, "per_device_train_batch_size": 4, "learning_rate": 0.01},
        **{"use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True},
        **how,
    )
    return Trainer(
        model,
        arguments,
        data_collator=torch.utils.data.default_collate,
        train_dataset=rows(),
        eval_dataset=rows(),
        compute_metrics=lambda seen: {"shape": list(seen.predictions.shape)},
    )


def weights_after(folder, **how) -> list[torch.Tensor]:
    model = build()
    trainer(folder, model, **how).train()
    return [p.detach() for p in model.parameters()]


def test_a_plain_trainer_lowers_the_loss_and_reads_the_features(tmp_path) -> None:
    plain = trainer(tmp_path, build(dropout=0), steps=30)
    before = plain.evaluate()
    assert before["eval_shape"] == [8, 30, len(NAMES)]
    with torch.no_grad():
        ids = streams(8, 30)
        expected = plain.model(ids, labels=ids).loss.item()
    assert before["eval_loss"] == pytest.approx(expected, abs=1e-4)
    plain.train()
    assert plain.evaluate()["eval_loss"] < 0.6 * before["eval_loss"]


def test_recomputed_activations_give_the_same_weights(tmp_path) -> None:
    saved = {CHECKPOINTING: True, f"{CHECKPOINTING}_kwargs": {"use_reentrant": False}}
    for one, other in zip(weights_after(tmp_path), weights_after(tmp_path, **saved), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_accelerate_carries_features_and_a_state_over_windows() -> None:
    accelerator = Accelerator(cpu=True)
    model = build(dropout=0, embedding_dropout=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model, optimizer, loader = accelerator.prepare(
        model, optimizer, DataLoader(rows(steps=40), batch_size=4)
    )
    for batch in loader:
        with torch.no_grad():
            expected = model(batch["input_ids"]).logits[:, 25:]
        first = {name: value[:, :25] for name, value in batch["features"].items()}
        then = {name: value[:, 25:] for name, value in batch["features"].items()}
        state = model(batch["input_ids"][:, :25], features=first).past_key_values.detach()
        ids = batch["input_ids"][:, 25:]
        output = model(ids, features=then, past_key_values=state, labels=ids)
        torch.testing.assert_close(output.logits, expected, atol=1e-5, rtol=0)
        accelerator.backward(output.loss)
        optimizer.step()
        optimizer.zero_grad()
