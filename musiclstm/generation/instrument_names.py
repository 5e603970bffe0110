"""Instruments by name: `violin`, `Acoustic Guitar (nylon)`, `40`, `drums`."""

from __future__ import annotations

import re

from musiclstm.errors import shorten
from musiclstm.midi.general_midi import DRUMS, instrument_name

_MAX_LISTED = 6
# Names of the General MIDI specification for which `instrument_name` has a shorter one, and drums.
_OTHER_NAMES = {
    "Clavi": 7,
    "Tango Accordion": 23,
    "Acoustic Guitar nylon": 24,
    "Acoustic Guitar steel": 25,
    "Electric Guitar jazz": 26,
    "Electric Guitar clean": 27,
    "Electric Guitar muted": 28,
    "Electric Bass finger": 33,
    "Electric Bass pick": 34,
    "Orchestral Harp": 46,
    "Synth Choir": 54,
    "Percussion": DRUMS,
    "Drum Kit": DRUMS,
}
_NUMBERED = {"lead": 80, "pad": 88, "fx": 96}  # `Lead 1 (square)`: the first of eight programs


def read_programs(text: str) -> list[int]:
    """Read programs that are separated by commas, each by number or by name.

    Args:
        text: Such as `0,violin,drums`. Case and punctuation do not matter. A part of a name is
            enough if no other name has it: `oboe`, `harp`, `church`.

    Returns:
        Programs, -1 for drums. Numbers are not checked.

    Raises:
        ValueError: No instrument has that name, or several have.
    """
    return [_program(part) for part in text.split(",")]


def _program(text: str) -> int:
    if re.fullmatch(r"\s*-?\d+\s*", text):
        return int(text)
    words = _words(text)
    names = {"".join(_words(name)): program for name, program in _OTHER_NAMES.items()}
    names |= {"".join(_words(instrument_name(each))): each for each in range(DRUMS, 128)}
    if (exact := names.get("".join(words))) is not None:
        return exact
    if len(words) > 2 and words[0] in _NUMBERED and words[1] in tuple("12345678"):
        return _NUMBERED[words[0]] + int(words[1]) - 1
    found = [p for p in range(128) if words and {*words} <= {*_words(instrument_name(p))}]
    if len(found) == 1:
        return found[0]
    raise ValueError(_refusal(text, found))


def _refusal(text: str, found: list[int]) -> str:
    if not found:
        return (
            f"no instrument is called {shorten(text.strip())}; pass General MIDI names such as "
            "violin, programs from 0 to 127, or drums (-1)"
        )
    names = [f"{instrument_name(program)} ({program})" for program in found[:_MAX_LISTED]]
    more = " and others" if len(found) > _MAX_LISTED else ""
    return f"{shorten(text.strip())} may be {', '.join(names)}{more}; pass one of them"


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())
