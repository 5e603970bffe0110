"""What happens beside the training: a word on how it goes, a picture of it, and when to stop."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:  # drawing is loaded when there is something to draw
    from matplotlib.figure import Figure

CURVE_FILES = ("learning_curve.png", "learning_curve.svg")
_BITS = "eval_bits_per_note"
_GLANCE_S = 0.5  # how often the line on a terminal changes


class LearningCurve(TrainerCallback):
    """Keeps a picture of training loss and held-out bits per note current.

    A picture that cannot be written is told of once, and the run goes on without.
    """

    def __init__(self) -> None:
        """Begin without a complaint."""
        self._complained = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called after every evaluation."""
        self._draw(args, state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called at the end: without held-out pieces it is the only time."""
        self._draw(args, state)

    def _draw(self, args: TrainingArguments, state: TrainerState) -> None:
        if not state.is_world_process_zero:
            return
        try:
            draw_curve(state.log_history, *(Path(str(args.output_dir)) / n for n in CURVE_FILES))
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            reason = error.strerror or str(error)
            _line(f"The learning curve cannot be drawn: {reason}. Training continues without it.")
        self._complained = True


def draw_curve(history: list[dict[str, float]], *paths: Path) -> None:
    """Draw loss (nats per token) and held-out bits per note over steps, PNG or SVG by the ending.

    The same history gives the same bytes; a history without figures gives no picture.

    Raises:
        OSError: It cannot be written.
    """
    loss = [(row["step"], row["loss"]) for row in history if "loss" in row]
    bits = [(row["step"], row[_BITS]) for row in history if _BITS in row]
    if not loss and not bits:
        return
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    if loss:
        axis.plot(*zip(*loss, strict=True), color="#9aa5b1", label="training loss (nats per token)")
    axis.set_xlabel("step")
    axis.set_ylabel("nats per token")
    other = axis.twinx()
    if bits:
        other.plot(*zip(*bits, strict=True), "o-", color="#d1495b", label="held-out bits per note")
    other.set_ylabel("bits per note")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    try:
        _write(figure, *paths)
    finally:
        plt.close(figure)


def _write(figure: Figure, *paths: Path) -> None:
    import matplotlib

    for path in paths:
        undated = {"Date": None} if path.suffix == ".svg" else {}
        with matplotlib.rc_context({"svg.hashsalt": "musiclstm"}):
            figure.savefig(path, dpi=120, metadata=undated)


class EarlyStopping(TrainerCallback):
    """Ends a run that has not got better for so many evaluations.

    It counts in the log of the run, so that a resumed run stops where an uninterrupted one does.
    """

    def __init__(self, patience: int) -> None:
        """Take the number of evaluations to wait, 1 or more."""
        self._patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Called after every evaluation."""
        if has_stalled(state.log_history, self._patience):
            control.should_training_stop = True


def has_stalled(history: list[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` evaluations were no better than the best before; 0: never.

    What the model was worth before it learnt anything does not count: the first steps may cost it
    what the next ones bring.
    """
    bits = [row[_BITS] for row in history if _BITS in row and row.get("step", 1)]
    return bool(patience) and len(bits) - 1 - bits.index(min(bits)) >= patience if bits else False


def valid_before(history: list[dict[str, float]]) -> float | None:
    """Held-out bits per note before the first step; None where nobody looked."""
    found = [row[_BITS] for row in history if _BITS in row and row.get("step") == 0]
    return round(found[0], 4) if found else None


class Progress(TrainerCallback):
    """Says in plain words how far it is, how fast, and how long it will take."""

    def __init__(self, tokens_per_step: float) -> None:
        """Take how many tokens a step predicts, in the mean."""
        self._tokens = tokens_per_step
        self._begin = self._glanced = time.monotonic()
        self._first_step = 0
        self._step_begin, self._learning = self._begin, 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock where this session starts."""
        self._begin, self._first_step = time.monotonic(), state.global_step
        self._step_begin, self._learning = self._begin, 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Evaluations and samples between the steps do not count for the tokens per second."""
        self._step_begin = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """On a terminal, a line that changes in place."""
        now = time.monotonic()
        self._learning += now - self._step_begin
        shown = state.is_local_process_zero and not args.disable_tqdm and sys.stdout.isatty()
        if shown and now - self._glanced > _GLANCE_S:
            self._glanced = now
            sys.stdout.write(f"\r\033[K{self._words(state)}")
            sys.stdout.flush()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """A line that stays, for every entry of the log."""
        logs = logs or {}
        if not state.is_world_process_zero:
            return
        if _BITS in logs:
            best = "" if logs[_BITS] > _best(state) else ", the best so far"
            said = best if state.global_step else ", before it learns"
            _line(f"step {state.global_step:,}: {logs[_BITS]:.3f} bits per held-out note{said}")
        elif "loss" in logs:
            _line(f"{self._words(state)} · loss {logs['loss']:.3f}")

    def _words(self, state: TrainerState) -> str:
        done = state.global_step - self._first_step
        seconds = max(time.monotonic() - self._begin, 1e-9)
        speed = done * self._tokens / max(self._learning, 1e-9)
        left = seconds / max(done, 1) * (state.max_steps - state.global_step)
        return (
            f"step {state.global_step:,} of {state.max_steps:,} · "
            f"{speed:,.0f} tokens/s · {duration(left)} left"
        )


def duration(seconds: float) -> str:
    """A time in plain words, the finer the shorter.

    >>> duration(5), duration(130), duration(7_500)
    ('5 seconds', '2 minutes', '2 h 5 min')
    """
    if seconds < 59.5:
        return _several(math.ceil(seconds), "second")
    minutes = round(seconds / 60)
    return _several(minutes, "minute") if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _several(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _best(state: TrainerState) -> float:
    return min(row[_BITS] for row in state.log_history if _BITS in row)


def _line(text: str) -> None:
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    sys.stdout.write(f"{clear}{text}\n")
    sys.stdout.flush()
