"""Convert dataclasses to JSON values without defaults, and read them strictly from untrusted JSON.

Types, lengths and sizes are checked before a dataclass is built; it then checks its own ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from math import isfinite
from numbers import Integral, Real
from typing import Any, TypeAlias, TypeVar

import numpy as np

from musiclstm.errors import RecipeError, shorten

Check: TypeAlias = Callable[[Any], Any]

MAX_TEXT_LENGTH, MAX_LIST_LENGTH = 200, 4_096
_MAX_INTEGER = 2**53  # integers up to here are exact in JavaScript and as float64

_Record = TypeVar("_Record")


class Mismatch(ValueError):  # noqa: N818 - `read_record` converts it
    """A value of another type; the message is the expected type."""


# Write --------------------------------------------------------------------------------------------


def to_json_dict(record: Any, defaults: Any) -> dict[str, Any]:
    """Return the fields in which a record differs from the defaults, as JSON values."""
    pairs = ((f.name, getattr(record, f.name), getattr(defaults, f.name)) for f in fields(record))
    return {name: to_json_value(value) for name, value, default in pairs if value != default}


def to_json_value(value: Any) -> Any:
    """Return a field as a JSON value; equal numbers give equal texts."""
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
    return int(number) if number.is_integer() and abs(number) <= _MAX_INTEGER else number


# Read ---------------------------------------------------------------------------------------------


def read_record(
    make: Callable[..., _Record],
    data: Any,
    checks: Mapping[str, Check],
    *,
    where: str,
    required: tuple[str, ...] = (),
) -> _Record:
    """Build a record from a JSON object.

    Args:
        make: Builds the record from its fields.
        data: The JSON value.
        checks: Converter of each permitted field.
        where: Name of the object in messages.
        required: Names of required fields.

    Raises:
        RecipeError: A field is missing, unknown, or of another type or out of range.
    """
    if not isinstance(data, dict):
        raise RecipeError(f"The recipe's {where} must be a JSON object, got {shorten(data)}.")
    unknown = sorted(data.keys() - checks.keys())
    if unknown:
        raise RecipeError(
            f"The recipe's {where} has {shorten(unknown[0])}, which no recipe of this format has; "
            "copy the recipe unchanged."
        )
    missing = [name for name in required if name not in data]
    if missing:
        raise RecipeError(f"The recipe's {where} has no {missing[0]!r}; copy it unchanged.")
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


def number(value: Any) -> float:
    """Return a finite number."""
    exact = type(value) is int and abs(value) <= _MAX_INTEGER
    if not exact and not (type(value) is float and isfinite(value)):
        raise Mismatch("a number")
    return float(value)


def integer(value: Any) -> int:
    """Return a whole number."""
    if type(value) is not int or abs(value) > _MAX_INTEGER:
        raise Mismatch("a whole number")
    return value


def boolean(value: Any) -> bool:
    """Return a Boolean."""
    if type(value) is not bool:
        raise Mismatch("true or false")
    return value


def text(value: Any) -> str:
    """Return a text of at most 200 characters."""
    if not isinstance(value, str) or len(value) > MAX_TEXT_LENGTH:
        raise Mismatch(f"a text of at most {MAX_TEXT_LENGTH} characters")
    return value


def list_of(check: Check, *, max_length: int = MAX_LIST_LENGTH, what: str = "values") -> Check:
    """Return a converter of lists whose items `check` converts."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > max_length:
            raise Mismatch(f"a list of at most {max_length} {what}")
        return tuple(check(item) for item in value)

    return read


def pair(value: Any) -> tuple[int, int]:
    """Return two whole numbers."""
    if not isinstance(value, list) or len(value) != 2:
        raise Mismatch("two whole numbers")
    return integer(value[0]), integer(value[1])


def ranges(value: Any) -> dict[int, tuple[int, int]]:
    """Return the lowest and highest pitch by program."""
    found: dict[int, tuple[int, int]] = {}
    for item in list_of(lambda item: item, max_length=129, what="pitch ranges")(value):
        if not isinstance(item, list) or len(item) != 2:
            raise Mismatch("a list of programs, each with its lowest and highest pitch")
        found[integer(item[0])] = pair(item[1])
    return found
