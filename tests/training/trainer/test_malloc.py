"""What is freed stays at hand."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from training.trainer import malloc
from training.trainer.malloc import keep_freed_memory

# Takes 64 MiB and gives them back, twenty times; how many pages the system had to fill.
TAKE_AND_GIVE = """
import resource
from training.trainer.malloc import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
filled = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
before = filled()
for _ in range(20):
    bytes(range(256)) * 2**18
print(filled() - before)
"""


def faults(*, keep: bool) -> int:
    code = TAKE_AND_GIVE.format(keep=keep)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="this C library has no mallopt",
)
def test_a_block_is_asked_for_once_and_not_every_time():
    assert faults(keep=True) < faults(keep=False) / 4


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(malloc.sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_a_library_that_cannot_be_told_is_left_alone(monkeypatch):
    monkeypatch.setattr(malloc.sys, "platform", "linux")
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: SimpleNamespace())
    assert not keep_freed_memory()
