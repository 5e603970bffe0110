"""The step of kernel.c: built once on this machine, handed the weights as int8.

There is nothing to install: the C compiler that most machines have builds the library at first
use, for the processor it finds, into the user's cache. Where there is no compiler or no fast
product of int8, `load` says so by None, and decoding.py has its own way. Knows arrays, neither
torch nor music.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import numpy as np

SWITCH = "MUSICLSTM_KERNEL"  # "off": never built, never loaded
CACHE_VARIABLE = "MUSICLSTM_CACHE"

_SOURCE = Path(__file__).with_suffix(".c")
_COMPILERS = ("cc", "gcc", "clang")
# The last three keep what is computed the same on every machine, and let loops become vectors.
_FLAGS = ("-O3", "-shared", "-fPIC", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
_PROCESSOR_FLAGS = ("-march=native", "-mcpu=native")  # one of them is known to every compiler
_PATIENCE_S = 60
_CHECK = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).self_check())"
_COLUMNS = 32  # this and the next two as in kernel.c
NO_TOKEN, OUTSIDE = -1, -2
_TINY = 3e-39  # a scale below has no reciprocal in float32

_log = logging.getLogger(__name__)


# Building -----------------------------------------------------------------------------------------


class Library:
    """What kernel.c offers."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        library.desk_bytes.restype = ctypes.c_int64
        self.desk_bytes = library.desk_bytes
        self.run_stack, self.run_head = library.run_stack, library.run_head
        self._place: tuple[np.ndarray | None, int] = (
            None,
            0,
        )  # the last array drawn from, its address
        self._draw = library.draw
        self._draw.argtypes = (
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_float,
            ctypes.c_double,
            ctypes.c_float,
            ctypes.c_double,
        )
        self._sum_of_shares = library.sum_of_shares
        self._sum_of_shares.argtypes = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p)
        self._sum_of_shares.restype = ctypes.c_double
        self.hear, self.count_votes = library.hear, library.count_votes
        self.hear.argtypes = (ctypes.c_void_p, ctypes.c_void_p, *4 * (ctypes.c_int32,))
        self.hear.restype = None
        self.count_votes.argtypes = (
            *2 * (ctypes.c_void_p,),
            ctypes.c_int32,
            *5 * (ctypes.c_void_p,),
        )
        self._highest = ctypes.c_float()
        self._highest_at = ctypes.addressof(self._highest)

    def log_sum(self, scores: np.ndarray) -> float:
        """log(sum(exp(scores))) of (n,) float32, contiguous; of no use where one is no number."""
        total = self._sum_of_shares(self._address(scores), len(scores), self._highest_at)
        return self._highest.value + log(total)

    def draw(
        self, scores: np.ndarray, rate: float, top_p: float, min_p: float, chance: float
    ) -> int:
        """A place in proportion to exp(score * rate); scores become those shares.

        Args:
            scores: (n,) float32, contiguous.
            rate: Above 0.
            top_p: As in `Sampling`.
            min_p: As in `Sampling`.
            chance: 0 to below 1.

        Returns:
            The place; NO_TOKEN where the highest score is no finite number, and then the scores
            stay; OUTSIDE where the place drawn is not among the likeliest that reach `top_p`.
        """
        return int(self._draw(self._address(scores), len(scores), rate, top_p, min_p, chance))

    def _address(self, scores: np.ndarray) -> int:
        known, at = self._place
        if scores is not known:  # a take uses one array over and over
            at = ctypes.addressof(ctypes.c_char.from_buffer(scores.data))
            self._place = scores, at
        return at


@cache
def load() -> Library | None:
    """The library, built if it was not yet; None where it cannot be."""
    frozen = getattr(sys, "frozen", False) or not sys.executable  # no Python to try it with
    if os.environ.get(SWITCH) == "off" or sys.platform == "win32" or frozen:
        return None
    try:
        return Library(_built())
    except (OSError, subprocess.SubprocessError) as error:
        _log.info("No compiled step on this machine (%s); torch takes the steps.", error)
        return None


def _built() -> Path:
    """A library of this source for this processor; one that came to harm is built anew."""
    compiler = next(filter(None, map(shutil.which, _compilers())), None)
    if compiler is None:
        raise FileNotFoundError("there is no C compiler")
    folder, identity = _private_folder(), _identity(compiler)
    for library in folder.glob(f"step-{identity}-*.so"):
        if library.stem.endswith(_digest(library.read_bytes())):
            return library
    with tempfile.TemporaryDirectory(dir=folder) as room:
        fresh = Path(room) / "step.so"
        _build(compiler, fresh)
        # Whole or not at all, whoever else is building; its name says what is in it.
        return fresh.replace(folder / f"step-{identity}-{_digest(fresh.read_bytes())}.so")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _compilers() -> Iterator[str]:
    yield from (name for name in (os.environ.get("CC"), *_COMPILERS) if name)


def _build(compiler: str, library: Path) -> None:
    """Compile, and let another process try it: what this processor cannot do would end ours.

    Raises:
        CalledProcessError: The compiler refused, or the result is wrong.
    """
    for flag in _PROCESSOR_FLAGS:
        command = [compiler, *_FLAGS, flag, str(_SOURCE), "-o", str(library)]
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
        if done.returncode == 0:
            break
    done.check_returncode()
    trial = [sys.executable, "-c", _CHECK, str(library)]
    subprocess.run(trial, capture_output=True, timeout=_PATIENCE_S, check=True)


def _identity(compiler: str) -> str:
    """Changes with the source, the compiler and the processor."""
    parts = (*_FLAGS, compiler, platform.platform(), _processor())
    return _digest(_SOURCE.read_bytes() + "\n".join(parts).encode())


def _processor() -> str:
    """What the processor can do, where the system tells; a home may be shared by two machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


def _private_folder() -> Path:
    """Where nobody else may put a library for us to load."""
    try:
        named = os.environ.get(CACHE_VARIABLE)
        usual = (Path(named) if named else Path.home() / ".cache" / "musiclstm") / "kernels"
        usual.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = usual.stat()
        ours = status.st_uid == os.getuid() and not status.st_mode & 0o022
        if ours and os.access(usual, os.W_OK):
            return usual
    except (OSError, RuntimeError):  # not writable; no home
        pass
    return _folder_of_this_process()


@cache
def _folder_of_this_process() -> Path:
    folder = tempfile.mkdtemp(prefix="musiclstm-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


# The network as kernel.c wants it -----------------------------------------------------------------


class _Network(ctypes.Structure):
    """`Network` of kernel.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("layers", "size", "vocab", "residual", "layer_norm")),
        ("epsilon", ctypes.c_float),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "weights",
                "scales",
                "biases",
                "norms",
                "embeddings",
                "head",
                "head_scales",
            )
        ),
    )


@dataclass(frozen=True)
class Weights:
    """A network as plain float32 arrays.

    Attributes:
        of_input: One matrix a layer, (4 * size, size), gates in the order input, forget, new,
            output.
        of_memory: The same for what the layer gave last.
        biases: (4 * size,) a layer.
        norms: Weight and bias, (2, size), a layer, and those of the last norm; empty without norms.
        epsilon: Of the norms.
        embeddings: (vocab, size).
        head: (vocab, size).
        residual: Whether a layer's input is added to what it gives.
    """

    of_input: Sequence[np.ndarray]
    of_memory: Sequence[np.ndarray]
    biases: Sequence[np.ndarray]
    norms: Sequence[np.ndarray]
    epsilon: float
    embeddings: np.ndarray
    head: np.ndarray
    residual: bool


class CompiledNetwork:
    """Weights in the order in which kernel.c reads them; `desk` gives a take its own memory.

    Attributes:
        weight_bytes: What one step reads.
    """

    def __init__(self, library: Library, weights: Weights) -> None:
        self._library = library
        self.size = weights.embeddings.shape[1]
        self.vocab = len(weights.head)
        layers = [_layer(*each) for each in zip(weights.of_input, weights.of_memory, strict=True)]
        head, head_scales = _rounded(_whole_fours(weights.head))
        arrays = {
            "weights": np.stack([blocks for blocks, _ in layers]),
            "scales": np.stack([scales for _, scales in layers]),
            "biases": np.stack([_by_gate(each) for each in weights.biases]),
            "norms": np.array(weights.norms, np.float32),
            "embeddings": weights.embeddings,
            "head": _in_blocks(head.reshape(-1, 4, self.size)),
            "head_scales": head_scales,
        }
        self._arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        self._network = _Network(
            layers=len(layers),
            size=self.size,
            vocab=len(head),
            residual=weights.residual,
            layer_norm=len(weights.norms) > 0,
            epsilon=weights.epsilon,
            **{name: array.ctypes.data for name, array in self._arrays.items()},
        )
        self.weight_bytes = self._arrays["weights"].nbytes + self._arrays["head"].nbytes

    def desk(self, hidden: np.ndarray, cell: np.ndarray) -> Desk:
        """Room for as many rows as `hidden` and `cell`, (layers, rows, size), have.

        Both are float32 and contiguous, and every step moves them on in place.
        """
        desk = Desk(self._library, self._network, self.vocab, hidden, cell)
        desk.owner = self
        return desk


class Desk:
    """Where some rows are worked on: arrays whose places the library knows.

    Attributes:
        ids: Set before `read`, (rows,) int64.
        outputs: What `read` gives, (rows, size).
        scores: What `score` makes of `outputs`, (rows, vocab).
        owner: Whose weights they are; held, since the library knows only where they are.
    """

    owner: CompiledNetwork

    def __init__(
        self,
        library: Library,
        network: _Network,
        vocab: int,
        hidden: np.ndarray,
        cell: np.ndarray,
    ) -> None:
        rows, size = hidden.shape[1:]
        self.ids = np.zeros(rows, np.int64)
        self.outputs = np.empty((rows, size), np.float32)
        whole = np.empty((rows, network.vocab), np.float32)
        self.scores = whole[:, :vocab]
        lent = np.zeros(library.desk_bytes(ctypes.byref(network), rows), np.uint8)
        self._kept = (network, hidden, cell, whole, lent)  # the library holds only addresses
        at: list[Any] = [
            ctypes.c_void_p(array.ctypes.data)
            for array in (self.ids, hidden, cell, self.outputs, whole, lent)
        ]
        head: list[Any] = [ctypes.byref(network), ctypes.c_int32(rows)]
        self._run_stack, self._stack = library.run_stack, (*head, *at[:4], at[5])
        self._run_head, self._head = library.run_head, (*head, *at[3:])

    def read(self) -> None:
        """Read one token a row; the state moves on."""
        self._run_stack(*self._stack)

    def score(self) -> None:
        """Score every token that may come next."""
        self._run_head(*self._head)


def _layer(of_input: np.ndarray, of_memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a layer blocks (units / 4, 4 gates, 2, blocks, 4 units, 32), scales (2, 4, units)."""
    parts = [_rounded(each) for each in (of_input, of_memory)]
    blocks = [_in_blocks(_by_gate(values).reshape(-1, 4, values.shape[1])) for values, _ in parts]
    # (4 gates * units / 4, blocks, 4 units, 32) each, the gates first
    both = np.stack([each.reshape(4, -1, *each.shape[1:]) for each in blocks], axis=2)
    return both.swapaxes(0, 1), np.stack([_by_gate(scales) for _, scales in parts])


def _rounded(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 values and one scale a row; a row of zeros stays one."""
    scales = np.abs(matrix).max(axis=1) / 127
    scales[scales < _TINY] = 0
    units = np.divide(1, scales, out=np.zeros_like(scales), where=scales > 0)
    return np.rint(matrix * units[:, None]).astype(np.int8), scales.astype(np.float32)


def _by_gate(rows: np.ndarray) -> np.ndarray:
    """(4 * size, …) to (4, units, …): every gate filled up to a multiple of four."""
    gates = rows.reshape(4, -1, *rows.shape[1:])
    short = -gates.shape[1] % 4
    return np.pad(gates, ((0, 0), (0, short), *((0, 0) for _ in rows.shape[1:])))


def _in_blocks(rows: np.ndarray) -> np.ndarray:
    """(n, 4, size) to (n, blocks, 4, 32), filled up with zeros."""
    short = -rows.shape[2] % _COLUMNS
    whole = np.pad(rows, ((0, 0), (0, 0), (0, short)))
    return whole.reshape(*rows.shape[:2], -1, _COLUMNS).swapaxes(1, 2)


def _whole_fours(matrix: np.ndarray) -> np.ndarray:
    return np.pad(matrix, ((0, -len(matrix) % 4), (0, 0)))
