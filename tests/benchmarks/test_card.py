"""All that the card says is measured by one command, and kept as soon as it is known."""

from __future__ import annotations

import json

import pytest

from benchmarks import card
from benchmarks.card import Measured
from musiclstm.checkpoint import read_facts


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """The bundled folder is an empty one, and commands are only written down."""
    ran = []
    folder = tmp_path / "pretrained"
    folder.mkdir()
    (folder / "facts.json").write_text(json.dumps({"limits": ["kept"]}))
    monkeypatch.setattr(card, "find_checkpoint", lambda _: folder)
    monkeypatch.setattr(card, "_run", lambda command: ran.append(list(command)) or "printed")
    sections = (
        Measured("Copies", ("benchmarks.novelty", "--data", "DATA")),
        Measured("Rivals", ("benchmarks.quality", "--tokens", "TOKENS"), slow=True),
    )
    monkeypatch.setattr(card, "SECTIONS", sections)
    return folder, ran


def test_every_section_is_measured_and_kept(commands, data):
    folder, ran = commands
    slow = ["--slow", "--tokens", "runs/all.npz", "--checkpoints", "runs/q"]
    assert card.main(["--data", data, *slow]) == 0
    assert [command[0] for command in ran] == [
        "training.evaluate",
        "benchmarks.novelty",
        "benchmarks.quality",
    ]
    assert all(data in command for command in ran[:2])
    assert ran[2][1:] == ["--tokens", "runs/all.npz", "--checkpoints", "runs/q"]
    facts = read_facts(folder)
    assert facts["limits"] == ["kept"]
    assert [report["title"] for report in facts["reports"]] == ["Copies", "Rivals"]
    assert facts["reports"][0]["command"] == "python -m benchmarks.novelty --data DATA"
    assert data not in json.dumps(facts["reports"])  # no path of this machine


def test_what_takes_hours_stays_as_it_was(commands, data):
    folder, ran = commands
    assert card.main(["--data", data, "--slow", "--tokens", "all.npz"]) == 0
    ran.clear()
    assert card.main(["--data", data]) == 0
    assert "benchmarks.quality" not in [command[0] for command in ran]
    assert [report["title"] for report in read_facts(folder)["reports"]] == ["Copies", "Rivals"]


def test_what_takes_hours_and_was_never_measured_is_told_so(commands, data):
    folder, ran = commands
    assert card.main(["--data", data]) == 0
    assert "benchmarks.quality" not in [command[0] for command in ran]
    assert read_facts(folder)["reports"][1]["printed"] == "Not measured."


def test_rivals_without_a_token_file_are_refused_before_anything_is_measured(
    commands, data, capsys
):
    assert card.main(["--data", data, "--slow"]) == 1
    assert "--slow needs --tokens" in capsys.readouterr().err
    assert commands[1] == []


def test_who_is_named_by_a_licence_is_thanked(commands, tmp_path):
    corpus = tmp_path / "hymns"
    corpus.mkdir()
    pieces = [
        {"file": "a.mid", "credit": "Ann Lee", "licence": "CC BY 4.0"},
        {"file": "b.mid", "credit": "Bo Ek", "licence": "Public Domain"},
    ]
    known = {"name": "hymns", "source": "example.org", "licence": "mixed", "pieces": pieces}
    (corpus / "MANIFEST.json").write_text(json.dumps(known))
    assert card.main(["--data", f"{corpus},elsewhere"]) == 0
    (credit,) = read_facts(commands[0])["credits"]
    assert credit == {
        "name": "hymns", "source": "example.org", "licence": "mixed", "credit": "Ann Lee",
    }  # fmt: skip


def test_one_sample_of_each_style_is_shown_from_where_the_card_lies(commands, data, tmp_path):
    rows = [
        {"name": f"{n:02}-{style}", "files": {"roll": f"{n:02}-{style}.svg"}}
        for n, style in enumerate(["song", "song", "band"], start=1)
    ]
    gallery = tmp_path / "heard"
    gallery.mkdir()
    (gallery / "gallery.json").write_text(json.dumps(rows))
    assert card.main(["--data", data, "--gallery", str(gallery)]) == 0
    shown = read_facts(commands[0])["samples"]
    assert [each["files"]["roll"] for each in shown] == [
        "../heard/01-song.svg",
        "../heard/03-band.svg",
    ]


def test_a_command_that_fails_is_told(data, capsys):
    with pytest.raises(card.ReportError, match=r"benchmarks\.nothing failed"):
        card._run(["benchmarks.nothing"])
