"""Settings of a pre-training session."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PretrainingSettings:
    """Settings of one session, which is one call of `training.pretrain`.

    Args:
        hidden_size: Width of a new network; a resumed one keeps its own.
        num_hidden_layers: LSTM layers of a new network; a resumed one keeps its own.
        dropout: Share of values set to 0 while training, 0 to below 1.
        rows: Rows of a batch.
        steps: Tokens of a window.
        learning_rate: Learning rate of the stable phase.
        warmup: Steps until the learning rate is reached, 1 or more.
        decay: Share of this session, at its end, over which the rate falls to 0; 0 to 1.
        minutes: Limit of this session, of processor time or time on the GPU; 0: none.
        max_steps: Limit of this session; 0: none.
        clip: Largest norm of the gradient.
        seed: Random seed of weights, pieces and augmentation.

    Raises:
        ValueError: A value is out of range, or `decay` is above 0 without a limit.
    """

    hidden_size: int = 384
    num_hidden_layers: int = 3
    dropout: float = 0.0  # a run reads every piece less than once
    rows: int = 16
    steps: int = 128
    learning_rate: float = 3e-3
    warmup: int = 100
    decay: float = 0.0
    minutes: float = 0.0
    max_steps: int = 0
    clip: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_hidden_layers", "rows", "steps", "warmup"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be 1 or more, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"--dropout must be from 0 to below 1, got {self.dropout:g}.")
        if not 0 <= self.decay <= 1:
            raise ValueError(f"--decay is a share of the run, 0 to 1, got {self.decay:g}.")
        if self.decay and not (self.minutes or self.max_steps):
            raise ValueError("--decay needs the end of the run: give --minutes or --max_steps.")

    @property
    def schedule(self) -> str:
        """Learning rate after the warm-up in words, for the model card."""
        if self.decay == 1:
            return "linear to 0"
        return "constant, then linear to 0" if self.decay else "constant"

    def completed(self, steps: int, minutes: float) -> float:
        """Return the completed share of the session: it ends at 1. 0 without a limit."""
        return max(
            minutes / self.minutes if self.minutes else 0.0,
            steps / self.max_steps if self.max_steps else 0.0,
        )

    def learning_rate_at(self, step: int, completed: float) -> float:
        """Return the learning rate at a step of the run.

        Args:
            step: Step of the run from 0, which determines the warm-up.
            completed: Completed share of the session, which determines the decay.
        """
        warmup = min(1.0, (step + 1) / self.warmup)
        decay = min(1.0, (1 - completed) / self.decay) if self.decay else 1.0
        return self.learning_rate * warmup * decay
