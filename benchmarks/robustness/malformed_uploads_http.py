"""`python -m benchmarks.robustness.malformed_uploads_http`: upload malformed files to a server.

Each upload of `tests/malformed_midi` must become a prompt or a clear error within two seconds. At
the end the same server process must still compose.
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

from benchmarks.common.app_server import AppProcess, run_app
from benchmarks.common.http_client import PageClient
from benchmarks.common.report import Report, parser, run, table
from musiclstm.cli import run_command
from tests.malformed_midi.cases import UPLOADS, Upload
from tests.malformed_midi.midi_builder import READ, REFUSED

MAX_S = 2.0  # from the upload to the answer
_NO_ANSWER = "no answer"
_UPLOADS_PER_ADDRESS = 40  # because the server limits them


class UploadAnswer(NamedTuple):
    """Answer to one upload.

    Attributes:
        kind: `read`, `refused` or `no answer`.
        text: Text that the user sees.
        seconds: From the upload to the answer.
    """

    kind: str
    text: str
    seconds: float


def main(argv: list[str] | None = None) -> int:
    """Run the command; return 1 if an answer is unexpected or takes too long."""
    options = parser(
        "benchmarks.robustness.malformed_uploads_http",
        "Upload malformed files to the page.",
        data=False,
    )
    options.add_argument("--model", default="default", help="a checkpoint folder or a Hub id")
    options.set_defaults(faults=[])
    found = run(measure, chosen := options.parse_args(argv))
    return found or int(bool(chosen.faults))


def measure(options: argparse.Namespace) -> Report:
    """Upload all files to one server, one after the other."""
    with run_app(options.model) as server:
        before = _composes(server)
        results = [(each, _upload(server, each, index)) for index, each in enumerate(UPLOADS)]
        alive = before and server.process.poll() is None and _composes(server)
    options.faults = [fault for pair in results for fault in _list_faults(*pair)]
    if not alive:
        options.faults.append("The server no longer composes.")
    return Report(_text(results, alive, options.faults), _results(results, alive, options.faults))


def _client(server: AppProcess, number: int) -> PageClient:
    return PageClient(server.url, address=f"198.18.0.{number + 1}")  # reserved for benchmarks


def _composes(server: AppProcess) -> bool:
    with contextlib.closing(_client(server, 200)) as client:
        result = client.run()
        return result.ended and not result.error and result.first_sound_s is not None


def _upload(server: AppProcess, upload: Upload, index: int) -> UploadAnswer:
    with contextlib.closing(_client(server, index // _UPLOADS_PER_ADDRESS)) as client:
        begin_s = time.perf_counter()
        try:
            result = client.upload("upload.mid", upload.data)
        except httpx.HTTPError as error:
            return UploadAnswer(_NO_ANSWER, str(error), time.perf_counter() - begin_s)
    seconds = time.perf_counter() - begin_s
    text = result.error or " ".join(result.warnings)
    if result.status == 200 and not result.ended:
        return UploadAnswer(_NO_ANSWER, text, seconds)
    return UploadAnswer(REFUSED if text else READ, text or " ".join(result.statuses), seconds)


def _list_faults(upload: Upload, result: UploadAnswer) -> list[str]:
    found = []
    if result.kind != upload.expected:
        found.append(f"{upload}: {result.kind}, not {upload.expected}: {result.text}")
    if result.seconds > MAX_S:
        found.append(f"{upload}: {result.seconds:.2f} s")
    return found


def _results(
    results: list[tuple[Upload, UploadAnswer]], alive: bool, faults: list[str]
) -> dict[str, Any]:
    files = [{"file": str(upload), **each._asdict()} for upload, each in results]
    return {"same process": alive, "faults": faults, "files": files}


def _text(results: list[tuple[Upload, UploadAnswer]], alive: bool, faults: list[str]) -> str:
    seconds = [each.seconds for _, each in results]
    kinds = Counter(each.kind for _, each in results)
    row = {
        "files": f"{len(results)}",
        **{kind: f"{kinds[kind]}" for kind in (READ, REFUSED, _NO_ANSWER)},
        "median s": f"{statistics.median(seconds):.2f}",
        "slowest s": f"{max(seconds):.2f}",
        "same process composes": "yes" if alive else "no",
    }
    return "\n".join([table([row]), "", *(faults or ["All answers are as expected."])])


if __name__ == "__main__":
    sys.exit(run_command(main))
