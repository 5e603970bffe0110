"""What docs/transformers.md shows runs, on a toy in place of real weights."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from musiclstm import bundled_seeds, read_midi

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def room(tmp_path, monkeypatch, tiny_checkpoint) -> Path:
    """A folder in which the reader's own file and model lie."""
    shutil.copy(next(iter(bundled_seeds().values())), tmp_path / "motif.mid")
    shutil.copytree(tiny_checkpoint, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", [each for each in BLOCKS if "goes-on.mid" in each])
def test_the_music_goes_on(code, room) -> None:
    torch.manual_seed(0)
    exec(compile(code, "docs/transformers.md", "exec"), {})
    made, _ = read_midi(room / "goes-on.mid")
    seed, _ = read_midi(room / "motif.mid")
    assert made.note_num() > seed.note_num()
    assert made.end() / made.ticks_per_quarter > seed.end() / seed.ticks_per_quarter


@pytest.mark.filterwarnings("ignore:.pin_memory. argument")  # the reader may have a GPU
def test_the_trainer_trains(room) -> None:
    (code,) = [each for each in BLOCKS if "Trainer(" in each]
    known: dict[str, object] = {}
    exec(compile(code, "docs/transformers.md", "exec"), known)
    assert isinstance(known["trainer"], Trainer)
    assert known["trainer"].state.global_step == 2


def test_there_are_three_ways() -> None:
    assert len(BLOCKS) == 3
