"""Freed memory stays in the process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from training.trainer import malloc

# Allocates and frees 64 MiB twenty times; prints how many pages the system had to fill.
ALLOCATE_AND_FREE = """
import importlib.util, resource
spec = importlib.util.spec_from_file_location("malloc", {path!r})
malloc = importlib.util.module_from_spec(spec)
spec.loader.exec_module(malloc)
if {keep}:
    assert malloc.keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bytes(range(256)) * 2**18
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*, keep: bool) -> int:
    code = ALLOCATE_AND_FREE.format(keep=keep, path=malloc.__file__)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="this C library has no mallopt",
)
def test_a_freed_block_is_reused():
    assert page_faults(keep=True) < page_faults(keep=False) / 4


@pytest.mark.parametrize("platform", ["darwin", "linux"])
def test_a_c_library_without_mallopt_is_left_unchanged(monkeypatch, platform):
    monkeypatch.setattr(malloc.sys, "platform", platform)
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not malloc.keep_freed_memory()
