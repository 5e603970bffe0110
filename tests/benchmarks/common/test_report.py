"""Tables, files and sentences that all benchmark commands share."""

from __future__ import annotations

import json
import zipfile

import pytest

from benchmarks.common.report import table
from benchmarks.quality import baselines, tokenizer_roundtrip

COMMANDS = {
    "baselines": baselines,
    "roundtrip": tokenizer_roundtrip,
}


def options_of(name, tmp_path, model=None):
    """What a command needs beside its data; `roundtrip` takes no model."""
    return [] if name == "roundtrip" else ["--model", str(model)]


def piece_of(corpora):
    with zipfile.ZipFile(corpora / "duets" / "duets.zip") as archive:
        return archive.read("duets-0.mid")


def test_a_table_names_its_rows_to_the_left_and_aligns_numbers_to_the_right():
    rows = [{"piece": "a", "notes": "1,024"}, {"piece": "10", "notes": "-3"}]
    assert table(rows).splitlines() == [
        "| piece | notes |",
        "| ----- | ----: |",
        "| a     | 1,024 |",
        "| 10    |    -3 |",
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_its_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        COMMANDS[name].main(["--help"])
    assert stopped.value.code == 0
    assert f"python -m benchmarks.{name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_data_that_is_not_there_is_one_sentence_and_status_1(
    name, tmp_path, tiny_checkpoint, capsys
):
    arguments = ["--data", str(tmp_path / "nowhere")]
    options = options_of(name, tmp_path, tiny_checkpoint)
    assert COMMANDS[name].main([*arguments, *options]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    expected = "error: There is no 'nowhere' at the path given; check --data.\n"
    assert told.err.endswith(expected)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_split_is_one_sentence_and_status_1(
    name, tmp_path, corpora, tiny_checkpoint, capsys
):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "piece.mid").write_bytes(piece_of(corpora))
    arguments = ["--data", str(tmp_path / "one")]
    options = options_of(name, tmp_path, tiny_checkpoint)
    assert COMMANDS[name].main([*arguments, *options]) == 1
    assert capsys.readouterr().err.endswith(
        "error: None of 1 pieces belongs to the split 'test', to which one in twenty goes; add MIDI"
        " files to --data, or choose another --split.\n"
    )


@pytest.mark.parametrize("name", ["baselines"])
def test_a_model_that_is_not_there_is_one_sentence_and_status_1(name, tmp_path, data, capsys):
    arguments = ["--data", data, *options_of(name, tmp_path, tmp_path)]
    assert COMMANDS[name].main(arguments) == 1
    assert "Pass one that training.finetune wrote." in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_refused_before_measuring(tmp_path, data, capsys):
    place = tmp_path / "nowhere" / "figures.json"
    assert tokenizer_roundtrip.main(["--data", data, "--json", str(place)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        f"error: {str(place)!r} cannot be written: name a file in a folder that exists after "
        "--json.\n"
    )


def test_a_broken_file_of_the_split_is_told_and_left_out(tmp_path, corpora, capsys):
    (tmp_path / "mixed").mkdir()
    manifest = {"pieces": [{"file": f"{name}.mid", "split": "test"} for name in ("good", "text")]}
    (tmp_path / "mixed" / "MANIFEST.json").write_text(json.dumps(manifest))
    (tmp_path / "mixed" / "text.mid").write_text("Dear all, this is not music.")
    (tmp_path / "mixed" / "good.mid").write_bytes(piece_of(corpora))
    assert tokenizer_roundtrip.main(["--data", str(tmp_path / "mixed")]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("left out text.mid: 'text.mid' is not a MIDI file")
    assert "| mixed  |      1 |" in told.out
