"""Hostile uploads, first half: headers, chunks, tracks, times, statuses, meta and system events."""

from __future__ import annotations

import struct

from tests.malformed_midi.midi_builder import (
    END,
    MUSIC,
    SENTENCE,
    TEMPO_100,
    Cases,
    chunk,
    meta,
    midi,
    named,
    note,
    number,
    tempo,
    track,
    tune,
)

GOOD = midi(tune())


def _header(*, length: int = 6, kind: int = 1, tracks: int = 1, division: int = 480) -> bytes:
    return b"MThd" + struct.pack(">IHHh", length, kind, tracks, division)


HEADER: Cases = {
    "magic alone": (SENTENCE, b"MThd"),
    "magic and half a length": (SENTENCE, b"MThd\0\0"),
    "no division": (SENTENCE, GOOD[:12]),
    "header alone": (SENTENCE, GOOD[:14]),
    "header and half a chunk name": (SENTENCE, GOOD[:16]),
    "header and a chunk name": (SENTENCE, GOOD[:18]),
    "length 0": (MUSIC, _header(length=0) + tune()),
    "length 5": (MUSIC, _header(length=5) + tune()),
    "length 7": (MUSIC, _header(length=7) + b"\0" + tune()),
    "length 10": (MUSIC, _header(length=10) + bytes(4) + tune()),
    "length 4 GB": (MUSIC, _header(length=0xFFFF_FFFF) + tune()),
    "length 2 GB": (MUSIC, _header(length=0x7FFF_FFFF) + tune()),
    "length in the other byte order": (MUSIC, b"MThd\6\0\0\0" + GOOD[8:]),
    "format 3": (MUSIC, _header(kind=3) + tune()),
    "format 65535": (MUSIC, _header(kind=0xFFFF) + tune()),
    "format 0 with two tracks": (MUSIC, midi(tune(), tune(), kind=0)),
    "format 2 with one track": (MUSIC, midi(tune(), kind=2)),
    "format 2 with three tracks": (MUSIC, midi(tune(), tune(), tune(), kind=2)),
    "announces no track": (MUSIC, midi(tune(), tracks=0)),
    "announces one of two tracks": (MUSIC, midi(tune(), tune(), tracks=1)),
    "announces 128 tracks": (MUSIC, midi(tune(), tracks=128)),
    "announces 65535 tracks": (MUSIC, midi(tune(), tracks=0xFFFF)),
    "in the middle again": (MUSIC, GOOD + GOOD),
    "twice": (MUSIC, GOOD[:14] + GOOD),
    "lower case": (SENTENCE, b"mthd" + GOOD[4:]),
}

DIVISION: Cases = {
    "0": (SENTENCE, midi(tune(), division=0)),
    "1": (MUSIC, midi(track(note(ticks=1), note(62, 1)), division=1)),
    "7": (MUSIC, midi(track(note(ticks=7)), division=7)),
    "32767": (MUSIC, midi(track(note(ticks=32_767)), division=32_767)),
    "24 frames": (MUSIC, midi(tune(), division=-24 * 256 + 80)),
    "25 frames": (MUSIC, midi(tune(), division=-25 * 256 + 40)),
    "29 frames": (MUSIC, midi(tune(), division=-29 * 256 + 100)),
    "30 frames": (MUSIC, midi(tune(), division=-30 * 256 + 1)),
    "30 frames of 255 parts": (MUSIC, midi(tune(), division=-30 * 256 + 255)),
    "frames without parts": (SENTENCE, midi(tune(), division=-25 * 256)),
    "1 frame": (SENTENCE, midi(tune(), division=-1 * 256 + 40)),
    "128 frames": (SENTENCE, midi(tune(), division=-32_768)),
    "frames and tempos": (MUSIC, midi(tune(TEMPO_100, tempo(1)), division=-25 * 256 + 40)),
    "frames in format 2": (MUSIC, midi(tune(), tune(), kind=2, division=-25 * 256 + 40)),
}

CHUNK: Cases = {
    "alien before": (MUSIC, midi(chunk(b"XFIH", b"ab"), tune())),
    "alien after": (MUSIC, midi(tune(), chunk(b"XFKM", bytes(99)))),
    "only aliens": (SENTENCE, midi(chunk(b"XFIH", b"ab"), chunk(b"ABCD", b""))),
    "10000 empty aliens": (MUSIC, midi(tune(), *[chunk(b"Junk", b"")] * 10_000, tracks=1)),
    "alien that is too long": (MUSIC, midi(chunk(b"XFIH", b"ab", length=9_999), tune())),
    "alien that swallows all": (SENTENCE, midi(chunk(b"XFIH", bytes(9), length=0x7FFF_FFFF))),
    "alien with binary name": (MUSIC, midi(tune(), chunk(b"\1\2\3\4", bytes(8)))),
    "odd byte at the end": (MUSIC, GOOD + b"\0"),
    "zeros at the end": (MUSIC, GOOD + bytes(5_000)),
    "text at the end": (MUSIC, GOOD + b"Downloaded from the midi archive, please rate!"),
    "padding between tracks": (MUSIC, midi(tune() + b"\0", tune(), tracks=2)),
    "track name misspelt": (SENTENCE, midi(chunk(b"Mtrk", tune()[8:]))),
    "1024 tracks": (MUSIC, midi(tune(), *[track()] * 1_023)),
    "1025 tracks": (SENTENCE, midi(tune(), *[track()] * 1_024)),
    "20000 empty tracks": (SENTENCE, midi(*[track()] * 20_000, tracks=0xFFFF)),
    "257 tracks with notes": (SENTENCE, midi(*[tune()] * 257)),
}

TRACK: Cases = {
    "empty": (SENTENCE, midi(chunk(b"MTrk", b""))),
    "only an end": (SENTENCE, midi(track())),
    "without an end": (MUSIC, midi(track(note(), end=b""))),
    "two ends": (MUSIC, midi(track(note(), END, note(62)))),
    "end before the notes": (SENTENCE, midi(track(END, note()))),
    "end of wrong length": (MUSIC, midi(track(note(), end=b"\0\xff\x2f\x01\0"))),
    "length 0": (MUSIC, midi(track(note(), length=0))),
    "length 1 too few": (MUSIC, midi(track(note(), length=11))),
    "length 1 too many": (MUSIC, midi(track(note(), length=13))),
    "length 4 GB": (MUSIC, midi(track(note(), length=0xFFFF_FFFF))),
    "length 2 GB": (MUSIC, midi(track(note(), length=0x7FFF_FFFF))),
    "first too long of two": (MUSIC, midi(track(note(), length=60), tune())),
    "first swallows the second": (MUSIC, midi(track(note(), length=12 + len(tune())), tune())),
    "breaks off in a note": (MUSIC, GOOD[:-12]),
    "breaks off in a delta": (MUSIC, midi(track(note(), end=b"\x81"))),
    "breaks off before its first note": (SENTENCE, midi(track(named(b"x" * 40), note()))[:41]),
    "breaks off after a status": (MUSIC, midi(track(note(), end=b"\0\x90"))),
    "second breaks off": (MUSIC, midi(tune(), tune())[:-20]),
    "all zeros": (SENTENCE, midi(chunk(b"MTrk", bytes(300)))),
    "all ones": (SENTENCE, midi(chunk(b"MTrk", b"\xff" * 300))),
    "all deltas": (SENTENCE, midi(chunk(b"MTrk", b"\x80" * 300))),
    "a track in a track": (MUSIC, midi(chunk(b"MTrk", note() + tune() + END))),
    "a file in a track": (MUSIC, midi(chunk(b"MTrk", note() + GOOD + END))),
}

DELTA: Cases = {
    "of five bytes": (SENTENCE, midi(track(b"\x81\x80\x80\x80\x00" + note()[1:]))),
    "of five bytes later": (MUSIC, midi(track(note(), b"\x81\x80\x80\x80\x00" + note(62)[1:]))),
    "of ten bytes": (MUSIC, midi(track(b"\x80" * 9 + b"\0" + note()[1:]))),
    "padded": (MUSIC, midi(track(b"\x80\x80\x00" + note()[1:]))),
    "largest": (SENTENCE, midi(track(note(wait=0x0FFF_FFFF)))),
    "largest before the end": (MUSIC, midi(track(note(), end=b"\xff\xff\xff\x7f\xff\x2f\0"))),
    "largest twenty times": (SENTENCE, midi(track(*[note(wait=0x0FFF_FFFF)] * 20))),
    "sum beyond 31 bits": (SENTENCE, midi(track(*[meta(1, wait=0x0FFF_FFFF)] * 9, note()))),
    "sum beyond 32 bits": (SENTENCE, midi(track(*[meta(1, wait=0x0FFF_FFFF)] * 17, note()))),
    "note of 31 bits": (SENTENCE, midi(track(note(), note(62, 0x0FFF_FFFF)))),
    "a month of silence first": (SENTENCE, midi(track(note(wait=200_000_000)), division=96)),
    "a year after the last note": (MUSIC, midi(track(note(), meta(1, wait=200_000_000)))),
    "one tick each": (MUSIC, midi(track(*[note(ticks=1)] * 2_000))),
}

RUNNING: Cases = {
    "used": (MUSIC, midi(track(b"\0\x90\x3c\x50\x60\x3c\0\0\x3e\x50\x60\x3e\0"))),
    "before any status": (SENTENCE, midi(track(b"\0\x3c\x50\x60\x3c\0"))),
    "after a meta event": (MUSIC, midi(track(note(), meta(1, b"x"), b"\0\x3c\x50\x60\x3c\0"))),
    "after a system event": (MUSIC, midi(track(note(), b"\0\xf0\x01\xf7\0\x3c\x50\x60\x3c\0"))),
    "across a track's end": (MUSIC, midi(tune(), track(b"\0\x3c\x50\x60\x3c\0"))),
    "status as a value": (MUSIC, midi(track(note(), b"\0\x90\x90\x50", note(62)))),
    "value beyond 127": (MUSIC, midi(track(note(), b"\0\xb0\x07\xff", note(62)))),
    "program beyond 127": (MUSIC, midi(track(b"\0\xc0\xff", note()))),
    "undefined f4": (MUSIC, midi(track(note(), b"\0\xf4", note(62)))),
    "undefined fd": (MUSIC, midi(track(note(), b"\0\xfd", note(62)))),
    "song position": (MUSIC, midi(track(note(), b"\0\xf2\1\2", note(62)))),
    "time code and tune request": (MUSIC, midi(track(note(), b"\0\xf1\1\0\xf6", note(62)))),
    "clock and active sensing": (MUSIC, midi(track(note(), b"\0\xf8\0\xfe", note(62)))),
    "every channel": (MUSIC, midi(track(*(note(channel=each) for each in range(16))))),
}

META: Cases = {
    "longer than the file": (MUSIC, midi(track(note(), b"\0\xff\x01\xff\xff\xff\x7f", note(62)))),
    "length of five bytes": (MUSIC, midi(track(note(), b"\0\xff\x01\x81\x80\x80\x80\0x"))),
    "breaks off": (MUSIC, midi(track(note(), end=b"\0\xff"))),
    "unknown kind": (MUSIC, midi(tune(meta(0x7E, b"what"), meta(0x00), meta(0x60, bytes(200))))),
    "kind beyond 127": (MUSIC, midi(tune(meta(0xFE, b"x")))),
    "tempo of length 0": (MUSIC, midi(tune(meta(0x51)))),
    "tempo of length 2": (MUSIC, midi(tune(meta(0x51, b"\7\7")))),
    "tempo of length 200": (MUSIC, midi(tune(meta(0x51, bytes(200))))),
    "meter of length 1": (MUSIC, midi(tune(meta(0x58, b"\3")))),
    "meter of length 2": (MUSIC, midi(tune(meta(0x58, b"\3\2")))),
    "key of length 0": (MUSIC, midi(tune(meta(0x59)))),
    "key of 100 flats": (MUSIC, midi(tune(meta(0x59, b"\x9c\0")))),
    "key neither major nor minor": (MUSIC, midi(tune(meta(0x59, b"\0\x09")))),
    "smpte offset": (MUSIC, midi(tune(meta(0x54, b"\xff" * 5)))),
    "port and channel prefix": (MUSIC, midi(tune(meta(0x21, b"\xff"), meta(0x20, b"\xff")))),
    "a flood of texts": (MUSIC, midi(tune(*[meta(1, b"la")] * 50_000))),
    "sequencer specific 100 kB": (MUSIC, midi(tune(meta(0x7F, bytes(100_000))))),
}

SYSTEM: Cases = {
    "exclusive": (MUSIC, midi(tune(b"\0\xf0\x05\x7e\x7f\x09\x01\xf7"))),
    "exclusive without an end": (MUSIC, midi(tune(b"\0\xf0\x04\x7e\x7f\x09\x01"))),
    "exclusive of length 0": (MUSIC, midi(tune(b"\0\xf0\0"))),
    "exclusive longer than the file": (MUSIC, midi(track(note(), b"\0\xf0\xff\xff\xff\x7f\x01"))),
    "exclusive that goes on": (MUSIC, midi(tune(b"\0\xf0\x01\x7e\0\xf7\x02\x01\xf7"))),
    "escape": (MUSIC, midi(tune(b"\0\xf7\x03\xf3\x01\x00"))),
    "exclusive of 500 kB": (MUSIC, midi(tune(b"\0\xf0" + number(500_000) + bytes(500_000)))),
    "20000 exclusives": (MUSIC, midi(tune(b"\0\xf0\x01\xf7" * 20_000))),
    "only exclusives": (SENTENCE, midi(track(b"\0\xf0\x05\x7e\x7f\x09\x01\xf7" * 50))),
}
