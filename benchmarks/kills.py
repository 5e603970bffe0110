"""`python -m benchmarks.kills`: a training run, killed again and again at random moments.

Each session is a process of its own, ended by `kill -9` some random time after its first step; the
next one must go on from a whole checkpoint that lies at most one save interval back. A tiny network
that saves every few steps spends much of its time saving, so that many kills strike there.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import musiclstm
from benchmarks.reporting import Report, ReportError, parser, run
from musiclstm.checkpoint import load_checkpoint
from musiclstm.errors import MusicLSTMError
from training.checkpoints import checkpoints, damage, step_of

_STEP = re.compile(r"^step ([\d,]+) of ")
_GOING_ON = re.compile(r"^Going on from checkpoint-(\d+)\.")
_STEPS = 1_000_000  # more than there will ever be time for
_PATIENCE_S = 300.0


class KillError(MusicLSTMError):
    """A session did not go on as it should have."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where a session lost too much."""
    options = parser("benchmarks.kills", "Kill a training run and resume it.", data=False)
    options.add_argument("--kills", type=int, default=20, help="how often (20)")
    options.add_argument("--save_steps", type=int, default=5, help="the save interval (5)")
    options.add_argument("--seconds", type=float, default=3.0, help="the longest delay (3)")
    options.add_argument("--seed", type=int, default=0, help="of the random delays (0)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Kill, look at what is left, resume; so many times."""
    if options.kills < 1 or options.save_steps < 1:
        raise ReportError("--kills and --save_steps must be 1 or more.")
    chance, reached = random.Random(options.seed), 0
    sessions: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        for number in range(options.kills + 1):
            session = Session(folder, options.save_steps)
            session.wait_for_a_step()
            lost = reached - session.resumed
            if lost > options.save_steps:
                session.kill()
                raise KillError(f"Session {number} lost {lost} steps, more than one save interval.")
            if number:
                sessions.append({"reached": reached, "resumed": session.resumed, "lost": lost})
            time.sleep(chance.uniform(0, options.seconds))
            session.kill()
            reached = session.step
            if sessions:
                sessions[-1]["left"] = what_is_left(folder)
    return _report(options, sessions)


def what_is_left(folder: Path) -> dict[str, int]:
    """Whole and torn checkpoints after a kill; every whole one is loaded.

    Raises:
        CheckpointError: One that says it is whole cannot be read.
    """
    whole = [path for path in checkpoints(folder) if damage(path) is None]
    for path in whole:
        load_checkpoint(path)
    newest = step_of(whole[-1]) if whole else 0
    return {"whole": len(whole), "torn": len(checkpoints(folder)) - len(whole), "newest": newest}


class Session:
    """One process of the run.

    Attributes:
        step: The last step it told of.
        resumed: The step it went on from.
    """

    def __init__(self, folder: Path, save_steps: int) -> None:
        """Start it, and read what it says while it runs."""
        self.step = self.resumed = 0
        self.said: list[str] = []
        self._began = threading.Event()
        self._process = subprocess.Popen(
            _command(folder, save_steps),
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
            self.said.append(line)
            if found := _GOING_ON.match(line):
                self.resumed = self.step = int(found[1])
            if found := _STEP.match(line):
                self.step = int(found[1].replace(",", ""))
                self._began.set()
        self._began.set()

    def wait_for_a_step(self) -> None:
        """Until it learns.

        Raises:
            KillError: It ended before, or it takes too long.
        """
        began = self._began.wait(_PATIENCE_S)
        if not began or self.step == self.resumed:
            self.kill()
            raise KillError(f"A session did not learn; it said: {' '.join(self.said[-3:]).strip()}")

    def kill(self) -> None:
        """End it as a power cut would, its helpers too."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()


def _command(folder: Path, save_steps: int) -> list[str]:
    seeds = Path(musiclstm.__file__).parent / "seeds"
    every = str(save_steps)
    return [
        *(sys.executable, "-m", "training.finetune", "--data", str(seeds)),
        *("--output_dir", str(folder), "--model", "scratch", "--hidden_size", "32"),
        *("--num_hidden_layers", "1", "--vocab_size", "720", "--window", "32"),
        *("--max_steps", str(_STEPS), "--save_steps", every),
        *("--eval_strategy", "no", "--load_best_model_at_end", "false"),
        *("--logging_steps", "1", "--samples", "0", "--report_to", "none"),
        *("--per_device_train_batch_size", "2", "--bf16", "false", "--disable_tqdm", "true"),
        *("--workers", "1"),
    ]


def _report(options: argparse.Namespace, sessions: list[dict[str, Any]]) -> Report:
    lost = [each["lost"] for each in sessions]
    torn = sum(each.get("left", {}).get("torn", 0) for each in sessions)
    facts = {
        "kills": len(sessions),
        "save_steps": options.save_steps,
        "seed": options.seed,
        "lost_at_most": max(lost),
        "lost_in_the_mean": round(sum(lost) / len(lost), 2),
        "torn_checkpoints_left_out": torn,
        "sessions": sessions,
    }
    return Report(
        f"{len(sessions)} kills, {len(sessions)} resumes; saved every {options.save_steps} steps, "
        f"lost at most {max(lost)} (mean {facts['lost_in_the_mean']}); {torn} checkpoints were "
        "torn by a kill and left out, none that counted was unreadable.",
        facts,
    )


if __name__ == "__main__":
    sys.exit(main())
