"""How long a run will take, measured on a few of its own steps, which are then thrown away.

The steps are those of the real Trainer on the real windows, and held-out pieces are really read.
Knows nothing of reports.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from musiclstm.tokens import MusicTokenizer
from training.evaluation.held_out import held_out
from training.trainer.callbacks import LearningCurve
from training.trainer.trainer import StatefulTrainer

WARM_UP = 2  # the first steps prepare memory and kernels
FEWEST_STEPS, MOST_STEPS = 3, 12
LONGEST_S = 20.0  # then the fewest steps are enough
_PIECES_READ = 16


@dataclass(frozen=True)
class Estimate:
    """What a run will take on this machine.

    Args:
        steps: Of the optimizer, if it does not stop early.
        epochs: How often the training pieces are read in them.
        measured_steps: On how many steps `seconds_per_step` was measured.
        seconds_per_step: Their mean.
        fastest_s: The fastest of them.
        slowest_s: The slowest of them.
        tokens_per_step: Tokens that a step predicts, in the mean of an epoch.
        tokens_per_epoch: Tokens that the first epoch predicts.
        evaluations: How often the held-out pieces are read in the run.
        measured_pieces: Held-out pieces that were read to measure `seconds_per_evaluation`.
        seconds_per_evaluation: To read all of them once.
        last_s: To read held-out and test pieces once more at the end.
        device: `cpu`, `cuda:0`, ...
        threads: Of PyTorch.
    """

    steps: int
    epochs: float
    measured_steps: int
    seconds_per_step: float
    fastest_s: float
    slowest_s: float
    tokens_per_step: float
    tokens_per_epoch: int
    evaluations: int
    measured_pieces: int
    seconds_per_evaluation: float
    last_s: float
    device: str
    threads: int

    @property
    def minutes(self) -> float:
        """Of the whole run, without the samples that it composes and the checkpoints it writes."""
        reading = self.evaluations * self.seconds_per_evaluation + self.last_s
        return (self.steps * self.seconds_per_step + reading) / 60

    @property
    def tokens_per_second(self) -> float:
        """While it trains."""
        return self.tokens_per_step / self.seconds_per_step

    def facts(self) -> dict[str, Any]:
        """Ready for a report, rounded to what was measured."""
        found = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }
        return found | {
            "minutes": round(self.minutes, 4),
            "tokens_per_second": round(self.tokens_per_second),
        }


def short_run(training: TrainingArguments, folder: Path) -> TrainingArguments:
    """The same settings for a few steps that leave nothing behind but what lies in `folder`."""
    short = copy.copy(training)
    short.output_dir, short.max_steps = str(folder), WARM_UP + MOST_STEPS
    short.eval_strategy = short.logging_strategy = IntervalStrategy.NO
    short.save_strategy, short.load_best_model_at_end = SaveStrategy.NO, False
    short.eval_on_start = False
    short.metric_for_best_model, short.resume_from_checkpoint = None, None
    short.report_to, short.disable_tqdm, short.push_to_hub = [], True, False
    return short


def time_short_run(
    make_trainer: Callable[[TrainingArguments], StatefulTrainer],
    training: TrainingArguments,
    tokenizer: MusicTokenizer,
    *,
    valid: Sequence[np.ndarray],
    test: Sequence[np.ndarray],
) -> Estimate:
    """Train and read for some seconds, and keep nothing of it.

    Args:
        make_trainer: Gives the trainer of the run, with other settings.
        training: The settings of the run that is to be estimated.
        tokenizer: The one the model is trained with.
        valid: Held-out pieces, token ids.
        test: Pieces that are read at the end only.
    """
    clock = _Clock()
    with TemporaryDirectory() as folder:
        trainer = make_trainer(short_run(training, Path(folder)))
        trainer.remove_callback(LearningCurve)
        trainer.add_callback(clock)
        tokens, updates = trainer.windows.tokens, trainer.windows.updates  # of the first epoch
        trainer.train()
    seconds = np.diff(clock.marks)
    steps = _steps(training, updates)
    pieces, per_token = _reading(trainer, tokenizer, valid or test)
    valid_s, test_s = (per_token * sum(map(len, each)) for each in (valid, test))
    return Estimate(
        steps=steps,
        epochs=steps / updates,
        measured_steps=len(seconds),
        seconds_per_step=float(seconds.mean()),
        fastest_s=float(seconds.min()),
        slowest_s=float(seconds.max()),
        tokens_per_step=tokens / updates,
        tokens_per_epoch=tokens,
        evaluations=_evaluations(training, steps, updates) if len(valid) else 0,
        measured_pieces=pieces,
        seconds_per_evaluation=valid_s,
        last_s=valid_s + test_s,
        device=str(training.device),
        threads=torch.get_num_threads(),
    )


class _Clock(TrainerCallback):
    """Notes when each step after the first ones ends, and stops when it has enough of them."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step < WARM_UP:
            return
        if args.device.type != "cpu":
            torch.accelerator.synchronize()  # a step has ended when the device is done with it
        self.marks.append(time.perf_counter())
        enough = len(self.marks) > FEWEST_STEPS
        if enough and self.marks[-1] - self.marks[0] > LONGEST_S:
            control.should_training_stop = True


def _steps(training: TrainingArguments, updates: int) -> int:
    if training.max_steps > 0:
        return int(training.max_steps)
    return math.ceil(training.num_train_epochs * updates)


def _evaluations(training: TrainingArguments, steps: int, updates: int) -> int:
    """How often the held-out pieces are read before the end."""
    if training.eval_strategy == IntervalStrategy.EPOCH:
        return int(training.eval_on_start) + math.ceil(steps / updates)
    if training.eval_strategy == IntervalStrategy.NO:
        return 0
    every = training.eval_steps or training.logging_steps
    first = int(training.eval_on_start)
    return first + int(steps // (every if every >= 1 else math.ceil(steps * every)))


def _reading(
    trainer: StatefulTrainer, tokenizer: MusicTokenizer, pieces: Sequence[np.ndarray]
) -> tuple[int, float]:
    """Return how many pieces were read, and seconds per token."""
    some = [pieces[i] for i in range(0, len(pieces), max(1, len(pieces) // _PIECES_READ))]
    some = some[:_PIECES_READ]
    if not some:
        return 0, 0.0
    begin = time.perf_counter()
    with trainer.compute_loss_context_manager():
        held_out(trainer.network, tokenizer, some)
    return len(some), (time.perf_counter() - begin) / sum(map(len, some))
