"""The hostile corpus: every named upload, with what it must become.

A verdict is `music` (a clean score within the limits, and a report) or `sentence` (a refusal).
`docs/hostile.md` shows what each really becomes; `python -m benchmarks.hostile` writes it.
"""

from __future__ import annotations

from typing import NamedTuple

from . import matter, structure
from .writing import Cases

KINDS: dict[str, Cases] = {
    "header": structure.HEADER,
    "division": structure.DIVISION,
    "chunk": structure.CHUNK,
    "track": structure.TRACK,
    "delta": structure.DELTA,
    "running status": structure.RUNNING,
    "meta": structure.META,
    "system": structure.SYSTEM,
    "notes": matter.NOTES,
    "tempo": matter.TEMPO,
    "meter": matter.METER,
    "names": matter.NAMES,
    "container": matter.CONTAINER,
    "encoding": matter.ENCODING,
    "stranger": matter.STRANGER,
    "size": matter.SIZE,
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
