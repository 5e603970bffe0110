"""Exponential moving average (EMA) of the weights.

Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992). The shorter
memory of the first steps is that of TensorFlow's `ExponentialMovingAverage`.
`torch.optim.swa_utils` would replace `update` alone, copy frozen weights too, and rename the
tensors of existing checkpoints.
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
    """Running average of the trainable weights of a module.

    Attributes:
        updates: Number of steps in the average.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        """Start at the current weights.

        Args:
            module: Its frozen weights are not averaged.
            decay: Share of the old average that each step keeps, from 0 to below 1.
        """
        self._weights = {n: p for n, p in module.named_parameters() if p.requires_grad}
        self._average = {n: p.detach().clone() for n, p in self._weights.items()}
        self._decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self) -> None:
        """Add the weights of a step; the decay of step n is min(decay, (1 + n) / (10 + n))."""
        self.updates += 1
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        average = list(self._average.values())
        weights: list[Tensor] = list(self._weights.values())
        torch._foreach_lerp_(average, weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the module to the average inside the block, then restore its weights."""
        own = {name: weight.detach().clone() for name, weight in self._weights.items()}
        self.copy_to_module()
        try:
            yield
        finally:
            self._write(own)

    def copy_to_module(self) -> None:
        """Overwrite the weights of the module with the average."""
        self._write(self._average)

    @torch.no_grad()
    def _write(self, tensors: dict[str, Tensor]) -> None:
        # In place: cuDNN needs the LSTM weights to stay in their one block of memory.
        for name, weight in self._weights.items():
            weight.copy_(tensors[name])

    def save(self, folder: Path) -> None:
        """Write the average into a checkpoint."""
        tensors = {name: tensor.contiguous() for name, tensor in self._average.items()}
        save_file(tensors, folder / AVERAGE_FILE, {"updates": str(self.updates)})

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Read the average from a checkpoint, or start at the current weights if it has none.

        Raises:
            FileNotFoundError: The checkpoint does not exist.
        """
        path, stored = folder.resolve(strict=True) / AVERAGE_FILE, dict[str, Tensor]()
        self.updates = 0
        if path.is_file():
            with safe_open(path, framework="pt") as file:
                self.updates = int((file.metadata() or {}).get("updates", 0))
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        for name, average in self._average.items():
            average.copy_(stored.get(name, self._weights[name]))
