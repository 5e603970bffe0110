"""Cases of notes, tempos, meters, names, containers, encodings, other formats and sizes."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tarfile
import zipfile

from tests.malformed_midi.midi_builder import (
    READ,
    REFUSED,
    TEMPO_100,
    THREE_FOUR,
    Cases,
    meta,
    meter,
    midi,
    note,
    tempo,
    track,
    track_name,
    tune,
)
from tests.malformed_midi.structure_cases import GOOD

CONTROLS = b"\0\xb0\x07\x50\0\xb0\x0a\x10\0\xc0\x28\0\xe0\0\x60"  # and a program, and a bend
LAST_LINE = tempo(400_000) + meter(3, 2) + meta(0x59, b"\x01\0")  # what holds after it
CHORD = b"".join(b"\0\x90" + bytes((pitch, 80)) for pitch in range(128))

NOTES: Cases = {
    "none": (REFUSED, midi(track(TEMPO_100, THREE_FOUR))),
    "only lyrics": (REFUSED, midi(track(meta(5, b"la"), meta(5, b"la")))),
    "only a program": (REFUSED, midi(track(b"\0\xc0\x05"))),
    "unterminated note": (READ, midi(track(b"\0\x90\x3c\x50", end=b"\x83\x60\xff\x2f\0"))),
    "unterminated note at the end": (READ, midi(track(b"\0\x90\x3c\x50"))),
    "note-off before the note-on": (REFUSED, midi(track(b"\0\x80\x3c\0"))),
    "repeated note-off": (READ, midi(track(note(), b"\0\x80\x3c\0\0\x80\x3c\0"))),
    "repeated note-on": (READ, midi(track(b"\0\x90\x3c\x50" * 100, note()))),
    "length 0": (READ, midi(track(note(ticks=0), note(62)))),
    "only length 0": (READ, midi(track(note(ticks=0)))),
    "velocity 0 only": (REFUSED, midi(track(b"\0\x90\x3c\0\x60\x90\x3c\0"))),
    "all pitches at once": (READ, midi(track(CHORD, meta(1, delta=480)))),
    "all pitches on all channels": (
        READ,
        midi(track(*(CHORD.replace(b"\x90", bytes((0x90 | c,))) for c in range(16)), note())),
    ),
    "60000": (
        READ,
        midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\0\0" * 59_999 + b"\x3c\x50\1\x3c\0")),
    ),
    "60001": (REFUSED, midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\0\0" * 60_001))),
    "300000": (REFUSED, midi(track(b"\0\x90" + b"\x3c\x50\x01\x3c\0\0" * 300_000))),
    "lowest and highest": (READ, midi(track(note(0), note(127)))),
    "velocity 1": (READ, midi(track(b"\0\x90\x3c\1\x60\x80\x3c\0"))),
    "drums alone": (READ, midi(track(note(35, channel=9), note(0, channel=9)))),
    "one of 4096 beats": (READ, midi(track(note(ticks=480 * 4_096)))),
    "one of 4097 beats": (REFUSED, midi(track(note(ticks=480 * 4_097)))),
    "two hours apart": (REFUSED, midi(track(note(), note(62, delta=480 * 120 * 120)))),
    "200002 controllers": (READ, midi(track(b"\0\xb0\1\x40" + b"\0\1\x40" * 200_001, note()))),
    "60001 pitch bends": (READ, midi(track(b"\0\xe0\0\x40" + b"\0\1\x40" * 60_000, note()))),
    "40000 program changes": (READ, midi(track(b"\0\xc0\1\0\xc0\2" * 20_000, note()))),
    "program change before every note": (
        READ,
        midi(track(*(bytes((0, 0xC0, each)) + note() for each in range(128)))),
    ),
    "pedal never released": (READ, midi(track(b"\0\xb0\x40\x7f", note()))),
    "pedal pressed when a note ends": (
        READ,
        midi(track(b"\0\x90\x3c\x50\x60\xb0\x40\x7f\0\x80\x3c\0", note(64), b"\0\xb0\x40\0")),
    ),
    "ended in another track": (
        READ,
        midi(track(b"\0\x90\x3c\x50", note(64, 960)), track(b"\x60\x80\x3c\0", note(67))),
    ),
    "twins of two velocities": (
        READ,
        midi(track(b"\0\x90\x3c\x1e\0\x90\x3c\x78\x60\x80\x3c\0\0\x80\x3c\0", note(64))),
    ),
    "ended by a change of mode": (READ, midi(track(b"\0\x90\x3c\x50\x60\xb0\x7e\1", note(64)))),
    "aftertouch": (READ, midi(track(b"\0\xd0\x40\0\xa0\x3c\x10", note()))),
    "reset of controllers": (
        READ,
        midi(track(b"\0\xb0\x07\x50\0\xb0\x40\x7f", note(), b"\0\xb0\x79\0", note(62))),
    ),
    "reset of GM in mid-piece": (
        READ,
        midi(track(CONTROLS, note(), b"\0\xf0\x05\x7e\x7f\x09\x01\xf7", note(62))),
    ),
    "all sound off": (READ, midi(track(b"\0\xb0\x78\0\0\xb0\x7b\0", note()))),
}

TEMPO: Cases = {
    "0": (READ, midi(tune(tempo(0)))),
    "1 microsecond": (READ, midi(tune(tempo(1)))),
    "slowest": (READ, midi(tune(tempo(0xFF_FFFF)))),
    "slowest for 700 beats": (REFUSED, midi(track(tempo(0xFF_FFFF), note(ticks=480 * 700)))),
    "a change on every tick": (
        READ,
        midi(track(*[tempo(500_000, delta=1), tempo(4, delta=1)] * 9)) + tune(),
    ),
    "40000 changes at once": (READ, midi(tune(*(tempo(400_000 + n) for n in range(40_000))))),
    "40000 changes": (READ, midi(tune(*(tempo(400_000 + n, delta=1) for n in range(40_000))))),
    "only after the last note": (READ, midi(track(note(), tempo(1, delta=960)))),
    "in every track": (READ, midi(*[tune(tempo(300_000)), tune(tempo(900_000))] * 20)),
}

METER: Cases = {
    "0/4": (READ, midi(tune(meter(0, 2)))),
    "1/1": (READ, midi(tune(meter(1, 0)))),
    "255/4": (READ, midi(tune(meter(255, 2)))),
    "33/4": (READ, midi(tune(meter(33, 2)))),
    "32/32": (READ, midi(tune(meter(32, 5)))),
    "3/64": (READ, midi(tune(meter(3, 6)))),
    "denominator 2 to the 255": (READ, midi(tune(meter(4, 255)))),
    "denominator 2 to the 31": (READ, midi(tune(meter(4, 31)))),
    "denominator 2 to the 8": (READ, midi(tune(meter(4, 8)))),
    "11/8 and 7/16": (READ, midi(tune(meter(11, 3), meter(7, 4, delta=100)))),
    "changes on every tick": (
        READ,
        midi(tune(*(meter(3 + n % 2, 2, delta=1) for n in range(1_000)))),
    ),
    "20000 changes": (REFUSED, midi(tune(*(meter(3 + n % 2, 2, delta=1) for n in range(20_000))))),
    "40000 changes at once": (READ, midi(tune(*(meter(3 + n % 2, 2) for n in range(40_000))))),
    "1/32 for 513 beats": (REFUSED, midi(track(meter(1, 5), note(ticks=480 * 513)))),
    "1/32 with division 1": (READ, midi(track(meter(1, 5), note(ticks=8)), division=1)),
    "17/16": (READ, midi(tune(meter(17, 4)))),
    "on the last bar line": (READ, midi(track(note(60, 1920), LAST_LINE))),
    "in the rest of the last bar": (READ, midi(track(note(60, 480), meter(3, 2, delta=480)))),
    "after the last bar line": (READ, midi(track(note(60, 480), meter(3, 2, delta=1441)))),
    "in the middle of a bar": (READ, midi(track(note(), meter(5, 3), note(62)))),
}

NAMES: Cases = {
    "script": (READ, midi(tune(track_name(b"<script>alert(1)</script>")))),
    "image with onerror": (READ, midi(tune(track_name(b"<img src=x onerror=alert(1)>")))),
    "svg with onload": (READ, midi(tune(track_name(b'"><svg/onload=alert(1)>')))),
    "template": (READ, midi(tune(track_name(b"${alert(1)}{{7*7}}<%= 7 %>")))),
    "javascript link": (READ, midi(tune(track_name(b"[x](javascript:alert(1))")))),
    "entity": (READ, midi(tune(track_name(b"&lt;b&gt;&#x3c;")))),
    "shell": (READ, midi(tune(track_name(b"$(reboot); `reboot`\n| reboot")))),
    "format": (READ, midi(tune(track_name(b"%s%n{0}{name.__class__}")))),
    "path": (READ, midi(tune(track_name(b"../../../../etc/passwd")))),
    "formula": (READ, midi(tune(track_name(b'=HYPERLINK("http://example.org")')))),
    "terminal colours": (READ, midi(tune(track_name(b"\x1b[31mred\x1b]0;title\x07")))),
    "lines": (READ, midi(tune(track_name(b"one\r\ntwo\x0bthree\x0cfour\xe2\x80\xa8five")))),
    "right to left": (READ, midi(tune(track_name("a\u202etxt.mid\u2066".encode())))),
    "zero width": (READ, midi(tune(track_name("a\u200b\u200d\ufeff\u2060b".encode())))),
    "nul": (READ, midi(tune(track_name(b"a\0b")))),
    "not utf-8": (READ, midi(tune(track_name(b"caf\xe9 \xff\xfe")))),
    "half a character": (READ, midi(tune(track_name(b"a\xe2\x82")))),
    "surrogate": (READ, midi(tune(track_name(b"\xed\xa0\x80")))),
    "overlong utf-8": (READ, midi(tune(track_name(b"\xc0\xbcscript\xc0\xbe")))),
    "utf-16": (READ, midi(tune(track_name("Geige".encode("utf-16"))))),
    "shift-jis": (READ, midi(tune(track_name("ピアノ".encode("shift-jis"))))),
    "of the instrument": (READ, midi(tune(track_name(b""), meta(4, b"Horn"), meta(4, b"Tuba")))),
    "half-width katakana": (READ, midi(tune(track_name("ﾋﾟｱﾉ 1".encode("shift-jis"))))),
    "circled digit": (READ, midi(tune(track_name("ピアノ①".encode("cp932"))))),
    "capitals with accents": (READ, midi(tune(track_name("FLÖTE É".encode("cp1252"))))),
    "a thousand accents": (READ, midi(tune(track_name(("z" + "\u0301" * 1_000).encode())))),
    "100 kB": (READ, midi(tune(track_name(b"x" * 100_000)))),
    "empty": (READ, midi(tune(track_name(b"")))),
    "a thousand names": (READ, midi(tune(*[track_name(b"name")] * 1_000))),
    "lyrics of script": (
        READ,
        midi(tune(meta(5, b"<script>"), meta(1, b"@T<b>"), meta(6, b"<i>"))),
    ),
    "karaoke": (READ, midi(track(meta(1, b"@KMIDI KARAOKE FILE")), tune(meta(1, b"\\la")))),
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
    "gzip": (READ, _gzip(GOOD)),
    "gzip of gzip": (REFUSED, _gzip(_gzip(GOOD))),
    "gzip of riff": (READ, _gzip(_riff(_riff_chunk(b"data", GOOD)))),
    "gzip of 3 MB": (REFUSED, _gzip(bytes(3_000_000))),
    "gzip of 20 MB": (REFUSED, _gzip(bytes(20_000_000))),
    "gzip that breaks off": (READ, _gzip(midi(*[tune()] * 3))[:-9]),
    "gzip with a wrong checksum": (REFUSED, _gzip(GOOD)[:-8] + bytes(8)),
    "gzip of nothing": (REFUSED, _gzip(b"")),
    "gzip of text": (REFUSED, _gzip(b"hello")),
    "gzip and junk": (READ, _gzip(GOOD) + b"junk"),
    "gzip header alone": (REFUSED, b"\x1f\x8b\x08"),
    "gzip nonsense": (REFUSED, b"\x1f\x8b\x08\0\0\0\0\0\0\0nonsense"),
    "riff": (READ, _riff(_riff_chunk(b"data", GOOD), length=len(GOOD) + 12)),
    "riff with a list first": (
        READ,
        _riff(_riff_chunk(b"LIST", b"abc") + b"\0", _riff_chunk(b"data", GOOD)),
    ),
    "riff without data": (REFUSED, _riff(_riff_chunk(b"LIST", b""))),
    "riff with empty data": (REFUSED, _riff(_riff_chunk(b"data", b""))),
    "riff with data of 4 GB": (READ, _riff(_riff_chunk(b"data", GOOD, length=0xFFFF_FFFF))),
    "riff with a chunk of 4 GB": (
        REFUSED,
        _riff(_riff_chunk(b"LIST", b"", length=0xFFFF_FFFF), _riff_chunk(b"data", GOOD)),
    ),
    "riff in riff": (READ, _riff(_riff_chunk(b"data", _riff(_riff_chunk(b"data", GOOD))))),
    "riff that breaks off": (REFUSED, _riff()),
    "riff of another kind": (REFUSED, _riff(b"fmt ", kind=b"WAVE")),
    "macbinary": (READ, bytes(128) + GOOD),
    "byte order mark": (READ, b"\xef\xbb\xbf" + GOOD),
    "1 kB before": (REFUSED, bytes(1_024) + GOOD),
    "zip": (REFUSED, _zip(GOOD)),
    "tar": (READ, _tar(GOOD)),
    "bzip2": (REFUSED, bz2.compress(GOOD)),
}

ENCODING: Cases = {
    "crlf from ftp": (READ, midi(track(note(10), note(13))).replace(b"\n", b"\r\n")),
    "utf-8 of latin-1": (REFUSED, GOOD.decode("latin-1").encode()),
    "utf-16": (REFUSED, GOOD.decode("latin-1").encode("utf-16")),
    "base64": (REFUSED, b"TVRoZAAAAAYAAQABAeBNVHJr"),
    "hexadecimal": (REFUSED, GOOD.hex().encode()),
    "seven bits": (REFUSED, bytes(byte & 0x7F for byte in GOOD)),
    "reversed": (REFUSED, GOOD[::-1]),
    "every byte twice": (REFUSED, b"".join(bytes((byte, byte)) for byte in GOOD)),
}

OTHER_FORMAT: Cases = {
    "nothing": (REFUSED, b""),
    "one byte": (REFUSED, b"M"),
    "a space": (REFUSED, b" "),
    "zeros": (REFUSED, bytes(2_000)),
    "text": (REFUSED, b"Dear all, please find attached"),
    "html with script": (REFUSED, b"<html><script>alert(1)</script></html>"),
    "svg": (REFUSED, b"<svg onload=alert(1)>"),
    "xml bomb": (REFUSED, b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha">]><l>&a;</l>'),
    "mp3 with tags": (REFUSED, b"ID3\x04\0\0\0" + bytes(99)),
    "mp3": (REFUSED, b"\xff\xfb\x90\x64" + bytes(99)),
    "ogg": (REFUSED, b"OggS\0\2" + bytes(99)),
    "flac": (REFUSED, b"fLaC\0\0\0\x22" + bytes(99)),
    "mp4": (REFUSED, b"\0\0\0\x18ftypM4A "),
    "pdf": (REFUSED, b"%PDF-1.7\n"),
    "png": (REFUSED, b"\x89PNG\r\n\x1a\n"),
    "jpeg": (REFUSED, b"\xff\xd8\xff\xe0"),
    "program": (REFUSED, b"\x7fELF\2\1\1" + bytes(99)),
    "pickle": (REFUSED, b"\x80\x04\x95cos\nsystem\n(S'reboot'\ntR."),
    "soundfont": (REFUSED, b"RIFF\0\0\0\0sfbkLIST"),
    "json": (REFUSED, b'{"notes": []}'),
    "midi named in text": (REFUSED, b"the header is MThd, then comes its length"),
    "terminal colours": (REFUSED, b"\x1b[31mred\x1b[0m"),
}

SIZE: Cases = {
    "2000000 bytes": (READ, GOOD + bytes(2_000_000 - len(GOOD))),
    "2000001 bytes": (REFUSED, GOOD + bytes(2_000_001 - len(GOOD))),
    "2 MB of one text": (READ, midi(tune(meta(1, bytes(1_999_000))))),
    "2 MB of zeros in a track": (REFUSED, midi(track(bytes(1_999_900)))),
    "2 MB of running notes": (
        REFUSED,
        midi(track(b"\0\x90" + b"\x3c\x50\0\x3c\0\0" * 333_000)),
    ),
    "2 MB of meta events": (READ, midi(tune(b"\0\xff\1\0" * 499_000))),
    "2 MB of broken chunks": (REFUSED, midi(b"MTrk\x7f\xff\xff\xff" * 249_000, tracks=9)),
    "2 MB of chunk names": (REFUSED, midi(b"MTrk" * 499_000, tracks=9)),
    "2 MB of unended notes": (REFUSED, midi(track(b"\0\x90\x3c\x50" + b"\0\x3c\x50" * 660_000))),
    "2 MB of headers": (REFUSED, b"MThd" * 499_000),
}
