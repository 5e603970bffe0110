"""Estimate the time of a training run from a few of its steps, whose result is discarded.

The steps are those of the Trainer on the training windows; held-out pieces are evaluated as well.
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

from musiclstm.midi import pluralize
from musiclstm.tokens import MusicTokenizer
from training.data.splits import evenly_spaced
from training.evaluation.bits_per_note import measure_bits
from training.trainer.callbacks import LearningCurveCallback
from training.trainer.trainer import StatefulTrainer

WARM_UP = 2  # steps before the measurement: they allocate memory and compile kernels
MIN_STEPS, MAX_STEPS = 3, 12
MAX_S = 20.0  # after this time, the smallest number of steps is enough
_EVALUATED_PIECES = 16


@dataclass(frozen=True)
class TimeEstimate:
    """Estimated time of a run on this machine.

    Args:
        steps: Optimizer steps, if the run does not stop early.
        epochs: Passes through the training pieces in these steps.
        measured_steps: Number of measured steps.
        seconds_per_step: Mean of the measured steps.
        fastest_s: Seconds of the fastest measured step.
        slowest_s: Seconds of the slowest measured step.
        tokens_per_step: Mean number of predicted tokens of a step.
        tokens_per_epoch: Predicted tokens of the first epoch.
        evaluations: Number of evaluations on the held-out pieces.
        measured_pieces: Held-out pieces on which the evaluation was measured.
        seconds_per_evaluation: Seconds of an evaluation.
        last_s: Seconds of the evaluation of held-out and test pieces at the end.
        device: Torch device, such as `cpu` or `cuda:0`.
        threads: Threads of PyTorch.
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
        """Minutes of the whole run, without composing samples and writing checkpoints."""
        evaluation_s = self.evaluations * self.seconds_per_evaluation + self.last_s
        return (self.steps * self.seconds_per_step + evaluation_s) / 60

    @property
    def tokens_per_second(self) -> float:
        """Predicted tokens per second of training."""
        return self.tokens_per_step / self.seconds_per_step

    def to_dict(self) -> dict[str, Any]:
        """Return rounded values for the report."""
        values = {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }
        return values | {
            "minutes": round(self.minutes, 4),
            "tokens_per_second": round(self.tokens_per_second),
        }


def minutes_text(minutes: float) -> str:
    """Return a duration in words, rounded to the precision of an estimate."""
    if minutes < 1:
        return pluralize(max(1, round(60 * minutes)), "second")
    if minutes < 10:
        return f"{minutes:.1f} minutes"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def short_run(training: TrainingArguments, folder: Path) -> TrainingArguments:
    """Return the settings for a few steps that write to `folder` alone."""
    short = copy.copy(training)
    short.output_dir, short.max_steps = str(folder), WARM_UP + MAX_STEPS
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
) -> TimeEstimate:
    """Estimate the time of a run: train and evaluate for some seconds, discard the result.

    Args:
        make_trainer: Creates the trainer of the run with other settings.
        training: Settings of the run to estimate.
        tokenizer: Tokenizer of the model.
        valid: Token ids of the held-out pieces.
        test: Token ids of the pieces that are evaluated at the end only.
    """
    timer = _StepTimer()
    with TemporaryDirectory() as folder:
        trainer = make_trainer(short_run(training, Path(folder)))
        trainer.remove_callback(LearningCurveCallback)
        trainer.add_callback(timer)
        tokens, updates = trainer.windows.tokens, trainer.windows.updates
        trainer.train()
    seconds = np.diff(timer.step_ends)
    steps = _steps(training, updates)
    pieces, per_token = _time_evaluation(trainer, tokenizer, valid or test)
    valid_s, test_s = (per_token * sum(map(len, each)) for each in (valid, test))
    return TimeEstimate(
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


class _StepTimer(TrainerCallback):
    """Records the end of each step after the warm-up, and stops after enough steps."""

    def __init__(self) -> None:
        self.step_ends: list[float] = []

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step < WARM_UP:
            return
        if args.device.type != "cpu":
            torch.accelerator.synchronize()  # wait until the device has finished the step
        self.step_ends.append(time.perf_counter())
        is_enough = len(self.step_ends) > MIN_STEPS
        if is_enough and self.step_ends[-1] - self.step_ends[0] > MAX_S:
            control.should_training_stop = True


def _steps(training: TrainingArguments, updates: int) -> int:
    if training.max_steps > 0:
        return int(training.max_steps)
    return math.ceil(training.num_train_epochs * updates)


def _evaluations(training: TrainingArguments, steps: int, updates: int) -> int:
    """Return the number of evaluations before the end."""
    if training.eval_strategy == IntervalStrategy.EPOCH:
        return int(training.eval_on_start) + math.ceil(steps / updates)
    if training.eval_strategy == IntervalStrategy.NO:
        return 0
    every = training.eval_steps or training.logging_steps
    first = int(training.eval_on_start)
    return first + int(steps // (every if every >= 1 else math.ceil(steps * every)))


def _time_evaluation(
    trainer: StatefulTrainer, tokenizer: MusicTokenizer, pieces: Sequence[np.ndarray]
) -> tuple[int, float]:
    """Return the number of evaluated pieces and the seconds per token."""
    if not len(pieces):
        return 0, 0.0
    sample = evenly_spaced(pieces, _EVALUATED_PIECES)
    start = time.perf_counter()
    with trainer.compute_loss_context_manager():
        measure_bits(trainer.network, tokenizer, sample)
    return len(sample), (time.perf_counter() - start) / sum(map(len, sample))
