"""Map programs of the music to programs that the network was trained on, and back."""

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
        requested: Programs of the music in the order of requests. A program keeps its substitute
            when later requests add programs.
        trained: Programs in the training data; None: all.
    """
    mapping: dict[int, int] = {}
    for programs in requested:
        added = set(programs) - mapping.keys()
        mapping |= nearest_programs(added, _free_programs(added, mapping, trained))
    return mapping


def _free_programs(
    added: set[int], mapping: Mapping[int, int], trained: Collection[int] | None
) -> set[int] | None:
    """Return trained programs that are not substitutes yet; all of them if only drums are left."""
    if trained is None:
        return None
    free = set(trained) - set(mapping.values()) | (added & set(trained))
    return free if free - {DRUMS} else set(trained)


def permitted_mapping(mapping: dict[int, int], constraints: Constraints) -> dict[int, int]:
    """Return the mapping of the programs that the constraints permit."""
    permitted = constraints.programs
    return mapping if permitted is None else {each: mapping[each] for each in permitted}


def invert_mapping(mapping: Mapping[int, int]) -> dict[int, int]:
    """Return a program of the music for each trained one, preferably itself."""
    back = {substitute: program for program, substitute in sorted(mapping.items())}
    return back | {program: program for program, other in mapping.items() if other == program}


def remap_constraints(
    constraints: Constraints, mapping: dict[int, int], trained: Collection[int] | None
) -> Constraints:
    """Return the constraints in trained programs."""
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
    """Return pitch ranges by trained programs."""
    back = invert_mapping(mapping)
    played = mapping.keys() | back.keys() | set(ranges if trained is None else trained)
    return {
        mapping.get(program, program): ends
        for program, ends in ranges.items()
        if program in played and back.get(mapping.get(program, program), program) == program
    }
