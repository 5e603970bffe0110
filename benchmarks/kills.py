"""`python -m benchmarks.kills`: a training run, killed again and again at random moments.

Each session is a process of its own that learns, evaluates, averages its weights and saves, ended
by `kill -9`: most of them some random time after their first step, some while they load and resume.
The next one must go on from the newest whole checkpoint, which lies at most one save interval back.
At last the run is killed while it exports its model, and then left alone: the model must be there.
A tiny network that saves every few steps spends much of its time saving, so that many kills strike
there.
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import musiclstm
from benchmarks.reporting import Report, ReportError, parser, run
from musiclstm.checkpoint import load_checkpoint, read_facts
from musiclstm.errors import MusicLSTMError
from training.checkpoints import checkpoints, damage, step_of

_STEP = re.compile(r"^step ([\d,]+) of ")
_GOING_ON = re.compile(r"^Going on from checkpoint-(\d+)\.")
_ENDED = re.compile(r"^The run had ended at step ([\d,]+);")
_EXPORTED = "This run has ended "
_STEPS = 1_000_000  # more than there will ever be time for
_PATIENCE_S = 300.0
_EARLY = 0.4  # share of the kills that may strike before the first step
_EXPORT_KILLS = 3
_EXPORT_S = 1.0  # what it takes a small network, from its last step on
_STEPS_TO_EXPORT = 3  # from where the killed sessions got to


class KillError(MusicLSTMError):
    """A session did not go on as it should have."""


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where a session lost too much."""
    options = parser("benchmarks.kills", "Kill a training run and resume it.", data=False)
    options.add_argument("--kills", type=int, default=20, help="how often, before the export (20)")
    options.add_argument("--save_steps", type=int, default=6, help="the save interval (6)")
    options.add_argument("--eval_steps", type=int, default=3, help="a divisor of it (3)")
    options.add_argument("--seconds", type=float, default=3.0, help="the longest delay (3)")
    options.add_argument("--seed", type=int, default=0, help="of the random delays (0)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Kill, look at what is left, resume, so many times; then let the run write its model."""
    if options.kills < 1 or options.save_steps < 1:
        raise ReportError("--kills and --save_steps must be 1 or more.")
    if options.eval_steps < 1 or options.save_steps % options.eval_steps:
        raise ReportError("--eval_steps must divide --save_steps.")
    with tempfile.TemporaryDirectory() as name:
        ordeal = Ordeal(Path(name) / "run", options)
        for _ in range(options.kills):
            ordeal.strike()
        export = ordeal.finish()
    return _report(options, ordeal.sessions, export)


class Ordeal:
    """A run whose sessions are killed.

    Attributes:
        sessions: What each of them lost, where it got to, and what its end left behind.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        """Take the folder of the run, which is not there yet."""
        self.sessions: list[dict[str, Any]] = []
        self._folder, self._options = folder, options
        self._chance = random.Random(options.seed)
        self._reached = self._newest = 0
        self._loading_s = 0.0

    def strike(self) -> None:
        """One session, killed while it loads or while it learns."""
        early = bool(self.sessions) and self._chance.random() < _EARLY
        session = Session(self._folder, self._options)
        if early:
            time.sleep(self._chance.uniform(0, self._loading_s))
        else:
            begin = time.monotonic()
            session.wait_for_a_step()
            self._loading_s = time.monotonic() - begin
            time.sleep(self._chance.uniform(0, self._options.seconds))
        session.kill()
        learned = session.step > session.resumed
        told = {"struck": "while learning" if learned else "while loading"} | self._judge(session)
        left = what_is_left(self._folder)
        self._newest = left["newest"]
        self.sessions.append(told | {"reached": session.step, "left": left})

    def _judge(self, session: Session) -> dict[str, Any]:
        """What a session lost of the one before; nothing is known of one that told nothing.

        Raises:
            KillError: It lost too much.
        """
        if not session.step:
            return {"resumed": None, "lost": None}
        number, lost = len(self.sessions), self._reached - session.resumed
        if lost > self._options.save_steps:
            raise KillError(f"Session {number} lost {lost} steps, more than one save interval.")
        if session.resumed != self._newest:
            raise KillError(
                f"Session {number} went on from step {session.resumed}, and the newest whole "
                f"checkpoint was that of step {self._newest}."
            )
        self._reached = session.step
        return {"resumed": session.resumed, "lost": lost}

    def finish(self) -> dict[str, Any]:
        """A few steps more and the export: killed there, then left alone.

        Raises:
            KillError: The model is not written, or is not that of the last step.
        """
        end = max(self._reached, self._newest) + _STEPS_TO_EXPORT
        lost, kills = [], 0
        for number in range(_EXPORT_KILLS + 1):
            session = Session(self._folder, self._options, end)
            session.wait_for_the_export()
            delay_s = self._chance.uniform(0, _EXPORT_S)
            if number == _EXPORT_KILLS or session.exported or not session.runs_for(delay_s):
                session.wait_for_the_end()
            else:
                session.kill()
                kills += 1
            lost.append(self._judge(session)["lost"])
            self._newest = what_is_left(self._folder)["newest"]
            if session.has_ended:
                break
        return {"kills": kills, "lost": lost} | self._model(end)

    def _model(self, end: int) -> dict[str, Any]:
        load_checkpoint(self._folder)
        facts = read_facts(self._folder)
        step = facts["runs"][-1]["steps"]
        if step != end:
            raise KillError(f"The model is that of step {step}, and the run ended at {end}.")
        return {"step": step, "valid_bits_per_note": facts["valid"]["bits_per_note"]}


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
        said: Its lines.
        exported: Whether it found the model written by the session before.
    """

    def __init__(self, folder: Path, options: argparse.Namespace, end: int = _STEPS) -> None:
        """Start it, and read what it says while it runs."""
        self.step = self.resumed = 0
        self.said: list[str] = []
        self.exported = False
        self._end, self._silent = end, False
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            _command(folder, options, end),
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
                self._hear(line)
                self._heard.notify_all()
        with self._heard:
            self._silent = True
            self._heard.notify_all()

    def _hear(self, line: str) -> None:
        self.said.append(line)
        if found := _GOING_ON.match(line) or _ENDED.match(line):
            self.resumed = self.step = int(found[1].replace(",", ""))
        if found := _STEP.match(line):
            self.step = int(found[1].replace(",", ""))
        self.exported |= line.startswith(_EXPORTED)

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
            raise KillError(f"A session did not {deed}; it said: {self._last_words()}")

    def runs_for(self, seconds: float) -> bool:
        """Wait so long, or until it ends; whether it still runs."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.has_ended

    @property
    def has_ended(self) -> bool:
        """Whether it came to its own end, and a good one."""
        return self._process.poll() == 0

    def wait_for_the_end(self) -> None:
        """Until it ends by itself.

        Raises:
            KillError: It failed, or it takes too long.
        """
        self.runs_for(_PATIENCE_S)
        ended = self.has_ended
        self._stop()
        if not ended:
            raise KillError(f"A session did not write its model; it said: {self._last_words()}")

    def kill(self) -> None:
        """End it as a power cut would, its helpers too.

        Raises:
            KillError: It had ended already.
        """
        ended = self._process.poll() is not None
        self._stop()
        if ended:
            raise KillError(f"A session ended by itself; it said: {self._last_words()}")

    def _stop(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        if self._process.stdout:
            self._process.stdout.close()

    def _last_words(self) -> str:
        return " ".join(self.said[-3:]).strip()


def _command(folder: Path, options: argparse.Namespace, end: int) -> list[str]:
    seeds = Path(musiclstm.__file__).parent / "seeds"
    return [
        *(sys.executable, "-m", "training.finetune", "--data", str(seeds)),
        *("--output_dir", str(folder), "--model", "scratch", "--hidden_size", "32"),
        *("--num_hidden_layers", "1", "--vocab_size", "720", "--window", "32"),
        *("--max_steps", str(end), "--save_steps", str(options.save_steps)),
        *("--eval_strategy", "steps", "--eval_steps", str(options.eval_steps)),
        *("--eval_on_start", "false", "--load_best_model_at_end", "true"),
        *("--save_total_limit", "2", "--ema_decay", "0.9"),
        *("--logging_steps", "1", "--samples", "0", "--report_to", "none"),
        *("--per_device_train_batch_size", "2", "--bf16", "false", "--disable_tqdm", "true"),
        *("--workers", "1"),
    ]


def _report(
    options: argparse.Namespace, sessions: list[dict[str, Any]], export: dict[str, Any]
) -> Report:
    told = [each["lost"] for each in sessions[1:]] + export["lost"]
    lost = [steps for steps in told if steps is not None]
    learning = [each for each in sessions if each["struck"] == "while learning"]
    torn = sum(each["left"]["torn"] for each in learning)
    facts = {
        "kills": len(sessions),
        "kills_while_loading": len(sessions) - len(learning),
        "kills_while_exporting": export["kills"],
        "save_steps": options.save_steps,
        "eval_steps": options.eval_steps,
        "seed": options.seed,
        "lost_at_most": max(lost),
        "lost_in_the_mean": round(sum(lost) / len(lost), 2),
        "torn_checkpoints_left_out": torn,
        "sessions": sessions,
        "export": export,
    }
    return Report(
        f"{len(sessions)} kills, {facts['kills_while_loading']} of them before the first step, and "
        f"{export['kills']} during the export; saved every {options.save_steps} steps, lost at "
        f"most {max(lost)} (mean {facts['lost_in_the_mean']}); {torn} checkpoints were torn by a "
        f"kill and left out, none that counted was unreadable; the model of step {export['step']} "
        "was written and can be loaded.",
        facts,
    )


if __name__ == "__main__":
    sys.exit(main())
