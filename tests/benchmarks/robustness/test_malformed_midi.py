"""docs/malformed-midi.md is current, and unexpected results are counted."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks.common.report import ReportError
from benchmarks.robustness import malformed_midi
from tests.malformed_midi.archive_cases import ARCHIVES
from tests.malformed_midi.cases import UPLOADS, Upload
from tests.malformed_midi.run_archive import ArchiveResult
from tests.malformed_midi.run_case import CaseResult, run_case

ROOT = Path(__file__).parents[3]


def test_the_document_has_the_current_results() -> None:
    named = [(each, run_case(each.data)) for each in UPLOADS]
    written = (ROOT / "docs" / "malformed-midi.md").read_text(encoding="utf-8")
    assert malformed_midi.document(named, malformed_midi.read_archives()) == written


def test_a_name_is_escaped_in_the_document() -> None:
    named = [(Upload("names", "mine", "refused", b""), CaseResult("refused", "<b> | `x`", [], 0.0))]
    archives = [(ARCHIVES[0], ArchiveResult([], [], ""))]
    assert "&lt;b> \\| \\`x\\`" in malformed_midi.document(named, archives)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(malformed_midi, "UPLOADS", UPLOADS[::60])
    monkeypatch.setattr(malformed_midi, "ARCHIVES", malformed_midi.ARCHIVES[::12])
    monkeypatch.setattr(malformed_midi, "ROUNDS", 1)
    monkeypatch.setattr(malformed_midi, "MAX_SANDBOX_S", 60.0)
    monkeypatch.setattr(malformed_midi, "MAX_CPU_S", 60.0)


@pytest.mark.usefixtures("few")
def test_the_command_prints_counts_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, facts = tmp_path / "table.md", tmp_path / "facts.json"
    asked = ["--mutants", "30", "--out", str(out), "--json", str(facts)]
    assert malformed_midi.main(asked) == 0
    assert "Every file gave a clean score or a clear error." in capsys.readouterr().out
    found = json.loads(facts.read_text())
    assert found["mutants"]["files"] == 30
    assert found["faults"] == []
    assert out.read_text(encoding="utf-8").startswith("# Malformed MIDI files")


@pytest.mark.usefixtures("few")
def test_an_unexpected_result_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = CaseResult("KeyError", "'Position'", ["KeyError: 'Position'"], 0.1)
    monkeypatch.setattr(malformed_midi, "run_case", lambda *_, **__: wrong)
    monkeypatch.setattr(malformed_midi, "MAX_CPU_S", 0.05)
    assert malformed_midi.main(["--mutants", "1"]) == 1
    printed = capsys.readouterr().out
    assert "KeyError: 'Position'" in printed
    assert "one of the mutants takes 0.10 CPU seconds" in printed


@pytest.mark.parametrize("asked", [["--mutants", "-1"], ["--fuzz", "-1"]])
def test_a_negative_number_is_refused(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert malformed_midi.main(asked) == 1
    assert "--mutants and --fuzz must be 0 or more" in capsys.readouterr().err


def test_a_missing_atheris_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = subprocess.CompletedProcess(
        [], 1, "", "ModuleNotFoundError: No module named 'atheris'"
    )
    monkeypatch.setattr(malformed_midi.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(ReportError, match=r"^--fuzz needs atheris, .*: pip install atheris\.$"):
        malformed_midi.fuzz(10)


def test_a_crash_of_the_fuzzer_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 77, "", "Uncaught Python exception: KeyError")
    monkeypatch.setattr(malformed_midi.subprocess, "run", lambda *_, **__: failed)
    assert malformed_midi.fuzz(10)["faults"] == ["Uncaught Python exception: KeyError"]


@pytest.mark.slow
def test_fuzzing_finds_nothing() -> None:
    pytest.importorskip("atheris")
    assert malformed_midi.fuzz(20_000)["faults"] == []
