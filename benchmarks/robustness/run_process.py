"""One session of a training run, as a process that can be waited for, asked to stop, and killed.

Knows nothing of what the run should have learnt; it hears what the session says.
"""

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
_LEARNT = (WEIGHTS_FILE, AVERAGE_FILE, "lstm_state_0.safetensors")
_PATIENCE_S = 300.0


class KillError(MusicLSTMError):
    """A session did not go on as it should have."""


class Account:
    """How far a session got, by what it says.

    Attributes:
        step: The last step it told of.
        resumed: The step it went on from.
        said: Its lines.
        exported: Whether it found the model written by the session before.
    """

    def __init__(self) -> None:
        """Nothing is said yet."""
        self.step = self.resumed = 0
        self.said: list[str] = []
        self.exported = False

    def hear(self, line: str) -> None:
        """Take in one line."""
        self.said.append(line)
        if found := _RESUMING.match(line) or _ENDED.match(line):
            self.resumed = self.step = int(found[1].replace(",", ""))
        if found := _STEP.match(line):
            self.step = int(found[1].replace(",", ""))
        self.exported |= line.startswith(_EXPORTED)

    @property
    def last_words(self) -> str:
        """Its last lines, for a sentence about what went wrong."""
        return " ".join(self.said[-3:]).strip()


class Session(Account):
    """One process of the run."""

    def __init__(self, folder: Path, options: argparse.Namespace, end: int = MANY_STEPS) -> None:
        """Start it, and read what it says while it runs."""
        super().__init__()
        self._end, self._silent = end, False
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            start(folder, options, end),
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
            with self._heard:
                self.hear(line)
                self._heard.notify_all()
        with self._heard:
            self._silent = True
            self._heard.notify_all()

    def wait_for_a_step(self) -> None:
        """Until it learns.

        Raises:
            KillError: It ended before, or it takes too long.
        """
        self._wait(lambda: self.step > self.resumed, "learn")

    def wait_for_the_export(self) -> None:
        """Until it has told of its last step, or that the run has ended.

        Raises:
            KillError: It ended before, or it takes too long.
        """
        self._wait(lambda: self.exported or self.step >= self._end, "come to its export")

    def _wait(self, until: Callable[[], bool], deed: str) -> None:
        with self._heard:
            self._heard.wait_for(lambda: until() or self._silent, _PATIENCE_S)
            reached = until()
        if not reached:
            self._stop()
            raise KillError(f"A session did not {deed}; it said: {self.last_words}")

    def runs_for(self, seconds: float) -> bool:
        """Wait so long, or until it ends; whether it still runs."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether it came to its own end, and a good one."""
        return self._process.poll() == 0

    def wait_for_the_end(self, patience_s: float = _PATIENCE_S) -> None:
        """Until it ends by itself.

        Raises:
            KillError: It failed, or it takes too long.
        """
        self.runs_for(patience_s)
        ended = self.has_ended
        self._stop()
        if not ended:
            raise KillError(f"A session did not write its model; it said: {self.last_words}")

    def kill(self) -> None:
        """End it as a power cut would, its helpers too.

        Raises:
            KillError: It had ended already.
        """
        ended = self._process.poll() is not None
        self._stop()
        if ended:
            raise KillError(f"A session ended by itself; it said: {self.last_words}")

    def ask(self) -> float:
        """Ask it to stop (SIGTERM); how many seconds it took.

        Raises:
            KillError: It ended otherwise than by saving and stopping.
        """
        begin = time.monotonic()
        self._process.terminate()
        self.runs_for(_PATIENCE_S)
        seconds, status = time.monotonic() - begin, self._process.poll()
        self._stop()
        if status != SIGTERM_STATUS:
            raise KillError(
                f"A session that was asked to stop ended with status {status}; it said: "
                f"{self.last_words}"
            )
        return seconds

    def _stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()


def start(folder: Path, options: argparse.Namespace, end: int) -> list[str]:
    """The words that start a session."""
    words = command(folder, end=end, save_steps=options.save_steps, eval_steps=options.eval_steps)
    return [sys.executable, "-m", "training.finetune", *words]


def command(folder: Path, *, end: int, save_steps: int, eval_steps: int) -> list[str]:
    """What `training.finetune` is told: a tiny network that learns the bundled seeds.

    Its learning rate does not follow from where it ends, so that a run whose sessions had another
    end in view learns the same. It learns fast: weights that hardly move would be alike anyway.

    Args:
        folder: Of the run.
        end: The last step.
        save_steps: Steps between two checkpoints.
        eval_steps: Steps between two evaluations, a divisor of it.
    """
    seeds = Path(musiclstm.__file__).parent / "examples"
    return [
        *("--data", str(seeds), "--output_dir", str(folder), "--model", "scratch"),
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
    """SHA-256 of the model of a run that has ended, and of what its last checkpoint learnt."""
    last = checkpoints(run)[-1]
    paths = [run / WEIGHTS_FILE, *(last / name for name in _LEARNT)]
    return {str(path.relative_to(run)): sha256(path.read_bytes()).hexdigest() for path in paths}
