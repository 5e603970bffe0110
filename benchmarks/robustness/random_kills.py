"""`python -m benchmarks.robustness.random_kills`: kill a training run at random moments.

Each process trains, evaluates, averages its weights and saves until `kill -9`: most at a random
time after the first step, some while they load. The next process must resume from the newest valid
checkpoint, at most one save interval back. Then some processes get SIGTERM, which must not lose a
step. Finally the run is killed during its export and run to its end. The model must equal that of
an uninterrupted run bit for bit. `benchmarks.robustness.kill_at_every_write` covers every file
event.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common.report import Report, ReportError, parser, run
from benchmarks.robustness.run_process import KillError, TrainingProcess, digests
from musiclstm.cli import run_command
from musiclstm.model import load_checkpoint, read_facts
from training.trainer.checkpoints import checkpoints, step_of, validation_error

_SHARE_WHILE_LOADING = 0.4  # share of the kills that may strike before the first step
_EXPORT_KILLS = 3
_EXPORT_S = 1.0  # what it takes a small network, from its last step on
_STEPS_TO_EXPORT = 3  # from where the killed sessions got to
_UNINTERRUPTED_S = 6 * 3600.0


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after an error, such as too many lost steps."""
    options = parser(
        "benchmarks.robustness.random_kills", "Kill a training run and resume it.", data=False
    )
    options.add_argument("--kills", type=int, default=20, help="how often, before the export (20)")
    options.add_argument("--stops", type=int, default=6, help="how often it is asked to stop (6)")
    options.add_argument("--save_steps", type=int, default=6, help="the save interval (6)")
    options.add_argument("--eval_steps", type=int, default=3, help="a divisor of it (3)")
    options.add_argument("--seconds", type=float, default=3.0, help="the longest delay (3)")
    options.add_argument("--seed", type=int, default=0, help="of the random delays (0)")
    return run(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Kill and resume, terminate and resume, export, and compare with an uninterrupted run."""
    if options.kills < 1 or options.save_steps < 1:
        raise ReportError("--kills and --save_steps must be 1 or more.")
    if options.stops < 0:
        raise ReportError(f"--stops must be 0 or more, got {options.stops}.")
    if options.eval_steps < 1 or options.save_steps % options.eval_steps:
        raise ReportError("--eval_steps must divide --save_steps.")
    with tempfile.TemporaryDirectory() as name:
        killed = KilledRun(Path(name) / "run", options)
        for _ in range(options.kills):
            killed.kill_once()
        stops = [killed.terminate_once() for _ in range(options.stops)]
        export = killed.kill_during_export()
        export["sha256"] = killed.compare_with_uninterrupted(
            Path(name) / "uninterrupted", export["step"]
        )
    return _report(options, killed.sessions, stops, export)


class KilledRun:
    """A run whose processes are killed.

    Attributes:
        sessions: For each process the steps lost, the step reached, and the checkpoints left.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        """Set the folder of the run; it does not exist yet."""
        self.sessions: list[dict[str, Any]] = []
        self._folder, self._options = folder, options
        self._random = random.Random(options.seed)
        self._reached = self._newest = 0
        self._loading_s = 0.0

    def kill_once(self) -> None:
        """Start a process and kill it while it loads or trains."""
        early = bool(self.sessions) and self._random.random() < _SHARE_WHILE_LOADING
        session = TrainingProcess(self._folder, self._options)
        if early:
            time.sleep(self._random.uniform(0, self._loading_s))
        else:
            begin = time.monotonic()
            session.wait_for_a_step()
            self._loading_s = time.monotonic() - begin
            time.sleep(self._random.uniform(0, self._options.seconds))
        session.kill()
        learned = session.step > session.resumed
        result = {"killed": "while training" if learned else "while loading"} | self._check_loss(
            session
        )
        left = count_checkpoints(self._folder)
        self._newest = left["newest"]
        self.sessions.append(result | {"reached": session.step, "left": left})

    def terminate_once(self) -> dict[str, Any]:
        """Start a process and send SIGTERM while it trains.

        Raises:
            KillError: The newest valid checkpoint is not that of the last step.
        """
        session = TrainingProcess(self._folder, self._options)
        session.wait_for_a_step()
        time.sleep(self._random.uniform(0, self._options.seconds))
        seconds = session.terminate()
        result = self._check_loss(session)
        self._newest = count_checkpoints(self._folder)["newest"]
        if self._newest != session.step:
            raise KillError(
                f"A process got SIGTERM at step {session.step}, and the newest whole "
                f"checkpoint is that of step {self._newest}."
            )
        return result | {"reached": session.step, "seconds": round(seconds, 1)}

    def compare_with_uninterrupted(self, folder: Path, end: int) -> str:
        """Train without interruption in another folder; return the digest of the model.

        Raises:
            KillError: The models, or their last checkpoints, are not the same bit for bit.
        """
        TrainingProcess(folder, self._options, end).wait_for_the_end(_UNINTERRUPTED_S)
        whole, ours = digests(folder), digests(self._folder)
        if others := [name for name in whole if ours.get(name) != whole[name]]:
            raise KillError(
                f"The killed run ended with another {' and another '.join(others)} than a run of "
                f"{end} steps without interruption."
            )
        return whole["model.safetensors"]

    def _check_loss(self, session: TrainingProcess) -> dict[str, Any]:
        """Return the steps lost since the process before; None if the process reported nothing.

        Raises:
            KillError: It lost too much.
        """
        if not session.step:
            return {"resumed": None, "lost": None}
        number, lost = len(self.sessions), self._reached - session.resumed
        if lost > self._options.save_steps:
            raise KillError(f"Process {number} lost {lost} steps, more than one save interval.")
        if session.resumed != self._newest:
            raise KillError(
                f"Process {number} resumed from step {session.resumed}, and the newest whole "
                f"checkpoint was that of step {self._newest}."
            )
        self._reached = session.step
        return {"resumed": session.resumed, "lost": lost}

    def kill_during_export(self) -> dict[str, Any]:
        """Train a few steps more and export; kill some exports, then let one finish.

        Raises:
            KillError: The model is not written, or is not that of the last step.
        """
        end = max(self._reached, self._newest) + _STEPS_TO_EXPORT
        lost, kills = [], 0
        for number in range(_EXPORT_KILLS + 1):
            session = TrainingProcess(self._folder, self._options, end)
            session.wait_for_the_export()
            delay_s = self._random.uniform(0, _EXPORT_S)
            if number == _EXPORT_KILLS or session.exported or not session.is_running_after(delay_s):
                session.wait_for_the_end()
            else:
                session.kill()
                kills += 1
            lost.append(self._check_loss(session)["lost"])
            self._newest = count_checkpoints(self._folder)["newest"]
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


def count_checkpoints(folder: Path) -> dict[str, int]:
    """Count valid and torn checkpoints; load every valid one.

    Raises:
        CheckpointError: One that says it is whole cannot be read.
    """
    whole = [path for path in checkpoints(folder) if validation_error(path) is None]
    for path in whole:
        load_checkpoint(path)
    newest = step_of(whole[-1]) if whole else 0
    return {"whole": len(whole), "torn": len(checkpoints(folder)) - len(whole), "newest": newest}


def _report(
    options: argparse.Namespace,
    sessions: list[dict[str, Any]],
    stops: list[dict[str, Any]],
    export: dict[str, Any],
) -> Report:
    result = [each["lost"] for each in [*sessions[1:], *stops[:1]]] + export["lost"]
    lost = [steps for steps in result if steps is not None]
    training = [each for each in sessions if each["killed"] == "while training"]
    torn = sum(each["left"]["torn"] for each in training)
    facts = {
        "kills": len(sessions),
        "kills_while_loading": len(sessions) - len(training),
        "kills_while_exporting": export["kills"],
        "stops": stops,
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
        f"kill and left out, none that counted was unreadable; {_stops(stops)}the model of step "
        f"{export['step']} is bit for bit that of an uninterrupted run "
        f"(SHA-256 {export['sha256'][:12]}…).",
        facts,
    )


def _stops(stops: list[dict[str, Any]]) -> str:
    if not stops:
        return ""
    slowest = max(each["seconds"] for each in stops)
    return f"{len(stops)} stops on SIGTERM lost 0 steps and took at most {slowest} s; "


if __name__ == "__main__":
    sys.exit(run_command(main))
