"""A training run in a process that can be awaited, terminated and killed."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import musiclstm
from musiclstm.errors import MusicLSTMError
from musiclstm.model import WEIGHTS_FILE
from training.errors import SIGTERM_STATUS
from training.trainer.checkpoints import checkpoints
from training.trainer.ema import AVERAGE_FILE

MANY_STEPS = 1_000_000  # more than there will ever be time for
_STEP = re.compile(r"^step ([\d,]+) of ")
_RESUMING = re.compile(r"^Resuming from checkpoint-(\d+)\.")
_ENDED = re.compile(r"^The run ended at step ([\d,]+);")
_EXPORTED = "This run has ended "
_COMPARED_FILES = (WEIGHTS_FILE, AVERAGE_FILE, "lstm_state_0.safetensors")
_TIMEOUT_S = 300.0


class KillError(MusicLSTMError):
    """A training process did not continue as it must."""


class TrainingProgress:
    """Progress of a training process, parsed from its output.

    Attributes:
        step: Last step that it reported.
        resumed: Step that it resumed from.
        lines: Its output.
        exported: Whether it found a complete model.
    """

    def __init__(self) -> None:
        """Start without output."""
        self.step = self.resumed = 0
        self.lines: list[str] = []
        self.exported = False

    def read_line(self, line: str) -> None:
        """Parse one line of output."""
        self.lines.append(line)
        if found := _RESUMING.match(line) or _ENDED.match(line):
            self.resumed = self.step = int(found[1].replace(",", ""))
        if found := _STEP.match(line):
            self.step = int(found[1].replace(",", ""))
        self.exported |= line.startswith(_EXPORTED)

    @property
    def last_lines(self) -> str:
        """Last three lines, for error messages."""
        return " ".join(self.lines[-3:]).strip()


class TrainingProcess(TrainingProgress):
    """One process of `training.finetune`."""

    def __init__(self, folder: Path, options: argparse.Namespace, end: int = MANY_STEPS) -> None:
        """Start the process and a thread that reads its output."""
        super().__init__()
        self._end, self._closed = end, False
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            _command_line(folder, options, end),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._changed:
                self.read_line(line)
                self._changed.notify_all()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait_for_a_step(self) -> None:
        """Wait until it trains.

        Raises:
            KillError: It ended before, or it takes too long.
        """
        self._wait(lambda: self.step > self.resumed, "learn")

    def wait_for_the_export(self) -> None:
        """Wait for its last step, or for the report that the run had ended.

        Raises:
            KillError: It ended before, or it takes too long.
        """
        self._wait(lambda: self.exported or self.step >= self._end, "come to its export")

    def _wait(self, until: Callable[[], bool], action: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: until() or self._closed, _TIMEOUT_S)
            reached = until()
        if not reached:
            self._stop()
            raise KillError(f"A process did not {action}; it said: {self.last_lines}")

    def is_running_after(self, seconds: float) -> bool:
        """Wait for some seconds or its end; return whether it still runs."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether it ended with status 0."""
        return self._process.poll() == 0

    def wait_for_the_end(self, timeout_s: float = _TIMEOUT_S) -> None:
        """Wait until it ends by itself.

        Raises:
            KillError: It failed, or it takes too long.
        """
        self.is_running_after(timeout_s)
        ended = self.has_ended
        self._stop()
        if not ended:
            raise KillError(f"A process did not write its model; it said: {self.last_lines}")

    def kill(self) -> None:
        """Kill it and its workers with SIGKILL.

        Raises:
            KillError: It had ended already.
        """
        ended = self._process.poll() is not None
        self._stop()
        if ended:
            raise KillError(f"A process ended by itself; it said: {self.last_lines}")

    def terminate(self) -> float:
        """Send SIGTERM; return the seconds until it ended.

        Raises:
            KillError: It ended otherwise than by saving and stopping.
        """
        begin = time.monotonic()
        self._process.terminate()
        self.is_running_after(_TIMEOUT_S)
        seconds, status = time.monotonic() - begin, self._process.poll()
        self._stop()
        if status != SIGTERM_STATUS:
            raise KillError(
                f"A process that got SIGTERM ended with status {status}; it said: {self.last_lines}"
            )
        return seconds

    def _stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()


def _command_line(folder: Path, options: argparse.Namespace, end: int) -> list[str]:
    """Return the command line of a training process."""
    words = finetune_arguments(
        folder, end=end, save_steps=options.save_steps, eval_steps=options.eval_steps
    )
    return [sys.executable, "-m", "training.finetune", *words]


def finetune_arguments(folder: Path, *, end: int, save_steps: int, eval_steps: int) -> list[str]:
    """Return arguments of `training.finetune` for a tiny network and the example files.

    The learning rate is constant, so it does not depend on the last step; it is high, so that the
    weights of two runs differ if their data does.

    Args:
        folder: Of the run.
        end: Last step.
        save_steps: Steps between two checkpoints.
        eval_steps: Steps between two evaluations; divides save_steps.
    """
    examples = Path(musiclstm.__file__).parent / "examples"
    return [
        *("--data", str(examples), "--output_dir", str(folder), "--model", "scratch"),
        *("--hidden_size", "32", "--num_hidden_layers", "1"),
        *("--window", "32", "--max_steps", str(end), "--save_steps", str(save_steps)),
        *("--learning_rate", "0.01", "--lr_scheduler_type", "constant", "--warmup_steps", "0"),
        *("--eval_strategy", "steps", "--eval_steps", str(eval_steps)),
        *("--eval_on_start", "false", "--load_best_model_at_end", "true"),
        *("--save_total_limit", "2", "--ema_decay", "0.9"),
        *("--logging_steps", "1", "--samples", "0", "--report_to", "none"),
        *("--per_device_train_batch_size", "2", "--bf16", "false", "--disable_tqdm", "true"),
        *("--workers", "1"),
    ]


def digests(run: Path) -> dict[str, str]:
    """Return SHA-256 digests of the exported model and of the last checkpoint."""
    last = checkpoints(run)[-1]
    paths = [run / WEIGHTS_FILE, *(last / name for name in _COMPARED_FILES)]
    return {str(path.relative_to(run)): sha256(path.read_bytes()).hexdigest() for path in paths}
