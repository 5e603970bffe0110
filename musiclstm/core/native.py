"""Compile the C sources of this folder into a shared library at first use, and load it.

The library is built for this machine's processor and stored in the user's cache folder. Without a C
compiler `load` returns None.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

KERNEL_VARIABLE = "MUSICLSTM_KERNEL"
CHOICES = ANY, NATIVE, WASM, OFF = "any", "native", "wasm", "off"  # of how the core is run
CACHE_VARIABLE = "MUSICLSTM_CACHE"

_FOLDER = Path(__file__).parent
_COMPILERS = ("cc", "gcc", "clang")
# The last three give equal results on all machines and permit vectorization.
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
_PROCESSOR_FLAGS = ("-march=native", "-mcpu=native")  # every compiler supports one of them
_TIMEOUT_S = 120
_CHECK = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).self_check())"

_log = logging.getLogger(__name__)


@cache
def load() -> ctypes.CDLL | None:
    """Return the library, built if necessary; None if it cannot be built."""
    frozen = getattr(sys, "frozen", False) or not sys.executable  # the self check needs Python
    if os.environ.get(KERNEL_VARIABLE) in (OFF, WASM) or sys.platform == "win32" or frozen:
        return None
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, subprocess.SubprocessError) as error:
        _log.info("The core cannot be compiled on this machine (%s).", error)
        return None


def _built() -> Path:
    """Return the path of the library; build it if it is missing or damaged."""
    compiler = next(filter(None, map(shutil.which, _compilers())), None)
    if compiler is None:
        raise FileNotFoundError("there is no C compiler")
    folder, identity = _private_folder(), _identity(compiler)
    for library in folder.glob(f"core-{identity}-*.so"):
        if library.stem.endswith(_digest(library.read_bytes())):
            return library
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        built = Path(temporary) / "core.so"
        _build(compiler, built)
        # An atomic rename, because another process may build too; the name holds a digest.
        return built.replace(folder / f"core-{identity}-{_digest(built.read_bytes())}.so")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _compilers() -> Iterator[str]:
    yield from (name for name in (os.environ.get("CC"), *_COMPILERS) if name)


def _sources(pattern: str) -> list[Path]:
    return sorted(_FOLDER.glob(pattern))


def _build(compiler: str, library: Path) -> None:
    """Compile, then check in another process, because an illegal instruction ends a process.

    Raises:
        CalledProcessError: The compiler failed, or the check did.
    """
    sources = [str(source) for source in _sources("*.c")]
    for flag in _PROCESSOR_FLAGS:
        command = [compiler, *_FLAGS, flag, *sources, "-o", str(library)]
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        if done.returncode == 0:
            break
    _log.debug("%s", done.stderr.decode(errors="replace"))
    done.check_returncode()
    check = [sys.executable, "-c", _CHECK, str(library)]
    subprocess.run(check, capture_output=True, timeout=_TIMEOUT_S, check=True)


def _identity(compiler: str) -> str:
    """Return a digest of the sources, the compiler and the processor."""
    parts = (*_FLAGS, compiler, platform.platform(), _processor())
    texts = [source.read_bytes() for source in _sources("*.[ch]")]
    return _digest(b"\n".join([*texts, *(part.encode() for part in parts)]))


def _processor() -> str:
    """Return the processor's features, because machines may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _private_folder() -> Path:
    """Return a folder for libraries that only this user can write to."""
    return cache_folder("kernels") or _folder_of_this_process()


def cache_folder(name: str) -> Path | None:
    """Return a folder in the user's cache that only this user can write to; None: there is none."""
    try:
        named = os.environ.get(CACHE_VARIABLE)
        folder = (Path(named) if named else Path.home() / ".cache" / "musiclstm") / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        ours = status.st_uid == os.getuid() and not status.st_mode & 0o022
        return folder if ours and os.access(folder, os.W_OK) else None
    except (OSError, RuntimeError, AttributeError):  # not writable, no home folder, or Windows
        return None


@cache
def _folder_of_this_process() -> Path:
    folder = tempfile.mkdtemp(prefix="musiclstm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
