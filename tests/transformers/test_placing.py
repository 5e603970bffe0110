"""Loading by AutoModelForCausalLM in another dtype and with a device map.

Autocast and weights on disk are in tests/model/test_modeling.py.
"""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

import musiclstm.model.checkpoint  # noqa: F401  (registers the classes)
from tests.model.tiny_models import build, streams


@pytest.fixture
def saved(tmp_path):
    model = build(tie_word_embeddings=False, std=0.15)
    model.save_pretrained(tmp_path / "model")
    return model, tmp_path / "model"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_weights_loaded_in_half_precision_give_nearly_the_same(dtype, saved) -> None:
    model, folder = saved
    ids = streams(2, 30)
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    rough = half(ids)
    assert rough.logits.dtype == rough.past_key_values.layers[0].c.dtype == dtype
    torch.testing.assert_close(rough.logits.float(), model(ids).logits, atol=0.3, rtol=0)
    assert half.generate(ids, max_new_tokens=3, eos_token_id=None).shape == (2, 33)


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
@torch.no_grad()
def test_a_device_map_changes_nothing(device_map, saved) -> None:
    model, folder = saved
    ids = streams(2, 30)
    placed = AutoModelForCausalLM.from_pretrained(folder, device_map=device_map).eval()
    torch.testing.assert_close(placed(ids).logits.cpu(), model(ids).logits)
