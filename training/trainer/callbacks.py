"""Callbacks of the Trainer: console output, learning curve, samples, early stop, and SIGTERM."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from musiclstm.audio import render
from musiclstm.errors import MusicLSTMError, RenderError
from musiclstm.export import pianoroll_svg
from musiclstm.generation import Composer, Composition, Sampling
from musiclstm.model import MusicLSTMForCausalLM
from musiclstm.tokens import MusicTokenizer
from training.errors import StoppedError
from training.networks import export_copy

if TYPE_CHECKING:  # matplotlib is imported when a curve is drawn
    from matplotlib.figure import Figure

CURVE_FILES = ("learning_curve.png", "learning_curve.svg")
SAMPLES_FOLDER = "samples"
SAMPLE_BARS, SAMPLE_PROMPT_BARS = 8, 4
_BITS = "eval_bits_per_note"
_REFRESH_S = 0.5  # between two updates of the line on a terminal


# Learning curve and early stop.


class LearningCurveCallback(TrainerCallback):
    """Draw training loss and held-out bits per note after every evaluation.

    A file that cannot be written is reported once; training continues.
    """

    def __init__(self) -> None:
        """Report the next error."""
        self._reported = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Draw the curve again."""
        self._draw(args, state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Draw the curve at the end, because a run without held-out pieces has no evaluations."""
        self._draw(args, state)

    def _draw(self, args: TrainingArguments, state: TrainerState) -> None:
        if not state.is_world_process_zero:
            return
        try:
            draw_curve(state.log_history, *(Path(str(args.output_dir)) / n for n in CURVE_FILES))
        except OSError as error:
            if not self._reported:
                reason = error.strerror or str(error)
                _print(f"Cannot draw the learning curve: {reason}. Training continues without it.")
            self._reported = True


def draw_curve(history: list[dict[str, float]], *paths: Path) -> None:
    """Draw loss (nats per token) and held-out bits per note over steps, as PNG or SVG.

    The same history gives the same bytes. A history without figures gives no file.

    Raises:
        OSError: A file cannot be written.
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
        _save_figure(figure, *paths)
    finally:
        plt.close(figure)


def _save_figure(figure: Figure, *paths: Path) -> None:
    import matplotlib

    for path in paths:
        undated = {"Date": None} if path.suffix == ".svg" else {}
        with matplotlib.rc_context({"svg.hashsalt": "musiclstm"}):
            figure.savefig(path, dpi=120, metadata=undated)


class EarlyStopCallback(TrainerCallback):
    """Stop training when several evaluations in a row did not improve.

    The count is taken from the log history, so a resumed run stops at the same step.
    """

    def __init__(self, patience: int) -> None:
        """Set the number of evaluations to wait; 0: never stop."""
        self._patience = patience

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Request the stop."""
        if should_stop_early(state.log_history, self._patience):
            control.should_training_stop = True


def should_stop_early(history: list[dict[str, float]], patience: int) -> bool:
    """Return whether the last `patience` evaluations were no better than the best; 0: never.

    The evaluation before the first step does not count: the first steps may raise the figure.
    """
    bits = [row[_BITS] for row in history if _BITS in row and row.get("step", 1)]
    return bool(patience) and len(bits) - 1 - bits.index(min(bits)) >= patience if bits else False


def valid_before(history: list[dict[str, float]]) -> float | None:
    """Return held-out bits per note before the first step; None if not evaluated."""
    found = [row[_BITS] for row in history if _BITS in row and row.get("step") == 0]
    return round(found[0], 4) if found else None


# Console.


class ConsoleCallback(TrainerCallback):
    """Print progress, speed, remaining time, and evaluations."""

    def __init__(self, tokens_per_step: float) -> None:
        """Set the mean number of tokens that a step predicts."""
        self._tokens_per_step = tokens_per_step
        self._start_s = self._refreshed_s = self._step_start_s = time.monotonic()
        self._first_step, self._step_seconds = 0, 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Start the clock of this session."""
        self._start_s = self._step_start_s = time.monotonic()
        self._first_step, self._step_seconds = state.global_step, 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock of a step, because evaluations do not count for tokens/s."""
        self._step_start_s = time.monotonic()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Refresh the line on a terminal."""
        now = time.monotonic()
        self._step_seconds += now - self._step_start_s
        shown = state.is_local_process_zero and not args.disable_tqdm and sys.stdout.isatty()
        if shown and now - self._refreshed_s > _REFRESH_S:
            self._refreshed_s = now
            sys.stdout.write(f"\r\033[K{self._status(state)}")
            sys.stdout.flush()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Print one line for a loss or an evaluation."""
        logs = logs or {}
        if not state.is_world_process_zero:
            return
        if _BITS in logs:
            best = min(row[_BITS] for row in state.log_history if _BITS in row)
            note = ", the best so far" if logs[_BITS] <= best else ""
            note = note if state.global_step else ", before training"
            _print(f"step {state.global_step:,}: {logs[_BITS]:.3f} bits per held-out note{note}")
        elif "loss" in logs:
            _print(f"{self._status(state)} · loss {logs['loss']:.3f}")

    def _status(self, state: TrainerState) -> str:
        done = state.global_step - self._first_step
        seconds = max(time.monotonic() - self._start_s, 1e-9)
        speed = done * self._tokens_per_step / max(self._step_seconds, 1e-9)
        left = seconds / max(done, 1) * (state.max_steps - state.global_step)
        return (
            f"step {state.global_step:,} of {state.max_steps:,} · "
            f"{speed:,.0f} tokens/s · {format_duration(left)} left"
        )


def format_duration(seconds: float) -> str:
    """Return a duration in seconds, minutes, or hours and minutes.

    >>> format_duration(5), format_duration(130), format_duration(7_500)
    ('5 seconds', '2 minutes', '2 h 5 min')
    """
    if seconds < 59.5:
        return _plural(math.ceil(seconds), "second")
    minutes = round(seconds / 60)
    return _plural(minutes, "minute") if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _plural(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def _print(text: str) -> None:
    clear = "\r\033[K" if sys.stdout.isatty() else ""
    sys.stdout.write(f"{clear}{text}\n")
    sys.stdout.flush()


# Samples.


class SampleCallback(TrainerCallback):
    """Compose pieces at every evaluation into `samples/step-000400/`: MIDI, SVG and MP3.

    Random seeds and prompts never change, so differences come from the weights alone. Every second
    sample continues the first bars of a held-out piece; the others have no prompt.
    """

    def __init__(
        self,
        model: MusicLSTMForCausalLM,
        tokenizer: MusicTokenizer,
        pieces: Sequence[np.ndarray],
        *,
        count: int,
        say: Callable[[str], None],
    ) -> None:
        """Set the number of samples, and the held-out pieces (token ids) that are prompts."""
        self._model, self._tokenizer = model, tokenizer
        self._pieces, self._count, self._say = pieces, count, say
        self._with_audio, self._reported = True, False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Compose with the weights that were evaluated."""
        if not state.is_world_process_zero or not self._count:
            return
        folder = Path(str(args.output_dir)) / SAMPLES_FOLDER / f"step-{state.global_step:06d}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._write_samples(state.global_step, folder)
        except OSError as error:
            if not self._reported:
                reason = error.strerror or str(error)
                self._say(f"Cannot write samples: {reason}. Training continues without them.")
            self._reported = True

    def _write_samples(self, step: int, folder: Path) -> None:
        composer = Composer(export_copy(self._model), self._tokenizer)
        for number in range(1, self._count + 1):
            try:
                self._write(self._compose(composer, number), folder / f"sample-{number}")
            except (MusicLSTMError, ValueError) as error:
                self._say(f"Sample {number} of step {step:,} failed: {error}")

    def _compose(self, composer: Composer, number: int) -> Composition:
        sampling = Sampling(seed=number)
        if number % 2 or not self._pieces:
            return composer.compose(bars=SAMPLE_BARS, sampling=sampling)
        ids = self._pieces[(number // 2 - 1) % len(self._pieces)]
        return composer.compose(
            bars=SAMPLE_BARS,
            prompt=self._tokenizer.decode(ids),
            prompt_bars=SAMPLE_PROMPT_BARS,
            sampling=sampling,
        )

    def _write(self, piece: Composition, stem: Path) -> None:
        piece.save_midi(stem.with_suffix(".mid"))
        end = piece.prompt_end_tick if piece.prompt_bars else None
        roll = pianoroll_svg(piece.score, prompt_end_tick=end)
        stem.with_suffix(".svg").write_text(roll, encoding="utf-8")
        if self._with_audio and piece.score.note_num():
            try:
                render(piece.score).save(stem.with_suffix(".mp3"))
            except RenderError as error:
                self._with_audio = False  # reported once; MIDI and SVG are still written
                self._say(f"Samples have no audio: {error}")


# SIGTERM.


class SigtermCallback(TrainerCallback):
    """Finish the current step, write a checkpoint and end the session after SIGTERM.

    transformers' `enable_jit_checkpoint` saves before the optimizer step of a window that the
    carried state has already read, so its checkpoints do not resume bit for bit.
    """

    def __init__(self, any_process: Callable[[bool], bool]) -> None:
        """Set the function that combines the flags of all processes, which stop together."""
        self._any_process = any_process
        self._received = False

    @contextmanager
    def handle_sigterm(self) -> Iterator[None]:
        """Handle SIGTERM inside the block, then restore the previous handler.

        Python allows this in the main thread only; other threads change nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGTERM, self._on_signal)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def _on_signal(self, *_: Any) -> None:
        self._received = True

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Request a checkpoint."""
        if self._any_process(self._received):
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the session after the checkpoint is complete.

        Raises:
            StoppedError: SIGTERM was received, before or during the save.
        """
        if self._any_process(self._received):
            raise StoppedError(
                f"Stopped at step {state.global_step:,} after SIGTERM. A checkpoint holds the "
                "training so far; run the same command again to continue."
            )
