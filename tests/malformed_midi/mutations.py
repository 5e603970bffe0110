"""Random mutations of the named uploads."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.malformed_midi.cases import UPLOADS

_MAX_BYTES = 4_000  # of mutated files, so that most mutations matter
_FRAGMENTS = (
    b"\0", b"\xff", b"\x80", b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"MTrk", b"MThd",
    b"\xff\x2f\0", b"\xff\x51\x03\0\0\0", b"\xff\x58\x04\0\0\0\0", b"\xff\x58\x04\x01\x05\x18\x08",
    b"\xff\x58\x04\xff\xff\x18\x08", b"\x90\x3c\x50", b"\xf0", b"\xf7", b"\x81\x80\x80\x00",
    b"\xff\x03\x08<script>", b"RIFF", b"\x1f\x8b\x08",
)  # fmt: skip


def mutants(count: int, *, seed: int) -> Iterator[bytes]:
    """Yield `count` mutated files, determined by the random seed."""
    rng = random.Random(seed)
    parents = [each.data for each in UPLOADS if 0 < len(each.data) <= _MAX_BYTES]
    for _ in range(count):
        yield mutate(rng.choice(parents), rng)


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return a file with one to nine random changes."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 5, 9))):
        _change(out, rng)
    return bytes(out)


def _change(out: bytearray, rng: random.Random) -> None:
    at, what = rng.randrange(len(out)), rng.randrange(6)
    if what == 0:
        out[at] = rng.randrange(256)
    elif what == 1:
        out[at] ^= 1 << rng.randrange(8)
    elif what == 2:
        del out[at + 1 : at + rng.choice((2, 3, 5, 30))]
    elif what == 3:
        out[at:at] = rng.choice(_FRAGMENTS)
    elif what == 4:
        start = rng.randrange(len(out))
        out[at:at] = out[start : start + rng.randrange(1, 40)]
    elif rng.random() < 0.3:
        del out[at + 1 :]
