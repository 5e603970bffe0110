"""Import public names of a package at first use (PEP 562), and support deprecated names."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar

from musiclstm.errors import MissingPackageError

# What the network as a `PreTrainedModel` needs besides the library's own dependencies.
_PACKAGES_OF_TORCH = ("torch", "transformers")

_Method = TypeVar("_Method", bound=Callable[..., Any])


def lazy_imports(
    package: str,
    names: Mapping[str, Sequence[str]],
    *,
    renamed: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` for the `__init__.py` of a package.

    Args:
        package: Its `__name__`.
        names: Module below the package -> the names that the package exports from it.
        renamed: Old name -> exported name. Use of an old name gives a `DeprecationWarning`.
    """
    module_of = {name: module for module, exported in names.items() for name in exported}
    new_name = renamed or {}

    def getattr_(name: str) -> Any:
        if name in new_name:
            warn_renamed(f"{package}.{name}", f"{package}.{new_name[name]}")
            return getattr(sys.modules[package], new_name[name])
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = import_module(f"{package}.{module_of[name]}")
        except ModuleNotFoundError as error:
            if error.name not in _PACKAGES_OF_TORCH:
                raise
            raise MissingPackageError(
                f"{name} needs the Python package {error.name}, which is missing; install it with: "
                "pip install 'musiclstm[torch]'"
            ) from error
        value = getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def dir_() -> list[str]:
        return sorted({*vars(sys.modules[package]), *module_of})

    return getattr_, dir_


def old_method(name: str, method: _Method) -> _Method:
    """Return a method that warns that `name` is its old name, and then calls `method`."""

    @wraps(method)
    def alias(*args: Any, **options: Any) -> Any:
        warn_renamed(name, method.__name__)
        return method(*args, **options)

    return alias  # type: ignore[return-value]


def old_attribute(name: str, new: str) -> property:
    """Return a property that warns that `name` is an old name, and then reads the new one."""

    def value(instance: Any) -> Any:
        warn_renamed(name, new)
        return getattr(instance, new)

    return property(value, doc=f"Old name of `{new}`.")


def warn_renamed(old: str, new: str) -> None:
    """Warn the caller that a name is deprecated and will be removed in version 0.4."""
    message = f"{old} is now {new}; the old name works in version 0.3 and is removed in 0.4."
    warnings.warn(message, DeprecationWarning, stacklevel=3)
