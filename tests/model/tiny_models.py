"""A small network with step features, and bar-part streams to read."""

from __future__ import annotations

import random

import torch

from musiclstm.model.configuration_musiclstm import MusicLSTMConfig
from musiclstm.model.modeling_musiclstm import MusicLSTMForCausalLM

PITCHES = range(24, 104)  # some pitches have no token
NAMES = [
    *("PAD_None", "BOS_None", "EOS_None", "Bar_None"),
    *("TimeSig_4/4", "TimeSig_3/4", "TimeSig_12/8", "Tempo_120.0"),
    *(f"Program_{program}" for program in (-1, 0, 40, 127)),
    *(f"Position_{position}" for position in range(160)),
    *(f"PitchDrum_{pitch}" for pitch in (36, 38, 42)),
    *(f"Duration_{duration}.12" for duration in ("0.3", "0.6", "1.0", "2.0", "11.0")),
    *(f"Pitch_{pitch}" for pitch in PITCHES),
]
ID = {name: index for index, name in enumerate(NAMES)}
VOCAB = len(NAMES)


def build(
    *, seed: int = 0, features: bool = True, std: float = 0.3, **values
) -> MusicLSTMForCausalLM:
    """A network whose weights are so large that everything it reads makes a difference."""
    torch.manual_seed(seed)
    config = MusicLSTMConfig(
        **{"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 2} | values,
        token_names=NAMES if features else None,
        initializer_range=std,
    )
    model = MusicLSTMForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not any(part in name for part in ("lstm", "norm", "embed_tokens")):
                weight.normal_(std=std)
    return model


def stream(*, seed: int = 0, bars: int = 4, shift: int = 0) -> list[int]:
    """Ids of a piece for piano, violin and drums that comes back to what it has played."""
    chance = random.Random(seed)
    bar = {program: _notes(chance, program) for program in (40, 0, -1)}
    names = ["BOS_None"]
    for _ in range(bars):
        names += ["Bar_None", "TimeSig_4/4", "Tempo_120.0"]
        bar[chance.choice([40, 0])] = _notes(chance, 0)
        for program, notes in bar.items():
            names.append(f"Program_{program}")
            names += [_moved(name, shift) for name in notes]
    return [ID[name] for name in names]


def _notes(chance: random.Random, program: int) -> list[str]:
    names = []
    for position in sorted(chance.sample(range(0, 48, 6), 3)):
        names.append(f"Position_{position}")
        for _ in range(chance.randint(1, 2)):
            pitch = chance.choice([36, 38, 42]) if program < 0 else chance.randint(40, 80)
            names.append(f"PitchDrum_{pitch}" if program < 0 else f"Pitch_{pitch}")
            names.append(f"Duration_{chance.choice(['0.3', '0.6', '2.0'])}.12")
    return names


def _moved(name: str, shift: int) -> str:
    kind, _, value = name.partition("_")
    return f"Pitch_{int(value) + shift}" if kind == "Pitch" else name


def streams(batch: int, steps: int, *, seed: int = 0) -> torch.Tensor:
    """Ids (batch, steps), a piece in each row."""
    pieces = [stream(seed=seed * 100 + row, bars=steps // 10 + 2) for row in range(batch)]
    return torch.tensor([piece[:steps] for piece in pieces])


def tokens(batch: int, steps: int, *, seed: int = 0) -> torch.Tensor:
    """Random ids without special ones, (batch, steps)."""
    return torch.randint(3, VOCAB, (batch, steps), generator=torch.Generator().manual_seed(seed))
