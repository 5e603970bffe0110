"""Contenders that learn the same music in turns, until each has used up its budget.

All get the same batches in the same order, whoever else is there: batch number n is the same for
everybody, and everybody has random numbers of its own. What they share is the machine, so they
learn in short turns, and the next turn is always that of who has used the least of its budget: a
slow moment hits all alike.

Knows nothing of what is compared, nor of how it is reported.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.reporting import ReportError
from benchmarks.rivals import Contender
from musiclstm.modeling import LSTMState
from training.averaging import WeightAverage
from training.checkpoints import read_record, write_record
from training.windows import IGNORED, Windows

# As training.arguments has them.
_BETAS, _WEIGHT_DECAY, _GRADIENT_NORM = (0.9, 0.98), 0.01, 1.0
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of a weight
_STATE_PARTS = ("hidden", "cell", "memory", "filled")
_RECORD_FILE = "run.json"


class DivergedError(ReportError):
    """The loss of a contender is no longer a number."""


class Lesson(NamedTuple):
    """One batch: ids and the tokens after them, (rows, steps); which rows begin a piece, (rows,).

    `tokens` are those that are predicted, padding left out.
    """

    input_ids: Tensor
    labels: Tensor
    reset: Tensor
    tokens: int


class Lessons:
    """Batches by number, epoch after epoch; whoever asks for a number gets the same one."""

    def __init__(self, windows: Windows, rows: int, *, keep: int = 4) -> None:
        """Take windows in lanes of so many rows; `keep` epochs stay at hand, one a contender."""
        self._windows, self._rows, self._keep = windows, rows, keep
        self._epochs: dict[int, Windows] = {}

    def __getitem__(self, number: int) -> Lesson:
        epoch, step = divmod(number, self._windows.updates)
        windows = self._epoch(epoch)
        rows = [windows[step * self._rows + row] for row in range(self._rows)]
        ids, labels, reset = (
            torch.stack([row[name] for row in rows]) for name in ("input_ids", "labels", "reset")
        )
        return Lesson(ids, labels, reset, int((labels != IGNORED).sum()))

    def _epoch(self, number: int) -> Windows:
        windows = self._epochs.pop(number, None)
        if windows is None:
            windows = copy.copy(self._windows)  # an epoch replaces its tables, so pieces are shared
            windows.set_epoch(number)
        self._epochs[number] = windows  # the one that was asked for last stands last
        while len(self._epochs) > self._keep:
            self._epochs.pop(next(iter(self._epochs)))
        return windows


@dataclass(frozen=True)
class Budget:
    """How much each contender may use.

    Attributes:
        name: For tables.
        unit: What is counted: `tokens`, or `seconds` of learning.
        amount: So many.
    """

    name: str
    unit: str
    amount: float

    def used(self, learner: Learner) -> float:
        """The share that is used up; 1 or more: all of it."""
        return float(getattr(learner, self.unit)) / self.amount


@dataclass(frozen=True)
class School:
    """What is the same for all.

    Attributes:
        device: Where they learn.
        bf16: Whether products are made in bfloat16.
        warm_up: Share of a budget in which the learning rate rises.
        seed: Of fresh weights and of dropout.
    """

    device: torch.device
    bf16: bool
    warm_up: float
    seed: int = 0

    def share_of_rate(self, used: float) -> float:
        """Of the highest learning rate, after a share of the budget: up a line, down a cosine."""
        if used < self.warm_up:
            return used / self.warm_up
        return (1 + math.cos(math.pi * (used - self.warm_up) / (1 - self.warm_up))) / 2

    def autocast(self) -> AbstractContextManager[Any]:
        """Inside, products are made in bfloat16 where that is wanted."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()


class Learner:
    """One contender on its way through a budget.

    Attributes:
        contender: Which one.
        network: Learns.
        rate: The highest learning rate.
        steps: Batches it has learnt from.
        tokens: That it was asked to predict in them.
        seconds: Of learning, as `_clock` counts; batches lay ready before it ran.
    """

    def __init__(
        self, contender: Contender, rate: float, school: School, *, ema: float = 0.0
    ) -> None:
        """Build the network; the same seed gives the same weights. `ema` is not saved."""
        self.contender, self.rate, self._school = contender, rate, school
        self.steps, self.tokens, self.seconds = 0, 0, 0.0
        self._state: LSTMState | None = None
        with self._random_numbers_apart():
            torch.manual_seed(school.seed)
            self.network: Any = nn.Module.to(contender.build(), school.device).train()
            self._chance = self._random_numbers()
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=rate,
            betas=_BETAS,
            weight_decay=_WEIGHT_DECAY,
            fused=True,
        )
        self._average = WeightAverage(self.network, ema) if ema else None

    def averaged(self) -> AbstractContextManager[None]:
        """Inside, the network has the running average of its weights, if it keeps one."""
        return nullcontext() if self._average is None else self._average.applied()

    # Learning.

    def turn(self, lessons: Lessons, budget: Budget, steps: int) -> None:
        """Learn from the next so many batches, fewer where the budget ends.

        Raises:
            DivergedError: The loss is no longer a number.
        """
        ready = [lessons[self.steps + number] for number in range(steps)]
        with self._own_chance():
            before, begin = self.seconds, self._now()
            for lesson in ready:
                loss = self._learn(lesson, budget.used(self))
                self.seconds = before + time.perf_counter() - begin
                if budget.used(self) >= 1:
                    break
            self.seconds = before + self._now() - begin
        if not bool(torch.isfinite(loss)):
            raise DivergedError(
                f"The loss of {self.contender.name} is no longer a number at step {self.steps:,} "
                f"with learning rate {self.rate:g}; name lower ones after --learning_rates."
            )

    def _learn(self, lesson: Lesson, used: float) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = self.rate * self._school.share_of_rate(used)
        device = self._school.device
        with self._school.autocast():
            logits = self._read(lesson.input_ids.to(device), lesson.reset.to(device))
        loss: Tensor = nn.functional.cross_entropy(
            logits.float().flatten(0, 1),
            lesson.labels.to(device).flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        ) / max(lesson.tokens, 1)  # a batch may hold nothing but padding
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), _GRADIENT_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average is not None:
            self._average.update()
        self.steps += 1
        self.tokens += lesson.tokens
        return loss.detach()

    def _read(self, ids: Tensor, reset: Tensor) -> Tensor:
        """Scores (rows, steps, vocab), from the state of the window before where it is carried."""
        if not self.contender.carries:
            return self.network(ids).logits
        state = self._state and self._state.reset_rows(reset)
        output = self.network(ids, past_key_values=state)
        self._state = output.past_key_values.detached()
        return output.logits

    def _now(self) -> float:
        if self._school.device.type == "cuda":
            torch.cuda.synchronize(self._school.device)
        return self._clock()

    def _clock(self) -> float:
        """Seconds; on the processor those that our threads had, whoever else is busy there."""
        if self._school.device.type == "cuda":
            return time.perf_counter()
        return time.process_time() / torch.get_num_threads()

    # Random numbers of its own: who learns beside it changes nothing.

    def _random_numbers_apart(self) -> AbstractContextManager[None]:
        devices = [self._school.device] if self._school.device.type == "cuda" else []
        return torch.random.fork_rng(devices)

    def _random_numbers(self) -> list[Tensor]:
        """Where the generators stand: the processor's, and the GPU's where there is one."""
        if self._school.device.type == "cuda":
            return [torch.get_rng_state(), torch.cuda.get_rng_state(self._school.device)]
        return [torch.get_rng_state()]

    @contextmanager
    def _own_chance(self) -> Iterator[None]:
        with self._random_numbers_apart():
            torch.set_rng_state(self._chance[0])
            for state in self._chance[1:]:
                torch.cuda.set_rng_state(state, self._school.device)
            yield
            self._chance = self._random_numbers()

    # On the disk: one file, there as a whole or not at all.

    def save(self, path: Path) -> None:
        """Write everything that it needs to go on.

        Raises:
            ReportError: It cannot be written.
        """
        partial = path.with_name(path.name + ".partial")
        counts = {name: repr(getattr(self, name)) for name in ("steps", "tokens", "seconds")}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(self._tensors(), partial, counts)
            partial.replace(path)
        except (OSError, SafetensorError) as error:
            raise ReportError(
                f"{str(path)!r} cannot be written ({error}); make room, or name another folder "
                "after --checkpoints."
            ) from error

    def _tensors(self) -> dict[str, Tensor]:
        found = {f"chance/{i}": state for i, state in enumerate(self._chance)}
        for name, weight in self.network.named_parameters():
            found[f"weight/{name}"] = weight.detach()
            for part, tensor in self._optimizer.state[weight].items():
                found[f"{part}/{name}"] = tensor
        if self._state is not None:
            found |= {f"state/{part}": getattr(self._state, part) for part in _STATE_PARTS}
        return {name: tensor.contiguous() for name, tensor in found.items()}

    def load(self, path: Path) -> None:
        """Go on where another learner, of the same contender, was saved.

        Raises:
            ReportError: The file is damaged, or of another network.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                counts = {name: json.loads(text) for name, text in file.metadata().items()}
            self._take(tensors)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise ReportError(
                f"{str(path)!r} is damaged, or was written by another version; remove it, and "
                f"{self.contender.name} begins anew."
            ) from error
        self.steps, self.tokens = counts["steps"], counts["tokens"]
        self.seconds = counts["seconds"]

    @torch.no_grad()
    def _take(self, tensors: Mapping[str, Tensor]) -> None:
        device = self._school.device
        for name, weight in self.network.named_parameters():
            weight.copy_(tensors[f"weight/{name}"])
            self._optimizer.state[weight] = {
                part: tensors[f"{part}/{name}"].to(device) for part in _MOMENTS
            }
        self._chance = [tensors[f"chance/{i}"] for i in range(len(self._chance))]
        if f"state/{_STATE_PARTS[0]}" in tensors:
            parts: Any = (tensors[f"state/{part}"].to(device) for part in _STATE_PARTS)
            self._state = LSTMState(*parts)


def race(
    learners: Sequence[Learner],
    lessons: Lessons,
    budget: Budget,
    *,
    steps: int,
    after_turn: Callable[[], None] = lambda: None,
) -> None:
    """Let all learn to the end of their budgets, in turns of so many batches.

    Raises:
        DivergedError: The loss of one is no longer a number.
    """
    while waiting := [learner for learner in learners if budget.used(learner) < 1]:
        min(waiting, key=budget.used).turn(lessons, budget, steps)
        after_turn()


class Notebook:
    """What a run has found so far, in a folder, so that one that was killed goes on.

    `run.json` holds the settings and what is known; beside it stands a file for every learner.

    Attributes:
        known: Whatever JSON can say, by name; `keep` after a change.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        """Open the folder, or a new one; None: keep nothing.

        Raises:
            ReportError: It holds a run with other settings, or is no folder.
        """
        self._folder = folder
        self._settings = json.loads(json.dumps(settings))
        self.known: dict[str, Any] = {}
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ReportError(
                f"{str(folder)!r} is no folder that can be written to; name another one after "
                "--checkpoints."
            ) from error
        record = read_record(folder / _RECORD_FILE)
        if record:
            self._compare(record["settings"])
            self.known = record["known"]
        self.keep()

    def _compare(self, earlier: Mapping[str, Any]) -> None:
        for name, value in self._settings.items():
            if earlier.get(name) != value:
                raise ReportError(
                    f"{str(self._folder)!r} holds a run with other settings ({name}: "
                    f"{earlier.get(name)}, now {value}); take the same ones to go on, or name "
                    "another folder after --checkpoints."
                )

    def keep(self) -> None:
        """Write down what is known."""
        if self._folder is not None:
            facts = {"settings": self._settings, "known": self.known}
            write_record(self._folder / _RECORD_FILE, facts)

    def save(self, budget: Budget, learners: Sequence[Learner]) -> None:
        """Write down where they are; at the beginning there is nothing to write down."""
        for learner in learners:
            if self._folder is not None and learner.steps:
                learner.save(self._place(budget, learner))

    def load(self, budget: Budget, learners: Sequence[Learner]) -> None:
        """Bring them to where they were; who was never saved is at the beginning.

        Raises:
            ReportError: A file is damaged.
        """
        for learner in learners:
            if self._folder is not None and self._place(budget, learner).is_file():
                learner.load(self._place(budget, learner))

    def _place(self, budget: Budget, learner: Learner) -> Path:
        assert self._folder is not None
        names = (name.replace(" ", "-") for name in (budget.name, learner.contender.name))
        return self._folder.joinpath(*names).with_suffix(".safetensors")
