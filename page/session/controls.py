"""What each control of the page may hold, and one sentence for whatever else comes.

Values come from anywhere. This file knows them one by one, not what they mean for the music.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from musiclstm import MusicLSTMError
from musiclstm.errors import shorten
from musiclstm.generation import MAX_BPM, MAX_NOTES_AT_ONCE, MAX_SEED, MIN_BPM
from musiclstm.midi import DRUMS, Key

AS_THE_SEED, FREE = "as the seed", "free"
KEYS = (
    AS_THE_SEED,
    FREE,
    *(str(Key(tonic, "major")) for tonic in range(12)),
    *(str(Key(tonic, "minor")) for tonic in range(12)),
)
METERS = (
    *(AS_THE_SEED, FREE, "4/4", "3/4", "2/4", "5/4", "6/4"),
    *("3/8", "5/8", "6/8", "7/8", "9/8", "12/8"),
)
_WHOLE: dict[str, tuple[float, float]] = {
    "bars": (1, 64),
    "random_seed": (0, MAX_SEED),
    "top_k": (0, 500),
    "lowest": (0, 127),
    "highest": (0, 127),
    "most_at_once": (1, MAX_NOTES_AT_ONCE),
    "fewest_notes": (0, 64),
    "most_notes": (1, 256),
}
_REAL: dict[str, tuple[float, float]] = {
    "adventurous": (0, 1.5),
    "surprise": (0, 1),
    "copy_weight": (0, 2),
    "top_p": (0.05, 1),
    "min_p": (0, 1),
    "pitch_temperature": (0, 2),
    "rhythm_temperature": (0, 2),
    "tempo_bpm": (MIN_BPM, MAX_BPM),
    "reverb": (0, 1),
    "chorus": (0, 1),
    "gain_db": (-20, 20),
}
BOUNDS = _WHOLE | _REAL  # of every number: the least and the most


class SettingsError(MusicLSTMError, ValueError):
    """A control has a value that it cannot have, or two of them contradict each other."""


def number(name: str, value: Any) -> int | float:
    """A number within its `BOUNDS`; a whole one may come as 8.0."""
    least, most = BOUNDS[name]
    is_whole = name in _WHOLE
    expected = f"{'a whole number' if is_whole else 'a number'} from {least:g} to {most:.10g}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse(name, expected, value)
    if not least <= value <= most or (is_whole and value != int(value)):  # nan is nowhere between
        _refuse(name, expected, value)
    return int(value) if is_whole else float(value)


def boolean(name: str, value: Any) -> None:
    """Refuse what is neither true nor false."""
    if not isinstance(value, bool):
        _refuse(name, "true or false", value)


def choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Refuse what is not among the choices."""
    if not isinstance(value, str) or value not in choices:
        _refuse(name, "one of " + ", ".join(choices) if choices else "left out", value)


def programs(name: str, value: Any) -> tuple[int, ...]:
    """Programs from -1 (drums) to 127, rising and each once; one at least."""
    expected = "a list of programs from -1 (drums) to 127, one at least"
    if not isinstance(value, tuple | list | set | frozenset) or not value:
        _refuse(name, expected, value)
    return tuple(sorted({_program(name, expected, each, least=DRUMS) for each in value}))


def swaps(name: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Which program sounds in place of which, rising; a dict, also one from JSON, or pairs."""
    expected = "programs from 0 to 127, each with the one that sounds in its place"
    pairs = value.items() if isinstance(value, Mapping) else value
    if not isinstance(pairs, Iterable) or isinstance(pairs, str | bytes):
        _refuse(name, expected, value)
    found: dict[int, int] = {}
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            _refuse(name, expected, value)
        old, new = (_program(name, expected, _digits(each), least=0) for each in pair)
        found[old] = new
    return tuple(sorted((old, new) for old, new in found.items() if old != new))


def _program(name: str, expected: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 127:
        _refuse(name, expected, value)
    return value


def _digits(value: Any) -> Any:
    """The number that a text of up to three digits says: names of JSON are always texts."""
    is_number = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 4
    return int(value) if is_number else value


def _refuse(name: str, expected: str, value: Any) -> NoReturn:
    raise SettingsError(f"{name.replace('_', ' ')} must be {expected}, got {shorten(value)}.")
