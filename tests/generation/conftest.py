"""Fixtures of the tests of composing."""

from __future__ import annotations

import pytest

from musiclstm import Composer
from musiclstm.model.checkpoint import save_checkpoint
from musiclstm.tokens import DRUMS


@pytest.fixture(scope="module")
def chamber(tiny_network, tiny_tokenizer, tmp_path_factory) -> Composer:
    """Return a composer that was trained on piano, organ, violin and drums only."""
    folder = tmp_path_factory.mktemp("chamber")
    save_checkpoint(folder, tiny_network(programs=[DRUMS, 0, 16, 40]), tiny_tokenizer)
    return Composer.from_pretrained(folder)
