"""`python -m benchmarks.robustness.fuzz_midi`: atheris looks for bytes that reach new lines of our own parsing.

What `benchmarks.robustness.malformed_midi --fuzz` starts as a process of its own, because atheris rewrites what it
watches and ends the process when it is done. Options are those of libFuzzer, such as `-runs=9`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

WATCHED = [
    "musiclstm.midi.reader",
    "musiclstm.midi.sanitize",
    "musiclstm.midi.smf",
    "musiclstm.midi.smf_events",
]
with atheris.instrument_imports(include=WATCHED):
    from tests.malformed_midi.cases import UPLOADS
    from tests.malformed_midi.run_case import run_case

LONGEST = 4_096  # bytes


def one(data: bytes) -> None:
    """Read a file, and fail unless it becomes music or one clear sentence."""
    found = run_case(data)
    assert not found.faults, found.faults


def main() -> None:
    """Begin with the named uploads."""
    with tempfile.TemporaryDirectory() as folder:
        for number, upload in enumerate(UPLOADS):
            if len(upload.data) <= LONGEST:
                (Path(folder) / f"{number:03}").write_bytes(upload.data)
        atheris.Setup([*sys.argv, f"-max_len={LONGEST}", "-timeout=30", folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
