"""A convolutional network that tells real continuations from composed ones by their piano rolls.

The roll has a fixed number of columns per bar. One encoder reads every bar; convolutions over the
bars and over their self-similarity matrix compare the continuation with the prompt. It shares
neither features nor training pieces with the score that chooses among candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm

from benchmarks.common.report import ReportError
from musiclstm.midi import DRUMS
from training.evaluation.music_metrics import Floats, Ints, NoteTable

COLUMNS = 24  # of a bar
_LOWEST, _PITCHES = 21, 88  # rows of pitched notes: those of a piano
_LOWEST_DRUM, _DRUM_PITCHES = 35, 47  # rows of drums: those of General MIDI
_FAMILIES = 16  # of General MIDI, eight programs each
_MAX_SHIFT = 5  # semitones of augmentation
_SHIFTS = (-3, 0, 3)  # semitones; the score of a passage is the mean over them
_BATCH, _RATE, _WEIGHT_DECAY, _DROPOUT = 32, 2e-3, 0.05, 0.3
EPOCHS = 8
_FORMAT = "musiclstm-judge-1"

Passage: TypeAlias = Ints
"""Notes of prompt and continuation: first column, end column, pitch, instrument; (4, notes)."""


def passage(prompt: NoteTable, music: NoteTable) -> Passage:
    """Return the notes of a prompt and its continuation on the columns of the roll.

    Velocities, tempo and tracks are left out. Notes end at the last bar line of their table.

    Args:
        prompt: Bars before the continuation.
        music: Continuation.
    """
    tables = [_columns(prompt), _columns(music)]
    tables[1][:2] += prompt.bars * COLUMNS
    return np.concatenate(tables, axis=1)


def _columns(music: NoteTable) -> Passage:
    lines = np.arange(music.bars + 1) * COLUMNS
    ends = np.minimum(music.onset + music.duration, music.bar_lines[-1])
    start, end = (np.interp(time, music.bar_lines, lines) for time in (music.onset, ends))
    first = np.floor(start + 1e-6).astype(np.int64)
    last = np.maximum(np.ceil(end - 1e-6).astype(np.int64), first + 1)
    return np.stack([first, last, music.pitch, music.instrument])


def rolls(passages: Sequence[Passage], bars: int, shifts: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return pitched notes and instruments of passages as piano rolls.

    Args:
        passages: At least one.
        bars: Bars of each.
        shifts: Semitones by which the pitched notes of each are transposed.

    Returns:
        Onsets and sounding notes, (batch, bars, 2, pitches, columns); onsets of each drum and
        log(1 + onsets) of each family of instruments, (batch, bars, rows, columns).
    """
    count, length = len(passages), bars * COLUMNS
    pitched = np.zeros((count, 2, _PITCHES, length + 1), np.float32)
    others = np.zeros((count, _DRUM_PITCHES + _FAMILIES, length), np.float32)
    for i, (notes, shift) in enumerate(zip(passages, shifts, strict=True)):
        is_drum = notes[3] == DRUMS
        first, end, pitch, program = notes[:, ~is_drum]
        row = np.clip(pitch + shift - _LOWEST, 0, _PITCHES - 1)
        pitched[i, 0, row, first] = 1
        np.add.at(pitched[i, 1], (row, first), 1)
        np.add.at(pitched[i, 1], (row, end), -1)
        np.add.at(others[i], (_DRUM_PITCHES + program // 8, first), 1)
        first, _, pitch, _ = notes[:, is_drum]
        others[i, np.clip(pitch - _LOWEST_DRUM, 0, _DRUM_PITCHES - 1), first] = 1
    pitched[:, 1] = np.cumsum(pitched[:, 1], axis=-1) > 0
    others[:, _DRUM_PITCHES:] = np.log1p(others[:, _DRUM_PITCHES:])
    shape = count, 2, _PITCHES, bars, COLUMNS
    return (
        torch.from_numpy(pitched[..., :-1].reshape(shape)).permute(0, 3, 1, 2, 4),
        torch.from_numpy(others.reshape(count, -1, bars, COLUMNS)).transpose(1, 2),
    )


class Judge(nn.Module):
    """Logit of the probability that a continuation is real.

    Args:
        prompt_bars: Bars of the prompt.
        bars: Bars of the continuation.
        width: Size of a bar's embedding.
        seed: Random seed of the weights.
    """

    def __init__(self, prompt_bars: int, bars: int, *, width: int = 96, seed: int = 0) -> None:
        """Initialize random weights."""
        super().__init__()
        torch.manual_seed(seed)
        self.prompt_bars, self.bars, self.width = prompt_bars, bars, width
        self.pitched = nn.Sequential(
            nn.Conv2d(2, 16, (12, 6), (4, 3), (4, 2)), nn.ReLU(),
            nn.Conv2d(16, 32, (5, 3), (2, 2), (2, 1)), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.others = nn.Sequential(
            nn.Conv1d(_DRUM_PITCHES + _FAMILIES, 32, 5, 2, 2), nn.BatchNorm1d(32), nn.ReLU(),
            nn.Conv1d(32, 32, 3, 2, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.embed = nn.LazyLinear(width)
        self.over_bars = nn.Sequential(
            nn.Dropout(_DROPOUT),
            nn.Conv1d(width + 2, width, 3, 1, 1), nn.ReLU(),
            nn.Dropout(_DROPOUT),
            nn.Conv1d(width, width, 3, 1, 2, dilation=2), nn.ReLU(),
        )  # fmt: skip
        self.project = nn.Linear(width, 4 * 24)
        self.similarity = nn.Sequential(
            nn.Conv2d(4, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(),
            nn.AvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.answer = nn.Sequential(
            nn.Dropout(_DROPOUT), nn.LazyLinear(64), nn.ReLU(), nn.Dropout(_DROPOUT),
            nn.Linear(64, 1),
        )  # fmt: skip
        with torch.no_grad():
            self.eval()(*rolls([np.zeros((4, 0), np.int64)], prompt_bars + bars, [0]))

    def forward(self, pitched: Tensor, others: Tensor) -> Tensor:
        """Return one logit per passage, (batch,); arguments as returned by `rolls`."""
        batch, bars = pitched.shape[:2]
        each = self.pitched(pitched.flatten(0, 1)), self.others(others.flatten(0, 1))
        x = self.embed(torch.cat(each, 1)).view(batch, bars, -1)  # (batch, bars, width)
        heads = functional.normalize(self.project(x).view(batch, bars, 4, -1), dim=-1)
        similarity = torch.einsum("bihd,bjhd->bhij", heads, heads)
        marks = torch.zeros(batch, 2, bars)
        marks[:, 0, : self.prompt_bars], marks[:, 1, self.prompt_bars :] = 1, 1
        y = self.over_bars(torch.cat([x.transpose(1, 2), marks], 1))
        parts = y[..., : self.prompt_bars].mean(-1), y[..., self.prompt_bars :].mean(-1)
        pooled = [*parts, (parts[0] - parts[1]).abs(), y[..., self.prompt_bars :].amax(-1)]
        return self.answer(torch.cat([*pooled, self.similarity(similarity)], 1)).squeeze(1)

    @torch.inference_mode()
    def score(self, passages: Sequence[Passage]) -> Floats:
        """Return the mean logit over transpositions; higher looks more real, (passages,)."""
        self.eval()
        count = self.prompt_bars + self.bars
        found = []
        for first in range(0, len(passages), _BATCH):
            batch = passages[first : first + _BATCH]
            logits = [self(*rolls(batch, count, [shift] * len(batch))) for shift in _SHIFTS]
            found.append(torch.stack(logits).mean(0))
        return torch.cat(found).double().numpy()

    def save(self, path: Path) -> None:
        """Write the weights in safetensors format."""
        bars = {"prompt_bars": str(self.prompt_bars), "bars": str(self.bars)}
        save_file(self.state_dict(), path, {"format": _FORMAT, **bars})

    @classmethod
    def load(cls, path: Path) -> Judge:
        """Read the file that `save` wrote.

        Raises:
            ReportError: It is missing or not a judge.
        """
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about.get("format") != _FORMAT:
                raise ValueError(f"its format is {about.get('format')!r}, not {_FORMAT!r}")
            judge = cls(int(about["prompt_bars"]), int(about["bars"]))
            judge.load_state_dict(weights)
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise ReportError(
                f"{path.name!r} is not a judge that --save_judge wrote ({error}); train one again."
            ) from error
        return judge


def train(
    judge: Judge, pairs: Sequence[tuple[Passage, Passage]], *, epochs: int, seed: int
) -> None:
    """Train a judge with AdamW on pairs of a real and a composed continuation of one prompt.

    Args:
        judge: Changed in place.
        pairs: At least one.
        epochs: How many times all pairs are read, each time transposed by up to five semitones.
        seed: Random seed of order, transposition and dropout.
    """
    rng, half = np.random.default_rng(seed), min(_BATCH // 2, len(pairs))
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    batches = len(pairs) // half
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _RATE, total_steps=epochs * batches, pct_start=0.15
    )
    labels = torch.cat([torch.ones(half), torch.zeros(half)])
    judge.train()
    for _ in tqdm(range(epochs), unit="epoch", desc="Training", leave=False, disable=None):
        order = rng.permutation(len(pairs))
        for first in range(0, batches * half, half):
            chosen = [pairs[i] for i in order[first : first + half]]
            shifts = rng.integers(-_MAX_SHIFT, _MAX_SHIFT + 1, half).tolist()
            both = [real for real, _ in chosen] + [composed for _, composed in chosen]
            logits = judge(*rolls(both, judge.prompt_bars + judge.bars, shifts * 2))
            loss = functional.binary_cross_entropy_with_logits(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    judge.eval()
