"""How usual each reason is."""

from __future__ import annotations

import json

from benchmarks.quality import reasons
from musiclstm.generation import REASONS


def test_the_table_has_every_statistic_and_phrase(data, tiny_checkpoint, tmp_path, capsys):
    place = tmp_path / "figures.json"
    arguments = ["--data", data, "--model", str(tiny_checkpoint), "--takes", "2"]
    arguments += ["--prompt_bars", "4", "--bars", "4", "--json", str(place)]
    assert reasons.main(arguments) == 0
    facts = json.loads(place.read_text())
    assert facts["takes"] == 2 * facts["pieces"] == sum(facts["numbers"]) > 0
    assert {each.statistic for each in REASONS} == {*facts["statistics"]}
    given = sum(count * takes for count, takes in enumerate(facts["numbers"]))
    assert sum(facts["said"].values()) * facts["takes"] == given > 0
    assert "| returns to … in …" in capsys.readouterr().out


def test_pieces_that_are_too_short_are_reported(data, tiny_checkpoint, capsys):
    assert reasons.main(["--data", data, "--model", str(tiny_checkpoint), "--bars", "99"]) == 1
    assert "107 bars" in capsys.readouterr().err
