"""The snippets of docs/transformers.md run, with a tiny model instead of real weights."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from musiclstm import example_files, read_midi

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "transformers.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.fixture
def room(tmp_path, monkeypatch, tiny_checkpoint) -> Path:
    """A folder with the file and the model that the snippets use."""
    shutil.copy(next(iter(example_files().values())), tmp_path / "motif.mid")
    shutil.copytree(tiny_checkpoint, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", [each for each in BLOCKS if "goes-on.mid" in each])
def test_the_music_goes_on(code, room) -> None:
    # A fresh process: importing musiclstm elsewhere would register its classes.
    code = f"import torch\ntorch.manual_seed(0)\n{code}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made, _ = read_midi(room / "goes-on.mid")
    seed, _ = read_midi(room / "motif.mid")
    assert made.note_num() > seed.note_num()
    assert made.end() / made.ticks_per_quarter > seed.end() / seed.ticks_per_quarter


def test_rows_of_a_padded_batch_are_those_of_each_alone(room) -> None:
    (code,) = [each for each in BLOCKS if "num_beams" in each]
    known: dict[str, Any] = {}
    exec(compile(code, "docs/transformers.md", "exec"), known)
    model, row = known["model"], known["rows"][1]
    beams = model.generate(
        row[None], do_sample=False, num_beams=3, max_new_tokens=8, eos_token_id=None
    )
    assert known["beams"][1, -8:].tolist() == beams[0, -8:].tolist()
    alone = model(row[None]).logits[0, -20:]
    torch.testing.assert_close(known["rest"][1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.pin_memory. argument")  # the reader may have a GPU
def test_the_trainer_trains(room) -> None:
    (code,) = [each for each in BLOCKS if "Trainer(" in each]
    known: dict[str, object] = {}
    exec(compile(code, "docs/transformers.md", "exec"), known)
    assert isinstance(known["trainer"], Trainer)
    assert known["trainer"].state.global_step == 2


def test_every_snippet_has_a_test() -> None:
    words = ("goes-on.mid", "num_beams", "Trainer(")
    assert [sum(word in each for word in words) for each in BLOCKS] == [1, 1, 1, 1]
