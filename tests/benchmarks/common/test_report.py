"""Tables, files and error messages of the benchmark commands."""

from __future__ import annotations

import json
import zipfile

import pytest

from benchmarks.common.report import table
from benchmarks.quality import tokenizer_roundtrip


def test_a_table_aligns_numbers_to_the_right():
    rows = [{"piece": "a", "notes": "1,024"}, {"piece": "10", "notes": "-3"}]
    assert table(rows).splitlines() == [
        "| piece | notes |",
        "| ----- | ----: |",
        "| a     | 1,024 |",
        "| 10    |    -3 |",
    ]


def test_help_names_the_command(capsys):
    with pytest.raises(SystemExit) as stopped:
        tokenizer_roundtrip.main(["--help"])
    assert stopped.value.code == 0
    assert "python -m benchmarks.quality.tokenizer_roundtrip" in capsys.readouterr().out


def test_missing_data_is_an_error_message(tmp_path, capsys):
    assert tokenizer_roundtrip.main(["--data", str(tmp_path / "missing")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert "'missing'" in printed.err


def test_an_unwritable_path_is_refused_before_measuring(tmp_path, data, capsys):
    path = tmp_path / "missing" / "figures.json"
    assert tokenizer_roundtrip.main(["--data", data, "--json", str(path)]) == 1
    assert f"error: {str(path)!r} cannot be written" in capsys.readouterr().err


def test_a_broken_file_is_reported_and_skipped(tmp_path, corpora, capsys):
    with zipfile.ZipFile(corpora / "duets" / "duets.zip") as archive:
        (tmp_path / "good.mid").write_bytes(archive.read("duets-0.mid"))
    (tmp_path / "text.mid").write_text("This is not music.")
    manifest = {"pieces": [{"file": f"{name}.mid", "split": "test"} for name in ("good", "text")]}
    (tmp_path / "MANIFEST.json").write_text(json.dumps(manifest))
    assert tokenizer_roundtrip.main(["--data", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith("skipped text.mid: ")
    assert "|      1 |" in printed.out
