"""Precisions and places: half the bits, autocast, device maps, weights that rest on disk."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.transformers.toys import build, tokens

HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture
def saved(tmp_path):
    model = build(tie_word_embeddings=False)
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@torch.no_grad()
def test_half_the_bits_say_nearly_the_same(dtype, saved) -> None:
    model, folder = saved
    ids = tokens(2, 8)
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    rough = half(ids, attention_mask=mask)
    assert rough.logits.dtype == rough.past_key_values.cell.dtype == dtype
    exact, real = model(ids, attention_mask=mask).logits, mask.bool()
    torch.testing.assert_close(rough.logits.float()[real], exact[real], atol=0.5, rtol=0)
    assert half.generate(ids, attention_mask=mask, max_new_tokens=3, eos_token_id=None).shape == (
        2,
        11,
    )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_training_under_autocast_works(dtype) -> None:
    model, ids = build(dropout=0, embedding_dropout=0).train(), tokens(2, 8)
    exact = model(ids, labels=ids).loss.item()
    with torch.autocast("cpu", dtype=dtype):
        first = model(ids, labels=ids)
        one_step = model(ids[:, :1], past_key_values=first.past_key_values)
    first.loss.backward()
    assert abs(first.loss.item() - exact) < 0.3
    assert one_step.logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
@torch.no_grad()
def test_a_device_map_changes_nothing(device_map, saved) -> None:
    model, folder = saved
    placed = AutoModelForCausalLM.from_pretrained(folder, device_map=device_map).eval()
    torch.testing.assert_close(placed(tokens(2, 5)).logits.cpu(), model(tokens(2, 5)).logits)


@torch.no_grad()
def test_weights_on_disk_are_fetched_for_every_reading_and_every_step(saved, tmp_path) -> None:
    model, folder = saved
    ids = tokens(2, 5)
    places = {
        **{"model.embed_tokens": "cpu", "model.norm": "cpu", "lm_head": "disk"},
        **{"model.layers.0": "disk", "model.layers.1": "disk", "model.readout": "disk"},
    }
    placed = AutoModelForCausalLM.from_pretrained(
        folder, device_map=places, offload_folder=tmp_path / "disk"
    ).eval()
    assert placed.model.layers[0].lstm.weight_hh_l0.device.type == "meta"
    assert torch.equal(placed(ids).logits, model(ids).logits)
    made = [each.generate(ids, max_new_tokens=4, do_sample=False) for each in (placed, model)]
    assert torch.equal(*made)
