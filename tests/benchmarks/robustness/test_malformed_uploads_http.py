"""Hostile files dropped on a server, and what is judged of it."""

from __future__ import annotations

import sys

import pytest

from benchmarks.robustness import malformed_uploads_http
from benchmarks.robustness.malformed_uploads_http import Dropped
from tests.malformed_midi.cases import UPLOADS
from tests.malformed_midi.midi_builder import READ, REFUSED


def of(expected: str) -> malformed_uploads_http.Upload:
    return next(each for each in UPLOADS if each.expected == expected)


@pytest.mark.parametrize(
    ("dropped", "faults"),
    [
        (Dropped(READ, "8 bars", 0.1), 0),
        (Dropped(REFUSED, "It is no MIDI.", 0.1), 1),
        (Dropped("nothing", "", 0.1), 1),
        (Dropped(READ, "8 bars", 2.1), 1),
        (Dropped("nothing", "", 30.0), 2),
    ],
)
def test_another_verdict_or_a_long_wait_is_a_fault(dropped, faults) -> None:
    assert len(malformed_uploads_http._faults(of(READ), dropped)) == faults


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_server_answers_music_and_sentences(tiny_checkpoint, monkeypatch, capsys) -> None:
    monkeypatch.setattr(malformed_uploads_http, "UPLOADS", [of(READ), of(REFUSED)])
    monkeypatch.setattr(
        malformed_uploads_http, "MOST_S", 60.0
    )  # what a busy machine takes is not asked here
    assert malformed_uploads_http.main(["--model", str(tiny_checkpoint)]) == 0
    printed = capsys.readouterr().out
    assert "Nothing else happened." in printed
    assert "| 2 " in printed
