"""Malformed archives of training data, each with the expected result.

Names of files that are read and skipped, or the whole archive is refused.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from typing import NamedTuple

from tests.malformed_midi.cases import UPLOADS
from tests.malformed_midi.content_cases import CONTAINER
from tests.malformed_midi.midi_builder import REFUSED, midi, note, track
from tests.malformed_midi.structure_cases import GOOD

_DATE = (1980, 1, 1, 0, 0, 0)
_CENTRAL, _LOCAL, _END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
_LINK = 0o120777 << 16
_REFUSED_KINDS = {"header", "division", "track", "container", "encoding", "other format"}


class Archive(NamedTuple):
    """Archive with the expected result.

    Args:
        case: Name of the case.
        data: Content of the zip file.
        good: Names of files that are read.
        skipped: Names of files that are reported as skipped.
        refused: Whether the whole archive is refused.
    """

    case: str
    data: bytes
    good: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    refused: bool = False

    def __str__(self) -> str:
        return self.case


def other(pitch: int) -> bytes:
    """Return a piece that differs from `GOOD`, because duplicates are dropped."""
    return midi(track(*(note(pitch + step) for step in (0, 2, 4, 5))))


def pack(
    files: dict[str, bytes],
    *,
    method: int = zipfile.ZIP_DEFLATED,
    attributes: int = 0,
    comment: bytes = b"",
) -> bytes:
    """Return a reproducible zip of some files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _DATE)
            info.compress_type, info.external_attr = method, attributes
            archive.writestr(info, data)
    return out.getvalue()


def _patch(
    data: bytes, mark: bytes, offset: int, value: bytes, *, everywhere: bool = False
) -> bytes:
    """Replace bytes at an offset from the first mark, or from each."""
    out, at = bytearray(data), data.index(mark)
    while at >= 0:
        out[at + offset : at + offset + len(value)] = value
        at = data.find(mark, at + 1) if everywhere else -1
    return bytes(out)


def _uint32(number: int) -> bytes:
    return struct.pack("<I", number)


def _shared_body(names: int) -> bytes:
    """Return an archive in which many names share one compressed body."""
    body = pack({f"{n:03}.mid": bytes(200_000) if n == 0 else b"" for n in range(names)})
    size = zipfile.ZipFile(io.BytesIO(body)).infolist()[0].compress_size
    body = _patch(body, _CENTRAL, 20, _uint32(size), everywhere=True)
    return _patch(body, _CENTRAL, 42, _uint32(0), everywhere=True)


TWO = {"a.mid": GOOD, "b.mid": other(40)}
BOTH = ("a.mid", "b.mid")


def _readable() -> list[Archive]:
    return [
        Archive("valid", pack(TWO), BOTH),
        Archive("stored", pack(TWO, method=zipfile.ZIP_STORED), BOTH),
        Archive("bzip2", pack(TWO, method=zipfile.ZIP_BZIP2), BOTH),
        Archive("nested folders", pack({f"{'d/' * 200}a.mid": GOOD}), ("a.mid",)),
        Archive("capital letters", pack({"A.MID": GOOD, "b.Midi": other(40)}), ("A.MID", "b.Midi")),
        Archive("other files", pack({**TWO, "setup.exe": b"MZ", "a.html": b"<b>"}), BOTH),
        Archive("macOS metadata", pack({**TWO, "__MACOSX/._a.mid": b"junk"}), BOTH),
        Archive("prefix before the archive", b"#!/bin/sh\nreboot\n" + pack(TWO), BOTH),
        Archive("split archive", _patch(pack(TWO), _END, 4, b"\7\0\7\0"), BOTH),
        Archive("a comment of 60 kB", pack(TWO, comment=bytes(60_000)), BOTH),
        Archive("a folder called a.mid", pack({"a.mid/": b"", "a.mid/b.mid": GOOD}), ("b.mid",)),
        Archive("gzip file in it", pack({"a.mid": CONTAINER["gzip"][1]}), ("a.mid",)),
        Archive("other scripts", pack({"Прелюдия.mid": GOOD}), ("Прелюдия.mid",)),
        Archive("Windows device names", pack({"CON.mid": GOOD, "NUL.mid": other(40)}),
                ("CON.mid", "NUL.mid")),
    ]  # fmt: skip


def _partly_skipped() -> list[Archive]:
    uploads = {
        f"{number:03}.mid": each.data
        for number, each in enumerate(UPLOADS)
        if each.expected == REFUSED and each.kind in _REFUSED_KINDS and len(each.data) < 2_000
    }
    lying = _patch(pack({"a.mid": bytes(5_000_000), "b.mid": GOOD}), _CENTRAL, 24, _uint32(50))
    return [
        Archive("symbolic link", pack({"a.mid": b"/etc/passwd"}, attributes=_LINK),
                skipped=("a.mid",)),
        Archive("an archive in it", pack({"a.mid": pack(TWO), "b.mid": GOOD}), ("b.mid",),
                ("a.mid",)),
        Archive("lzma", pack(TWO, method=zipfile.ZIP_LZMA), skipped=BOTH),
        Archive("wrong uncompressed size", lying, ("b.mid",), ("a.mid",)),
        Archive("wrong checksum", _patch(pack(TWO), _CENTRAL, 16, bytes(4)), ("b.mid",),
                ("a.mid",)),
        Archive("offset beyond the end", _patch(pack(TWO), _CENTRAL, 42, _uint32(1 << 30)),
                ("b.mid",), ("a.mid",)),
        Archive("two different names", _patch(pack(TWO), _LOCAL, 30, b"x"), ("b.mid",),
                ("a.mid",)),
        Archive("unknown compression", _patch(pack(TWO), _CENTRAL, 10, b"\x63\0"), ("b.mid",),
                ("a.mid",)),
        Archive("text and empty files", pack({"a.mid": b"hello", "b.mid": b"", "c.mid": GOOD}),
                ("c.mid",), BOTH),
        Archive("malformed files", pack({**uploads, "zz.mid": GOOD}), ("zz.mid",), tuple(uploads)),
        Archive("unprintable name", pack({"\x1b[31m\u202ea.mid": b"x", "b.mid": GOOD}),
                ("b.mid",), ("[31ma.mid",)),
    ]  # fmt: skip


def _refused() -> list[Archive]:
    bomb = pack({f"{number}.mid": bytes(20_000_000) for number in range(6)})
    good = pack(TWO)
    cases = {
        "path traversal": pack({**TWO, "../c.mid": GOOD}),
        "path traversal with backslashes": pack({**TWO, "..\\c.mid": GOOD}),
        "path traversal in the middle": pack({**TWO, "in/../../c.mid": GOOD}),
        "path traversal of another file": pack({**TWO, "../.bashrc": b"reboot"}),
        "absolute path": pack({**TWO, "/etc/c.mid": GOOD}),
        "absolute path with a drive": pack({**TWO, "C:\\c.mid": GOOD}),
        "unpacks to 120 MB": bomb,
        "shared body of 300 names": _shared_body(300),
        "encrypted": _patch(good, _CENTRAL, 8, b"\1\0", everywhere=True),
        "truncated": good[:-30],
        "truncated early": good[:40],
        "end of central directory only": good[good.index(_END) :],
        "central directory of 4 GB": _patch(good, _END, 12, _uint32(0xFFFF_FFFE)),
        "invalid central directory": _patch(good, _CENTRAL, 0, b"MTrk"),
        "text": b"hello",
        "empty": b"",
        "gzip": gzip.compress(GOOD, mtime=0),
    }
    return [Archive(case, data, refused=True) for case, data in cases.items()]


ARCHIVES: tuple[Archive, ...] = (*_readable(), *_partly_skipped(), *_refused())
