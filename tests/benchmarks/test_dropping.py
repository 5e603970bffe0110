"""Hostile files dropped on a server, and what is judged of it."""

from __future__ import annotations

import sys

import pytest

from benchmarks import dropping
from benchmarks.dropping import Dropped
from tests.hostile.uploads import UPLOADS
from tests.hostile.writing import MUSIC, SENTENCE


def of(verdict: str) -> dropping.Upload:
    return next(each for each in UPLOADS if each.verdict == verdict)


@pytest.mark.parametrize(
    ("dropped", "faults"),
    [
        (Dropped(MUSIC, "8 bars", 0.1), 0),
        (Dropped(SENTENCE, "It is no MIDI.", 0.1), 1),
        (Dropped("nothing", "", 0.1), 1),
        (Dropped(MUSIC, "8 bars", 2.1), 1),
        (Dropped("nothing", "", 30.0), 2),
    ],
)
def test_another_verdict_or_a_long_wait_is_a_fault(dropped, faults) -> None:
    assert len(dropping._faults(of(MUSIC), dropped)) == faults


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_server_answers_music_and_sentences(tiny_checkpoint, monkeypatch, capsys) -> None:
    monkeypatch.setattr(dropping, "UPLOADS", [of(MUSIC), of(SENTENCE)])
    monkeypatch.setattr(dropping, "MOST_S", 60.0)  # what a busy machine takes is not asked here
    assert dropping.main(["--model", str(tiny_checkpoint)]) == 0
    printed = capsys.readouterr().out
    assert "Nothing else happened." in printed
    assert "| 2 " in printed
