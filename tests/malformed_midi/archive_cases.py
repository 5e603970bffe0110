"""Hostile archives for training: zips that lie, escape, swell or hide, each with its verdict.

The verdict is the names of the files that are read, those that are skipped and reported, or that
the whole archive is refused in one sentence.
"""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from typing import NamedTuple

from tests.malformed_midi.cases import UPLOADS
from tests.malformed_midi.content_cases import CONTAINER
from tests.malformed_midi.midi_builder import midi, note, track
from tests.malformed_midi.structure_cases import GOOD

_WHEN = (1980, 1, 1, 0, 0, 0)
_CENTRAL, _LOCAL, _END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"
_LINK = 0o120777 << 16
_NEVER_MUSIC = {"header", "division", "track", "container", "encoding", "stranger"}


class Archive(NamedTuple):
    """One archive.

    Args:
        case: What is wrong with it.
        data: Its bytes.
        good: Names of files that are read.
        skipped: Names of files that are reported as skipped.
        refused: Whether all of it is refused.
    """

    case: str
    data: bytes
    good: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    refused: bool = False

    def __str__(self) -> str:
        return self.case


def other(pitch: int) -> bytes:
    """A piece of its own, so that it is not taken for a copy."""
    return midi(track(*(note(pitch + step) for step in (0, 2, 4, 5))))


def pack(
    files: dict[str, bytes],
    *,
    method: int = zipfile.ZIP_DEFLATED,
    attributes: int = 0,
    comment: bytes = b"",
) -> bytes:
    """A zip of these files, the same bytes every time."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.comment = comment
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _WHEN)
            info.compress_type, info.external_attr = method, attributes
            archive.writestr(info, data)
    return out.getvalue()


def _changed(
    data: bytes, mark: bytes, offset: int, value: bytes, *, all_of_them: bool = False
) -> bytes:
    """The archive with other bytes at an offset from each mark, or from the first."""
    out, at = bytearray(data), data.index(mark)
    while at >= 0:
        out[at + offset : at + offset + len(value)] = value
        at = data.find(mark, at + 1) if all_of_them else -1
    return bytes(out)


def _bytes_of(number: int) -> bytes:
    return struct.pack("<I", number)


def _of_one_body(names: int) -> bytes:
    """Many names for one packed body, each of which would be unpacked."""
    body = pack({f"{n:03}.mid": bytes(200_000) if n == 0 else b"" for n in range(names)})
    size = zipfile.ZipFile(io.BytesIO(body)).infolist()[0].compress_size
    body = _changed(body, _CENTRAL, 20, _bytes_of(size), all_of_them=True)
    return _changed(body, _CENTRAL, 42, _bytes_of(0), all_of_them=True)


TWO = {"a.mid": GOOD, "b.mid": other(40)}
BOTH = ("a.mid", "b.mid")


def _sound() -> list[Archive]:
    return [
        Archive("nothing wrong", pack(TWO), BOTH),
        Archive("stored", pack(TWO, method=zipfile.ZIP_STORED), BOTH),
        Archive("bzip2", pack(TWO, method=zipfile.ZIP_BZIP2), BOTH),
        Archive("folders in folders", pack({f"{'d/' * 200}a.mid": GOOD}), ("a.mid",)),
        Archive("capital letters", pack({"A.MID": GOOD, "b.Midi": other(40)}), ("A.MID", "b.Midi")),
        Archive("other files too", pack({**TWO, "setup.exe": b"MZ", "a.html": b"<b>"}), BOTH),
        Archive("what a Mac adds", pack({**TWO, "__MACOSX/._a.mid": b"junk"}), BOTH),
        Archive("something before it", b"#!/bin/sh\nreboot\n" + pack(TWO), BOTH),
        Archive("one of several disks", _changed(pack(TWO), _END, 4, b"\7\0\7\0"), BOTH),
        Archive("a comment of 60 kB", pack(TWO, comment=bytes(60_000)), BOTH),
        Archive("a folder called a.mid", pack({"a.mid/": b"", "a.mid/b.mid": GOOD}), ("b.mid",)),
        Archive("a packed file in it", pack({"a.mid": CONTAINER["gzip"][1]}), ("a.mid",)),
        Archive("other scripts", pack({"Прелюдия.mid": GOOD}), ("Прелюдия.mid",)),
        Archive("devices of Windows", pack({"CON.mid": GOOD, "NUL.mid": other(40)}),
                ("CON.mid", "NUL.mid")),
    ]  # fmt: skip


def _skipping() -> list[Archive]:
    uploads = {
        f"{number:03}.mid": each.data
        for number, each in enumerate(UPLOADS)
        if each.verdict == "sentence" and each.kind in _NEVER_MUSIC and len(each.data) < 2_000
    }
    lying = _changed(pack({"a.mid": bytes(5_000_000), "b.mid": GOOD}), _CENTRAL, 24, _bytes_of(50))
    return [
        Archive("a link to another place", pack({"a.mid": b"/etc/passwd"}, attributes=_LINK),
                skipped=("a.mid",)),
        Archive("an archive in it", pack({"a.mid": pack(TWO), "b.mid": GOOD}), ("b.mid",),
                ("a.mid",)),
        Archive("lzma", pack(TWO, method=zipfile.ZIP_LZMA), skipped=BOTH),
        Archive("says less than it holds", lying, ("b.mid",), ("a.mid",)),
        Archive("a wrong checksum", _changed(pack(TWO), _CENTRAL, 16, bytes(4)), ("b.mid",),
                ("a.mid",)),
        Archive("a place far away", _changed(pack(TWO), _CENTRAL, 42, _bytes_of(1 << 30)),
                ("b.mid",), ("a.mid",)),
        Archive("two names in disagreement", _changed(pack(TWO), _LOCAL, 30, b"x"), ("b.mid",),
                ("a.mid",)),
        Archive("an unknown method", _changed(pack(TWO), _CENTRAL, 10, b"\x63\0"), ("b.mid",),
                ("a.mid",)),
        Archive("text and empty files", pack({"a.mid": b"hello", "b.mid": b"", "c.mid": GOOD}),
                ("c.mid",), BOTH),
        Archive("hostile uploads", pack({**uploads, "zz.mid": GOOD}), ("zz.mid",), tuple(uploads)),
        Archive("names nobody can print", pack({"\x1b[31m\u202ea.mid": b"x", "b.mid": GOOD}),
                ("b.mid",), ("[31ma.mid",)),
    ]  # fmt: skip


def _refused() -> list[Archive]:
    bomb = pack({f"{number}.mid": bytes(20_000_000) for number in range(6)})
    good = pack(TWO)
    cases = {
        "a way out": pack({**TWO, "../c.mid": GOOD}),
        "a way out by other strokes": pack({**TWO, "..\\c.mid": GOOD}),
        "a way out in the middle": pack({**TWO, "in/../../c.mid": GOOD}),
        "a way out for another file": pack({**TWO, "../.bashrc": b"reboot"}),
        "from the root": pack({**TWO, "/etc/c.mid": GOOD}),
        "from a drive": pack({**TWO, "C:\\c.mid": GOOD}),
        "swells to 120 MB": bomb,
        "one body for many names": _of_one_body(300),
        "encrypted": _changed(good, _CENTRAL, 8, b"\1\0", all_of_them=True),
        "breaks off": good[:-30],
        "breaks off early": good[:40],
        "only an end": good[good.index(_END) :],
        "a directory of 4 GB": _changed(good, _END, 12, _bytes_of(0xFFFF_FFFE)),
        "a directory of nonsense": _changed(good, _CENTRAL, 0, b"MTrk"),
        "no zip": b"hello",
        "nothing": b"",
        "gzip": gzip.compress(GOOD, mtime=0),
    }
    return [Archive(case, data, refused=True) for case, data in cases.items()]


ARCHIVES: tuple[Archive, ...] = (*_sound(), *_skipping(), *_refused())
