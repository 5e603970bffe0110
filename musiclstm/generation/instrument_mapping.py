"""Map the programs of the music to programs that the network was trained on, and back."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from musiclstm.generation.constraints import Constraints
from musiclstm.tokens import DRUMS, nearest_programs


def map_programs(
    requested: Sequence[Iterable[int]], trained: Collection[int] | None
) -> dict[int, int]:
    """Return a trained program for each program of the music.

    Args:
        requested: Programs of the music, in the order of requests: a program keeps its substitute
            when later ones join.
        trained: Programs in the training data; None: all.
    """
    mapping: dict[int, int] = {}
    for programs in requested:
        joining = set(programs) - mapping.keys()
        mapping |= nearest_programs(joining, _free_programs(joining, mapping, trained))
    return mapping


def _free_programs(
    joining: set[int], mapping: Mapping[int, int], trained: Collection[int] | None
) -> set[int] | None:
    """Return trained programs that are no substitute yet; all where none but drums is left."""
    if trained is None:
        return None
    free = set(trained) - set(mapping.values()) | (joining & set(trained))
    return free if free - {DRUMS} else set(trained)


def permitted_mapping(mapping: dict[int, int], constraints: Constraints) -> dict[int, int]:
    """Return the mapping of those programs that may play under the constraints."""
    asked = constraints.programs
    return mapping if asked is None else {program: mapping[program] for program in asked}


def invert_mapping(mapping: Mapping[int, int]) -> dict[int, int]:
    """Return the program of the music for each trained one; one that maps to itself goes first."""
    back = {substitute: program for program, substitute in sorted(mapping.items())}
    return back | {program: program for program, other in mapping.items() if other == program}


def remap_constraints(
    constraints: Constraints, mapping: dict[int, int], trained: Collection[int] | None
) -> Constraints:
    """Return constraints in programs that the network knows."""
    permitted = permitted_mapping(mapping, constraints)
    ranges = _remapped_ranges(constraints.ranges, permitted, trained)
    if constraints.programs is not None:
        programs = frozenset(permitted[program] for program in constraints.programs)
    elif trained is not None:
        programs = frozenset(trained) | {*permitted.values()}
    else:
        return replace(constraints, pitch_ranges=ranges)
    return replace(constraints, programs=programs, pitch_ranges=ranges)


def _remapped_ranges(
    ranges: Mapping[int, tuple[int, int]],
    mapping: Mapping[int, int],
    trained: Collection[int] | None,
) -> dict[int, tuple[int, int]]:
    """Return pitch ranges by the programs that the network writes."""
    back = invert_mapping(mapping)
    played = mapping.keys() | back.keys() | set(ranges if trained is None else trained)
    return {
        mapping.get(program, program): ends
        for program, ends in ranges.items()
        if program in played and back.get(mapping.get(program, program), program) == program
    }
