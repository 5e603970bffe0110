"""A file can crash, block or exhaust a worker process only; the caller gets one error."""

from __future__ import annotations

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from musiclstm.errors import ScoreError
from musiclstm.examples import example_files
from musiclstm.midi.reader import MidiLimits, read_midi
from musiclstm.midi.sandbox import SandboxPool, WorkerLimits

EXAMPLE = next(iter(example_files().values()))
CRASH = r"^'x\.mid' crashes the program that reads MIDI.*; export it again"
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and limits")


@pytest.fixture(scope="module")
def pool() -> Iterator[SandboxPool]:
    with SandboxPool(processes=1) as pool:
        yield pool


# -- Results -------------------------------------------------------------------------------------


def test_the_sandbox_and_the_library_read_the_same(pool: SandboxPool) -> None:
    data = EXAMPLE.read_bytes()
    assert pool.read_midi(EXAMPLE) == read_midi(EXAMPLE)
    assert pool.read_midi(data, name="mine.mid") == read_midi(data, name="mine.mid")
    assert pool.read_midi(data) == read_midi(data)


def test_the_sandbox_and_the_library_raise_the_same(
    pool: SandboxPool, tmp_path: pathlib.Path
) -> None:
    for source, limits in (
        (b"hello", MidiLimits()),
        (EXAMPLE, MidiLimits(notes=3)),
        (tmp_path / "no.mid", MidiLimits()),
    ):
        with pytest.raises(ScoreError) as expected:
            read_midi(source, limits=limits)
        with pytest.raises(ScoreError, match=f"^{re.escape(str(expected.value))}$"):
            pool.read_midi(source, limits=limits)


def test_a_refused_file_does_not_restart_the_worker(pool: SandboxPool) -> None:
    first = pool.run(os.getpid)
    with pytest.raises(ScoreError):
        pool.read_midi(b"hello")
    assert pool.run(os.getpid) == first != os.getpid()


# -- Crashes and limits --------------------------------------------------------------------------

CRASHES = {
    "killed": (signal.raise_signal, signal.SIGTERM),
    "segmentation fault": (ctypes.string_at, 0),
    "exit without an answer": (os._exit, 0),
    "unexpected exception": (int, "three"),
    "class that is not accepted": (pathlib.PurePath, "a"),
    "answer that is not a message": (os.write, 0, b"nonsense"),
}


@posix
@pytest.mark.parametrize("case", CRASHES)
def test_a_crash_is_one_error_and_the_next_file_is_read(
    pool: SandboxPool, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ScoreError, match=CRASH):
        pool.run(*CRASHES[case], label="'x.mid'")
    assert pool.read_midi(EXAMPLE)[1].notes > 0
    capfd.readouterr()  # the worker's traceback


@posix
@pytest.mark.parametrize("job", [(re.match, "(a+)+$", "a" * 60 + "b"), (time.sleep, 60)])
def test_a_job_that_does_not_end_is_killed_after_its_time(job: tuple) -> None:
    with SandboxPool(processes=1, limits=WorkerLimits(seconds=2)) as pool:
        pool.start()
        begin = time.monotonic()
        with pytest.raises(ScoreError, match=r"^This file takes longer .* 2 seconds"):
            pool.run(*job)
        assert time.monotonic() - begin < 10
        pool.start()


@posix
def test_a_job_that_needs_too_much_memory_is_refused(pool: SandboxPool) -> None:
    with pytest.raises(ScoreError, match=r"^This file needs more than 1,000 MB .* shorter"):
        pool.run(bytearray, 3_000_000_000)
    assert pool.run(abs, -1) == 1


@posix
def test_a_worker_that_was_killed_between_two_files_is_replaced(pool: SandboxPool) -> None:
    os.kill(pool.run(os.getpid), signal.SIGKILL)
    time.sleep(0.1)  # until the system has seen it
    assert pool.read_midi(EXAMPLE)[1].notes > 0


@posix
def test_a_worker_cannot_write_files(pool: SandboxPool, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "written"
    with pytest.raises(ScoreError, match=CRASH):
        pool.run(pathlib.Path.write_text, path, "something", label="'x.mid'")
    assert path.read_bytes() == b""


def test_printed_text_is_not_read_as_an_answer(pool: SandboxPool) -> None:
    assert pool.run(print, "ready") is None
    assert pool.run(abs, -2) == 2


def test_a_worker_does_not_inherit_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with SandboxPool(processes=1) as pool:
        assert pool.run(os.getenv, "HF_TOKEN") is None


# -- Several workers, start and end --------------------------------------------------------------


@posix
def test_a_slow_file_does_not_delay_another_and_close_ends_it() -> None:
    with SandboxPool(processes=2, limits=WorkerLimits(seconds=60)) as pool:
        pool.start()
        errors: list[str] = []

        def sleep() -> None:
            with pytest.raises(ScoreError) as error:
                pool.run(time.sleep, 50, label="'x.mid'")
            errors.append(str(error.value))

        slow = threading.Thread(target=sleep)
        slow.start()
        assert pool.read_midi(EXAMPLE)[1].notes > 0
        assert slow.is_alive()
        pool.close()
        slow.join(10)
    assert re.match(CRASH, *errors)


def test_a_closed_pool_has_no_process_and_can_be_used_again() -> None:
    pool = SandboxPool(processes=1)
    first = pool.run(os.getpid)
    pool.close()
    with pytest.raises(OSError, match="No such process"):
        os.kill(first, 0)
    assert pool.run(os.getpid) != first
    pool.close()


def test_a_pool_starts_no_process_before_the_first_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    pool = SandboxPool()
    with pytest.raises(ScoreError, match=r"^'x\.mid' cannot .* unavailable\); try again in a min"):
        pool.read_midi(EXAMPLE, name="x.mid")


def test_a_worker_ends_with_the_process_that_started_it() -> None:
    code = (
        "import os; from musiclstm.midi import SandboxPool; pool = SandboxPool(); "
        "print(pool.run(os.getpid), flush=True); os.kill(os.getpid(), 9)"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False
    )
    assert _ends_within_ten_seconds(int(done.stdout))


def _ends_within_ten_seconds(process: int) -> bool:
    stat = pathlib.Path(f"/proc/{process}/stat")
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        if stat.is_file() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.1)
    return False


def test_a_pool_needs_at_least_one_process() -> None:
    with pytest.raises(ValueError, match=r"processes must be 1 or more, got 0"):
        SandboxPool(processes=0)
