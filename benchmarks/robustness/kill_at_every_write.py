"""`python -m benchmarks.robustness.kill_at_every_write`: kill a training run at every file event.

A run without faults records its file events: each file that is opened, synced, renamed or removed
while it starts, saves checkpoints, removes old ones and exports its model. For each event a new run
is killed before it, and, where a file is written, with half of the file on disk. The resumed run
may lose at most one save interval and must end with the same weights bit for bit. At some events
the run gets SIGTERM instead. The learning curve is not drawn, because nothing is resumed from it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.common.report import Report, ReportError, parser, table
from benchmarks.common.report import run as report
from benchmarks.robustness.fault_injection import Fault, Mode, run, writes_file
from benchmarks.robustness.run_process import (
    KillError,
    TrainingProgress,
    digests,
    finetune_arguments,
)
from musiclstm.cli import run_command
from training.errors import SIGTERM_STATUS

_SAVE_STEPS = 2
_END = 6  # the third checkpoint makes an older one go
_KILLED = -9
# Stopped; ended at once, where nothing is learnt yet or any more; or at its end anyway.
_AFTER_SIGTERM = {SIGTERM_STATUS, -15, 0}
Item = TypeVar("Item")
_MODES: tuple[Mode, ...] = ("before", "torn", "term")


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 after the first fault that a run did not survive."""
    options = parser(
        "benchmarks.robustness.kill_at_every_write",
        "Kill a training run at every file event.",
        data=False,
    )
    options.add_argument("--points", type=int, help="so many kills, evenly_spaced evenly (all)")
    options.add_argument("--stops", type=int, default=6, help="so many SIGTERMs (6)")
    return report(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """Run without faults, then with each fault."""
    if (options.points is not None and options.points < 1) or options.stops < 0:
        raise ReportError("--points must be 1 or more, and --stops 0 or more.")
    if not Path("/proc/self/fd").is_dir():
        raise ReportError("kill_at_every_write needs /proc to name open files; run it on Linux.")
    with tempfile.TemporaryDirectory() as name:
        runs = FaultyRuns(Path(name).resolve())
        kills = all_faults(runs.events)
        chosen = kills if options.points is None else evenly_spaced(kills, options.points)
        stops = [Fault("term", n) for n in evenly_spaced(range(len(runs.events)), options.stops)]
        results = [runs.run_with_fault(fault) for fault in [*chosen, *stops]]
    return _report(runs, results)


def all_faults(events: Sequence[str]) -> list[Fault]:
    """Return every way to be killed at these events.

    Of several `fsync` in a row only the first counts, because no file changes between them.
    """
    changed = [not both_sync for both_sync in map(_both_sync, ["", *events], events)]
    before = [Fault("before", number) for number, yes in enumerate(changed) if yes]
    torn = [Fault("torn", n) for n, event in enumerate(events[:-1]) if writes_file(event)]
    return sorted([*before, *torn], key=lambda fault: fault.number)


def _both_sync(one: str, next_one: str) -> bool:
    return one.startswith("fsync ") and next_one.startswith("fsync ")


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Return at most `count` items at even distances."""
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


class FaultyRuns:
    """Runs with faults, compared with one without.

    Attributes:
        events: File events of the run without faults, in order.
        digests: SHA-256 of its trained files.
    """

    def __init__(self, folder: Path) -> None:
        """Run without faults twice.

        Raises:
            KillError: Both did not end with the same, or a run that had ended changed.
        """
        self._folder = folder
        self._run = folder / "run"
        self.digests = self._run_without_fault()
        self.events: list[str] = json.loads((folder / "events.json").read_text())
        self._session(None, {0})
        self._compare("was started again after its end")
        shutil.rmtree(self._run)
        self._run_without_fault()
        self._compare("was made again with the same seed")

    def _run_without_fault(self) -> dict[str, str]:
        self._session(None, {0})
        return digests(self._run)

    def run_with_fault(self, fault: Fault) -> dict[str, Any]:
        """Run with one fault and resume; return the steps lost.

        Raises:
            KillError: The resumed run failed, lost too many steps, or has other weights.
        """
        shutil.rmtree(self._run, ignore_errors=True)
        event = self.events[fault.number]
        allowed = _AFTER_SIGTERM if fault.mode == "term" else {_KILLED}
        status, first = self._session(fault, allowed)
        second = self._session(None, {0})[1]
        results = f"was faults ({fault.mode}) at event {fault.number}, {event!r},"
        lost = 0 if second.exported else first.step - second.resumed
        if lost > (0 if status == SIGTERM_STATUS else _SAVE_STEPS):
            raise KillError(f"A run that {results} lost {lost} steps.")
        self._compare(results)
        return {"mode": fault.mode, "event": event, "status": status, "lost": lost}

    def _session(self, fault: Fault | None, allowed: set[int]) -> tuple[int, TrainingProgress]:
        arguments = finetune_arguments(
            self._run, end=_END, save_steps=_SAVE_STEPS, eval_steps=_SAVE_STEPS
        )
        status = run(arguments, self._run, self._folder, fault)
        account = TrainingProgress()
        for line in (self._folder / "output.txt").read_text().splitlines():
            account.read_line(line)
        if status not in allowed:
            where = "" if fault is None else f" with {fault.mode!r} at {self.events[fault.number]}"
            raise KillError(
                f"A process{where} ended with status {status}; it said: {account.last_lines}"
            )
        return status, account

    def _compare(self, results: str) -> None:
        found = digests(self._run)
        others = [name for name in self.digests if found.get(name) != self.digests[name]]
        if others:
            raise KillError(
                f"A run that {results} ended with another {' and another '.join(others)}."
            )


def _report(runs: FaultyRuns, results: list[dict[str, Any]]) -> Report:
    lost = max(each["lost"] for each in results)
    saved = sum(each["status"] == SIGTERM_STATUS for each in results)
    number = {mode: sum(each["mode"] == mode for each in results) for mode in _MODES}
    facts = {
        "events": runs.events,
        "points": results,
        "lost_at_most": lost,
        "sha256": runs.digests,
    }
    counts = (
        f"{number['before']} runs killed before a file event, {number['torn']} with half a file "
        f"written, {number['term']} terminated ({saved} of them while training, 0 steps lost)"
    )
    return Report(
        f"{_event_table(runs.events, results)}\n\n{counts}: all {len(results)} resumed, lost at "
        f"most {lost} steps (saved every {_SAVE_STEPS}), and ended with the weights of a run "
        "without faults, bit for bit.",
        facts,
    )


def _event_table(events: Sequence[str], results: list[dict[str, Any]]) -> str:
    """Return a table of event kinds, their number in a run, and the faults at them."""
    counts = Counter(event.split()[0] for event in events)
    rows = []
    for kind, count in counts.items():
        faults = Counter(each["mode"] for each in results if each["event"].startswith(f"{kind} "))
        rows.append({"event": kind, "in a run": count} | {mode: faults[mode] for mode in _MODES})
    return table(rows)


if __name__ == "__main__":
    sys.exit(run_command(main))
