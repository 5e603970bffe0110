"""Names and ids of the tokens: the base vocabulary of MidiTok's REMI.

Tests compare these tables with MidiTok, which is not imported here because that takes 1.3 seconds
and imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from musiclstm.midi.meters import METERS
from musiclstm.model.step_features import TokenTable

FORMAT_VERSION: Final = 1
"""Changes with the order of tokens in a stream or the meaning of a block."""

POSITIONS_PER_BEAT: Final = 12
TICKS_PER_QUARTER: Final = 48
"""Resolution of decoded scores: twelve positions per sixteenth, the shortest beat of a meter."""

DRUMS: Final = -1
MAX_TRACKS_PER_PROGRAM: Final = 8

_SPECIAL = ("PAD_None", "BOS_None", "EOS_None")
_LONGEST_BEATS = 32

DRUM_PITCHES: Final = range(27, 89)
"""Drum keys that have a token."""

DURATIONS: Final[Mapping[tuple[int, int], int]] = MappingProxyType(
    {(0, 4): POSITIONS_PER_BEAT, (4, 12): 4, (12, _LONGEST_BEATS): 1}
)
"""Steps per beat of the Duration tokens, by first and last beat."""

SLOWEST_BPM: Final = 40
FASTEST_BPM: Final = 250
TEMPOS_BPM: Final[npt.NDArray[np.float64]] = np.geomspace(SLOWEST_BPM, FASTEST_BPM, 32).round(2)
"""Quarter notes per minute of each Tempo token, in order of ids."""


def _durations() -> tuple[tuple[int, int, int], ...]:
    """Return beats, steps and steps per beat of every Duration token, ascending."""
    found = [
        (beat, step, steps)
        for beats, steps in DURATIONS.items()
        for beat in range(*beats)
        for step in range(steps)
    ]
    return (*found[1:], (_LONGEST_BEATS, 0, 1))


def _names() -> tuple[str, ...]:
    positions = POSITIONS_PER_BEAT * max(max(numerators) for numerators in METERS.values())
    return (
        *_SPECIAL,
        "Bar_None",
        *(f"Pitch_{pitch}" for pitch in range(128)),
        *("Duration_{}.{}.{}".format(*duration) for duration in _durations()),
        *(f"Position_{position}" for position in range(positions)),
        *(f"PitchDrum_{pitch}" for pitch in DRUM_PITCHES),
        *(f"Tempo_{bpm}" for bpm in TEMPOS_BPM.tolist()),
        *(f"Program_{program}" for program in (*range(128), DRUMS)),
        *(f"TimeSig_{n}/{d}" for d, numerators in METERS.items() for n in numerators),
    )


TOKEN_NAMES: Final = _names()
IDS: Final[Mapping[str, int]] = MappingProxyType({name: i for i, name in enumerate(TOKEN_NAMES)})
TABLE: Final = TokenTable(TOKEN_NAMES)
"""Kind, value and unit of each token, in 1/48 quarters: the ticks of decoded scores."""

PAD, BOS, EOS = (IDS[name] for name in _SPECIAL)
BAR = IDS["Bar_None"]
PITCH_0 = IDS["Pitch_0"]
DURATION_0 = IDS["Duration_0.1.12"]
POSITION_0 = IDS["Position_0"]
PITCH_DRUM_FIRST = IDS[f"PitchDrum_{DRUM_PITCHES[0]}"]
TEMPO_0 = PITCH_DRUM_FIRST + len(DRUM_PITCHES)
PROGRAM_0 = IDS["Program_0"]
PROGRAM_DRUMS = IDS[f"Program_{DRUMS}"]
TIME_SIGNATURE_0 = PROGRAM_DRUMS + 1

DURATION_STEPS: npt.NDArray[np.int64] = np.array(TABLE.value[DURATION_0:POSITION_0])
"""Length of each Duration token in positions, in order of ids."""

TIME_SIGNATURES: Final = tuple((n, d) for d, numerators in METERS.items() for n in numerators)
"""Numerator and denominator of each TimeSig token, in order of ids."""

BAR_TICKS: npt.NDArray[np.int64] = np.array(TABLE.value[TIME_SIGNATURE_0:])
"""Length of a bar of each TimeSig token in decoded scores, in order of ids."""

STEP_TICKS: npt.NDArray[np.int64] = np.array(TABLE.unit[TIME_SIGNATURE_0:])
"""Length of a position in a bar of each TimeSig token in decoded scores, in order of ids."""


def fingerprint(names: tuple[str, ...] = TOKEN_NAMES, version: int = FORMAT_VERSION) -> str:
    """Return sixteen hexadecimal digits that change with any name, id or the format version."""
    lines = "\n".join((f"bar-part {version}", *names))
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def nearest_index(
    table: npt.NDArray[np.float64] | npt.NDArray[np.int64],
    values: npt.NDArray[np.float64] | npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Return the index of the nearest entry of an ascending table; of ties the upper one."""
    above = np.minimum(np.searchsorted(table, values), len(table) - 1)
    below = np.maximum(above - 1, 0)
    nearer = np.abs(values - table[below]) < np.abs(values - table[above])
    return np.where(nearer, below, above).astype(np.int64)
