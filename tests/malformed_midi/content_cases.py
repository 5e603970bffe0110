"""Hostile uploads, second half: what files hold, how they are named and packed, what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tarfile
import zipfile

from tests.malformed_midi.midi_builder import (
    MUSIC,
    SENTENCE,
    TEMPO_100,
    THREE_FOUR,
    Cases,
    meta,
    meter,
    midi,
    named,
    note,
    tempo,
    track,
    tune,
)
from tests.malformed_midi.structure_cases import GOOD

CHORD = b"".join(b"\0\x90" + bytes((pitch, 80)) for pitch in range(128))

NOTES: Cases = {
    "none": (SENTENCE, midi(track(TEMPO_100, THREE_FOUR))),
    "only lyrics": (SENTENCE, midi(track(meta(5, b"la"), meta(5, b"la")))),
    "only a program": (SENTENCE, midi(track(b"\0\xc0\x05"))),
    "never let go": (MUSIC, midi(track(b"\0\x90\x3c\x50", end=b"\x83\x60\xff\x2f\0"))),
    "never let go at the end": (MUSIC, midi(track(b"\0\x90\x3c\x50"))),
    "let go before it is struck": (SENTENCE, midi(track(b"\0\x80\x3c\0"))),
    "let go twice": (MUSIC, midi(track(note(), b"\0\x80\x3c\0\0\x80\x3c\0"))),
    "struck a hundred times": (MUSIC, midi(track(b"\0\x90\x3c\x50" * 100, note()))),
    "without length": (MUSIC, midi(track(note(ticks=0), note(62)))),
    "only without length": (MUSIC, midi(track(note(ticks=0)))),
    "velocity 0 only": (SENTENCE, midi(track(b"\0\x90\x3c\0\x60\x90\x3c\0"))),
    "all keys at once": (MUSIC, midi(track(CHORD, meta(1, wait=480)))),
    "all keys on all channels": (
        MUSIC,
        midi(track(*(CHORD.replace(b"\x90", bytes((0x90 | c,))) for c in range(16)), note())),
    ),
    "60000": (
        MUSIC,
        midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\0\0" * 59_999 + b"\x3c\x50\1\x3c\0")),
    ),
    "60001": (SENTENCE, midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\0\0" * 60_001))),
    "300000": (SENTENCE, midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\0\0" * 300_000))),
    "lowest and highest": (MUSIC, midi(track(note(0), note(127)))),
    "velocity 1": (MUSIC, midi(track(b"\0\x90\x3c\1\x60\x80\x3c\0"))),
    "drums alone": (MUSIC, midi(track(note(35, channel=9), note(0, channel=9)))),
    "one of 4096 beats": (MUSIC, midi(track(note(ticks=480 * 4_096)))),
    "one of 4097 beats": (SENTENCE, midi(track(note(ticks=480 * 4_097)))),
    "two hours apart": (SENTENCE, midi(track(note(), note(62, wait=480 * 120 * 120)))),
    "a flood of controllers": (MUSIC, midi(track(b"\0\xb0\1\x40" + b"\0\1\x40" * 200_001, note()))),
    "a flood of bends": (MUSIC, midi(track(b"\0\xe0\0\x40" + b"\0\1\x40" * 60_000, note()))),
    "a flood of programs": (MUSIC, midi(track(b"\0\xc0\1\0\xc0\2" * 20_000, note()))),
    "a program for every note": (
        MUSIC,
        midi(track(*(bytes((0, 0xC0, each)) + note() for each in range(128)))),
    ),
    "pedal never lifted": (MUSIC, midi(track(b"\0\xb0\x40\x7f", note()))),
    "all sound off": (MUSIC, midi(track(b"\0\xb0\x78\0\0\xb0\x7b\0", note()))),
}

TEMPO: Cases = {
    "0": (MUSIC, midi(tune(tempo(0)))),
    "1 microsecond": (MUSIC, midi(tune(tempo(1)))),
    "slowest": (MUSIC, midi(tune(tempo(0xFF_FFFF)))),
    "slowest for 700 beats": (SENTENCE, midi(track(tempo(0xFF_FFFF), note(ticks=480 * 700)))),
    "a change on every tick": (
        MUSIC,
        midi(track(*[tempo(500_000, wait=1), tempo(4, wait=1)] * 9)) + tune(),
    ),
    "40000 changes at once": (MUSIC, midi(tune(*(tempo(400_000 + n) for n in range(40_000))))),
    "40000 changes": (MUSIC, midi(tune(*(tempo(400_000 + n, wait=1) for n in range(40_000))))),
    "only after the last note": (MUSIC, midi(track(note(), tempo(1, wait=960)))),
    "in every track": (MUSIC, midi(*[tune(tempo(300_000)), tune(tempo(900_000))] * 20)),
}

METER: Cases = {
    "0/4": (MUSIC, midi(tune(meter(0, 2)))),
    "1/1": (MUSIC, midi(tune(meter(1, 0)))),
    "255/4": (MUSIC, midi(tune(meter(255, 2)))),
    "33/4": (MUSIC, midi(tune(meter(33, 2)))),
    "32/32": (MUSIC, midi(tune(meter(32, 5)))),
    "3/64": (MUSIC, midi(tune(meter(3, 6)))),
    "denominator 2 to the 255": (MUSIC, midi(tune(meter(4, 255)))),
    "denominator 2 to the 31": (MUSIC, midi(tune(meter(4, 31)))),
    "denominator 2 to the 8": (MUSIC, midi(tune(meter(4, 8)))),
    "11/8 and 7/16": (MUSIC, midi(tune(meter(11, 3), meter(7, 4, wait=100)))),
    "changes on every tick": (
        MUSIC,
        midi(tune(*(meter(3 + n % 2, 2, wait=1) for n in range(1_000)))),
    ),
    "20000 changes": (SENTENCE, midi(tune(*(meter(3 + n % 2, 2, wait=1) for n in range(20_000))))),
    "40000 changes at once": (MUSIC, midi(tune(*(meter(3 + n % 2, 2) for n in range(40_000))))),
    "1/32 for 513 beats": (SENTENCE, midi(track(meter(1, 5), note(ticks=480 * 513)))),
    "1/32 with division 1": (MUSIC, midi(track(meter(1, 5), note(ticks=8)), division=1)),
    "in the middle of a bar": (MUSIC, midi(track(note(), meter(5, 3), note(62)))),
}

NAMES: Cases = {
    "script": (MUSIC, midi(tune(named(b"<script>alert(1)</script>")))),
    "image with onerror": (MUSIC, midi(tune(named(b"<img src=x onerror=alert(1)>")))),
    "svg with onload": (MUSIC, midi(tune(named(b'"><svg/onload=alert(1)>')))),
    "template": (MUSIC, midi(tune(named(b"${alert(1)}{{7*7}}<%= 7 %>")))),
    "javascript link": (MUSIC, midi(tune(named(b"[x](javascript:alert(1))")))),
    "entity": (MUSIC, midi(tune(named(b"&lt;b&gt;&#x3c;")))),
    "shell": (MUSIC, midi(tune(named(b"$(reboot); `reboot`\n| reboot")))),
    "format": (MUSIC, midi(tune(named(b"%s%n{0}{name.__class__}")))),
    "path": (MUSIC, midi(tune(named(b"../../../../etc/passwd")))),
    "formula": (MUSIC, midi(tune(named(b'=HYPERLINK("http://example.org")')))),
    "terminal colours": (MUSIC, midi(tune(named(b"\x1b[31mred\x1b]0;title\x07")))),
    "lines": (MUSIC, midi(tune(named(b"one\r\ntwo\x0bthree\x0cfour\xe2\x80\xa8five")))),
    "right to left": (MUSIC, midi(tune(named("a\u202etxt.mid\u2066".encode())))),
    "zero width": (MUSIC, midi(tune(named("a\u200b\u200d\ufeff\u2060b".encode())))),
    "nul": (MUSIC, midi(tune(named(b"a\0b")))),
    "not utf-8": (MUSIC, midi(tune(named(b"caf\xe9 \xff\xfe")))),
    "half a character": (MUSIC, midi(tune(named(b"a\xe2\x82")))),
    "surrogate": (MUSIC, midi(tune(named(b"\xed\xa0\x80")))),
    "overlong utf-8": (MUSIC, midi(tune(named(b"\xc0\xbcscript\xc0\xbe")))),
    "utf-16": (MUSIC, midi(tune(named("Geige".encode("utf-16"))))),
    "shift-jis": (MUSIC, midi(tune(named("ピアノ".encode("shift-jis"))))),
    "a thousand accents": (MUSIC, midi(tune(named(("z" + "\u0301" * 1_000).encode())))),
    "100 kB": (MUSIC, midi(tune(named(b"x" * 100_000)))),
    "empty": (MUSIC, midi(tune(named(b"")))),
    "a thousand names": (MUSIC, midi(tune(*[named(b"name")] * 1_000))),
    "lyrics of script": (
        MUSIC,
        midi(tune(meta(5, b"<script>"), meta(1, b"@T<b>"), meta(6, b"<i>"))),
    ),
    "karaoke": (MUSIC, midi(track(meta(1, b"@KMIDI KARAOKE FILE")), tune(meta(1, b"\\la")))),
}


def _riff(*chunks: bytes, kind: bytes = b"RMID", length: int = 0) -> bytes:
    return b"RIFF" + struct.pack("<I", length) + kind + b"".join(chunks)


def _riff_chunk(name: bytes, body: bytes, *, length: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if length is None else length) + body


def _zip(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.mid", (1980, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


def _tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.mid")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


CONTAINER: Cases = {
    "gzip": (MUSIC, _gzip(GOOD)),
    "gzip of gzip": (SENTENCE, _gzip(_gzip(GOOD))),
    "gzip of riff": (MUSIC, _gzip(_riff(_riff_chunk(b"data", GOOD)))),
    "gzip of 3 MB": (SENTENCE, _gzip(bytes(3_000_000))),
    "gzip of 20 MB": (SENTENCE, _gzip(bytes(20_000_000))),
    "gzip that breaks off": (MUSIC, _gzip(midi(*[tune()] * 3))[:-9]),
    "gzip with a wrong checksum": (SENTENCE, _gzip(GOOD)[:-8] + bytes(8)),
    "gzip of nothing": (SENTENCE, _gzip(b"")),
    "gzip of text": (SENTENCE, _gzip(b"hello")),
    "gzip and junk": (MUSIC, _gzip(GOOD) + b"junk"),
    "gzip header alone": (SENTENCE, b"\x1f\x8b\x08"),
    "gzip nonsense": (SENTENCE, b"\x1f\x8b\x08\0\0\0\0\0\0\0nonsense"),
    "riff": (MUSIC, _riff(_riff_chunk(b"data", GOOD), length=len(GOOD) + 12)),
    "riff with a list first": (
        MUSIC,
        _riff(_riff_chunk(b"LIST", b"abc") + b"\0", _riff_chunk(b"data", GOOD)),
    ),
    "riff without data": (SENTENCE, _riff(_riff_chunk(b"LIST", b""))),
    "riff with empty data": (SENTENCE, _riff(_riff_chunk(b"data", b""))),
    "riff with data of 4 GB": (MUSIC, _riff(_riff_chunk(b"data", GOOD, length=0xFFFF_FFFF))),
    "riff with a chunk of 4 GB": (
        SENTENCE,
        _riff(_riff_chunk(b"LIST", b"", length=0xFFFF_FFFF), _riff_chunk(b"data", GOOD)),
    ),
    "riff in riff": (MUSIC, _riff(_riff_chunk(b"data", _riff(_riff_chunk(b"data", GOOD))))),
    "riff that breaks off": (SENTENCE, _riff()),
    "riff of another kind": (SENTENCE, _riff(b"fmt ", kind=b"WAVE")),
    "macbinary": (MUSIC, bytes(128) + GOOD),
    "byte order mark": (MUSIC, b"\xef\xbb\xbf" + GOOD),
    "1 kB before": (SENTENCE, bytes(1_024) + GOOD),
    "zip": (SENTENCE, _zip(GOOD)),
    "tar": (MUSIC, _tar(GOOD)),
    "bzip2": (SENTENCE, bz2.compress(GOOD)),
}

ENCODING: Cases = {
    "crlf from ftp": (MUSIC, midi(track(note(10), note(13))).replace(b"\n", b"\r\n")),
    "utf-8 of latin-1": (SENTENCE, GOOD.decode("latin-1").encode()),
    "utf-16": (SENTENCE, GOOD.decode("latin-1").encode("utf-16")),
    "base64": (SENTENCE, b"TVRoZAAAAAYAAQABAeBNVHJr"),
    "hexadecimal": (SENTENCE, GOOD.hex().encode()),
    "seven bits": (SENTENCE, bytes(byte & 0x7F for byte in GOOD)),
    "reversed": (SENTENCE, GOOD[::-1]),
    "every byte twice": (SENTENCE, b"".join(bytes((byte, byte)) for byte in GOOD)),
}

STRANGER: Cases = {
    "nothing": (SENTENCE, b""),
    "one byte": (SENTENCE, b"M"),
    "a space": (SENTENCE, b" "),
    "zeros": (SENTENCE, bytes(2_000)),
    "text": (SENTENCE, b"Dear all, please find attached"),
    "html with script": (SENTENCE, b"<html><script>alert(1)</script></html>"),
    "svg": (SENTENCE, b"<svg onload=alert(1)>"),
    "xml bomb": (SENTENCE, b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">]><l>&a;</l>'),
    "mp3 with tags": (SENTENCE, b"ID3\x04\0\0\0" + bytes(99)),
    "mp3": (SENTENCE, b"\xff\xfb\x90\x64" + bytes(99)),
    "ogg": (SENTENCE, b"OggS\0\2" + bytes(99)),
    "flac": (SENTENCE, b"fLaC\0\0\0\x22" + bytes(99)),
    "mp4": (SENTENCE, b"\0\0\0\x18ftypM4A "),
    "pdf": (SENTENCE, b"%PDF-1.7\n"),
    "png": (SENTENCE, b"\x89PNG\r\n\x1a\n"),
    "jpeg": (SENTENCE, b"\xff\xd8\xff\xe0"),
    "program": (SENTENCE, b"\x7fELF\2\1\1" + bytes(99)),
    "pickle": (SENTENCE, b"\x80\x04\x95cos\nsystem\n(S'reboot'\ntR."),
    "soundfont": (SENTENCE, b"RIFF\0\0\0\0sfbkLIST"),
    "json": (SENTENCE, b'{"notes": []}'),
    "midi named in text": (SENTENCE, b"the header is MThd, then comes its length"),
    "terminal colours": (SENTENCE, b"\x1b[31mred\x1b[0m"),
}

SIZE: Cases = {
    "2000000 bytes": (MUSIC, GOOD + bytes(2_000_000 - len(GOOD))),
    "2000001 bytes": (SENTENCE, GOOD + bytes(2_000_001 - len(GOOD))),
    "2 MB of one text": (MUSIC, midi(tune(meta(1, bytes(1_999_000))))),
    "2 MB of zeros in a track": (SENTENCE, midi(track(bytes(1_999_900)))),
    "2 MB of running notes": (
        SENTENCE,
        midi(track(b"\0\x90" + b"\x3c\x50\0\x3c\0\0" * 333_000 + b"\x3c\x50")),
    ),
    "2 MB of meta events": (MUSIC, midi(tune(b"\0\xff\1\0" * 499_000))),
    "2 MB of broken chunks": (SENTENCE, midi(b"MTrk\x7f\xff\xff\xff" * 249_000, tracks=9)),
    "2 MB of chunk names": (SENTENCE, midi(b"MTrk" * 499_000, tracks=9)),
    "2 MB of unended notes": (SENTENCE, midi(track(b"\0\x90\x3c\x50" + b"\0\x3c\x50" * 660_000))),
    "2 MB of headers": (SENTENCE, b"MThd" * 499_000),
}
