"""Held-out pieces go on, and everything of it lies in one folder."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality import sample_gallery
from musiclstm import read_midi

SMALL = ["--sound", "none", "--seed", "3"]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(sample_gallery, "SEED_BARS", 2)
    monkeypatch.setattr(sample_gallery, "BARS", 3)
    monkeypatch.setattr(sample_gallery, "STYLES", {"waltzes": ("waltz", 1)})


def test_every_continuation_has_its_files_and_its_figures(data, tiny_checkpoint, tmp_path, capsys):
    out = tmp_path / "heard"
    command = ["--data", data, "--model", str(tiny_checkpoint), "--out", str(out), *SMALL]
    assert sample_gallery.main(command) == 0
    rows = json.loads((out / "gallery.json").read_text())
    assert [row["name"] for row in rows] == ["01-waltz", "02-duets", "03-duets"]
    assert all("waltzes" in row["source"] for row in rows[:1])
    score, _ = read_midi(out / "01-waltz.mid")
    assert score.end() > 2 * 3 * score.ticks_per_quarter  # more than the seed
    page = (out / "README.md").read_text()
    printed = capsys.readouterr().out
    for row in rows:
        assert (out / row["files"]["roll"]).read_text().startswith("<svg")
        assert f"![roll of {row['name']}]({row['name']}.svg)" in page
        assert f"| {row['name']} " in printed
        assert 0 <= row["composed"]["overlap with the prompt"] <= 1
    lost = [sample_gallery.lost(row) for row in rows]
    order = [printed.index(f"| {row['name']} ") for row in rows]
    assert sorted(order) == [at for _, at in sorted(zip(lost, order, strict=True))]


def test_the_same_seed_gives_the_same_files(data, tiny_checkpoint, tmp_path):
    for name in ("a", "b"):
        command = ["--data", data, "--model", str(tiny_checkpoint), *SMALL]
        assert sample_gallery.main([*command, "--out", str(tmp_path / name)]) == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 3 * 2 + 2
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )


def test_the_number_of_continuations_is_limited(data, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_gallery, "COUNT", 2)
    command = ["--data", data, "--model", str(tiny_checkpoint), *SMALL]
    assert sample_gallery.main([*command, "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "gallery.json").read_text())
    assert [row["name"] for row in rows] == ["01-waltz", "02-duets"]


def test_without_a_piece_that_is_long_enough_it_says_so(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sample_gallery, "BARS", 100)
    assert sample_gallery.main(["--data", data, "--out", str(tmp_path), *SMALL]) == 1
    assert "error: No piece of the split 'test' has 102 bars" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(data, tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    command = ["--data", data, "--model", str(tiny_checkpoint), *SMALL]
    assert sample_gallery.main([*command, "--out", str(tmp_path / "file")]) == 1
    assert "cannot be written" in capsys.readouterr().err
