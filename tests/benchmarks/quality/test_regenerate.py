"""A part composed again, compared with the true one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.quality import regenerate


@pytest.fixture
def duets(invented, tmp_path):
    """Two pieces of eighteen bars for violin and piano."""
    folder = tmp_path / "duets"
    folder.mkdir()
    pieces = []
    for number in range(2):
        score = invented(bars=18, programs=(40, 0), seed=number)
        (folder / f"{number}.mid").write_bytes(score.dumps_midi())
        pieces.append({"file": f"{number}.mid", "split": "test", "licence": "CC0-1.0"})
    (folder / "MANIFEST.json").write_text(json.dumps({"pieces": pieces}), encoding="utf-8")
    return folder


def test_the_table_compares_parts_and_the_true_part_is_equal_to_itself(
    duets, tiny_checkpoint, tmp_path, capsys
):
    place, midi = tmp_path / "figures.json", tmp_path / "midi"
    arguments = ["--data", str(duets), "--model", str(tiny_checkpoint), "--candidates", "2"]
    assert regenerate.main([*arguments, "--json", str(place), "--midi", str(midi)]) == 0
    rows = json.loads(place.read_text())["rows"]
    assert [*rows] == [
        "to the kept parts, 2 candidates",
        "to the kept parts, 1 candidate",
        "without the kept parts",
        "its bars before",
        "the true part",
    ]
    true = rows["the true part"]
    assert [true[name]["mean"] for name in ("pitch classes", "onsets", "notes")] == [1, 1, 1]
    assert 0 < rows["its bars before"]["onsets"]["mean"] < 1
    assert len([*midi.glob("*.mid")]) == 2 * 3
    assert "| the true part" in capsys.readouterr().out


def notes(*columns):
    names = ("bar", "time", "duration", "pitch")
    return {name: np.array(column) for name, column in zip(names, columns, strict=True)}


def test_figures_of_known_notes() -> None:
    one = notes([0, 0], [0.0, 1.0], [1.0, 1.0], [60, 67])
    other = notes([0, 0, 0], [0.0, 1.5, 2.0], [1.0, 0.5, 0.5], [48, 62, 64])
    assert regenerate.pitch_class_overlap(one, other) == pytest.approx(0.5)
    assert regenerate.shared_onsets(one, other) == pytest.approx(2 / 5)
    silent = notes([], [], [], np.zeros(0, np.int64))
    assert regenerate.pitch_class_overlap(one, silent) == 0
    assert regenerate.shared_onsets(one, silent) == 0
