"""Who plays what: which trained program stands in for each program of the music, and the way back.

Knows programs and constraints only; neither scores nor tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from musiclstm.constraints import Constraints
from musiclstm.tokenization import DRUMS, relatives


def stand_ins(asked: Sequence[Iterable[int]], trained: Collection[int] | None) -> dict[int, int]:
    """Which trained program the network hears and plays for each one of the music.

    Args:
        asked: The programs of the music, those that were asked for first in front: who has a
            stand-in keeps it when others join later.
        trained: Programs the weights have heard; None: all.
    """
    cast: dict[int, int] = {}
    for programs in asked:
        joining = set(programs) - cast.keys()
        cast |= relatives(joining, _free_for(joining, cast, trained))
    return cast


def _free_for(
    joining: set[int], cast: Mapping[int, int], trained: Collection[int] | None
) -> set[int] | None:
    """Those who stand for nobody yet; all, where too few are left."""
    if trained is None:
        return None
    free = set(trained) - set(cast.values()) | (joining & set(trained))
    return free if free - {DRUMS} else set(trained)


def allowed_parts(cast: dict[int, int], constraints: Constraints) -> dict[int, int]:
    """The part of a cast that may play under the constraints."""
    asked = constraints.programs
    return cast if asked is None else {program: cast[program] for program in asked}


def way_back(cast: Mapping[int, int]) -> dict[int, int]:
    """From stand-ins to the programs of the music; who stands for itself stays itself."""
    back = {stand_in: program for program, stand_in in sorted(cast.items())}
    return back | {program: program for program, s in cast.items() if s == program}


def for_stand_ins(
    wish: Constraints, cast: dict[int, int], trained: Collection[int] | None
) -> Constraints:
    """Constraints in programs that the network knows."""
    parts = allowed_parts(cast, wish)
    ranges = _ranges_of_stand_ins(wish.ranges, parts, trained)
    if wish.programs is not None:
        programs = frozenset(parts[program] for program in wish.programs)
    elif trained is not None:
        programs = frozenset(trained) | {*parts.values()}
    else:
        return replace(wish, pitch_ranges=ranges)
    return replace(wish, programs=programs, pitch_ranges=ranges)


def _ranges_of_stand_ins(
    ranges: Mapping[int, tuple[int, int]],
    cast: Mapping[int, int],
    trained: Collection[int] | None,
) -> dict[int, tuple[int, int]]:
    """Pitch ranges by the programs that the network plays."""
    back = way_back(cast)
    played = cast.keys() | back.keys() | set(ranges if trained is None else trained)
    return {
        cast.get(program, program): ends
        for program, ends in ranges.items()
        if program in played and back.get(cast.get(program, program), program) == program
    }
