"""Parts of the network that learn at their own rate, or not at all.

The parts are `embeddings` (of tokens and step features), the layers `1` (the lowest) to the last,
and `head`: the last norm, the outputs for step features, the bias and, where it is not tied to the
embeddings, the output matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from musiclstm.model import MusicLSTMForCausalLM

EMBEDDINGS, HEAD = "embeddings", "head"


@dataclass(frozen=True)
class Rates:
    """How the learning rate of a part follows from that of the run.

    Args:
        decay: Each part learns this many times as fast as the one above it; 1: all alike.
        own: Parts with a learning rate of their own, which `decay` leaves alone.
    """

    decay: float = 1.0
    own: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if not 0 < self.decay <= 1:
            raise ValueError(
                f"--layer_decay must be above 0 and at most 1, got {self.decay:g}; 1 is off."
            )

    @property
    def plain(self) -> bool:
        """Whether all parts learn alike."""
        return self.decay == 1 and not self.own

    def of(self, part: str, parts: Sequence[str], rate: float) -> float:
        """Learning rate of a part; `parts` from the bottom to the top, `rate` that of the run."""
        return self.own.get(part, rate * self.decay ** (len(parts) - 1 - parts.index(part)))


def parts_of(model: MusicLSTMForCausalLM) -> list[str]:
    """Names of the parts from the bottom to the top."""
    layers = range(1, model.config.num_hidden_layers + 1)
    return [EMBEDDINGS, *(str(number) for number in layers), HEAD]


def part_of(name: str) -> str:
    """The part to which a parameter belongs, by its name."""
    if "embed_tokens" in name or "step_inputs" in name:
        return EMBEDDINGS
    if ".layers." in name:
        return str(int(name.split(".layers.")[1].split(".")[0]) + 1)
    return HEAD


def read_parts(text: str, parts: Sequence[str], option: str) -> list[str]:
    """Parts from a command line, such as `embeddings,1,2`.

    Raises:
        ValueError: A part that the network does not have.
    """
    wanted = [word.strip() for word in text.split(",") if word.strip()]
    for word in wanted:
        if word not in parts:
            raise ValueError(
                f"{option} does not know the part {word!r}; this network has {', '.join(parts)}."
            )
    return wanted


def read_rates(text: str, parts: Sequence[str], decay: float = 1.0) -> Rates:
    """Rates from a command line, such as `embeddings=1e-5,4=1e-3`.

    Raises:
        ValueError: Not of that form, or a part that the network does not have.
    """
    own = {}
    for pair in filter(None, (word.strip() for word in text.split(","))):
        name, _, value = pair.partition("=")
        rate = _rate(value if name else "", pair)
        (part,) = read_parts(name, parts, "--layer_learning_rates")
        own[part] = rate
    return Rates(decay, own)


def _rate(text: str, pair: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise ValueError(
            f"--layer_learning_rates takes pairs such as embeddings=1e-5,4=1e-3, got {pair!r}."
        )
    return rate


def freeze(model: MusicLSTMForCausalLM, parts: Iterable[str]) -> int:
    """Keep parts as they are while the others learn.

    Returns:
        How many weights are kept.

    Raises:
        ValueError: Nothing would be left to learn.
    """
    chosen = set(parts)
    frozen = [p for name, p in model.named_parameters() if part_of(name) in chosen]
    if len(frozen) == len(list(model.parameters())):
        raise ValueError("--freeze leaves nothing to learn; keep one part out of it.")
    for parameter in frozen:
        parameter.requires_grad_(False)
    return sum(parameter.numel() for parameter in frozen)


def split_groups(
    groups: Iterable[dict[str, Any]], model: MusicLSTMForCausalLM, rates: Rates, rate: float
) -> list[dict[str, Any]]:
    """Groups of an optimizer, split by part; the top comes first, which is what the log shows."""
    parts = parts_of(model)
    names: dict[nn.Parameter, str] = {p: part_of(name) for name, p in model.named_parameters()}
    found = []
    for part in reversed(parts):
        for group in groups:
            own = [parameter for parameter in group["params"] if names[parameter] == part]
            if own:
                found.append({**group, "params": own, "lr": rates.of(part, parts, rate)})
    return found
