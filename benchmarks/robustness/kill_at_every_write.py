"""`python -m benchmarks.robustness.kill_at_every_write`: a training run, killed at every one of its file events in turn.

One undisturbed run tells which events there are: every file that is opened, synced, renamed or
deleted while a run begins, saves its checkpoints, deletes old ones and exports its model. Then, for
each of them, a new run is killed right before it, and, where a file is written, with half of it on
the disk. The same command again must go on with at most one save interval lost, and end with
weights that are bit for bit those of the undisturbed run. At some events it is asked to stop
(SIGTERM) instead. The curve is not drawn: nothing is read from it again.
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
from benchmarks.robustness.fault_injection import Fault, Mode, can_be_torn, run
from benchmarks.robustness.run_process import Account, KillError, command, digests
from training.errors import SIGTERM_STATUS

_SAVE_STEPS = 2
_END = 6  # the third checkpoint makes an older one go
_KILLED = -9
# Stopped; ended at once, where nothing is learnt yet or any more; or at its end anyway.
_AFTER_SIGTERM = {SIGTERM_STATUS, -15, 0}
Item = TypeVar("Item")
_MODES: tuple[Mode, ...] = ("before", "torn", "term")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0, or 1 with a sentence for the first point that a run did not survive."""
    options = parser(
        "benchmarks.robustness.kill_at_every_write",
        "Kill a training run at every file event.",
        data=False,
    )
    options.add_argument("--points", type=int, help="so many kills, spread evenly (all)")
    options.add_argument("--stops", type=int, default=6, help="so many SIGTERMs (6)")
    return report(measure, options.parse_args(argv))


def measure(options: argparse.Namespace) -> Report:
    """The undisturbed run, then every point."""
    if (options.points is not None and options.points < 1) or options.stops < 0:
        raise ReportError("--points must be 1 or more, and --stops 0 or more.")
    if not Path("/proc/self/fd").is_dir():
        raise ReportError(
            "benchmarks.robustness.kill_at_every_write asks /proc for names of open files; run it on Linux."
        )
    with tempfile.TemporaryDirectory() as name:
        arena = Arena(Path(name).resolve())
        kills = points(arena.events)
        chosen = kills if options.points is None else spread(kills, options.points)
        stops = [Fault("term", n) for n in spread(range(len(arena.events)), options.stops)]
        told = [arena.strike(fault) for fault in [*chosen, *stops]]
    return _report(arena, told)


def points(events: Sequence[str]) -> list[Fault]:
    """Every way to be killed at these events.

    Of several `fsync` in a row only the first counts: between them no file changes. What the last
    event writes has no half.
    """
    changed = [not both_sync for both_sync in map(_both_sync, ["", *events], events)]
    before = [Fault("before", number) for number, yes in enumerate(changed) if yes]
    torn = [Fault("torn", n) for n, event in enumerate(events[:-1]) if can_be_torn(event)]
    return sorted([*before, *torn], key=lambda fault: fault.number)


def _both_sync(one: str, next_one: str) -> bool:
    return one.startswith("fsync ") and next_one.startswith("fsync ")


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """So many of them, or all, at even distances."""
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


class Arena:
    """Where runs are disturbed.

    Attributes:
        events: Those of an undisturbed run, in order.
        digests: SHA-256 of the files that it learnt.
    """

    def __init__(self, room: Path) -> None:
        """Let it run undisturbed, twice.

        Raises:
            KillError: Both did not end with the same, or a run that had ended changed.
        """
        self._room = room
        self._run = room / "run"
        self.digests = self._undisturbed()
        self.events: list[str] = json.loads((room / "events.json").read_text())
        self._session(None, {0})
        self._compare("was started again after its end")
        shutil.rmtree(self._run)
        self._undisturbed()
        self._compare("was made again with the same seed")

    def _undisturbed(self) -> dict[str, str]:
        self._session(None, {0})
        return digests(self._run)

    def strike(self, fault: Fault) -> dict[str, Any]:
        """A new run with one fault, and the same command again; what the fault cost.

        Raises:
            KillError: The second session failed, lost too much, or learnt something else.
        """
        shutil.rmtree(self._run, ignore_errors=True)
        event = self.events[fault.number]
        allowed = _AFTER_SIGTERM if fault.mode == "term" else {_KILLED}
        status, first = self._session(fault, allowed)
        second = self._session(None, {0})[1]
        told = f"was struck ({fault.mode}) at event {fault.number}, {event!r},"
        lost = 0 if second.exported else first.step - second.resumed
        if lost > (0 if status == SIGTERM_STATUS else _SAVE_STEPS):
            raise KillError(f"A run that {told} lost {lost} steps.")
        self._compare(told)
        return {"mode": fault.mode, "event": event, "status": status, "lost": lost}

    def _session(self, fault: Fault | None, allowed: set[int]) -> tuple[int, Account]:
        words = command(self._run, end=_END, save_steps=_SAVE_STEPS, eval_steps=_SAVE_STEPS)
        status = run(words, self._run, self._room, fault)
        account = Account()
        for line in (self._room / "said.txt").read_text().splitlines():
            account.hear(line)
        if status not in allowed:
            where = "" if fault is None else f" with {fault.mode!r} at {self.events[fault.number]}"
            raise KillError(
                f"A session{where} ended with status {status}; it said: {account.last_words}"
            )
        return status, account

    def _compare(self, told: str) -> None:
        found = digests(self._run)
        others = [name for name in self.digests if found.get(name) != self.digests[name]]
        if others:
            raise KillError(f"A run that {told} ended with another {' and another '.join(others)}.")


def _report(arena: Arena, told: list[dict[str, Any]]) -> Report:
    lost = max(each["lost"] for each in told)
    saved = sum(each["status"] == SIGTERM_STATUS for each in told)
    number = {mode: sum(each["mode"] == mode for each in told) for mode in _MODES}
    facts = {
        "events": arena.events,
        "points": told,
        "lost_at_most": lost,
        "sha256": arena.digests,
    }
    return Report(
        f"{_kinds(arena.events, told)}\n\n{number['before']} runs killed before a file event, "
        f"{number['torn']} with half a file written, {number['term']} asked to stop ({saved} of "
        f"them while learning, 0 steps lost): all {len(told)} went on, lost at most {lost} steps "
        f"(saved every {_SAVE_STEPS}), and ended with the weights of an undisturbed run, bit for "
        "bit.",
        facts,
    )


def _kinds(events: Sequence[str], told: list[dict[str, Any]]) -> str:
    """A table of what happens in a run, and how often it was struck there."""
    counts = Counter(event.split()[0] for event in events)
    rows = []
    for kind, count in counts.items():
        struck = Counter(each["mode"] for each in told if each["event"].startswith(f"{kind} "))
        rows.append({"event": kind, "in a run": count} | {mode: struck[mode] for mode in _MODES})
    return table(rows)


if __name__ == "__main__":
    sys.exit(main())
