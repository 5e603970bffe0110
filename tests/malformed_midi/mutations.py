"""Files that nobody thought of: named uploads with bytes, blocks and ends of them changed."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.malformed_midi.cases import UPLOADS

_LONGEST = 4_000  # bytes of what is changed, so that a change is likely to matter
_PIECES = (
    b"\0", b"\xff", b"\x80", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"MTrk", b"MThd",
    b"\xff\x2f\0", b"\xff\x51\x03\0\0\0", b"\xff\x58\x04\0\0\0\0", b"\xff\x58\x04\x01\x05\x18\x08",
    b"\xff\x58\x04\xff\xff\x18\x08", b"\x90\x3c\x50", b"\xf0", b"\xf7", b"\x81\x80\x80\x00",
    b"\xff\x03\x08<script>", b"RIFF", b"\x1f\x8b\x08",
)  # fmt: skip


def mutants(count: int, *, seed: int) -> Iterator[bytes]:
    """So many changed files; the same for the same seed."""
    chance = random.Random(seed)
    parents = [each.data for each in UPLOADS if 0 < len(each.data) <= _LONGEST]
    for _ in range(count):
        yield mutated(chance.choice(parents), chance)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """A file with up to nine bytes, blocks or ends of it changed."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 5, 9))):
        _change(out, chance)
    return bytes(out)


def _change(out: bytearray, chance: random.Random) -> None:
    at, what = chance.randrange(len(out)), chance.randrange(6)
    if what == 0:
        out[at] = chance.randrange(256)
    elif what == 1:
        out[at] ^= 1 << chance.randrange(8)
    elif what == 2:
        del out[at + 1 : at + chance.choice((2, 3, 5, 30))]
    elif what == 3:
        out[at:at] = chance.choice(_PIECES)
    elif what == 4:
        start = chance.randrange(len(out))
        out[at:at] = out[start : start + chance.randrange(1, 40)]
    elif chance.random() < 0.3:
        del out[at + 1 :]
