"""A SoundFont is cut into programs: presets, instruments and samples keep their values."""

from __future__ import annotations

import struct

import pytest

from scripts.cut_soundfont import SoundFont, cut_all

# Generators: key range, instrument, sample.
KEYS, INSTRUMENT, SAMPLE = 43, 41, 53


def chunk(name: bytes, content: bytes, *, padded: bool = True) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2 * padded)


def table(records: list[tuple[str, tuple]], size: int) -> bytes:
    return b"".join(struct.pack(form, *values).ljust(size, b"\0") for form, values in records)


def soundfont(*, padded: bool = True) -> bytes:
    """Two presets: program 0 plays samples 0 and 2, program 5 plays sample 1."""
    streams = [b"OggS-first", b"OggS-second!", b"OggS-third"]
    smpl = b"".join(streams) + b"x"  # an odd size
    presets = [
        ("<20sHHH", (b"Piano", 0, 0, 0)),
        ("<20sHHH", (b"Organ", 5, 0, 1)),
        ("<20sHHH", (b"EOP", 0, 0, 2)),
    ]
    instruments = [("<20sH", (b"A", 0)), ("<20sH", (b"B", 1)), ("<20sH", (b"EOI", 3))]
    headers, at = [], 0
    for number, stream in enumerate(streams):
        end = at + len(stream)
        headers.append(("<20s5IBbHH", (b"s%d" % number, at, end, 1, 9, 44_100, 60, 0, 0, 0x11)))
        at = end
    headers.append(("<20s", (b"EOS",)))
    pdta = b"".join(
        (
            chunk(b"phdr", table(presets, 38)),
            chunk(b"pbag", struct.pack("<6H", 0, 0, 1, 0, 2, 0)),
            chunk(b"pmod", bytes(10)),
            chunk(b"pgen", struct.pack("<6H", INSTRUMENT, 1, INSTRUMENT, 0, 0, 0)),
            chunk(b"inst", table(instruments, 22)),
            chunk(b"ibag", struct.pack("<8H", 0, 0, 1, 0, 3, 0, 5, 0)),
            chunk(b"imod", bytes(10)),
            chunk(
                b"igen",
                struct.pack(
                    "<12H", SAMPLE, 1, KEYS, 0x3C00, SAMPLE, 0, KEYS, 0x7F3D, SAMPLE, 2, 0, 0
                ),
            ),
            chunk(b"shdr", table(headers, 46)),
        )
    )
    info = chunk(b"ifil", struct.pack("<HH", 3, 0)) + chunk(b"ICOP", b"ours")
    sdta = chunk(b"LIST", b"sdta" + chunk(b"smpl", smpl, padded=padded), padded=padded)
    body = b"sfbk" + chunk(b"LIST", b"INFO" + info) + sdta + chunk(b"LIST", b"pdta" + pdta)
    return chunk(b"RIFF", body)


def samples(data: bytes) -> list[bytes]:
    """Return the stream of each sample."""
    start = data.index(b"smpl") + 8
    table = data[data.index(b"shdr") + 8 :]
    count = (struct.unpack("<I", data[data.index(b"shdr") + 4 :][:4])[0]) // 46 - 1
    places = [struct.unpack_from("<II", table, 46 * i + 20) for i in range(count)]
    return [data[start + first : start + end] for first, end in places]


@pytest.mark.parametrize("padded", [True, False], ids=["padded", "as MuseScore writes it"])
def test_a_preset_keeps_its_samples_only(padded):
    font = SoundFont(soundfont(padded=padded))
    assert set(font.patches) == {(0, 0), (0, 5)}
    piano, organ = font.cut(0, 0), font.cut(0, 5)
    assert samples(piano) == [b"OggS-first", b"OggS-third"]
    assert samples(organ) == [b"OggS-second!"]
    assert b"ours" in piano  # the copyright


def test_a_cut_preset_can_be_cut_again():
    piano = SoundFont(soundfont()).cut(0, 0)
    again = SoundFont(piano)
    assert list(again.patches) == [(0, 0)]
    assert again.cut(0, 0) == piano


def test_a_font_without_all_programs_is_refused(tmp_path):
    (tmp_path / "small.sf3").write_bytes(soundfont())
    with pytest.raises(ValueError, match="no sound for 1, 2"):
        cut_all(tmp_path / "small.sf3", tmp_path / "sounds")


def test_other_files_are_refused():
    with pytest.raises(ValueError, match="not a SoundFont"):
        SoundFont(b"OggS")
