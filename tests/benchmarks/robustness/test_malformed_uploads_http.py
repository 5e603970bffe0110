"""Malformed files uploaded to a server."""

from __future__ import annotations

import sys

import pytest

from benchmarks.robustness import malformed_uploads_http
from benchmarks.robustness.malformed_uploads_http import UploadAnswer
from tests.malformed_midi.cases import UPLOADS
from tests.malformed_midi.midi_builder import READ, REFUSED


def upload_of(expected: str) -> malformed_uploads_http.Upload:
    return next(each for each in UPLOADS if each.expected == expected)


@pytest.mark.parametrize(
    ("result", "faults"),
    [
        (UploadAnswer(READ, "8 bars", 0.1), 0),
        (UploadAnswer(REFUSED, "Not a MIDI file.", 0.1), 1),
        (UploadAnswer("no answer", "", 0.1), 1),
        (UploadAnswer(READ, "8 bars", 2.1), 1),
        (UploadAnswer("no answer", "", 30.0), 2),
    ],
)
def test_an_unexpected_or_slow_answer_is_a_fault(result, faults) -> None:
    assert len(malformed_uploads_http._list_faults(upload_of(READ), result)) == faults


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_server_reads_and_refuses_uploads(tiny_checkpoint, monkeypatch, capsys) -> None:
    monkeypatch.setattr(malformed_uploads_http, "UPLOADS", [upload_of(READ), upload_of(REFUSED)])
    monkeypatch.setattr(malformed_uploads_http, "MAX_S", 60.0)  # for a busy machine
    assert malformed_uploads_http.main(["--model", str(tiny_checkpoint)]) == 0
    printed = capsys.readouterr().out
    assert "All answers are as expected." in printed
    assert "| 2 " in printed
