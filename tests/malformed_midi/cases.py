"""All malformed and unusual files, with the expected result of each.

The result is `read` (a clean score within the limits) or `refused` (an error).
`python -m benchmarks.robustness.malformed_midi` writes the actual summaries and messages to
docs/malformed-midi.md.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.malformed_midi import content_cases, structure_cases
from tests.malformed_midi.midi_builder import Cases

KINDS: dict[str, Cases] = {
    "header": structure_cases.HEADER,
    "division": structure_cases.DIVISION,
    "chunk": structure_cases.CHUNK,
    "track": structure_cases.TRACK,
    "delta": structure_cases.DELTA,
    "running status": structure_cases.RUNNING,
    "meta": structure_cases.META,
    "system": structure_cases.SYSTEM,
    "notes": content_cases.NOTES,
    "tempo": content_cases.TEMPO,
    "meter": content_cases.METER,
    "names": content_cases.NAMES,
    "container": content_cases.CONTAINER,
    "encoding": content_cases.ENCODING,
    "other format": content_cases.OTHER_FORMAT,
    "size": content_cases.SIZE,
}


class Upload(NamedTuple):
    """Uploaded file.

    Args:
        kind: Group of cases.
        case: Name of the case.
        expected: `read` or `refused`.
        data: Content of the file.
    """

    kind: str
    case: str
    expected: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.kind}: {self.case}"


UPLOADS = tuple(
    Upload(kind, case, expected, data)
    for kind, cases in KINDS.items()
    for case, (expected, data) in cases.items()
)
