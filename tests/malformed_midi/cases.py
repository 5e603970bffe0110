"""The hostile corpus: every named upload, with what it must become.

A verdict is `music` (a clean score within the limits, and a report) or `sentence` (a refusal).
`docs/malformed-midi.md` shows what each really becomes; `python -m benchmarks.robustness.malformed_midi` writes it.
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
    "stranger": content_cases.STRANGER,
    "size": content_cases.SIZE,
}


class Upload(NamedTuple):
    """One file.

    Args:
        kind: What is wrong with it, in a word.
        case: What exactly.
        verdict: `music` or `sentence`.
        data: The file.
    """

    kind: str
    case: str
    verdict: str
    data: bytes

    def __str__(self) -> str:
        return f"{self.kind}: {self.case}"


UPLOADS = tuple(
    Upload(kind, case, verdict, data)
    for kind, cases in KINDS.items()
    for case, (verdict, data) in cases.items()
)
