"""A small network and something for it to read."""

from __future__ import annotations

import torch

from musiclstm import MusicLSTMConfig, MusicLSTMForCausalLM

VOCAB = 20


def build(*, seed: int = 0, **values) -> MusicLSTMForCausalLM:
    """A network whose weights are so large that what is read makes a difference."""
    torch.manual_seed(seed)
    values = {"hidden_size": 16, "num_hidden_layers": 2, "attention_window": 3} | values
    config = MusicLSTMConfig(vocab_size=VOCAB, initializer_range=0.5, **values)
    return MusicLSTMForCausalLM(config).eval()


def tokens(batch: int, steps: int, *, seed: int = 0) -> torch.Tensor:
    """Token ids without special ones, (batch, steps)."""
    return torch.randint(3, VOCAB, (batch, steps), generator=torch.Generator().manual_seed(seed))
