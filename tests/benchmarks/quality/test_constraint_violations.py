"""Takes by chance: they keep their promises, and the command would say so if they did not."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality import constraint_violations
from musiclstm.generation.decoding.grammar_state import GrammarState


def test_some_takes_keep_every_promise(tmp_path, capsys) -> None:
    file = tmp_path / "takes.json"
    assert constraint_violations.main(["--takes", "20", "--seed", "3", "--json", str(file)]) == 0
    assert "20 takes, 160 bars" in capsys.readouterr().out
    facts = json.loads(file.read_text())
    assert (facts["takes"], facts["bars"], facts["broken promises"]) == (20, 160, {})
    assert facts["notes"] > 300


@pytest.mark.slow
def test_three_hundred_takes_keep_every_promise() -> None:
    assert constraint_violations.main(["--takes", "300", "--seed", "1"]) == 0


def test_a_grammar_that_lets_notes_sound_too_long_is_found_out(monkeypatch, capsys) -> None:
    monkeypatch.setattr(GrammarState, "_longest_by_voices", lambda state: 1_000)
    assert constraint_violations.main(["--takes", "48"]) == 1
    assert "broken:" in capsys.readouterr().out


def test_no_takes_are_refused(capsys) -> None:
    assert constraint_violations.main(["--takes", "0"]) == 1
    assert "error: --takes must be 1 or more, got 0." in capsys.readouterr().err
