"""Random sequences satisfy their constraints."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.quality import constraint_violations
from musiclstm.generation import bar_plan
from musiclstm.generation.decoding.bar_rules import bar_rules


def test_some_sequences_satisfy_their_constraints(tmp_path) -> None:
    path = tmp_path / "sequences.json"
    assert constraint_violations.main(["--takes", "20", "--seed", "3", "--json", str(path)]) == 0
    facts = json.loads(path.read_text())
    assert (facts["takes"], facts["bars"], facts["broken promises"]) == (20, 160, {})
    assert facts["notes"] > 300


@pytest.mark.slow
def test_three_hundred_sequences_satisfy_their_constraints() -> None:
    assert constraint_violations.main(["--takes", "300", "--seed", "1"]) == 0


def test_rules_without_the_polyphony_are_detected(monkeypatch, capsys) -> None:
    def wrong_rules(*given: object) -> np.ndarray:
        rules = bar_rules(*given).copy()
        rules["max_polyphony"] = 0
        return rules

    monkeypatch.setattr(bar_plan, "bar_rules", wrong_rules)
    assert constraint_violations.main(["--takes", "48"]) == 1
    assert "violations: " in capsys.readouterr().out


def test_zero_sequences_are_refused(capsys) -> None:
    assert constraint_violations.main(["--takes", "0"]) == 1
    assert "--takes must be 1 or more, got 0" in capsys.readouterr().err
