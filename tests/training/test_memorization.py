"""The command that writes the index of the training pieces."""

from __future__ import annotations

import shutil

from musiclstm.memorization import MemorizationIndex
from musiclstm.model import MEMORIZATION_FILE
from training.data.corpus import read_corpus
from training.memorization import main


def test_the_index_holds_the_training_pieces_only(scales, tiny_checkpoint, tmp_path, capsys):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "weights")
    assert main([str(folder), "--data", str(scales), "--workers", "1"]) == 0
    assert f"{MEMORIZATION_FILE}: 10 pieces, " in capsys.readouterr().out
    index = MemorizationIndex.load(folder / MEMORIZATION_FILE)
    pieces = read_corpus([scales], workers=1).pieces
    assert index.names == [f"{p.name}, {p.corpus}" for p in pieces if p.split == "train"]


def test_two_commands_write_the_same_bytes(scales, tiny_checkpoint, tmp_path):
    folders = [shutil.copytree(tiny_checkpoint, tmp_path / name) for name in "ab"]
    for folder in folders:
        assert main([str(folder), "--data", str(scales), "--workers", "1"]) == 0
    one, two = ((folder / MEMORIZATION_FILE).read_bytes() for folder in folders)
    assert one == two


def test_a_missing_corpus_is_one_sentence(tiny_checkpoint, tmp_path, capsys):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "weights")
    assert main([str(folder), "--data", str(tmp_path / "nowhere")]) == 1
    assert "There is no 'nowhere'" in capsys.readouterr().err
    assert not (folder / MEMORIZATION_FILE).exists()
