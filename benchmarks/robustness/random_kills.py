"""`python -m benchmarks.robustness.random_kills`: a training run, killed again and again at random moments.

Each session is a process of its own that learns, evaluates, averages its weights and saves, ended
by `kill -9`: most of them some random time after their first step, some while they load and resume.
The next one must go on from the newest whole checkpoint, which lies at most one save interval back.
Then some sessions are asked to stop (SIGTERM), which must cost not one step. At last the run is
killed while it exports its model, and then left alone: the model must be there, and be bit for bit
that of a run which nobody disturbed. A tiny network that saves every few steps spends much of its
time saving, so that many kills strike there; `benchmarks.robustness.kill_at_every_write` strikes at every file.
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
from benchmarks.robustness.run_process import KillError, Session, digests
from musiclstm.model import load_checkpoint, read_facts
from training.trainer.checkpoints import checkpoints, step_of, validation_error

_EARLY = 0.4  # share of the kills that may strike before the first step
_EXPORT_KILLS = 3
_EXPORT_S = 1.0  # what it takes a small network, from its last step on
_STEPS_TO_EXPORT = 3  # from where the killed sessions got to
_UNDISTURBED_S = 6 * 3600.0


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence where a session lost too much."""
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
    """Kill, look at what is left, resume, so many times; then let the run end, and compare."""
    if options.kills < 1 or options.save_steps < 1:
        raise ReportError("--kills and --save_steps must be 1 or more.")
    if options.stops < 0:
        raise ReportError(f"--stops must be 0 or more, got {options.stops}.")
    if options.eval_steps < 1 or options.save_steps % options.eval_steps:
        raise ReportError("--eval_steps must divide --save_steps.")
    with tempfile.TemporaryDirectory() as name:
        ordeal = Ordeal(Path(name) / "run", options)
        for _ in range(options.kills):
            ordeal.strike()
        stops = [ordeal.stop() for _ in range(options.stops)]
        export = ordeal.finish()
        export["sha256"] = ordeal.compare(Path(name) / "undisturbed", export["step"])
    return _report(options, ordeal.sessions, stops, export)


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

    def stop(self) -> dict[str, Any]:
        """One session that is asked to stop while it learns.

        Raises:
            KillError: What it learnt is not all in a whole checkpoint.
        """
        session = Session(self._folder, self._options)
        session.wait_for_a_step()
        time.sleep(self._chance.uniform(0, self._options.seconds))
        seconds = session.ask()
        told = self._judge(session)
        self._newest = what_is_left(self._folder)["newest"]
        if self._newest != session.step:
            raise KillError(
                f"A session was asked to stop at step {session.step}, and the newest whole "
                f"checkpoint is that of step {self._newest}."
            )
        return told | {"reached": session.step, "seconds": round(seconds, 1)}

    def compare(self, folder: Path, end: int) -> str:
        """Let the same run learn undisturbed in another folder; the digest of both models.

        Raises:
            KillError: The models, or their last checkpoints, are not the same bit for bit.
        """
        Session(folder, self._options, end).wait_for_the_end(_UNDISTURBED_S)
        whole, ours = digests(folder), digests(self._folder)
        if others := [name for name in whole if ours.get(name) != whole[name]]:
            raise KillError(
                f"The killed run ended with another {' and another '.join(others)} than a run of "
                f"{end} steps that nobody disturbed."
            )
        return whole["model.safetensors"]

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
    told = [each["lost"] for each in [*sessions[1:], *stops[:1]]] + export["lost"]
    lost = [steps for steps in told if steps is not None]
    learning = [each for each in sessions if each["struck"] == "while learning"]
    torn = sum(each["left"]["torn"] for each in learning)
    facts = {
        "kills": len(sessions),
        "kills_while_loading": len(sessions) - len(learning),
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
        f"{export['step']} is bit for bit that of a run which nobody disturbed "
        f"(SHA-256 {export['sha256'][:12]}…).",
        facts,
    )


def _stops(stops: list[dict[str, Any]]) -> str:
    if not stops:
        return ""
    slowest = max(each["seconds"] for each in stops)
    return f"{len(stops)} stops on SIGTERM lost 0 steps and took at most {slowest} s; "


if __name__ == "__main__":
    sys.exit(main())
