"""Cases of headers, chunks, tracks, delta times, running status, meta and system events."""

from __future__ import annotations

import struct

from tests.malformed_midi.midi_builder import (
    END,
    READ,
    REFUSED,
    TEMPO_100,
    Cases,
    chunk,
    encode_variable_int,
    meta,
    midi,
    note,
    tempo,
    track,
    track_name,
    tune,
)

GOOD = midi(tune())


def _header(*, length: int = 6, kind: int = 1, tracks: int = 1, division: int = 480) -> bytes:
    return b"MThd" + struct.pack(">IHHh", length, kind, tracks, division)


HEADER: Cases = {
    "chunk name only": (REFUSED, b"MThd"),
    "chunk name and half a length": (REFUSED, b"MThd\0\0"),
    "no division": (REFUSED, GOOD[:12]),
    "header only": (REFUSED, GOOD[:14]),
    "header and half a chunk name": (REFUSED, GOOD[:16]),
    "header and a chunk name": (REFUSED, GOOD[:18]),
    "length 0": (READ, _header(length=0) + tune()),
    "length 5": (READ, _header(length=5) + tune()),
    "length 7": (READ, _header(length=7) + b"\0" + tune()),
    "length 10": (READ, _header(length=10) + bytes(4) + tune()),
    "length 4 GB": (READ, _header(length=0xFFFF_FFFF) + tune()),
    "length 2 GB": (READ, _header(length=0x7FFF_FFFF) + tune()),
    "length in the other byte order": (READ, b"MThd\6\0\0\0" + GOOD[8:]),
    "format 3": (READ, _header(kind=3) + tune()),
    "format 65535": (READ, _header(kind=0xFFFF) + tune()),
    "format 0 with two tracks": (READ, midi(tune(), tune(), kind=0)),
    "format 2 with one track": (READ, midi(tune(), kind=2)),
    "format 2 with three tracks": (READ, midi(tune(), tune(), tune(), kind=2)),
    "declares no track": (READ, midi(tune(), tracks=0)),
    "declares one of two tracks": (READ, midi(tune(), tune(), tracks=1)),
    "declares 128 tracks": (READ, midi(tune(), tracks=128)),
    "declares 65535 tracks": (READ, midi(tune(), tracks=0xFFFF)),
    "file twice": (READ, GOOD + GOOD),
    "header twice": (READ, GOOD[:14] + GOOD),
    "lower case": (REFUSED, b"mthd" + GOOD[4:]),
}

DIVISION: Cases = {
    "0": (REFUSED, midi(tune(), division=0)),
    "1": (READ, midi(track(note(ticks=1), note(62, 1)), division=1)),
    "7": (READ, midi(track(note(ticks=7)), division=7)),
    "32767": (READ, midi(track(note(ticks=32_767)), division=32_767)),
    "24 frames": (READ, midi(tune(), division=-24 * 256 + 80)),
    "25 frames": (READ, midi(tune(), division=-25 * 256 + 40)),
    "29 frames": (READ, midi(tune(), division=-29 * 256 + 100)),
    "30 frames": (READ, midi(tune(), division=-30 * 256 + 1)),
    "30 frames of 255 parts": (READ, midi(tune(), division=-30 * 256 + 255)),
    "frames without parts": (REFUSED, midi(tune(), division=-25 * 256)),
    "1 frame": (REFUSED, midi(tune(), division=-1 * 256 + 40)),
    "128 frames": (REFUSED, midi(tune(), division=-32_768)),
    "frames and tempos": (READ, midi(tune(TEMPO_100, tempo(1)), division=-25 * 256 + 40)),
    "frames in format 2": (READ, midi(tune(), tune(), kind=2, division=-25 * 256 + 40)),
}

CHUNK: Cases = {
    "unknown before": (READ, midi(chunk(b"XFIH", b"ab"), tune())),
    "unknown after": (READ, midi(tune(), chunk(b"XFKM", bytes(99)))),
    "only unknown": (REFUSED, midi(chunk(b"XFIH", b"ab"), chunk(b"ABCD", b""))),
    "10000 empty unknown": (READ, midi(tune(), *[chunk(b"Junk", b"")] * 10_000, tracks=1)),
    "unknown with too large a length": (READ, midi(chunk(b"XFIH", b"ab", length=9_999), tune())),
    "unknown of 2 GB": (REFUSED, midi(chunk(b"XFIH", bytes(9), length=0x7FFF_FFFF))),
    "unknown with binary name": (READ, midi(tune(), chunk(b"\1\2\3\4", bytes(8)))),
    "odd byte at the end": (READ, GOOD + b"\0"),
    "zeros at the end": (READ, GOOD + bytes(5_000)),
    "text at the end": (READ, GOOD + b"Downloaded from the midi archive, please rate!"),
    "padding between tracks": (READ, midi(tune() + b"\0", tune(), tracks=2)),
    "track chunk in lower case": (REFUSED, midi(chunk(b"Mtrk", tune()[8:]))),
    "1024 tracks": (READ, midi(tune(), *[track()] * 1_023)),
    "1025 tracks": (REFUSED, midi(tune(), *[track()] * 1_024)),
    "20000 empty tracks": (REFUSED, midi(*[track()] * 20_000, tracks=0xFFFF)),
    "257 tracks with notes": (REFUSED, midi(*[tune()] * 257)),
}

TRACK: Cases = {
    "empty": (REFUSED, midi(chunk(b"MTrk", b""))),
    "only an end": (REFUSED, midi(track())),
    "without an end": (READ, midi(track(note(), end=b""))),
    "two ends": (READ, midi(track(note(), END, note(62)))),
    "end before the notes": (REFUSED, midi(track(END, note()))),
    "end of wrong length": (READ, midi(track(note(), end=b"\0\xff\x2f\x01\0"))),
    "length 0": (READ, midi(track(note(), length=0))),
    "length 1 too few": (READ, midi(track(note(), length=11))),
    "length 1 too many": (READ, midi(track(note(), length=13))),
    "length 4 GB": (READ, midi(track(note(), length=0xFFFF_FFFF))),
    "length 2 GB": (READ, midi(track(note(), length=0x7FFF_FFFF))),
    "first too long of two": (READ, midi(track(note(), length=60), tune())),
    "first includes the second": (READ, midi(track(note(), length=12 + len(tune())), tune())),
    "breaks off in a note": (READ, GOOD[:-12]),
    "breaks off in a delta": (READ, midi(track(note(), end=b"\x81"))),
    "breaks off before its first note": (REFUSED, midi(track(track_name(b"x" * 40), note()))[:41]),
    "breaks off after a status": (READ, midi(track(note(), end=b"\0\x90"))),
    "second breaks off": (READ, midi(tune(), tune())[:-20]),
    "all zeros": (REFUSED, midi(chunk(b"MTrk", bytes(300)))),
    "all ones": (REFUSED, midi(chunk(b"MTrk", b"\xff" * 300))),
    "all deltas": (REFUSED, midi(chunk(b"MTrk", b"\x80" * 300))),
    "a track in a track": (READ, midi(chunk(b"MTrk", note() + tune() + END))),
    "a file in a track": (READ, midi(chunk(b"MTrk", note() + GOOD + END))),
}

DELTA: Cases = {
    "of five bytes": (REFUSED, midi(track(b"\x81\x80\x80\x80\x00" + note()[1:]))),
    "of five bytes later": (READ, midi(track(note(), b"\x81\x80\x80\x80\x00" + note(62)[1:]))),
    "of ten bytes": (READ, midi(track(b"\x80" * 9 + b"\0" + note()[1:]))),
    "padded": (READ, midi(track(b"\x80\x80\x00" + note()[1:]))),
    "largest": (REFUSED, midi(track(note(delta=0x0FFF_FFFF)))),
    "largest before the end": (READ, midi(track(note(), end=b"\xff\xff\xff\x7f\xff\x2f\0"))),
    "largest twenty times": (REFUSED, midi(track(*[note(delta=0x0FFF_FFFF)] * 20))),
    "sum beyond 31 bits": (REFUSED, midi(track(*[meta(1, delta=0x0FFF_FFFF)] * 9, note()))),
    "sum beyond 32 bits": (REFUSED, midi(track(*[meta(1, delta=0x0FFF_FFFF)] * 17, note()))),
    "note of 31 bits": (READ, midi(track(note(), note(62, 0x0FFF_FFFF)))),
    "rest of a month": (REFUSED, midi(track(note(delta=200_000_000)), division=96)),
    "a year after the last note": (READ, midi(track(note(), meta(1, delta=200_000_000)))),
    "one tick each": (READ, midi(track(*[note(ticks=1)] * 2_000))),
}

RUNNING: Cases = {
    "used": (READ, midi(track(b"\0\x90\x3c\x50\x60\x3c\0\0\x3e\x50\x60\x3e\0"))),
    "before any status": (REFUSED, midi(track(b"\0\x3c\x50\x60\x3c\0"))),
    "after a meta event": (READ, midi(track(note(), meta(1, b"x"), b"\0\x3c\x50\x60\x3c\0"))),
    "after a system event": (READ, midi(track(note(), b"\0\xf0\x01\xf7\0\x3c\x50\x60\x3c\0"))),
    "across a track's end": (READ, midi(tune(), track(b"\0\x3c\x50\x60\x3c\0"))),
    "status as a value": (READ, midi(track(note(), b"\0\x90\x90\x50", note(62)))),
    "value beyond 127": (READ, midi(track(note(), b"\0\xb0\x07\xff", note(62)))),
    "program beyond 127": (READ, midi(track(b"\0\xc0\xff", note()))),
    "undefined f4": (READ, midi(track(note(), b"\0\xf4", note(62)))),
    "undefined fd": (READ, midi(track(note(), b"\0\xfd", note(62)))),
    "song position": (READ, midi(track(note(), b"\0\xf2\1\2", note(62)))),
    "time code and tune request": (READ, midi(track(note(), b"\0\xf1\1\0\xf6", note(62)))),
    "clock and active sensing": (READ, midi(track(note(), b"\0\xf8\0\xfe", note(62)))),
    "every channel": (READ, midi(track(*(note(channel=each) for each in range(16))))),
}

META: Cases = {
    "longer than the file": (READ, midi(track(note(), b"\0\xff\x01\xff\xff\xff\x7f", note(62)))),
    "length of five bytes": (READ, midi(track(note(), b"\0\xff\x01\x81\x80\x80\x80\0x"))),
    "breaks off": (READ, midi(track(note(), end=b"\0\xff"))),
    "unknown kind": (READ, midi(tune(meta(0x7E, b"what"), meta(0x00), meta(0x60, bytes(200))))),
    "kind beyond 127": (READ, midi(tune(meta(0xFE, b"x")))),
    "tempo of length 0": (READ, midi(tune(meta(0x51)))),
    "tempo of length 2": (READ, midi(tune(meta(0x51, b"\7\7")))),
    "tempo of length 200": (READ, midi(tune(meta(0x51, bytes(200))))),
    "meter of length 1": (READ, midi(tune(meta(0x58, b"\3")))),
    "meter of length 2": (READ, midi(tune(meta(0x58, b"\3\2")))),
    "key of length 0": (READ, midi(tune(meta(0x59)))),
    "key of 100 flats": (READ, midi(tune(meta(0x59, b"\x9c\0")))),
    "key neither major nor minor": (READ, midi(tune(meta(0x59, b"\0\x09")))),
    "smpte offset": (READ, midi(tune(meta(0x54, b"\xff" * 5)))),
    "port and channel prefix": (READ, midi(tune(meta(0x21, b"\xff"), meta(0x20, b"\xff")))),
    "50000 texts": (READ, midi(tune(*[meta(1, b"la")] * 50_000))),
    "sequencer specific 100 kB": (READ, midi(tune(meta(0x7F, bytes(100_000))))),
}

SYSTEM: Cases = {
    "exclusive": (READ, midi(tune(b"\0\xf0\x05\x7e\x7f\x09\x01\xf7"))),
    "exclusive without an end": (READ, midi(tune(b"\0\xf0\x04\x7e\x7f\x09\x01"))),
    "exclusive of length 0": (READ, midi(tune(b"\0\xf0\0"))),
    "exclusive longer than the file": (READ, midi(track(note(), b"\0\xf0\xff\xff\xff\x7f\x01"))),
    "exclusive in two packets": (READ, midi(tune(b"\0\xf0\x01\x7e\0\xf7\x02\x01\xf7"))),
    "escape": (READ, midi(tune(b"\0\xf7\x03\xf3\x01\x00"))),
    "exclusive of 500 kB": (
        READ,
        midi(tune(b"\0\xf0" + encode_variable_int(500_000) + bytes(500_000))),
    ),
    "20000 exclusives": (READ, midi(tune(b"\0\xf0\x01\xf7" * 20_000))),
    "only exclusives": (REFUSED, midi(track(b"\0\xf0\x05\x7e\x7f\x09\x01\xf7" * 50))),
}
