"""Random sequences satisfy their constraints."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality import constraint_violations
from musiclstm.generation.decoding.grammar_state import GrammarState


def test_some_sequences_satisfy_their_constraints(tmp_path) -> None:
    path = tmp_path / "sequences.json"
    assert constraint_violations.main(["--takes", "20", "--seed", "3", "--json", str(path)]) == 0
    facts = json.loads(path.read_text())
    assert (facts["takes"], facts["bars"], facts["broken promises"]) == (20, 160, {})
    assert facts["notes"] > 300


@pytest.mark.slow
def test_three_hundred_sequences_satisfy_their_constraints() -> None:
    assert constraint_violations.main(["--takes", "300", "--seed", "1"]) == 0


def test_a_grammar_that_allows_too_long_notes_is_detected(monkeypatch, capsys) -> None:
    monkeypatch.setattr(GrammarState, "_longest_by_voices", lambda state: 1_000)
    assert constraint_violations.main(["--takes", "48"]) == 1
    assert "violations: " in capsys.readouterr().out


def test_zero_sequences_are_refused(capsys) -> None:
    assert constraint_violations.main(["--takes", "0"]) == 1
    assert "--takes must be 1 or more, got 0" in capsys.readouterr().err
