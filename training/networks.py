"""A network as it would be loaded, taken from one that is being trained.

Accelerate puts a `forward` of its own into a network that it trains in half precision; a copy of
the object would keep it, and would answer in bfloat16.
"""

from __future__ import annotations

import copy

import torch

from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM


def plain_copy(model: MusicLSTMForCausalLM) -> MusicLSTMForCausalLM:
    """The same weights in float32 on the CPU, in evaluation mode; `model` stays as it is."""
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and then replaced
        twin = MusicLSTMForCausalLM(copy.deepcopy(model.config)).float()
    weights = {name: weight.float() for name, weight in model.state_dict().items()}
    twin.load_state_dict(weights)
    return twin.eval()
