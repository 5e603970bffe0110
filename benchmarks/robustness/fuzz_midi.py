"""`python -m benchmarks.robustness.fuzz_midi`: fuzz the MIDI reader with atheris.

`benchmarks.robustness.malformed_midi --fuzz` starts it as a process, because atheris instruments
modules at import and ends the process. Options are those of libFuzzer, such as `-runs=9`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

INSTRUMENTED = [
    "musiclstm.midi.reader",
    "musiclstm.midi.sanitize",
    "musiclstm.midi.smf",
]
with atheris.instrument_imports(include=INSTRUMENTED):
    from tests.malformed_midi.cases import UPLOADS
    from tests.malformed_midi.run_case import run_case

MAX_BYTES = 4_096


def fuzz_one(data: bytes) -> None:
    """Read a file; fail unless it gives a clean score or a clear error."""
    faults = run_case(data).faults
    assert not faults, faults


def main() -> None:
    """Fuzz, starting from the named uploads."""
    with tempfile.TemporaryDirectory() as folder:
        for number, upload in enumerate(UPLOADS):
            if len(upload.data) <= MAX_BYTES:
                (Path(folder) / f"{number:03}").write_bytes(upload.data)
        atheris.Setup([*sys.argv, f"-max_len={MAX_BYTES}", "-timeout=30", folder], fuzz_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
