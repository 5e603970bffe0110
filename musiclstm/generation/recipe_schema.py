"""Fields of frozen records as JSON values, and strictly back.

What is written leaves out what is at its default. What is read may come from anyone: every value is
checked before a record sees it. Knows shapes of values, not what they mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeAlias, TypeVar

import numpy as np

from musiclstm.errors import RecipeError

Check: TypeAlias = Callable[[Any], Any]

LONGEST_TEXT, MOST_NUMBERS = 200, 4_096
_LARGEST = 2**53

_Record = TypeVar("_Record")


class Mismatch(ValueError):  # noqa: N818 - never leaves this module's callers
    """A value that is not what was expected; says what was."""


# Written ------------------------------------------------------------------------------------------


def to_json_dict(record: Any, default: Any) -> dict[str, Any]:
    """The fields in which a record differs from a default, as JSON values."""
    pairs = ((f.name, getattr(record, f.name), getattr(default, f.name)) for f in fields(record))
    return {name: to_json_value(value) for name, value, usual in pairs if value != usual}


def to_json_value(value: Any) -> Any:
    """A value of a record as JSON has it; equal numbers are written alike."""
    if isinstance(value, frozenset):
        return [to_json_value(each) for each in sorted(value)]
    if isinstance(value, tuple):
        return [to_json_value(each) for each in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    assert isinstance(value, Real)
    number = float(value)
    return int(number) if number.is_integer() and abs(number) <= _LARGEST else number


# Read ---------------------------------------------------------------------------------------------


def read_record(
    make: Callable[..., _Record],
    data: Any,
    checks: Mapping[str, Check],
    *,
    where: str,
    needed: tuple[str, ...] = (),
) -> _Record:
    """A record from its JSON object.

    Args:
        make: Makes it from its fields.
        data: What came.
        checks: For every field there may be, what it must be.
        where: What the object is called in messages.
        needed: Fields that must be there.

    Raises:
        RecipeError: Something is missing, unknown, or not what it must be.
    """
    if not isinstance(data, dict):
        raise RecipeError(f"The recipe's {where} must be a JSON object, got {shorten(data)}.")
    unknown = sorted(data.keys() - checks.keys())
    if unknown:
        raise RecipeError(
            f"The recipe's {where} has {shorten(unknown[0])}, which no recipe of this format has; "
            "use it as it was written."
        )
    missing = [name for name in needed if name not in data]
    if missing:
        raise RecipeError(f"The recipe's {where} has no {missing[0]!r}; use it as it was written.")
    values = {}
    for name, value in data.items():
        try:
            values[name] = checks[name](value)
        except Mismatch as error:
            raise RecipeError(
                f"{name} in the recipe's {where} must be {error}, got {shorten(value)}."
            ) from error
        except ValueError as error:
            raise RecipeError(f"{name} in the recipe's {where} cannot be used: {error}") from error
    try:
        return make(**values)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"The recipe's {where} cannot be used: {error}") from error


def shorten(value: Any) -> str:
    """Return an untrusted value for a sentence, in ASCII and at most 40 characters."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def number(value: Any) -> float:
    """A finite number."""
    exact = type(value) is int and abs(value) <= _LARGEST
    if not exact and not (type(value) is float and isfinite(value)):
        raise Mismatch("a number")
    return float(value)


def integer(value: Any) -> int:
    """A whole number."""
    if type(value) is not int or abs(value) > _LARGEST:
        raise Mismatch("a whole number")
    return value


def boolean(value: Any) -> bool:
    """True or false."""
    if type(value) is not bool:
        raise Mismatch("true or false")
    return value


def text(value: Any) -> str:
    """A short text."""
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise Mismatch(f"a text of at most {LONGEST_TEXT} characters")
    return value


def list_of(check: Check, *, most: int = MOST_NUMBERS, what: str = "values") -> Check:
    """A list, each of whose members passes."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise Mismatch(f"a list of at most {most} {what}")
        return tuple(check(each) for each in value)

    return read


def pair(value: Any) -> tuple[int, int]:
    """Two whole numbers."""
    if not isinstance(value, list) or len(value) != 2:
        raise Mismatch("two whole numbers")
    return integer(value[0]), integer(value[1])


def ranges(value: Any) -> dict[int, tuple[int, int]]:
    """Pitch ranges: a program and its ends."""
    found: dict[int, tuple[int, int]] = {}
    for each in list_of(lambda part: part, most=129, what="pitch ranges")(value):
        if not isinstance(each, list) or len(each) != 2:
            raise Mismatch("programs, each with its lowest and highest pitch")
        found[integer(each[0])] = pair(each[1])
    return found
