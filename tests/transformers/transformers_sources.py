"""transformers' own tests, from its source distribution; pip does not install them.

pip fetches the distribution of the installed version once and its tests are unpacked into the
user's cache; nothing of it is copied into the project. Knows nothing of our model.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import transformers

PACKAGE = "transformers_tests"
WHOLE = "TRANSFORMERS_TESTS"
_PATIENCE_S = 300
_PIP = (sys.executable, "-m", "pip", "--retries", "1", "--timeout", "20", "--quiet")
_FETCH = ("download", "--no-deps", "--no-binary", "transformers", "--no-build-isolation")

# What the common tests import and the distribution leaves out: empty classes in their place, and a
# handful of the fields that every config takes.
_STAND_INS: dict[str, dict[str, Any]] = {
    "exporters.test_export": {"ExportTesterMixin": type("ExportTesterMixin", (), {})},
    "generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    "utils.test_configuration_utils": {
        "config_common_kwargs": {
            "return_dict": False,
            "output_hidden_states": True,
            "dtype": "float16",
            "architectures": ["MusicLSTMModel"],
            "id2label": {0: "quiet", 1: "loud"},
            "label2id": {"quiet": 0, "loud": 1},
        }
    },
}


class UnavailableError(Exception):
    """The tests are not available; the message has the reason."""


def load(name: str) -> ModuleType:
    """The module `name` of transformers' tests, such as `test_modeling_common`.

    Raises:
        UnavailableError: No registry to fetch them from, or a library they need is missing.
    """
    folder = _folder()
    if PACKAGE not in sys.modules:
        _make_package(PACKAGE).__path__ = [str(folder)]
        for module, content in _STAND_INS.items():
            if not (folder / f"{module.replace('.', '/')}.py").is_file():
                _make_package(f"{PACKAGE}.{module.partition('.')[0]}")
                vars(_make_package(f"{PACKAGE}.{module}")).update(content)
    with warnings.catch_warnings(action="ignore"):
        try:
            return importlib.import_module(f"{PACKAGE}.{name}")
        except ModuleNotFoundError as error:
            raise UnavailableError(f"transformers' tests need {error.name}: {error}") from error


def has(name: str) -> bool:
    """Whether the module is transformers' own."""
    return getattr(load(name), "__file__", None) is not None


def _make_package(name: str) -> ModuleType:
    module = sys.modules[name] = ModuleType(name)
    module.__path__ = []
    return module


def _folder() -> Path:
    """Return the unpacked tests of the installed version; download them if missing.

    Where somebody has all of transformers' source, `TRANSFORMERS_TESTS` names its folder `tests`.
    """
    if whole := os.environ.get(WHOLE):
        return Path(whole)
    named = os.environ.get("MUSICLSTM_CACHE")
    cache = (Path(named) if named else Path.home() / ".cache" / "musiclstm") / "transformers"
    folder = cache / transformers.__version__
    if not folder.is_dir():
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as room:
            _unpack(_download(Path(room)), Path(room))
            (Path(room) / "tests").rename(folder)
    return folder


def _download(room: Path) -> Path:
    wanted = f"transformers=={transformers.__version__}"
    try:
        answer = subprocess.run(
            [*_PIP, *_FETCH, "--dest", str(room), wanted],
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_S,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"pip did not fetch {wanted} within {_PATIENCE_S} s.") from error
    archive = next(room.glob("transformers-*.tar.gz"), None)
    if answer.returncode or archive is None:
        last = (answer.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise UnavailableError(f"pip could not fetch the source of {wanted}: {last}")
    return archive


def _unpack(archive: Path, room: Path) -> None:
    """Extract only the folder `tests` of the distribution."""
    with tarfile.open(archive) as content:
        for member in content.getmembers():
            parts = Path(member.name).parts
            if len(parts) > 2 and parts[1] == "tests" and ".." not in parts:
                data = content.extractfile(member)  # None: no plain file
                if data is not None:
                    (room / Path(*parts[1:])).parent.mkdir(parents=True, exist_ok=True)
                    (room / Path(*parts[1:])).write_bytes(data.read())
    (room / "tests" / "__init__.py").touch()  # one of the modules looks for it
