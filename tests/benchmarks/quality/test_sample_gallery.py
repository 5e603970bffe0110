"""Continuations of held-out pieces in one folder."""

from __future__ import annotations

import json

import pytest

from benchmarks.quality import sample_gallery
from musiclstm import read_midi

SMALL = ["--sound", "none", "--seed", "3"]


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(sample_gallery, "PROMPT_BARS", 2)
    monkeypatch.setattr(sample_gallery, "BARS", 3)
    monkeypatch.setattr(sample_gallery, "STYLES", {"waltzes": ("waltz", 1)})


def test_the_gallery_has_files_and_metrics_of_every_continuation(
    data, tiny_checkpoint, tmp_path, capsys
):
    out = tmp_path / "gallery"
    command = ["--data", data, "--model", str(tiny_checkpoint), "--out", str(out), *SMALL]
    assert sample_gallery.main(command) == 0
    rows = json.loads((out / "gallery.json").read_text())
    assert [row["name"] for row in rows] == ["01-waltz", "02-duets", "03-duets"]
    score, _ = read_midi(out / "01-waltz.mid")
    assert score.end() > 2 * 3 * score.ticks_per_quarter  # longer than the prompt
    page = (out / "README.md").read_text()
    printed = capsys.readouterr().out
    for row in rows:
        assert (out / row["files"]["roll"]).read_text().startswith("<svg")
        assert f"({row['name']}.svg)" in page
        assert 0 <= row["composed"]["overlap with the prompt"] <= 1
    by_loss = sorted(rows, key=sample_gallery.lost_overlap)
    positions = [printed.index(f"| {row['name']} ") for row in by_loss]
    assert positions == sorted(positions)


def test_the_same_seed_gives_the_same_files(data, tiny_checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(sample_gallery, "COUNT", 2)
    for name in ("a", "b"):
        command = ["--data", data, "--model", str(tiny_checkpoint), *SMALL]
        assert sample_gallery.main([*command, "--out", str(tmp_path / name)]) == 0
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 2 * 2 + 2
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_too_short_pieces_are_refused(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sample_gallery, "BARS", 100)
    assert sample_gallery.main(["--data", data, "--out", str(tmp_path), *SMALL]) == 1
    assert "No piece of the split 'test' has 102 bars" in capsys.readouterr().err
