"""`python -m benchmarks.robustness.malformed_uploads_http`: every hostile file, dropped on a page that has just begun.

`benchmarks.robustness.malformed_midi` asks the reading; this asks the whole server, over HTTP, as a browser does.
Each upload of `tests/hostile` must become a seed or one clear sentence, soon, and at the end the
same process must be there and compose.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

import httpx

from benchmarks.common.app_server import Server, served
from benchmarks.common.http_client import Listener
from benchmarks.common.report import Report, parser, run, table
from tests.malformed_midi.cases import UPLOADS, Upload
from tests.malformed_midi.midi_builder import READ, REFUSED

MOST_S = 2.0  # from the drop to the answer
_NOTHING = "nothing"
_AN_ADDRESS = 40  # files; the server lets one address have only so many


class Dropped(NamedTuple):
    """What became of one file.

    Attributes:
        kind: `read`, `refused`, or `nothing`: no end was told.
        text: What the visitor read.
        seconds: From the drop to the answer.
    """

    kind: str
    text: str
    seconds: float


def main(argv: list[str] | None = None) -> int:
    """Run the command; 1 when a file became something else, or took too long."""
    options = parser(
        "benchmarks.robustness.malformed_uploads_http",
        "Hostile files, dropped on the page.",
        data=False,
    )
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.set_defaults(faults=[])
    found = run(measure, chosen := options.parse_args(argv))
    return found or int(bool(chosen.faults))


def measure(options: argparse.Namespace) -> Report:
    """Drop all of them on one server, one after another."""
    with served(options.model) as server:
        before = _composes(server)
        dropped = [(each, _drop(server, each, place)) for place, each in enumerate(UPLOADS)]
        alive = before and server.process.poll() is None and _composes(server)
    options.faults = [fault for pair in dropped for fault in _faults(*pair)]
    if not alive:
        options.faults.append("The server does not compose any more.")
    return Report(_text(dropped, alive, options.faults), _facts(dropped, alive, options.faults))


def _visitor(server: Server, number: int) -> Listener:
    return Listener(server.url, address=f"198.18.0.{number + 1}")  # reserved for benchmarks


def _composes(server: Server) -> bool:
    with contextlib.closing(_visitor(server, 200)) as visitor:
        told = visitor.press()
        return told.ended and not told.sentence and told.first_sound_s is not None


def _drop(server: Server, upload: Upload, place: int) -> Dropped:
    with contextlib.closing(_visitor(server, place // _AN_ADDRESS)) as visitor:
        begun_s = time.perf_counter()
        try:
            told = visitor.drop("upload.mid", upload.data)
        except httpx.HTTPError as error:
            return Dropped(_NOTHING, str(error), time.perf_counter() - begun_s)
    seconds = time.perf_counter() - begun_s
    text = told.sentence or " ".join(told.troubles)
    if told.status == 200 and not told.ended:
        return Dropped(_NOTHING, text, seconds)
    return Dropped(REFUSED if text else READ, text or " ".join(told.said), seconds)


def _faults(upload: Upload, dropped: Dropped) -> list[str]:
    found = []
    if dropped.kind != upload.expected:
        found.append(f"{upload}: {dropped.kind}, not {upload.expected}: {dropped.text}")
    if dropped.seconds > MOST_S:
        found.append(f"{upload}: {dropped.seconds:.2f} s")
    return found


def _facts(dropped: list[tuple[Upload, Dropped]], alive: bool, faults: list[str]) -> dict[str, Any]:
    files = [{"file": str(upload), **each._asdict()} for upload, each in dropped]
    return {"same process": alive, "faults": faults, "files": files}


def _text(dropped: list[tuple[Upload, Dropped]], alive: bool, faults: list[str]) -> str:
    seconds = [each.seconds for _, each in dropped]
    kinds = Counter(each.kind for _, each in dropped)
    row = {
        "files": f"{len(dropped)}",
        **{kind: f"{kinds[kind]}" for kind in (READ, REFUSED, _NOTHING)},
        "median s": f"{statistics.median(seconds):.2f}",
        "slowest s": f"{max(seconds):.2f}",
        "same process composes": "yes" if alive else "no",
    }
    return "\n".join([table([row]), "", *(faults or ["Nothing else happened."])])


if __name__ == "__main__":
    sys.exit(main())
