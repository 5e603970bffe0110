"""What a file does to its reader it does to a helper; who asked for it gets one sentence."""

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
from musiclstm.midi.sandbox import Bounds, Helper

TUNE = next(iter(example_files().values()))
BROKE = (
    "'x.mid' broke the program that reads MIDI, as no sound file does; export it again from the "
    "program it came from."
)
LATE = (
    "'x.mid' takes longer to read than 0.2 seconds, the most a file may take; export it again from "
    "the program it came from."
)
LARGE = (
    "'x.mid' needs more than 1,000 MB to be read, the most a file may need; cut it into shorter "
    "pieces."
)
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and limits of POSIX")


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    with Helper(processes=1) as helper:
        yield helper


def refusal(helper: Helper, work, *given, **named) -> str:
    with pytest.raises(ScoreError) as refused:
        helper.run(work, *given, about="'x.mid'", **named)
    return str(refused.value)


# -- What it reads -------------------------------------------------------------------------------


def test_a_helper_reads_what_the_library_reads(helper: Helper) -> None:
    data = TUNE.read_bytes()
    assert helper.read_midi(TUNE) == read_midi(TUNE)
    assert helper.read_midi(data, name="mine.mid") == read_midi(data, name="mine.mid")
    assert helper.read_midi(data) == read_midi(data)


def test_refusals_are_the_same_sentences(helper: Helper, tmp_path: pathlib.Path) -> None:
    short = MidiLimits(notes=3)
    for source, limits in (
        (b"hello", MidiLimits()),
        (TUNE, short),
        (tmp_path / "no.mid", MidiLimits()),
    ):
        with pytest.raises(ScoreError) as expected:
            read_midi(source, limits=limits)
        with pytest.raises(ScoreError, match=f"^{re.escape(str(expected.value))}$"):
            helper.read_midi(source, limits=limits)


def test_a_helper_stays_the_same_process_while_all_is_well(helper: Helper) -> None:
    first = helper.run(os.getpid)
    with pytest.raises(ScoreError):
        helper.read_midi(b"hello")
    assert helper.run(os.getpid) == first != os.getpid()


# -- What breaks in it ---------------------------------------------------------------------------

CRASHES = {
    "it is killed": (signal.raise_signal, signal.SIGTERM),
    "it reads where no memory is": (ctypes.string_at, 0),
    "it ends without a word": (os._exit, 0),
    "an error of its own": (int, "three"),
    "it gives what is not expected": (pathlib.PurePath, "a"),
    "it writes to what it was given": (os.write, 0, b"nonsense"),
}


@posix
@pytest.mark.parametrize("case", CRASHES)
def test_what_breaks_a_helper_is_one_sentence_and_the_next_job_is_done(
    helper: Helper, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refusal(helper, *CRASHES[case]) == BROKE
    assert helper.read_midi(TUNE)[1].notes > 0
    capfd.readouterr()  # the traceback is for whoever runs the server


@posix
def test_a_job_without_an_end_is_ended_also_where_no_signal_is_looked_at() -> None:
    with Helper(processes=1, bounds=Bounds(seconds=0.2)) as helper:
        helper.warm()
        assert refusal(helper, re.match, "(a+)+$", "a" * 60 + "b") == LATE
        assert refusal(helper, time.sleep, 60) == LATE
        assert helper.run(abs, -1) == 1


@posix
def test_more_memory_than_its_bounds_is_one_sentence(helper: Helper) -> None:
    assert refusal(helper, bytearray, 3_000_000_000) == LARGE
    assert helper.run(abs, -1) == 1


@posix
def test_a_helper_that_was_killed_while_it_waited_is_not_the_next_files_fault(
    helper: Helper,
) -> None:
    os.kill(helper.run(os.getpid), signal.SIGKILL)
    time.sleep(0.1)  # until the system has seen it
    assert helper.read_midi(TUNE)[1].notes > 0


@posix
def test_a_helper_writes_no_files(helper: Helper, tmp_path: pathlib.Path) -> None:
    place = tmp_path / "written"
    assert refusal(helper, pathlib.Path.write_text, place, "something") == BROKE
    assert place.read_bytes() == b""


def test_what_a_library_prints_is_no_answer(helper: Helper) -> None:
    assert helper.run(print, "ready") is None
    assert helper.run(abs, -2) == 2


# -- Several, and their end ----------------------------------------------------------------------


@posix
def test_one_bad_file_does_not_hold_up_another() -> None:
    with Helper(processes=2, bounds=Bounds(seconds=60)) as helper:
        helper.warm()
        told: list[str] = []
        slow = threading.Thread(target=lambda: told.append(refusal(helper, time.sleep, 50)))
        slow.start()
        assert helper.read_midi(TUNE)[1].notes > 0
        assert slow.is_alive()
        helper.close()
        slow.join(10)
    assert told == [BROKE]


def test_a_closed_helper_has_no_process_and_can_be_asked_again() -> None:
    helper = Helper(processes=1)
    first = helper.run(os.getpid)
    helper.close()
    with pytest.raises(OSError, match="No such process"):
        os.kill(first, 0)
    assert helper.run(os.getpid) != first
    helper.close()


def test_a_helper_starts_nothing_before_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    helper = Helper()
    with pytest.raises(ScoreError) as refused:
        helper.read_midi(TUNE, name="x.mid")
    assert str(refused.value) == (
        "'x.mid' cannot be read now, because no helper starts ([Errno 11] Resource temporarily "
        "unavailable); try again in a minute."
    )


def test_a_helper_ends_with_the_process_that_made_it() -> None:
    code = (
        "import os; from musiclstm.midi.sandbox import Helper; helper = Helper(); "
        "print(helper.run(os.getpid), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
        check=False,
    )
    assert not _runs(int(done.stdout))


def _runs(process: int) -> bool:
    """Whether a process is still there ten seconds from now at the latest."""
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        if pathlib.Path(f"/proc/{process}/stat").is_file() and " Z " in _state(process):
            return False  # it ended, and nobody has asked how
        time.sleep(0.1)
    return True


def _state(process: int) -> str:
    with_name = pathlib.Path(f"/proc/{process}/stat").read_text()
    return with_name[: with_name.rindex(")") + 4]


def test_a_helper_is_not_told_of_the_surroundings(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    with Helper(processes=1) as fresh:
        assert fresh.run(os.getenv, "HF_TOKEN") is None


def test_at_least_one_process_is_needed() -> None:
    with pytest.raises(ValueError, match=r"^processes must be 1 or more, got 0\.$"):
        Helper(processes=0)
