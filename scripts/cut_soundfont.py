"""Cut a General MIDI SoundFont into one small file for each program.

The page without a server fetches only the instruments that play. Samples are copied as they are,
so an sf3 file stays compressed. The format is that of the SoundFont 2.04 specification, section 7.

    python -m scripts.cut_soundfont FluidR3Mono_GM.sf3 build/static/sounds
"""

from __future__ import annotations

import argparse
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

DRUM_BANK = 128
PROGRAMS = range(128)

_INSTRUMENT, _SAMPLE = 41, 53  # generators that name an instrument and a sample
_COMPRESSED = 0x10  # bit of the sample type: start and end are bytes of an Ogg Vorbis stream
_PADDING = bytes(46 * 2)  # zeros between uncompressed samples
_INFO = (b"ifil", b"isng", b"INAM", b"ICOP", b"ICMT")  # version, engine, name, copyright


@dataclass(frozen=True)
class _Zone:
    generators: list[tuple[int, int]]  # (operator, amount), 0..65535
    modulators: list[bytes]

    @property
    def target(self) -> int | None:
        """Instrument or sample of the zone; None: it is global."""
        last = self.generators[-1] if self.generators else (0, 0)
        return last[1] if last[0] in (_INSTRUMENT, _SAMPLE) else None

    def with_target(self, target: int) -> _Zone:
        operator = self.generators[-1][0]
        return _Zone([*self.generators[:-1], (operator, target)], self.modulators)


class SoundFont:
    """A parsed sf2 or sf3 file.

    Raises:
        ValueError: The bytes are not a SoundFont.
    """

    def __init__(self, data: bytes) -> None:
        """Parse the tables; samples are left as they are."""
        if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
            raise ValueError("This is not a SoundFont; pass an .sf2 or .sf3 file.")
        self._chunks = dict(_chunks(data, 12, len(data)))
        self._presets = _records(self._chunks[b"phdr"], 38)
        self._instruments = _records(self._chunks[b"inst"], 22)
        self._samples = _records(self._chunks[b"shdr"], 46)

    @property
    def patches(self) -> dict[tuple[int, int], int]:
        """Index of the preset of each bank and program."""
        patches = (struct.unpack_from("<HH", record, 20) for record in self._presets[:-1])
        return {(bank, program): index for index, (program, bank) in enumerate(patches)}

    def cut(self, bank: int, program: int) -> bytes:
        """Return a SoundFont with one preset.

        Raises:
            KeyError: There is no such preset.
        """
        index = self.patches[bank, program]
        preset = self._zones("p", self._presets, 24, index)
        instruments = _numbered(zone.target for zone in preset)
        zones = [self._zones("i", self._instruments, 20, each) for each in instruments]
        samples = _numbered(zone.target for own in zones for zone in own)
        headers, smpl = self._copy_samples(samples)
        presets = _table("p", b"phdr", [self._presets[index]], 24, [_mapped(preset, instruments)])
        names = [self._instruments[each] for each in instruments]
        played = _table("i", b"inst", names, 20, [_mapped(own, samples) for own in zones])
        last = _chunk(b"shdr", b"".join(headers) + _last(b"EOS", 46))
        info = b"".join(_chunk(name, self._chunks[name]) for name in self._info())
        lists = [b"INFO" + info, b"sdta" + _chunk(b"smpl", smpl), b"pdta" + presets + played + last]
        return _chunk(b"RIFF", b"sfbk" + b"".join(_chunk(b"LIST", each) for each in lists))

    def _info(self) -> list[bytes]:
        return [name for name in _INFO if name in self._chunks]

    def _zones(self, kind: str, headers: list[bytes], at: int, index: int) -> list[_Zone]:
        """Return the zones of a preset (kind `p`) or an instrument (kind `i`)."""
        bags, generators, modulators = (
            _records(self._chunks[kind.encode() + name], size)
            for name, size in ((b"bag", 4), (b"gen", 4), (b"mod", 10))
        )
        first, last = (struct.unpack_from("<H", headers[index + i], at)[0] for i in (0, 1))
        found = []
        for bag in range(first, last):
            (gen, mod), (gen_end, mod_end) = (struct.unpack("<HH", bags[bag + i]) for i in (0, 1))
            own = [struct.unpack("<HH", each) for each in generators[gen:gen_end]]
            found.append(_Zone([(a, b) for a, b in own], modulators[mod:mod_end]))
        return found

    def _copy_samples(self, samples: dict[int, int]) -> tuple[list[bytes], bytes]:
        """Return the headers of samples with new places and links, and their data."""
        headers, smpl = [], bytearray()
        for index in samples:
            record = self._samples[index]
            start, end, loop_start, loop_end, rate = struct.unpack_from("<5I", record, 20)
            key, correction, link, kind = struct.unpack_from("<BbHH", record, 40)
            is_compressed = bool(kind & _COMPRESSED)
            size = 1 if is_compressed else 2  # bytes of the unit of start and end
            at = len(smpl) // size
            smpl += self._chunks[b"smpl"][start * size : end * size]
            new_end = len(smpl) // size
            if not is_compressed:
                smpl += _PADDING
                loop_start, loop_end = loop_start - start + at, loop_end - start + at
            places = struct.pack("<5I", at, new_end, loop_start, loop_end, rate)
            rest = struct.pack("<BbHH", key, correction, samples.get(link, 0), kind)
            headers.append(record[:20] + places + rest)
        return headers, bytes(smpl)


def _chunks(data: bytes, at: int, end: int) -> Iterable[tuple[bytes, bytes]]:
    """Yield name and content of each chunk, those of lists included."""
    while at + 8 <= end:
        name, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if name == b"LIST":
            yield from _chunks(data, at + 12, at + 8 + size)
        else:
            yield name, data[at + 8 : at + 8 + size]
        at += 8 + size
        at += size % 2 and data[at : at + 1] == b"\0"  # MuseScore writes no padding


def _records(table: bytes, size: int) -> list[bytes]:
    return [table[at : at + size] for at in range(0, len(table) - size + 1, size)]


def _numbered(targets: Iterable[int | None]) -> dict[int, int]:
    """Return a new number for each target, in order of appearance."""
    found: dict[int, int] = {}
    for target in targets:
        if target is not None:
            found.setdefault(target, len(found))
    return found


def _mapped(zones: list[_Zone], numbers: dict[int, int]) -> list[_Zone]:
    return [
        zone if zone.target is None else zone.with_target(numbers[zone.target]) for zone in zones
    ]


def _table(
    kind: str, name: bytes, headers: list[bytes], at: int, zones: list[list[_Zone]]
) -> bytes:
    """Return the chunks of presets or instruments: headers, bags, modulators and generators."""
    bags: list[bytes] = []
    generators: list[bytes] = []
    modulators: list[bytes] = []
    records: list[bytes] = []
    for header, own in zip(headers, zones, strict=True):
        records.append(header[:at] + struct.pack("<H", len(bags)) + header[at + 2 :])
        for zone in own:
            bags.append(struct.pack("<HH", len(generators), len(modulators)))
            generators += [struct.pack("<HH", *pair) for pair in zone.generators]
            modulators += zone.modulators
    terminal = bytearray(_last(b"EOP" if kind == "p" else b"EOI", len(headers[0])))
    struct.pack_into("<H", terminal, at, len(bags))
    bags.append(struct.pack("<HH", len(generators), len(modulators)))
    prefix = kind.encode()
    return (
        _chunk(name, b"".join(records) + terminal)
        + _chunk(prefix + b"bag", b"".join(bags))
        + _chunk(prefix + b"mod", b"".join(modulators) + bytes(10))
        + _chunk(prefix + b"gen", b"".join(generators) + bytes(4))
    )


def _last(name: bytes, size: int) -> bytes:
    """Return the record that ends a table."""
    return name.ljust(size, b"\0")


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def cut_all(soundfont: Path, folder: Path) -> list[Path]:
    """Write `0.sf3` to `127.sf3` and `drums.sf3`; return their paths.

    Raises:
        ValueError: The file is not a SoundFont, or lacks a program of General MIDI.
    """
    font = SoundFont(soundfont.read_bytes())
    wanted = {str(program): (0, program) for program in PROGRAMS} | {"drums": (DRUM_BANK, 0)}
    missing = [name for name, patch in wanted.items() if patch not in font.patches]
    if missing:
        raise ValueError(f"{soundfont.name} has no sound for {', '.join(missing)}; pass another.")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, patch in wanted.items():
        paths.append(folder / f"{name}.sf3")
        paths[-1].write_bytes(font.cut(*patch))
    return paths


def main() -> None:
    """Cut a SoundFont and print the sizes."""
    parser = argparse.ArgumentParser(description="Cut a SoundFont into one file for each program.")
    parser.add_argument("soundfont", type=Path, help="an .sf2 or .sf3 file, such as FluidR3Mono")
    parser.add_argument("folder", type=Path, help="where to write the files")
    options = parser.parse_args()
    paths = cut_all(options.soundfont, options.folder)
    sizes = sorted(path.stat().st_size for path in paths)
    print(f"{len(paths)} files, {sum(sizes):,} bytes, median {sizes[len(sizes) // 2]:,}")


if __name__ == "__main__":
    main()
