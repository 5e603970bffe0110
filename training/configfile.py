"""A file of settings as words of the command line; what is typed there comes later and wins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from musiclstm.errors import MusicLSTMError


class ConfigFileError(MusicLSTMError):
    """The file of settings cannot be used."""


def with_config_file(argv: list[str], option: str = "--config") -> list[str]:
    """The command line with the settings of its file put before its own words.

    Raises:
        ConfigFileError: The file is missing, or is no table of settings; or there are two.
    """
    for place, word in enumerate(argv):
        if word == option and place + 1 < len(argv):
            return _read_in(argv[place + 1], argv[:place] + argv[place + 2 :], option)
        if word.startswith(option + "="):
            return _read_in(word.partition("=")[2], argv[:place] + argv[place + 1 :], option)
    return argv


def _read_in(name: str, rest: list[str], option: str) -> list[str]:
    if any(word.partition("=")[0] == option for word in rest):
        raise ConfigFileError(f"{option} takes one file, got a second one; put both into one.")
    return words(read_settings(Path(name))) + rest


def read_settings(path: Path) -> dict[str, Any]:
    """Settings of a JSON or YAML file by name.

    Raises:
        ConfigFileError: The file is missing, or is no table of settings.
    """
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise ConfigFileError(f"--config takes a .json or .yaml file, got {path.name!r}.")
    try:
        content = _parse(path, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigFileError(f"There is no file {path.name!r} to read; check --config.") from error
    except ValueError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise ConfigFileError(
            f"{path.name!r} cannot be read ({reason}); check --config."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise ConfigFileError(
            f"{path.name!r} must name settings and their values, such as preset: cpu-quick."
        )
    return content


def _parse(path: Path, text: str) -> Any:
    if path.suffix.lower() == ".json":
        return json.loads(text)
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(error) from error


def words(settings: dict[str, Any]) -> list[str]:
    """Settings as they would be typed; those without a value are left out."""
    return [
        word
        for name, value in settings.items()
        if value is not None
        for word in (f"--{name.replace('-', '_')}", *_values(name, value))
    ]


def _values(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, dict) and name == _RATES:
        return [",".join(f"{part}={rate}" for part, rate in value.items())]
    if isinstance(value, list):
        texts = [_text(each) for each in value]
        return [",".join(texts)] if name in _COMMA_LISTS else texts
    return [_text(value)]


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


_RATES = "layer_learning_rates"  # the Trainer's tables are JSON
_COMMA_LISTS = (
    "data",
    "freeze",
    "leave_out",
)  # ours take one word with commas; the Trainer's take several
