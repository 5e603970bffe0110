"""Limit on the notes that new bars share with a training piece."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from musiclstm.generation import Composer, Constraints, Sampling
from musiclstm.memorization import MemorizationIndex, TokenReader
from musiclstm.model import MEMORIZATION_FILE

DENSE = Constraints(programs={0}, meter=(4, 4), notes_per_bar=(6, 8), max_polyphony=1)
SAMPLING = Sampling(seed=4, candidates=2)


@pytest.fixture
def composer(tiny_checkpoint, tmp_path) -> Composer:
    """A composer whose only training piece is what it composes."""
    folder = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, folder)
    composer = Composer.from_pretrained(folder)
    piece = composer.compose(bars=12, constraints=DENSE, sampling=SAMPLING)
    notes = TokenReader(composer.tokenizer).read(np.array(piece.tokens))
    MemorizationIndex.build([("own", notes)], []).save(folder / MEMORIZATION_FILE)
    return composer


def test_bars_that_complete_a_longer_passage_are_written_again(composer) -> None:
    free = composer.compose(bars=12, constraints=DENSE, sampling=SAMPLING)
    assert composer.longest_copied_passage(free).notes > 60
    limited = replace(DENSE, max_copied_notes=30)
    found = composer.compose(bars=12, constraints=limited, sampling=SAMPLING)
    assert composer.longest_copied_passage(found).notes <= 30
    assert found.bar_tokens[:3] == free.bar_tokens[:3]  # no longer than 24 notes
    first = composer.compose(bars=5, constraints=limited, sampling=SAMPLING)
    assert composer.extend(first, bars=7).bar_tokens == found.bar_tokens


def test_it_needs_an_index(tiny_composer) -> None:
    constraints = Constraints(max_copied_notes=24)
    with pytest.raises(ValueError, match=r"needs a checkpoint with memorization_index\.npz"):
        tiny_composer.compose(bars=1, constraints=constraints)


@pytest.mark.parametrize("value", [23, 0, 24.5])
def test_other_limits_are_refused(value) -> None:
    with pytest.raises(ValueError, match="max_copied_notes must be 24 or more"):
        Constraints(max_copied_notes=value)
