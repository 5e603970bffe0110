"""Parts, programs of a score, and substitutes for programs without training data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from symusic.core import ScoreTick, TrackTick

from musiclstm.midi.analysis import AnyScore, in_ticks
from musiclstm.tokens.vocabulary import DRUMS, MAX_TRACKS_PER_PROGRAM


class PartName(NamedTuple):
    """A track in a token stream.

    Attributes:
        program: MIDI program, 0 to 127, or -1 for drums.
        number: 0 for the first track of the program in part order, up to 7.
    """

    program: int
    number: int


def program_of(track: TrackTick) -> int:
    """Return the MIDI program of a track, -1 for drums."""
    return DRUMS if track.is_drum else track.program


def most_parts(program: int) -> int:
    """Return the maximum number of parts of a program."""
    return 1 if program == DRUMS else MAX_TRACKS_PER_PROGRAM


def nearest_programs(programs: Iterable[int], trained: Iterable[int] | None) -> dict[int, int]:
    """Map each program of a prompt to a trained program.

    A trained program maps to itself; another to the nearest trained program of its General MIDI
    family, else to the nearest of all. Unused programs are preferred, so that the mapping can be
    inverted. Drums map to drums.

    Args:
        programs: MIDI programs of the prompt, -1 for drums.
        trained: Programs in the training data. None: all.
    """
    wanted = sorted(set(programs))
    known = set(range(-1, 128)) if trained is None else set(trained)
    chosen = {program: program for program in wanted if program in known or program == DRUMS}
    for program in wanted:
        if program not in chosen:
            free = (known - {DRUMS}) - set(chosen.values()) or known - {DRUMS} or {program}
            chosen[program] = min(free, key=lambda other: _distance(program, other))
    return chosen


def _distance(program: int, other: int) -> tuple[bool, int, int]:
    return (program // 8 != other // 8, abs(program - other), other)


def with_programs(score: AnyScore, mapping: dict[int, int]) -> ScoreTick:
    """Copy a score with program `mapping.get(p, p)` in place of `p`; drum tracks stay."""
    copy = in_ticks(score).copy()
    for track in copy.tracks:
        if not track.is_drum:
            track.program = mapping.get(track.program, track.program)
    return copy


def programs_of(score: AnyScore) -> set[int]:
    """Return the MIDI programs of the tracks that have notes, -1 for drums."""
    return {program_of(track) for track in in_ticks(score).tracks if len(track.notes)}
