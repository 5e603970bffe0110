"""Written note values: how a bar is divided into groups, and its notes and rests into values.

All times are in units of a 24th of a quarter note, the finest grid of our tokens. Rules after
E. Gould, "Behind Bars" (2011), chapters 6 and 7.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

UNITS = 24  # per quarter note
SHORTEST = 3  # a thirty-second

_PLAIN = frozenset({3, 6, 9, 12, 18, 24, 36, 48, 72, 96, 144, 192})  # thirty-second to breve
_OF_TRIPLETS = frozenset({1, 2, 4, 8, 16, 32, 64})  # sixty-fourth to whole note of a triplet
_TRIPLET_SPANS = frozenset({12, 24, 48, 96})  # three notes in the time of an eighth to a whole note
_DOTTED_QUARTER = 36


@dataclass(frozen=True)
class Group:
    """A span of a bar, its parts, and whether these are three notes in the time of two.

    Attributes:
        start: In units from the beginning of a full bar of the meter.
        end: After `start`.
        parts: Groups that fill the span. Empty: it is not divided.
        is_triplet: The parts are three notes in the time of two.
    """

    start: int
    end: int
    parts: tuple[Group, ...] = ()
    is_triplet: bool = False

    @property
    def length(self) -> int:
        """Return the units from start to end."""
        return self.end - self.start

    def cuts_triplet(self, at: int) -> bool:
        """Whether a point is strictly within a triplet of this group."""
        if not self.start < at < self.end:
            return False
        return self.is_triplet or any(part.cuts_triplet(at) for part in self.parts)


@dataclass(frozen=True)
class Value:
    """One note head or rest; within a triplet, its group."""

    length: int
    triplet: Group | None = None


def bar_units(numerator: int, denominator: int) -> int:
    """Return the length of a full bar, with at least a thirty-second for each count."""
    return numerator * max(SHORTEST, 4 * UNITS // denominator)


def divide_bar(meter: tuple[int, int], points: Collection[int]) -> Group:
    """Divide a bar into halves, beats and their parts, with triplets only where points need them.

    Args:
        meter: Numerator and denominator.
        points: Onsets and ends of one voice, in units from the beginning of a full bar.
    """
    unit = max(SHORTEST, 4 * UNITS // meter[1])
    return _group(0, _beats(*meter, unit), sorted(points))


def split_into_values(group: Group, start: int, end: int, *, is_rest: bool) -> list[Value]:
    """Split a note or rest into values that keep the groups visible.

    A note is one value if it begins or ends with a group, fills its parts, or is syncopated around
    its middle (a quarter between two beats, a half note in the middle of 4/4). Rests fill groups.

    Args:
        group: As from `divide_bar`, with `start` and `end` among its points.
        start: In units from the beginning of a full bar.
        end: After `start`, in the same bar.
        is_rest: A rest, which hides no group.

    Returns:
        Values whose lengths have the sum `end - start`, each one head with at most one dot.
    """
    return list(_values(group, start, end, is_rest, None))


def _values(
    group: Group, start: int, end: int, is_rest: bool, triplet: Group | None
) -> Iterator[Value]:
    triplet = group if group.is_triplet else triplet
    if _is_one_value(group, start, end, is_rest, triplet):
        yield Value(end - start, triplet)
    elif group.parts:
        cut = _first_cut(group, start, end, is_rest, triplet)
        part = next(part for part in group.parts if start < part.end)
        if cut <= part.end:
            yield from _values(part, start, cut, is_rest, triplet)
        else:
            yield Value(cut - start, triplet)
        if cut < end:
            yield from _values(group, cut, end, is_rest, triplet)
    else:
        yield from _remaining(end - start, triplet)


def _first_cut(group: Group, start: int, end: int, is_rest: bool, triplet: Group | None) -> int:
    """Return where the first value ends: after as many parts as it can fill, else after one."""
    cuts = [part.end for part in group.parts if start < part.end < end]
    if not cuts:
        return end
    fitting = (cut for cut in reversed(cuts) if _is_one_value(group, start, cut, is_rest, triplet))
    return next(fitting, cuts[0])


def _remaining(length: int, triplet: Group | None) -> Iterator[Value]:
    """Yield the values of a length that no group explains, such as a bar of an odd length."""
    values = sorted(_PLAIN if triplet is None else _OF_TRIPLETS, reverse=True)
    while length > 0:
        value = next((value for value in values if value <= length), length)
        yield Value(value, triplet)
        length -= value


def _is_one_value(group: Group, start: int, end: int, is_rest: bool, triplet: Group | None) -> bool:
    length = end - start
    if length not in (_PLAIN if triplet is None else _OF_TRIPLETS):
        return False
    if length == group.length:
        return True
    if not group.parts or any(part.cuts_triplet(at) for part in group.parts for at in (start, end)):
        return False
    first, last = start - group.start, end - group.start
    if is_rest:
        return group.length == _DOTTED_QUARTER and (first, last) == (0, 24)
    return _hides_no_part(group, first, last)


def _hides_no_part(group: Group, first: int, last: int) -> bool:
    """Whether a note within a group may be one value; times from the beginning of the group."""
    lengths = {part.length for part in group.parts}
    if len(lengths) > 1:
        return {first, last} <= {0, *(part.end - group.start for part in group.parts)}
    (part,) = lengths
    if part % _DOTTED_QUARTER == 0:  # 6/8 and similar meters
        return first % part == last % part == 0
    if len(group.parts) != 2:
        is_half = group.length == _DOTTED_QUARTER and (first, last) == (18, 36)
        return first % part == 0 or is_half
    is_syncopated = (2 * first, 2 * last) == (part, 3 * part)
    return first == 0 or last == group.length or is_syncopated


# -- Division of a bar -----------------------------------------------------------------------------

# Lengths of the parts of a span, nested; a number is divided into halves as points need it.
_Shape: TypeAlias = "int | tuple[_Shape, ...]"


def _beats(numerator: int, denominator: int, unit: int) -> _Shape:
    if numerator % 3 == 0 and (numerator > 3 or denominator >= 8):
        return _halves(numerator // 3, (unit, unit, unit))
    if numerator == 5 and denominator <= 4:
        return ((unit, unit, unit), 2 * unit)
    if numerator % 2 and numerator > 3:
        return (*[2 * unit] * ((numerator - 3) // 2), (unit, unit, unit))
    return _halves(numerator, unit)


def _halves(count: int, beat: _Shape) -> _Shape:
    """Return beats in two equal halves as long as their number is even."""
    if count == 1:
        return beat
    if count % 2 == 0:
        half = _halves(count // 2, beat)
        return 2 * half if isinstance(half, int) else (half, half)
    return (beat,) * count


def _length(shape: _Shape) -> int:
    return shape if isinstance(shape, int) else sum(map(_length, shape))


def _group(start: int, shape: _Shape, points: Sequence[int]) -> Group:
    """Divide a span; `points` are sorted and may lie outside."""
    length = _length(shape)
    inside = [at - start for at in points if start < at < start + length]
    if not inside:
        return _undivided(start, shape)
    if isinstance(shape, int):
        if shape in _TRIPLET_SPANS and _needs_triplet(shape, inside):
            third = shape // 3
            thirds = tuple(_third(start + n * third, third, points) for n in range(3))
            return Group(start, start + shape, thirds, is_triplet=True)
        if shape <= SHORTEST:
            return Group(start, start + shape)
        shape = (shape // 2, shape - shape // 2)
    return Group(start, start + length, _in_a_row(start, shape, points))


def _undivided(start: int, shape: _Shape) -> Group:
    parts = () if isinstance(shape, int) else _in_a_row(start, shape, ())
    return Group(start, start + _length(shape), parts)


def _in_a_row(start: int, shapes: Iterable[_Shape], points: Sequence[int]) -> tuple[Group, ...]:
    groups = []
    for shape in shapes:
        groups.append(_group(start, shape, points))
        start = groups[-1].end
    return tuple(groups)


def _needs_triplet(length: int, inside: Sequence[int]) -> bool:
    """Whether points, counted from the beginning of a span, do not fit its halves."""
    if all(at % (length // 3) == 0 for at in inside):
        return True
    if length > UNITS or not any(at % SHORTEST for at in inside):
        return False
    return length < UNITS or length // 2 not in inside


def _third(start: int, length: int, points: Sequence[int]) -> Group:
    """Divide a note of a triplet into halves."""
    end = start + length
    if length == 1 or not any(start < at < end for at in points):
        return Group(start, end)
    middle = start + length // 2
    halves = (_third(start, middle - start, points), _third(middle, end - middle, points))
    return Group(start, end, halves)
