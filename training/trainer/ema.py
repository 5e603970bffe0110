"""The running average of the weights (EMA), which predicts better than the weights of any one step.

Polyak and Juditsky 1992; the exponential form with a short memory at the beginning is that of
TensorFlow's `ExponentialMovingAverage`. Knows nothing of what the weights are for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

AVERAGE_FILE = "average.safetensors"


class WeightAverage:
    """Follows the weights of a module that are trained.

    Attributes:
        updates: How many steps went into it.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Begin at the weights as they are.

        Args:
            module: Whose weights; frozen ones are left alone.
            decay: Share of the old average that stays at each step, 0 to below 1.
        """
        self._weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._average = {n: p.detach().clone() for n, p in self._weights.items()}
        self._decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step; the first steps forget faster than `decay` says."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        average = list(self._average.values())
        weights: list[Tensor] = list(self._weights.values())
        torch._foreach_lerp_(average, weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module has the average for its weights."""
        own = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.settle()
        try:
            yield
        finally:
            self._write(own)

    def settle(self) -> None:
        """Make the average the weights of the module, for good."""
        self._write(self._average)

    @torch.no_grad()
    def _write(self, tensors: dict[str, Tensor]) -> None:
        # Copied into place: exchanged storage would cost a GPU the one block that cuDNN wants.
        for name, weight in self._weights.items():
            weight.copy_(tensors[name])

    def save(self, folder: Path) -> None:
        """Write it beside the weights of a checkpoint."""
        tensors = {name: tensor.contiguous() for name, tensor in self._average.items()}
        save_file(tensors, folder / AVERAGE_FILE, {"updates": str(self.updates)})

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Take it from a checkpoint; one that has none, lets it begin at the weights as they are.

        Raises:
            FileNotFoundError: There is no such checkpoint.
        """
        path = folder.resolve(strict=True) / AVERAGE_FILE
        if not path.is_file():
            self.restart()
            return
        with safe_open(path, framework="pt") as file:
            self.updates = int((file.metadata() or {}).get("updates", 0))
            stored = set(file.keys())
            for name, average in self._average.items():
                found: Tensor = file.get_tensor(name) if name in stored else self._weights[name]
                average.copy_(found)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin at the weights as they are."""
        self.updates = 0
        for name, average in self._average.items():
            average.copy_(self._weights[name])
