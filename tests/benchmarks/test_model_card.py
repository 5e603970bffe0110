"""The command that measures the figures of the model card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import model_card
from benchmarks.model_card import CardEvaluation, CardSection
from musiclstm import __version__
from musiclstm.model.checkpoint_files import read_facts

VERSION = __version__.rpartition(".")[0]
RECORD = {"data": ["duets"], "held_out": {"bits_per_note": 2.5}, "continuations": None}


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Use an empty checkpoint folder, and record commands instead of running them."""
    ran = []
    folder, results = tmp_path / "pretrained", tmp_path / "results"
    for each in (folder, results):
        each.mkdir()
    (folder / "facts.json").write_text(json.dumps({"limits": ["kept"]}))

    def run(command):
        ran.append(list(command))
        if "--json" in command:
            records = [RECORD | {"split": split} for split in ("test", "valid")]
            Path(command[command.index("--json") + 1]).write_text(json.dumps(records))
        return "printed"

    monkeypatch.setattr(model_card, "find_checkpoint", lambda _: folder)
    monkeypatch.setattr(model_card, "_run", run)
    monkeypatch.setattr(model_card, "RESULTS", results)
    evaluations = {
        "all": CardEvaluation("test", ("--pieces", "3")),
        "waltzes": CardEvaluation("both", ("--pieces", "0"), ("waltzes",)),
    }
    monkeypatch.setattr(model_card, "EVALUATIONS", evaluations)
    sections = {
        "copies": CardSection("Copies", ("benchmarks.quality.memorization", "--data", "DATA")),
        "rivals": CardSection(
            "Rivals", ("benchmarks.quality.compare_architectures", "--tokens", "TOKENS"), slow=True
        ),
    }
    monkeypatch.setattr(model_card, "SECTIONS", sections)
    return folder, ran


def test_the_output_of_all_commands_is_stored(commands, data):
    folder, ran = commands
    slow = ["--slow", "--tokens", "runs/all.npz", "--checkpoints", "runs/q"]
    assert model_card.main(["--data", data, *slow]) == 0
    assert [command[0] for command in ran] == [
        *["training.evaluate"] * 2,
        "benchmarks.quality.memorization",
        "benchmarks.quality.compare_architectures",
    ]
    assert data in ran[2]
    assert ran[3][1:] == ["--tokens", "runs/all.npz", "--checkpoints", "runs/q"]
    facts = read_facts(folder)
    assert facts["limits"] == ["kept"]
    assert [report["title"] for report in facts["reports"]] == ["Copies", "Rivals"]
    assert facts["reports"][0]["command"] == "python -m benchmarks.quality.memorization --data DATA"
    assert data not in json.dumps(facts["reports"])  # no path of this machine


def test_an_evaluation_reads_its_corpora_and_stores_every_split(commands, data, tmp_path):
    folder, ran = commands
    assert model_card.main(["--data", data, "--only", "all,waltzes"]) == 0
    waltzes = data.split(",")[1]
    results = tmp_path / "results"
    names = [f"all-{VERSION}-test.json", f"waltzes-{VERSION}-both.json"]
    assert ran == [
        ["training.evaluate", "--data", paths, "--split", split, "--pieces", pieces, "--json", file]
        for paths, split, pieces, file in (
            (data, "test", "3", str(results / names[0])),
            (waltzes, "both", "0", str(results / names[1])),
        )
    ]
    kept = read_facts(folder)["evaluation"]
    assert [(each["split"], each["held_out"]["bits_per_note"]) for each in kept] == [
        ("test", 2.5),
        ("valid", 2.5),
    ]


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["--only", "waltzes"], "--data has no folder waltzes; add it, or name"),
        (
            ["--only", "copies,speed"],
            "--only names 'speed'; there are all, waltzes, copies, rivals.",
        ),
    ],
)
def test_invalid_options_are_refused_before_measuring(commands, data, options, fact, capsys):
    assert model_card.main(["--data", data.split(",")[0], *options]) == 1
    assert fact in capsys.readouterr().err
    assert commands[1] == []


def test_slow_sections_are_kept_without_slow(commands, data):
    folder, ran = commands
    assert model_card.main(["--data", data, "--slow", "--tokens", "all.npz"]) == 0
    ran.clear()
    assert model_card.main(["--data", data]) == 0
    assert "benchmarks.quality.compare_architectures" not in [command[0] for command in ran]
    assert [report["title"] for report in read_facts(folder)["reports"]] == ["Copies", "Rivals"]


def test_slow_sections_need_a_token_file(commands, data, capsys):
    assert model_card.main(["--data", data, "--slow"]) == 1
    assert "--slow needs --tokens" in capsys.readouterr().err
    assert commands[1] == []


def test_one_sample_of_each_style_is_shown(commands, data, tmp_path):
    rows = [
        {"name": f"{n:02}-{style}", "files": {"roll": f"{n:02}-{style}.svg"}}
        for n, style in enumerate(["song", "song", "band"], start=1)
    ]
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    (gallery / "gallery.json").write_text(json.dumps(rows))
    assert model_card.main(["--data", data, "--gallery", str(gallery)]) == 0
    shown = read_facts(commands[0])["samples"]
    assert [each["files"]["roll"] for each in shown] == [
        "../gallery/01-song.svg",
        "../gallery/03-band.svg",
    ]


def test_a_failing_command_is_an_error():
    with pytest.raises(model_card.ReportError, match=r"benchmarks\.missing failed"):
        model_card._run(["benchmarks.missing"])
