"""Learning rates per part of the network, and frozen parts.

The parts are `embeddings` (of tokens and step features), the layers `1` (the lowest) to the last,
and `head`. The head holds the last norm, the outputs for step features, the bias and, where it is
not tied to the embeddings, the output matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from musiclstm.model import MusicLSTMForCausalLM

EMBEDDINGS, HEAD = "embeddings", "head"


@dataclass(frozen=True)
class LearningRates:
    """Learning rate of every part, relative to that of the run.

    Args:
        decay: Rate of a part divided by the rate of the part above it; 1: all rates are equal.
        overrides: Absolute rates by part, which `decay` does not change.
    """

    decay: float = 1.0
    overrides: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the decay."""
        if not 0 < self.decay <= 1:
            raise ValueError(
                f"--layer_decay must be above 0 and at most 1, got {self.decay:g}; 1 is off."
            )

    @property
    def is_uniform(self) -> bool:
        """Whether all parts have the rate of the run."""
        return self.decay == 1 and not self.overrides

    def rate_of(self, part: str, parts: Sequence[str], rate: float) -> float:
        """Return the rate of a part, given all parts from bottom to top and the run's rate."""
        return self.overrides.get(part, rate * self.decay ** (len(parts) - 1 - parts.index(part)))


def parts_of(model: MusicLSTMForCausalLM) -> list[str]:
    """Return the names of the parts from bottom to top."""
    layers = range(1, model.config.num_hidden_layers + 1)
    return [EMBEDDINGS, *(str(number) for number in layers), HEAD]


def part_of(parameter_name: str) -> str:
    """Return the part of a parameter."""
    if "embed_tokens" in parameter_name or "step_inputs" in parameter_name:
        return EMBEDDINGS
    if ".layers." in parameter_name:
        return str(int(parameter_name.split(".layers.")[1].split(".")[0]) + 1)
    return HEAD


def parse_parts(text: str, parts: Sequence[str], option: str) -> list[str]:
    """Parse parts such as `embeddings,1,2`.

    Raises:
        ValueError: The network has no such part.
    """
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    for word in chosen:
        if word not in parts:
            raise ValueError(
                f"{option}: no part is named {word!r}; this network has {', '.join(parts)}."
            )
    return chosen


def parse_rates(text: str, parts: Sequence[str], decay: float = 1.0) -> LearningRates:
    """Parse learning rates such as `embeddings=1e-5,3=1e-3`.

    Raises:
        ValueError: The text has another form, or the network has no such part.
    """
    overrides = {}
    for pair in filter(None, (word.strip() for word in text.split(","))):
        name, _, value = pair.partition("=")
        rate = _parse_rate(value if name else "", pair)
        (part,) = parse_parts(name, parts, "--layer_learning_rates")
        overrides[part] = rate
    return LearningRates(decay, overrides)


def _parse_rate(text: str, pair: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise ValueError(
            f"--layer_learning_rates takes pairs such as embeddings=1e-5,3=1e-3, got {pair!r}."
        )
    return rate


def freeze(model: MusicLSTMForCausalLM, parts: Iterable[str]) -> int:
    """Exclude parts from training; return the number of frozen weights.

    Raises:
        ValueError: All parts are frozen.
    """
    chosen = set(parts)
    frozen = [p for name, p in model.named_parameters() if part_of(name) in chosen]
    if len(frozen) == len(list(model.parameters())):
        raise ValueError("--freeze names every part; leave at least one to train.")
    for parameter in frozen:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in frozen)


def split_groups(
    groups: Iterable[dict[str, Any]],
    model: MusicLSTMForCausalLM,
    rates: LearningRates,
    rate: float,
) -> list[dict[str, Any]]:
    """Split parameter groups by part and set the learning rate of each.

    The top part is first, because the log shows the rate of the first group.
    """
    parts = parts_of(model)
    names: dict[nn.Parameter, str] = {p: part_of(name) for name, p in model.named_parameters()}
    found = []
    for part in reversed(parts):
        for group in groups:
            own = [parameter for parameter in group["params"] if names[parameter] == part]
            if own:
                found.append({**group, "params": own, "lr": rates.rate_of(part, parts, rate)})
    return found
