"""A plain Trainer with a collator that makes no step features: padding, metrics, checkpointing.

Training with features in the batch is in tests/model/test_trainer.py.
"""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import Trainer, TrainingArguments

from musiclstm import MusicLSTMForCausalLM
from tests.model.tiny_models import VOCAB, build, streams, tokens

# Older ones call it gradient checkpointing.
ACTIVATION = hasattr(MusicLSTMForCausalLM, "activation_checkpointing_enable")
CHECKPOINTING = "activation_checkpointing" if ACTIVATION else "gradient_checkpointing"

Row = dict[str, torch.Tensor]


def rows(count: int = 8, steps: int = 10) -> list[Row]:
    return [{"input_ids": each, "labels": each} for each in streams(count, steps)]


def trainer(
    folder, model: MusicLSTMForCausalLM, *, steps: int = 4, collator=None, **how
) -> Trainer:
    arguments = TrainingArguments(
        folder,
        **{"max_steps": steps, "per_device_train_batch_size": 4, "learning_rate": 0.01},
        **{"use_cpu": True, "report_to": "none", "save_strategy": "no", "disable_tqdm": True},
        **how,
    )
    return Trainer(
        model,
        arguments,
        data_collator=collator,
        train_dataset=rows(),
        eval_dataset=rows(),
        compute_metrics=lambda seen: {"shape": list(seen.predictions.shape)},
    )


def padded(batch: list[Row]) -> Row:
    """Pad rows of any lengths; padding is masked and ignored in labels."""
    ids = pad_sequence([row["input_ids"] for row in batch], batch_first=True, padding_value=0)
    labels = pad_sequence([row["labels"] for row in batch], batch_first=True, padding_value=-100)
    return {"input_ids": ids, "labels": labels, "attention_mask": (labels != -100).long()}


@pytest.mark.parametrize("use_cache", [False, True])
def test_metrics_are_given_scores_and_no_state(use_cache, tmp_path) -> None:
    measured = trainer(tmp_path, build(), use_cache=use_cache).evaluate()
    assert measured["eval_shape"] == [8, 10, VOCAB]


def test_padded_rows_cost_what_they_cost_alone() -> None:
    model = build()
    batch = [
        {"input_ids": row, "labels": row} for row in (tokens(1, 9)[0], tokens(1, 4, seed=1)[0])
    ]
    whole = model(**padded(batch))
    assert whole.logits.shape == (2, 9, VOCAB)
    alone = [model(**{name: value[None] for name, value in row.items()}).loss for row in batch]
    torch.testing.assert_close(whole.loss, (8 * alone[0] + 3 * alone[1]) / 11)


def test_padded_rows_train(tmp_path) -> None:
    plain = trainer(tmp_path, build(), collator=padded)
    plain.train_dataset = [{k: v[: 3 + i] for k, v in row.items()} for i, row in enumerate(rows())]
    before = plain.evaluate()["eval_loss"]
    plain.train()
    assert plain.evaluate()["eval_loss"] < before
    assert all(p.isfinite().all() for p in plain.model.parameters())


@pytest.mark.parametrize("padding", [False, True])
def test_checkpointing_keeps_less_of_what_was_read(padding) -> None:
    model, ids = build(num_hidden_layers=3, hidden_size=32).train(), tokens(4, 12)
    mask = torch.ones_like(ids)
    mask[0, 7:] = 0 if padding else 1
    kept = kept_bytes(model, ids, mask)
    getattr(model, f"{CHECKPOINTING}_enable")()
    assert kept_bytes(model, ids, mask) < 0.5 * kept


def kept_bytes(model: MusicLSTMForCausalLM, ids: torch.Tensor, mask: torch.Tensor) -> int:
    sizes = []

    def weigh(kept: torch.Tensor) -> torch.Tensor:
        sizes.append(kept.nbytes)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda kept: kept):
        model.model(ids, attention_mask=mask)
    return sum(sizes)


def test_a_carried_state_and_checkpointing_go_together() -> None:
    model, ids = build().train(), tokens(2, 8)
    state = model(ids).past_key_values.detach()
    gradients = []
    for switch in ("disable", "enable"):
        getattr(model, f"{CHECKPOINTING}_{switch}")()
        model.zero_grad()
        torch.manual_seed(0)
        model(ids, labels=ids, past_key_values=state).loss.backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
