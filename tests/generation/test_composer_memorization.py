"""The longest passage of a composition that occurs in a training piece."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from musiclstm import Composer, Sampling
from musiclstm.errors import CheckpointError
from musiclstm.memorization import MemorizationIndex, TokenReader
from musiclstm.model import MEMORIZATION_FILE


@pytest.fixture
def folder(tiny_checkpoint, tiny_composer, tmp_path):
    """A checkpoint whose only training piece is what it composes with the random seed 1."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "copying")
    piece = tiny_composer.compose(bars=8, sampling=Sampling(seed=1))
    notes = TokenReader(tiny_composer.tokenizer).read(np.array(piece.tokens))
    MemorizationIndex.build([("song.mid", notes)], []).save(folder / MEMORIZATION_FILE)
    return folder


def test_a_copy_of_a_training_piece_is_named(folder):
    composer = Composer.from_pretrained(folder)
    copy = composer.longest_copied_passage(composer.compose(bars=8, sampling=Sampling(seed=1)))
    assert copy.notes > 24
    assert copy.piece == "song.mid"
    other = composer.longest_copied_passage(composer.compose(bars=2, sampling=Sampling(seed=2)))
    assert other.notes < 24


def test_a_piece_without_new_bars_has_no_copy(folder):
    composer = Composer.from_pretrained(folder)
    piece = composer.compose(bars=1, sampling=Sampling(seed=1)).truncated(0)
    assert composer.longest_copied_passage(piece).notes == 0


def test_without_an_index_nothing_is_known(tiny_composer, tiny_model, tiny_tokenizer):
    piece = tiny_composer.compose(bars=1)
    assert tiny_composer.longest_copied_passage(piece) is None
    assert Composer(tiny_model, tiny_tokenizer).memorization_index is None


def test_a_broken_index_does_not_keep_a_composer_from_composing(folder):
    (folder / MEMORIZATION_FILE).write_bytes(b"half of it")
    composer = Composer.from_pretrained(folder)
    piece = composer.compose(bars=1)
    with pytest.raises(CheckpointError, match="is not an index of training pieces"):
        composer.longest_copied_passage(piece)
